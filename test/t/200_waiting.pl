# Requests that wait in the edge, and workers by WebSocket, with a real server.
# Built-in rows of the test's own stand in for the queue: a table of tasks, whose
# changes are told to the rooms that the answers name.
use strict;
use warnings;
use Penny::Client;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('waiting', conf => "penny.gateways = 2\npenny.executors_min = 2\n");
my ($ada, $eve) = map { $node->add_user($_) } qw(Ada Eve);
my $token = $node->token($ada);

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE TABLE app.tasks (id bigserial PRIMARY KEY, queue text DEFAULT 'none', state text DEFAULT 'waiting', looks int DEFAULT 0);
	CREATE TABLE app.requests (id bigint GENERATED ALWAYS AS IDENTITY, what text);
	GRANT ALL ON ALL TABLES IN SCHEMA app TO penny_user;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO penny_user;

	CREATE FUNCTION app.end_task(task bigint, how text DEFAULT 'completed') RETURNS void LANGUAGE sql AS $$
		UPDATE app.tasks SET state = how WHERE id = task;
		SELECT penny.room_recheck('job:' || task)$$;
	CREATE FUNCTION app.add_tasks(queue text, n int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.tasks (queue) SELECT queue FROM generate_series(1, n);
		SELECT penny.room_recheck('queue:' || queue)$$;

	CREATE FUNCTION app.show(r penny.request) RETURNS penny.response LANGUAGE plpgsql AS $$
	DECLARE
		task app.tasks;
		headers jsonb := '{}';
	BEGIN
		SELECT * INTO task FROM app.tasks WHERE id = (r.params ->> 'id')::bigint;
		IF task.state = 'waiting' THEN
			headers := jsonb_build_object('penny-wait', 'job:' || task.id);
		END IF;
		RETURN (200, headers, jsonb_build_object('id', task.id::text, 'state', task.state))::penny.response;
	END $$;
	CREATE FUNCTION app.make(r penny.request) RETURNS penny.response LANGUAGE plpgsql AS $$
	DECLARE
		task bigint;
	BEGIN
		INSERT INTO app.tasks DEFAULT VALUES RETURNING id INTO task;
		RETURN (202, jsonb_build_object('penny-wait', 'job:' || task, 'penny-wait-path', '/api/v1/jobs/' || task),
			jsonb_build_object('id', task::text, 'state', 'waiting'))::penny.response;
	END $$;
	CREATE FUNCTION app.claim(r penny.request) RETURNS penny.response LANGUAGE plpgsql AS $$
	DECLARE
		tasks jsonb;
		headers jsonb := '{}';
	BEGIN
		WITH next AS (SELECT id FROM app.tasks WHERE queue = r.params ->> 'queue' AND state = 'waiting'
				ORDER BY id LIMIT coalesce((r.body ->> 'n')::int, 1) FOR UPDATE SKIP LOCKED),
			taken AS (UPDATE app.tasks t SET state = 'running' FROM next WHERE t.id = next.id RETURNING t.id)
		SELECT jsonb_agg(jsonb_build_object('id', id::text, 'token', (7 * id)::text) ORDER BY id) INTO tasks FROM taken;
		IF tasks IS NULL THEN
			headers := jsonb_build_object('penny-wait', 'queue:' || (r.params ->> 'queue'));
		END IF;
		PERFORM pg_sleep((r.body ->> 'worker')::float8) WHERE r.body ->> 'worker' ~ '^[0-9.]+$';
		RETURN (200, headers, jsonb_build_object('data', coalesce(tasks, '[]')))::penny.response;
	END $$;
	CREATE FUNCTION app.change(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		verb text := split_part(r.path, '/', 5);
		job jsonb;
		its text;
	BEGIN
		INSERT INTO app.requests (what) VALUES (verb || ' ' || r.body);
		FOR job IN SELECT * FROM jsonb_array_elements(r.body -> 'jobs') LOOP
			IF (job ->> 'id')::bigint * 7 <> (job ->> 'token')::bigint THEN
				RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = 'stale token';
			END IF;
			UPDATE app.tasks SET state = CASE verb WHEN 'complete' THEN 'completed' WHEN 'release' THEN 'waiting' ELSE state END
				WHERE id = (job ->> 'id')::bigint RETURNING queue INTO its;
			PERFORM penny.room_recheck('queue:' || its) WHERE verb = 'release';
		END LOOP;
		RETURN jsonb_build_object('count', jsonb_array_length(r.body -> 'jobs'));
	END $$;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO penny_user;

	INSERT INTO penny.routes (method, pattern, handler, access, builtin) VALUES
		('GET', '/tasks/{id}', 'app.show', 'user', true),
		('GET', '/api/v1/jobs/{id}', 'app.show', 'user', true),
		('POST', '/api/v1/jobs', 'app.make', 'user', true),
		('POST', '/api/v1/queues/{queue}/claim', 'app.claim', 'user', true),
		('POST', '/api/v1/jobs/complete', 'app.change', 'user', true),
		('POST', '/api/v1/jobs/fail', 'app.change', 'user', true),
		('POST', '/api/v1/jobs/extend', 'app.change', 'user', true),
		('POST', '/api/v1/jobs/release', 'app.change', 'user', true)
	ON CONFLICT (method, pattern) DO UPDATE SET handler = excluded.handler, access = excluded.access, cache_ttl = NULL,
		cache_scope = NULL});

