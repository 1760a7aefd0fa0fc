# Executors: cancels hit the call they are meant for, ends are answered, the
# pool grows and shrinks, retries, large answers, and nothing when idle.
use strict;
use warnings;
use Penny::Cluster;
use Penny::Token;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('executors', store => 0,
	conf => "penny.executors_min = 1\npenny.executors_max = 4\npenny.executor_idle_timeout = '1s'\npenny.write_timeout = '1s'\n");
my $ada = '0199aa00-0000-7000-8000-00000000000a';
my $secret = $node->{secret};

sub token { return Penny::Token::hs256($secret, sub => $ada, role => 'penny_user', @_) }
my $http = $node->http(token => token());

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE TABLE app.log (what text);
	GRANT SELECT, INSERT ON app.log TO penny_user;
	CREATE SEQUENCE app.tries;
	GRANT USAGE ON SEQUENCE app.tries TO penny_user;
	CREATE FUNCTION app.pid(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_backend_pid())';
	CREATE FUNCTION app.sleep(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_sleep((r.query ->> 's')::float8); RETURN to_jsonb(r.query ->> 'n'); END$$;
	CREATE FUNCTION app.gate(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN to_jsonb(r.query ->> 'n'); END$$;
	CREATE FUNCTION app.stubborn(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				PERFORM pg_sleep(60);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION app.collides(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		n bigint := nextval('app.tries');
	BEGIN
		INSERT INTO app.log VALUES ('try ' || n);
		IF n <= (r.query ->> 'times')::int THEN
			RAISE EXCEPTION USING ERRCODE = r.query ->> 'code', MESSAGE = 'collision';
		END IF;
		RETURN to_jsonb(n);
	END $$;
	CREATE FUNCTION app.write(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$INSERT INTO app.log VALUES ('written') RETURNING to_jsonb(1)$$;
	CREATE FUNCTION app.big(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT to_jsonb(repeat('0123456789', (r.query ->> 'n')::int / 10))$$;
	INSERT INTO penny.routes (method, pattern, handler, access, statement_timeout) VALUES
		('GET', '/pid', 'app.pid', 'user', NULL),
		('GET', '/sleep', 'app.sleep', 'user', '20 s'),
		('GET', '/gate', 'app.gate', 'user', '60 s'),
		('GET', '/stubborn', 'app.stubborn', 'user', '200 ms'),
		('POST', '/collides', 'app.collides', 'user', NULL),
		('POST', '/write', 'app.write', 'user', NULL),
		('GET', '/big', 'app.big', 'user', NULL);
});
ok($node->wait_until(sub { $http->request('GET', '/pid')->{status} == 200 }, 20), 'routes are there')
  or BAIL_OUT($http->request('GET', '/pid')->{body});

my $executors = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor'};
my $active = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND state = 'active'};
my $sleeping = "$active AND query = 'GET /sleep'";
my $sleeper = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny executor' AND state = 'active' AND query = 'GET /sleep'";
sub send_sleep
{
	my ($seconds, $name) = @_;
	my $client = $node->http(token => token());
	$client->send_bytes($client->format_request('GET', "/sleep?s=$seconds&n=$name"));
	return $client;
}

subtest 'the pool grows and shrinks' => sub {
	ok($node->wait_until(sub { $node->sql($executors) == 1 }, 20), 'one when idle');
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @clients = map { my $c = $node->http(token => token()); $c->send_bytes($c->format_request('GET', "/gate?n=$_")); $c } 1 .. 4;
	ok($node->wait_until(sub { $node->sql("$active AND query = 'GET /gate'") == 4 }, 20), 'four under load, shown with their route');
	$gate->quit;
	is_deeply([ map { $_->read_response->{json} } @clients ], [ 1 .. 4 ], 'all are answered');
	ok($node->wait_until(sub { $node->sql($executors) == 1 }, 20), 'one again');
	is(scalar(() = $node->log_text =~ /FATAL|PANIC/g), 0, 'they ended quietly');
};

subtest 'a cancel hits its own call' => sub {
	my ($stay, $wrong) = (send_sleep(0, 'x'), 0);
	$stay->read_response;
	for my $i (1 .. 40)
	{
		my @leave = map { send_sleep(5, 'gone') } 1 .. 3;
		usleep(1000 * int rand 60);
		$_->reset_now for @leave;
		my $answer = $stay->request('GET', "/sleep?s=0.02&n=$i", timeout => 20);
		$wrong++ unless $answer->{status} == 200 && $answer->{json} eq $i;
	}
	is($wrong, 0, '40 requests beside 120 that were left were not cancelled');
	ok($node->wait_until(sub { $node->sql($active) == 0 }, 10), 'those were');
};

subtest 'pg_cancel_backend' => sub {
	$node->wait_until(sub { $node->sql($executors) == 1 }, 20);
	my $pid = $http->request('GET', '/pid')->{json};
	$node->sql("SELECT pg_cancel_backend($pid) FROM generate_series(1, 20)");
	is($http->request('GET', '/pid')->{status}, 200, 'idle: penny serves on');
	ok((grep { $_ == $pid } $node->backend_pids('penny executor')), 'by the same');
	my $client = send_sleep(20, 'x');
	ok($node->wait_until(sub { $pid = $node->sql($sleeper) }, 10), 'a call runs');
	$node->sql("SELECT pg_cancel_backend($pid)");
	my $answer = $client->read_response;
	is($answer->{status}, 503, 'in a call: 503');
	is($answer->{json}{code}, '57014', 'code');
	ok($answer->{header}{'retry-after'}, 'Retry-After');
	ok((grep { $_ == $pid } $node->backend_pids('penny executor')), 'the executor goes on');
};

subtest 'pg_terminate_backend' => sub {
	my $client = send_sleep(20, 'x');
	my $pid;
	ok($node->wait_until(sub { $pid = $node->sql($sleeper) }, 10), 'a call runs');
	my $before = time;
	$node->sql("SELECT pg_terminate_backend($pid)");
	my $answer = $client->read_response;
	is($answer->{status}, 503, 'the call is answered with 503') or diag($answer->{body});
	is($answer->{json}{request_id}, $answer->{header}{'x-request-id'}, 'request id');
	cmp_ok(time - $before, '<', 10, 'at once');
	$answer = $http->request('GET', '/pid', timeout => 30);
	is($answer->{status}, 200, 'another executor serves');
	isnt($answer->{json}, $pid, 'a new one');
};

subtest 'a handler that swallows its cancel' => sub {
	ok($node->wait_until(sub { $node->sql($executors) == 1 }, 20), 'one executor');
	my $pid = $http->request('GET', '/pid')->{json};
	my $before = time;
	my $answer = $http->request('GET', '/stubborn', timeout => 30);
	is($answer->{status}, 503, 'is ended with its executor');
	cmp_ok(time - $before, '<', 20, 'after the grace time');
	isnt($http->request('GET', '/pid', timeout => 30)->{json}, $pid, 'another executor serves');
};

for my $code ('40001', '40P01')
{
	subtest "collision $code" => sub {
		$node->sql("SELECT setval('app.tries', 1, false); TRUNCATE app.log");
		my $answer = $http->request('POST', "/collides?times=3&code=$code", json => {});
		is($answer->{status}, 200, 'the fourth attempt counts');
		is($answer->{json}, 4, 'it was the fourth');
		is($node->sql('SELECT string_agg(what, $$,$$) FROM app.log'), 'try 4', 'only it is stored');
		$node->sql("SELECT setval('app.tries', 1, false)");
		$answer = $http->request('POST', "/collides?times=100&code=$code", json => {});
		is($answer->{status}, 503, 'then it is told');
		is($answer->{json}{code}, $code, 'code');
		ok($answer->{header}{'retry-after'}, 'Retry-After');
		is($node->sql('SELECT last_value FROM app.tries'), 4, 'no more than four attempts');
	};
}

subtest 'large answers' => sub {
	for my $n (10, 262_000, 262_140, 262_150, 3_000_000)
	{
		my $answer = $http->request('GET', "/big?n=$n", timeout => 30);
		is(length $answer->{body}, 2 + int($n / 10) * 10, "$n bytes");
	}
	my @stuck = map {
		my $client = $node->http(token => token());
		$client->send_bytes($client->format_request('GET', '/big?n=60000000'));
		$client
	} 1 .. 4;
	$node->wait_until(sub { $node->sql($active) == 4 }, 20);
	my $before = time;
	is($http->request('GET', '/pid', timeout => 20)->{status}, 200, 'clients that do not read do not hold executors');
	cmp_ok(time - $before, '<', 10, 'for long');
	is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND backend_xmin IS NOT NULL AND state = 'idle'}),
		0, 'no snapshot is held meanwhile');

	# Clients that take a little now and then: the limit is for the whole answer.
	my @slow = map {
		my $client = $node->http(token => token());
		$client->send_bytes($client->format_request('GET', '/big?n=60000000'));
		$client
	} 1 .. 4;
	$node->wait_until(sub { $node->sql($active) == 4 }, 20);
	my $other = $node->http(token => token());
	$other->send_bytes($other->format_request('GET', '/pid'));
	$before = time;
	until (time - $before > 20)
	{
		sysread $_->{socket}, my $bytes, 300_000 for @slow;
		last if $other->fill(time + 0.2);
	}
	like($other->{in}, qr/^HTTP\/1.1 200 /, 'clients that read slowly do not hold executors');
	cmp_ok(time - $before, '<', 10, 'for long');

	# One more than there are executors; the last is read at once, since a client
	# that takes nothing for write_timeout is cut.
	my @patient = map {
		my $client = $node->http(token => token());
		$client->send_bytes($client->format_request('GET', '/big?n=3000000'));
		$client
	} 1 .. 5;
	is(length $patient[4]->read_response(timeout => 20)->{body}, 3_000_002, 'answers of some megabytes wait at the edge');
	ok($node->wait_until(sub { $node->sql($active) == 0 }, 10), 'and no executor with them');
};

