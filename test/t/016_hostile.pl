# Handlers that try to leave something behind, or to be somebody else: the
# next request, by another user in the same process, finds nothing of it.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Penny::Token;
use Test::More;

# One executor, so that the next request always meets the same process.
my $node = Penny::Cluster->serving('hostile', store => 0,
	conf => "penny.executors_min = 1\npenny.executors_max = 1\npenny.jwt_roles = 'penny_user, penny_agent, penny_admin'\n");
my $ada = '0199aa00-0000-7000-8000-00000000000a';
my $bob = '0199aa00-0000-7000-8000-00000000000b';

sub token { return Penny::Token::hs256($node->{secret}, sub => $_[0], role => $_[1] // 'penny_user') }
my $as_ada = $node->http(token => token($ada));
my $as_bob = $node->http(token => token($bob));

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE, CREATE ON SCHEMA app TO penny_user;
	CREATE TABLE app.trace (what text, by text DEFAULT current_user);
	GRANT SELECT, INSERT ON app.trace TO penny_user, penny_authenticator;
	CREATE SEQUENCE app.counter;
	GRANT USAGE ON SEQUENCE app.counter TO penny_user;

	-- Runs the body as SQL commands, one after the other; a SELECT gives its first column.
	CREATE FUNCTION app.run(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		command text;
		value text;
		results jsonb := '[]';
	BEGIN
		FOR command IN SELECT jsonb_array_elements_text(r.body) LOOP
			BEGIN
				IF command ILIKE 'select%' THEN
					EXECUTE command INTO value;
				ELSE
					EXECUTE command;
					value := 'done';
				END IF;
			EXCEPTION WHEN OTHERS THEN
				value := SQLSTATE || ': ' || SQLERRM;
			END;
			results := results || jsonb_build_array(value);
		END LOOP;
		RETURN results;
	END $$;

	-- The same for GET: one command, from the query.
	CREATE FUNCTION app.run_reading(r penny.request) RETURNS jsonb LANGUAGE sql AS $$
		SELECT app.run((r.method, r.path, r.params, r.query, r.headers, jsonb_build_array(r.query ->> 'c', r.query ->> 'd'),
			r.user_id, r.role, r.request_id)::penny.request)
	$$;

	-- What a fresh request can see of its session.
	CREATE FUNCTION app.look(r penny.request) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object(
			'pid', pg_backend_pid(),
			'current_user', current_user,
			'session_user', session_user,
			'user_id', r.user_id,
			'claims', (current_setting('request.jwt.claims', true))::jsonb ->> 'sub',
			'search_path', current_setting('search_path'),
			'row_security', current_setting('row_security'),
			'timezone', current_setting('TimeZone'),
			'work_mem', current_setting('work_mem'),
			'mine', coalesce(current_setting('app.mine', true), ''),
			'read_only', current_setting('default_transaction_read_only'),
			'cursors', (SELECT count(*) FROM pg_cursors WHERE is_holdable),
			'prepared', (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
			'listening', (SELECT count(*) FROM pg_listening_channels()),
			'advisory', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
			'temporary', (SELECT count(*) FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema()),
			'trace', (SELECT count(*) FROM app.trace))
	$$;

	-- Leaves at once by the way that the query names.
	CREATE FUNCTION app.leave(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		SET work_mem = '77MB';
		PERFORM pg_advisory_lock(7);
		CASE r.query ->> 'by'
			WHEN 'exception' THEN RAISE EXCEPTION 'leaving';
			WHEN 'division' THEN RETURN to_jsonb(1 / 0);
			WHEN 'sleep' THEN PERFORM pg_sleep(60);
			WHEN 'swallow' THEN
				BEGIN
					PERFORM pg_sleep(60);
				EXCEPTION WHEN query_canceled THEN
					RETURN '"swallowed"';
				END;
			WHEN 'recursion' THEN RETURN app.leave(r);
			WHEN 'null' THEN RETURN NULL;
			ELSE RETURN '"stayed"';
		END CASE;
		RETURN '"slept"';
	END $$;

	CREATE PROCEDURE app.commits() LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.trace VALUES ('before commit');
		COMMIT;
		INSERT INTO app.trace VALUES ('after commit');
	END $$;

	-- Deferred work must not run as anybody but the caller.
	CREATE TABLE app.deferred (id int);
	GRANT INSERT ON app.deferred TO penny_user;
	CREATE TABLE app.deferred_by (who text);
	GRANT SELECT, INSERT ON app.deferred_by TO penny_user, penny_authenticator;
	CREATE FUNCTION app.note_user() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.deferred_by VALUES (current_user);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER note AFTER INSERT ON app.deferred
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.note_user();
	CREATE FUNCTION app.note_select() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.deferred_by VALUES (current_user);
		RETURN 'noted';
	END $$;

	INSERT INTO penny.routes (method, pattern, handler, access, statement_timeout) VALUES
		('POST', '/run', 'app.run', 'user', '20 s'),
		('GET', '/run', 'app.run_reading', 'user', '20 s'),
		('GET', '/look', 'app.look', 'user', '20 s'),
		('POST', '/leave', 'app.leave', 'user', '300 ms');
});
ok($node->wait_until(sub { $as_ada->request('GET', '/look')->{status} == 200 }, 20), 'routes are there')
  or diag($as_ada->request('GET', '/look')->{body}, $node->log_tail(20));
my $clean = $as_bob->request('GET', '/look')->{json};
is($clean->{user_id}, $bob, 'a clean session is that of its user');

# Ada runs the commands; then Bob looks, and must see what he saw before.
sub try_commands
{
	my ($name, $commands, %want) = @_;
	subtest $name => sub {
		my $answer = $as_ada->request('POST', '/run', json => $commands);
		is($answer->{status}, $want{status} // 200, 'status') or diag($answer->{body});
		is_deeply($answer->{json}, $want{results}, 'results') if $want{results} && !ref $want{results}[0];
		if ($want{like})
		{
			like($answer->{json}[$_], $want{like}[$_], "result $_") for 0 .. $#{ $want{like} };
		}
		my $look = $as_bob->request('GET', '/look')->{json};
		$clean->{pid} = $look->{pid} if $want{replaced};
		$want{after}->($look) if $want{after};
		is_deeply($look, $clean, 'Bob finds nothing of it') or diag(JSON::PP->new->canonical->encode($look));
	};
}

my $refused = qr/^(42501|0A000|22023): /;
try_commands('roles cannot be changed',
	[
		'RESET ROLE', 'SET ROLE penny_authenticator', 'SET ROLE penny_admin', 'SET LOCAL ROLE penny_admin',
		"SELECT set_config('role', 'penny_admin', false)", 'RESET SESSION AUTHORIZATION',
		'SET SESSION AUTHORIZATION penny_authenticator', 'SET SESSION AUTHORIZATION DEFAULT',
		"SELECT set_config('session_authorization', 'penny_admin', false)", 'SELECT current_user'
	],
	like => [ ($refused) x 9, qr/^penny_user$/ ]);
try_commands('RESET ALL and DISCARD do not lift the role',
	[ 'RESET ALL', 'DISCARD ALL', 'SELECT current_user' ],
	like => [ qr/done/, qr/^25001|^0A000/, qr/^penny_user$/ ]);
try_commands('settings of a session',
	[
		"SET work_mem = '77MB'", "SET search_path = app, pg_temp", "SET TimeZone = 'Asia/Tokyo'",
		'SET row_security = off', 'SET default_transaction_read_only = on',
		"SELECT set_config('app.mine', 'ada was here', false)",
		"SELECT set_config('request.jwt.claims', '{\"sub\":\"$bob\"}', false)",
		"SET statement_timeout = '1ms'", 'SELECT current_setting($$work_mem$$)'
	],
	like => [ (qr/done/) x 5, qr/ada was here/, qr/sub/, qr/done/, qr/77MB/ ]);
try_commands('temporary objects that shadow others',
	[
		'CREATE TEMP TABLE trace (what text, by text)', 'CREATE TEMP TABLE pg_class (x int)',
		'CREATE FUNCTION pg_temp.look(penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT NULL::jsonb$$',
		'CREATE TEMP SEQUENCE s', 'CREATE TEMP VIEW v AS SELECT 1',
		'SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema()'
	],
	like => [ (qr/done/) x 5, qr/^[1-9]/ ]);
try_commands('prepared statements', [ 'PREPARE p AS SELECT 1', 'PREPARE q (int) AS SELECT $1' ], like => [ (qr/done/) x 2 ]);
try_commands('advisory locks of a session',
	[ 'SELECT pg_advisory_lock(1)', 'SELECT pg_advisory_lock(2, 3)', 'SELECT pg_advisory_lock_shared(4)', 'SELECT pg_advisory_xact_lock(5)' ]);
try_commands('LISTEN', [ 'LISTEN everything', 'SELECT count(*) FROM pg_listening_channels()' ], like => [ qr/^0A000/, qr/^0$/ ]);
try_commands('COMMIT and ROLLBACK', [ 'COMMIT', 'ROLLBACK', 'CALL app.commits()', 'SELECT count(*) FROM app.trace' ],
	like => [ qr/^0A000|^2D000/, qr/^0A000|^2D000/, qr/^2D000/, qr/^0$/ ]);
try_commands('a transaction cannot be prepared', [ "PREPARE TRANSACTION 'mine'" ], like => [ qr/^0A000|^2D000|^25/ ]);
try_commands('sequences', [ "SELECT nextval('app.counter')", "SELECT lastval()" ], like => [ qr/^1$/, qr/^1$/ ]);
is_deeply($as_bob->request('POST', '/run', json => ['SELECT lastval()'])->{json}[0] =~ /^55000/ ? 'undefined' : 'known',
	'undefined', 'lastval() is forgotten');

subtest 'GET stays read only' => sub {
	for my $way ('SET TRANSACTION READ WRITE', 'SET transaction_read_only = off', 'RESET transaction_read_only',
		"SELECT set_config('transaction_read_only', 'off', true)", 'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE')
	{
		my ($command, $write) = map { s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger } $way, "INSERT INTO app.trace VALUES ('by GET')";
		my $results = $as_ada->request('GET', "/run?c=$command&d=$write")->{json};
		like($results->[1], qr/^25006: /, $way) or diag("@$results");
	}
	is_deeply($as_bob->request('GET', '/look')->{json}, $clean, 'nothing was written, and Bob finds nothing of it');
};

subtest 'deferred work runs as the caller' => sub {
	$as_ada->request('POST', '/run', json => [
			'INSERT INTO app.deferred VALUES (1)',
			'DECLARE c CURSOR WITH HOLD FOR SELECT app.note_select()' ]);
	is($node->sql("SELECT coalesce(string_agg(DISTINCT who, ','), '') FROM app.deferred_by"), 'penny_user',
		'a deferred trigger as the caller, a held cursor not at all');
	is($node->sql('SELECT count(*) FROM app.deferred_by'), 1, 'once');
	is_deeply($as_bob->request('GET', '/look')->{json}, $clean, 'Bob finds nothing of it');
};

for my $way (
	[ exception => 400, 'P0001' ],
	[ division => 400, '22012' ],
	[ sleep => 504, '57014' ],
	[ recursion => 500, 'XX000' ],
	[ null => 404, 'PY404' ],
	[ stay => 200 ],
	[ swallow => 200 ])
{
	my ($by, $status, $code) = @$way;
	subtest "a handler that leaves by $by" => sub {
		my $answer = $as_ada->request('POST', "/leave?by=$by", json => {}, timeout => 30);
		is($answer->{status}, $status, 'status') or diag($answer->{body});
		is($answer->{json}{code}, $code, 'code') if $code;
		is_deeply($as_bob->request('GET', '/look')->{json}, $clean, 'Bob finds nothing of it');
	};
}

subtest 'plans are not shared between roles' => sub {
	$node->sql(q{
		CREATE TABLE app.rows (owner uuid, secret text);
		INSERT INTO app.rows VALUES ('0199aa00-0000-7000-8000-00000000000a', 'of Ada'), ('0199aa00-0000-7000-8000-00000000000b', 'of Bob');
		ALTER TABLE app.rows ENABLE ROW LEVEL SECURITY;
		GRANT SELECT ON app.rows TO penny_user;
		CREATE POLICY own ON app.rows FOR SELECT TO penny_user
			USING (owner = ((current_setting('request.jwt.claims'))::jsonb ->> 'sub')::uuid);
		CREATE POLICY everything ON app.rows FOR SELECT TO penny_admin USING (true);
		CREATE FUNCTION app.rows(r penny.request) RETURNS jsonb LANGUAGE sql STABLE AS
			$$SELECT jsonb_agg(secret ORDER BY secret) FROM app.rows$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/rows', 'app.rows', 'user');
	});
	my $admin = $node->http(token => token($ada, 'penny_admin'));
	ok($node->wait_until(sub { $as_ada->request('GET', '/rows')->{status} == 200 }, 20), 'route is there');
	my $wrong = 0;
	for my $i (1 .. 200)
	{
		my @sees = map { join ',', @{ $_->request('GET', '/rows')->{json} } } $as_ada, $as_bob, $admin;
		$wrong++ unless "@sees" eq 'of Ada of Bob of Ada,of Bob';
		$node->sql($i % 40 == 0 ? 'ALTER POLICY own ON app.rows TO penny_user' : 'SELECT 1') if $i % 20 == 0;
	}
	is($wrong, 0, 'each sees its own, whoever came before');
	$node->sql('CREATE OR REPLACE FUNCTION app.rows(r penny.request) RETURNS jsonb LANGUAGE sql STABLE AS $$SELECT to_jsonb(1)$$');
	is($as_ada->request('GET', '/rows')->{body}, '1', 'a replaced function is used at once');
	$node->sql('DROP FUNCTION app.rows(penny.request); CREATE FUNCTION app.rows(r penny.request) RETURNS jsonb LANGUAGE sql STABLE AS $$SELECT to_jsonb(2)$$');
	is($as_ada->request('GET', '/rows')->{body}, '2', 'one dropped and made again, too');
	$node->sql('REVOKE EXECUTE ON FUNCTION app.rows(penny.request) FROM PUBLIC');
	is($as_ada->request('GET', '/rows')->{status}, 403, 'a revoked right counts at once');
};

is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND (backend_xmin IS NOT NULL OR state <> 'idle')"),
	0, 'the executor is idle and holds no snapshot');
is(scalar(() = $node->log_text =~ /session could not be reset/g), 0, 'no session was found dirty');
is($node->crash_restarts, 0, 'no crash');
done_testing;
