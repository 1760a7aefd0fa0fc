# Databases of another encoding than UTF-8: answers are UTF-8 all the same, and
# an error whose text cannot be told as it is does not cost the executor.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $ada = '0199aa00-0000-7000-8000-00000000000a';

for my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $node = Penny::Cluster->serving(
		lc $encoding,
		init => { extra => [ '-E', $encoding, '--locale=C' ] },
		store => 0,
		conf => "penny.executors_min = 1\npenny.executors_max = 1\n");
	my $http = $node->http(token => $node->token($ada));
	$node->sql(q{
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA app TO penny_user;
		CREATE FUNCTION app.pid(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_backend_pid())';
		CREATE FUNCTION app.fails(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
			$$BEGIN RAISE EXCEPTION 'not "%"', chr(233) USING HINT = 'Say "' || chr(232) || '".'; END$$;
		CREATE FUNCTION app.echo(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT r.query -> 'q'$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES
			('GET', '/pid', 'app.pid', 'user'), ('GET', '/fails', 'app.fails', 'user'), ('GET', '/echo', 'app.echo', 'user');
	});
	subtest $encoding => sub {
		ok($node->wait_until(sub { $http->request('GET', '/pid', timeout => 20)->{status} == 200 }, 20), 'routes are there');
		my $pid = $http->request('GET', '/pid')->{json};
		my $answer = $http->request('GET', '/fails', timeout => 20);
		is($answer->{status}, 400, 'an error that is not ASCII');
		is($answer->{json}{detail}, 'not "?"', 'what cannot be told is marked');
		is($answer->{json}{hint}, 'Say "?".', 'in the hint, too');
		is($node->request('GET', '/pid', token => 'x.y.z', timeout => 20)->{status}, 401, 'an error of penny');
		is($http->request('GET', '/echo?q=%C3%A9', timeout => 20)->{body}, qq{"\xc3\xa9"}, 'a result is UTF-8');
		is($http->request('GET', '/echo?q=%E2%82%AC', timeout => 20)->{status}, 400, 'what the encoding lacks is refused')
		  if $encoding eq 'LATIN1';
		is($http->request('GET', '/pid', timeout => 20)->{json}, $pid, 'the executor went through it all');
	};
	$node->stop;
}
done_testing;