sub task { return $node->sql('INSERT INTO app.tasks DEFAULT VALUES RETURNING id') }
sub state_of { return $node->sql("SELECT state FROM app.tasks WHERE id = $_[0]") }
sub held
{
	my ($n) = @_;
	return $node->wait_until(
		sub {
			my $held = 0;
			$held += $_->{edge}{held} for @{ $node->sql_json('SELECT penny.stats()')->{gateways} };
			return $held == $n;
		},
		20);
}
# Begin a request; its answer is read by read_response.
sub begin
{
	my ($method, $path, %with) = @_;
	my $http = $node->http(token => $token);
	$http->send_bytes($http->format_request($method, $path, %with));
	return $http;
}
sub ends { my ($http, $state, $name) = @_; is(($http->read_response->{json} // {})->{state}, $state, $name) }

subtest 'until the transaction commits' => sub {
	for my $path ('/api/v1/jobs', '/tasks')
	{
		my $task = task();
		my $http = begin(GET => "$path/$task?wait=30");
		ok(held(1), "$path: it waits");
		$node->sql("BEGIN; SELECT app.end_task($task, 'lost'); ROLLBACK");
		$node->sql("SELECT app.end_task(0)");
		ok(held(1), 'what is rolled back, and what is of others, ends nothing');
		my $started = time;
		$node->sql("SELECT app.end_task($task)");
		my $answer = $http->read_response;
		is($answer->{json}{state}, 'completed', 'the commit does');
		cmp_ok(time - $started, '<', 5, 'at once');
		is_deeply([ grep /^penny-/i, @{ $answer->{header_lines} } ], [], 'nothing of the edge is told');
		ok(held(0), 'it is forgotten');
	}
	my $started = time;
	ends(begin(GET => '/tasks/' . task() . '?wait=0.5'), 'waiting', 'or until the time is over');
	cmp_ok(time - $started, '>=', 0.5, 'not before');
};

subtest 'what a POST makes' => sub {
	my $before = $node->sql('SELECT count(*) FROM app.tasks');
	my $http = begin(POST => '/api/v1/jobs?wait=30', json => {});
	ok(held(1), 'it waits');
	my $task = $node->sql('SELECT max(id) FROM app.tasks');
	$node->sql("SELECT app.end_task($task)");
	ends($http, 'completed', 'its outcome is the answer');
	is($node->sql('SELECT count(*) FROM app.tasks'), $before + 1, 'it is made once');
	is(begin(POST => '/api/v1/jobs', json => {})->read_response->{status}, 202, 'at once without ?wait');
};

subtest 'no commit is missed' => sub {
	my $late = 0;
	for my $round (1 .. 150)
	{
		my $task = task();
		my $path = $round % 2 ? 'tasks' : 'api/v1/jobs';
		my $sql = $node->background_sql("SELECT pg_sleep(random() / 60); SELECT app.end_task($task)");
		my $http = begin(GET => "/$path/$task?wait=20");
		my $answer = $http->read_response(timeout => 30);
		$late++ unless $answer && $answer->{json}{state} eq 'completed';
		$sql->finish;
		$http->close_now;
		last if $late > 3;
	}
	is($late, 0, 'however near to the request');
	ok(held(0), 'none is left');
};

subtest 'one for whom nobody waits any more' => sub {
	my $task = task();
	my @http = map { begin(GET => "/tasks/$task?wait=30") } 1 .. 5;
	ok(held(5), 'five wait');
	$_->close_now for @http;
	ok(held(0), 'and go');
};

subtest 'rights' => sub {
	$node->sql(q{
		CREATE FUNCTION app.forge(r penny.request) RETURNS penny.response LANGUAGE sql AS
			$$SELECT (200, '{"Penny-Wait": "job:1"}'::jsonb, '{}'::jsonb)::penny.response$$;
		GRANT EXECUTE ON FUNCTION app.forge TO penny_user;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/forge', 'app.forge', 'user')});
	is($node->request(GET => '/forge?wait=5', token => $token)->{status}, 500, "a user's route may not tell the edge to wait");
	like($node->log_text, qr/handler set a header that is not allowed/, 'the log says why');

	my $session = $node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 hour')");
	my $task = task();
	my $http = begin(GET => "/tasks/$task?wait=30", token => $session);
	ok(held(1), 'one waits by a session');
	$node->sql('DELETE FROM chat.sessions');
	$node->sql("SELECT app.end_task($task)");
	is($http->read_response->{status}, 401, 'that has ended when it looks');

	$node->sql("REVOKE EXECUTE ON FUNCTION app.show FROM PUBLIC, penny_user");
	is(begin(GET => "/tasks/$task?wait=30")->read_response->{status}, 403, 'rights of the handler hold');
	$node->sql("GRANT EXECUTE ON FUNCTION app.show TO penny_user");

	my $ws = $node->websocket(token => $token);
	my $ref = $ws->send_ref({ type => 'join', room => 'job:1' });
	my $said = $ws->wait_for(sub { ($_[0]{ref} // '') eq $ref });
	is_deeply([ @{$said}{qw(type code)} ], [ 'error', 'PY404' ], 'rooms of jobs cannot be joined');
	my ($code, undef, $stderr) = $node->psql('postgres', q{INSERT INTO penny.room_policies (prefix, handler) VALUES ('job', 'app.show')});
	like($stderr, qr/cannot be the prefix of free rooms/, 'nor opened');
};

subtest 'looks are not requests of the user' => sub {
	$node->sql("ALTER SYSTEM SET penny.requests_per_second = 20");
	$node->sql('SELECT pg_reload_conf()');
	ok($node->wait_until(sub { $node->request(GET => '/tasks/1', token => $node->token($eve))->{status} == 429 }, 20), 'there is a limit');
	my $task = task();
	my $http;
	$node->wait_until(sub { $http = begin(GET => "/tasks/$task?wait=30"); !$http->closes_within(0.2) && $http->{in} eq '' }, 20);
	ok(held(1), 'one waits');
	$node->sql("SELECT penny.room_recheck('job:$task')") for 1 .. 5;
	$node->sql("DO 'BEGIN FOR i IN 1 .. 200 LOOP PERFORM penny.room_recheck(''job:$task''); COMMIT; PERFORM pg_sleep(0.002); END LOOP; END'");
	ok(held(1), 'however often it looks');
	$node->sql("SELECT app.end_task($task)");
	ends($http, 'completed', 'it is answered');
	$node->sql('ALTER SYSTEM RESET penny.requests_per_second');
	$node->sql('SELECT pg_reload_conf()');
	ok($node->wait_until(sub { $node->request(GET => '/tasks/1', token => $token)->{status} == 200 }, 20), 'without a limit again');
};

sub say
{
	my ($ws, %message) = @_;
	my $ref = $ws->send_ref(\%message);
	return $ws->wait_for(sub { ($_[0]{ref} // '') eq $ref });
}

subtest 'a worker by WebSocket' => sub {
	my $ws = $node->websocket(token => $token);
	is_deeply(say($ws, type => 'claim', queue => 'a')->{jobs}, [], 'nothing to do');
	my $ref = $ws->send_ref({ type => 'claim', queue => 'a', n => 2, wait => 30 });
	ok(held(1), 'it waits');
	$node->sql("SELECT app.add_tasks('a', 3)");
	my $claimed = $ws->wait_for(sub { ($_[0]{ref} // '') eq $ref });
	is_deeply([ $claimed->{type}, scalar @{ $claimed->{jobs} } ], [ 'claimed', 2 ], 'it gets two of three');
	my @jobs = @{ $claimed->{jobs} };
	is_deeply([ @{ say($ws, type => 'extend', jobs => \@jobs, lease_ms => 9000) }{qw(type count)} ], [ 'extended', 2 ], 'extended');
	is_deeply([ @{ say($ws, type => 'complete', jobs => [ { %{ $jobs[0] }, result => { n => 1 } } ]) }{qw(type count)} ], [ 'completed', 1 ], 'completed');
	is_deeply([ @{ say($ws, type => 'fail', jobs => [ { %{ $jobs[1] }, error => 'no', permanent => JSON::PP::true } ]) }{qw(type count)} ], [ 'failed', 1 ], 'failed');
	is($node->sql('SELECT string_agg(what, chr(10) ORDER BY id) FROM app.requests'),
		join("\n",
			qq(extend {"jobs": [{"id": "$jobs[0]{id}", "token": "$jobs[0]{token}"}, {"id": "$jobs[1]{id}", "token": "$jobs[1]{token}"}], "lease_ms": 9000}),
			qq(complete {"jobs": [{"id": "$jobs[0]{id}", "token": "$jobs[0]{token}", "result": {"n": 1}}]}),
			qq(fail {"jobs": [{"id": "$jobs[1]{id}", "error": "no", "token": "$jobs[1]{token}", "permanent": true}]})),
		'the routes were told the same');
	my $stale = say($ws, type => 'complete', jobs => [ { id => '1', token => '1' } ]);
	is_deeply([ @{$stale}{qw(type code title)} ], [ 'error', 'PY409', 'Conflict' ], 'a stale token');
	is(say($ws, type => 'release', jobs => [ $jobs[1] ])->{type}, 'released', 'released');
	is(scalar @{ say($ws, type => 'claim', queue => 'a', n => 10)->{jobs} }, 2, 'and claimed again');

	$node->sql("SELECT app.add_tasks('b', 1)");
	$ws->send_ref({ type => 'claim', queue => 'b', worker => '0.5' });
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND wait_event = 'PgSleep'") == 1 }, 20), 'a claim runs');
	$ws->close_now;
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM app.requests WHERE what LIKE 'release%'") == 2 }, 20), 'what it claimed is given back');
	is($node->sql("SELECT state FROM app.tasks WHERE queue = 'b'"), 'waiting', 'to others');
	is($node->request(POST => '/api/v1/queues/b/claim?wait=5', json => {}, token => $token)->{json}{data}[0]{token} // 'none',
		7 * $node->sql("SELECT id FROM app.tasks WHERE queue = 'b'"), 'who claims by HTTP');
};

subtest 'many workers' => sub {
	my @http = map { begin(POST => '/api/v1/queues/c/claim?wait=60', json => {}) } 1 .. 40;
	ok(held(40), '40 wait');
	my $stats = sub { my $n = 0; $n += $_->{edge}{calls} for @{ $node->sql_json('SELECT penny.stats()')->{gateways} }; $n };
	my $before = $stats->();
	$node->sql("SELECT app.add_tasks('c', 1)") for 1 .. 10;
	ok(held(30), '10 were for ten of them');
	cmp_ok($stats->() - $before, '<=', 60, 'and the others were left in peace');
	$node->sql("SELECT app.add_tasks('c', 30)");
	my %got = map { $_ => 1 } map { $_->{id} } map { @{ $_->read_response->{json}{data} } } @http;
	is(scalar keys %got, 40, '30 by one commit were for the rest');
};

SKIP: {
	my $missing = Penny::Client::missing();
	skip $missing, 1 if $missing;
	subtest 'workers in JavaScript' => sub { Penny::Client::run_tests_on($node, 'worker_server') };
}

subtest 'the server stops' => sub {
	my $http = begin(GET => '/tasks/' . task() . '?wait=60');
	ok(held(1), 'one waits');
	my $started = time;
	$node->stop;
	my $answer = $http->read_response(timeout => 20);
	is_deeply([ $answer->{status}, $answer->{json}{state}, $answer->{header}{connection} ], [ 200, 'waiting', 'close' ], 'it gets what there is');
	cmp_ok(time - $started, '<', 20, 'and the server is not kept from it');
};

done_testing;