subtest 'statistics and idleness' => sub {
	$node->sql('TRUNCATE app.log');
	$http->request('POST', '/write', json => {}) for 1 .. 5;
	ok($node->wait_until(sub { $node->sql(q{SELECT n_tup_ins >= 5 FROM pg_stat_user_tables WHERE relname = 'log'}) eq 't' }, 20),
		'writes are reported');
	$node->wait_until(sub { $node->sql($executors) == 1 }, 20);
	my $calls = q{SELECT state_change FROM pg_stat_activity WHERE backend_type = 'penny executor'};
	my $since = $node->sql($calls);
	my $ticks = sub { my ($pid) = $node->backend_pids('penny executor'); my @f = split / /, slurp_file("/proc/$pid/stat"); return $f[13] + $f[14] };
	my $cpu = $ticks->();
	usleep(2_000_000);
	is($node->sql($calls), $since, 'idle: no statement');
	cmp_ok($ticks->() - $cpu, '<=', 10, 'idle: hardly any work');
	my $before = time;
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('postgres', 'DROP DATABASE other');
	cmp_ok(time - $before, '<', 10, 'barriers are absorbed');
};

subtest 'keys' => sub {
	my $file = $node->basedir . '/jwt.secret';
	my $status = sub { $node->request('GET', '/pid', token => $_[0])->{status} };
	my $old = token();
	my $write = sub {
		my ($text, $mode) = @_;
		unlink $file;
		append_to_file($file, $text);
		chmod $mode, $file;
		$node->reload;
	};
	is($status->($old), 200, 'the key at start');
	$secret = 'y' x 40;
	$write->("$secret\n", 0600);
	ok($node->wait_until(sub { $status->(token()) == 200 }, 10), 'a new key after a reload, its newline not counted');
	is($status->($old), 401, 'the old one no more');
	for my $bad ([ 'short', 'z' x 31, 0600 ], [ 'world-readable', 'z' x 40, 0644 ], [ 'group-writable', 'z' x 40, 0660 ], [ 'too long', 'z' x 5000, 0600 ])
	{
		my ($name, $text, $mode) = @$bad;
		my $refused = () = $node->log_text =~ /secret file .* was refused/g;
		$write->($text, $mode);
		ok($node->wait_until(sub { (() = $node->log_text =~ /secret file .* was refused/g) > $refused }, 10), "$name: refused in the log");
		is($status->(token()), 200, "$name: the key before it stays");
	}
	$node->append_conf('postgresql.conf', "penny.jwt_secret_file = ''");
	$node->reload;
	ok($node->wait_until(sub { $status->(token()) == 401 }, 10), 'no file: no token is good');
	like($node->request('GET', '/pid', token => token())->{json}{detail}, qr/no key/, 'and the problem says so');
};

subtest 'penny.dev_user' => sub {
	is($node->request('GET', '/pid')->{status}, 401, 'off: a token is needed');
	$node->append_conf('postgresql.conf', "penny.dev_user = '$ada'");
	$node->reload;
	ok($node->wait_until(sub { $node->request('GET', '/pid')->{status} == 200 }, 10), 'on: none on this machine');
	is($node->request('GET', '/pid', token => 'x.y.z')->{status}, 401, 'a bad token is still refused');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
