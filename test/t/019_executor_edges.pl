# Executors at their edges: deferred work that defers again; a cancel, a reload
# and a wish for the database between two calls; one time for all attempts;
# statistics under a load that never pauses; headers without measure; and a
# database that cannot be entered.
use strict;
use warnings;
use Penny::Cluster;
use Penny::Token;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# One executor, so that calls follow each other in one process.
my $node = Penny::Cluster->serving('executor_edges', store => 0,
	conf => "penny.executors_min = 1\npenny.executors_max = 1\npenny.write_timeout = '20s'\n");
my $ada = '0199aa00-0000-7000-8000-00000000000a';
my $secret = $node->{secret};

sub token { return Penny::Token::hs256($secret, sub => $ada, role => 'penny_user', @_) }
my $http = $node->http(token => token());

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE TABLE app.log (what text);
	GRANT SELECT, INSERT ON app.log TO penny_user, penny_authenticator, penny_admin;
	GRANT USAGE ON SCHEMA app TO penny_authenticator;
	CREATE FUNCTION app.pid(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_backend_pid())';
	CREATE FUNCTION app.sleep(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_sleep((r.query ->> 's')::float8), pg_advisory_xact_lock_shared(1); RETURN to_jsonb(r.query ->> 'n'); END$$;
	CREATE FUNCTION app.big(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT to_jsonb(repeat('0123456789', (r.query ->> 'n')::int / 10))$$;
	CREATE FUNCTION app.head(r penny.request) RETURNS penny.response LANGUAGE sql AS
		$$SELECT (200, jsonb_build_object('x-long', repeat('x', (r.query ->> 'n')::int)), '1')::penny.response$$;
	CREATE FUNCTION app.collides(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_sleep(0.6); RAISE serialization_failure; END$$;
	CREATE FUNCTION app.write(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_sleep(0.01); INSERT INTO app.log VALUES ('written'); RETURN '1'; END$$;

	-- A deferred trigger that makes deferred work, which looks for a way out.
	CREATE TABLE app.deferred (depth int);
	GRANT INSERT ON app.deferred TO penny_user, penny_authenticator;
	CREATE FUNCTION app.defer_again() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.log VALUES ('as ' || current_user);
		BEGIN
			EXECUTE 'SET LOCAL ROLE penny_admin';
			INSERT INTO app.log VALUES ('became ' || current_user);
		EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN NULL;
		END;
		IF NEW.depth > 0 THEN
			SET CONSTRAINTS ALL DEFERRED;
			INSERT INTO app.deferred VALUES (NEW.depth - 1);
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER again AFTER INSERT ON app.deferred
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.defer_again();
	CREATE FUNCTION app.defer(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$INSERT INTO app.deferred VALUES (3) RETURNING to_jsonb(1)$$;

	INSERT INTO penny.routes (method, pattern, handler, access, statement_timeout) VALUES
		('GET', '/pid', 'app.pid', 'user', NULL),
		('GET', '/sleep', 'app.sleep', 'user', NULL),
		('GET', '/big', 'app.big', 'user', NULL),
		('GET', '/head', 'app.head', 'user', NULL),
		('POST', '/collides', 'app.collides', 'user', '1 s'),
		('POST', '/write', 'app.write', 'user', NULL),
		('POST', '/defer', 'app.defer', 'user', NULL);
});
ok($node->wait_until(sub { $http->request('GET', '/pid')->{status} == 200 }, 20), 'routes are there')
  or BAIL_OUT($http->request('GET', '/pid')->{body});

sub send_get
{
	my ($path, $token) = @_;
	my $client = $node->http(token => $token // token());
	$client->send_bytes($client->format_request('GET', $path));
	return $client;
}
my $sleeping = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND state = 'active' AND query = 'GET /sleep'};

subtest 'deferred work that defers again' => sub {
	is($http->request('POST', '/defer', json => {})->{status}, 200, 'status');
	is($node->sql('SELECT string_agg(what, $$, $$) FROM app.log'), join(', ', ('as penny_user') x 4), 'runs as the caller, to its end');
};

subtest 'a cancel between two calls' => sub {
	my $pid = $http->request('GET', '/pid')->{json};
	my $first = send_get('/big?n=60000000');
	ok($node->wait_until(sub { $node->sql("SELECT query = 'GET /big' AND wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") eq 't' }, 10),
		'an answer waits to be taken');
	my $second = send_get('/sleep?s=0.3&n=second');
	usleep(200_000);
	$node->sql("SELECT pg_cancel_backend($pid)");
	usleep(100_000);
	$first->reset_now;
	my $answer = $second->read_response;
	is($answer->{status}, 200, 'does not hit the second');
	is($answer->{json}, 'second', 'which is answered');
};

subtest 'a reload between two calls' => sub {
	my $file = $node->basedir . '/jwt.secret';
	my $old = token();
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @clients = map { send_get("/sleep?s=0&n=$_", $old) } 1 .. 5;
	ok($node->wait_until(sub { $node->sql($sleeping) == 1 }, 10), 'calls wait for one that runs');
	$secret = 'n' x 40;
	unlink $file;
	append_to_file($file, $secret);
	chmod 0600, $file;
	$node->reload;
	$gate->query_safe('SELECT penny.reload_keys()');    # returns when the key is exchanged
	$gate->quit;
	my @status = sort map { $_->read_response(timeout => 20)->{status} } @clients;
	is("@status", '200 401 401 401 401', 'the key before it is not taken by those that follow');
	$http = $node->http(token => token());
};

subtest 'a wish for the database between two calls' => sub {
	my @clients = map { send_get("/sleep?s=2&n=$_") } 1 .. 5;
	ok($node->wait_until(sub { $node->safe_psql('template1', $sleeping) == 1 }, 10), 'calls wait for one that runs');
	my $before = time;
	my ($failed, undef, $error) = $node->psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
	is($failed, 0, 'is granted after the first') or diag($error);
	cmp_ok(time - $before, '<', 15, 'soon');
	my @status = map { $_->read_response(timeout => 40)->{status} } @clients;
	is($status[0], 200, 'which is answered');
	is(scalar(grep { $_ != 200 && $_ != 503 } @status), 0, 'the others are, too, or told to come again') or diag("@status");
	$http = $node->http(token => token());
	ok($node->wait_until(sub { $http->request('GET', '/pid', timeout => 20)->{status} == 200 }, 20), 'then it goes on');
};

subtest 'one time for all attempts' => sub {
	my $before = time;
	my $answer = $http->request('POST', '/collides', json => {}, timeout => 30);
	is($answer->{status}, 504, 'the time of the route ends the attempts');
	cmp_ok(time - $before, '<', 10, 'when it is over');
};

subtest 'statistics under a load without a pause' => sub {
	my $pid = $http->request('GET', '/pid')->{json};
	$node->sql('SELECT pg_stat_reset()');
	my $until = time + 4;
	my @clients = map { $node->http(token => token()) } 1 .. 8;
	$_->send_bytes($_->format_request('POST', '/write', json => {})) for @clients;
	my $seen = 0;
	while (time < $until)
	{
		for my $client (@clients)
		{
			$client->read_response;
			$client->send_bytes($client->format_request('POST', '/write', json => {}));
		}
	}
	$seen = $node->sql(q{SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'log'});
	$_->read_response for @clients;
	cmp_ok($seen, '>', 0, 'are reported meanwhile');
};

subtest 'headers without measure' => sub {
	is(length $http->request('GET', '/head?n=60000')->{header}{'x-long'}, 60_000, 'long ones are sent');
	for my $n (70_000, 400_000)
	{
		is($http->request('GET', "/head?n=$n")->{status}, 500, "$n bytes are an error of the handler");
	}
};

subtest 'the list of roles is one of identifiers' => sub {
	$node->append_conf('postgresql.conf', q{penny.jwt_roles = 'Penny_User ,"penny_agent"'} . "\n");
	$node->reload;
	my $status = sub { $node->request('GET', '/pid', token => token(role => $_[0]))->{status} };
	ok($node->wait_until(sub { $status->('penny_admin') == 401 }, 10), 'a role that is not in it');
	is($status->('penny_user'), 200, 'one in capitals');
	is($status->('penny_agent'), 200, 'one in quotes');
	is($node->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'token roles'}), 't', 'doctor() reads it likewise');
};

subtest 'a database that cannot be entered' => sub {
	my $pid = $http->request('GET', '/pid')->{json};
	$node->sql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
	$node->sql("SELECT pg_terminate_backend($pid)");
	my $refused = sub { scalar(() = $node->log_text =~ /permission denied for database/g) };
	ok($node->wait_until(sub { $refused->() >= 2 }, 20), 'the executor was refused twice');
	is($node->sql(q{SELECT string_agg("check", ', ') FROM penny.doctor() WHERE NOT ok AND detail ~ 'connect'}), 'executors, roles', 'doctor() says so');
	my $waits = send_get('/pid');
	usleep(500_000);
	$node->sql('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
	my $answer = $waits->read_response(timeout => 40);
	is($answer->{status}, 200, 'a call that waited is answered') or diag($answer->{body});
	is($node->crash_restarts, 0, 'no crash');
};

is(scalar(() = $node->log_text =~ /session could not be reset/g), 0, 'no session was found dirty');
is($node->crash_restarts, 0, 'no crash');
done_testing;
