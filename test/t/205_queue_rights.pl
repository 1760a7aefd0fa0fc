# Who may do what with jobs, and what a caller who means harm, or a client that
# does nothing for long, cannot do to others.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('rights', conf => "penny.job_workers = 2\npenny.webhook_allow = 'hooks.example.com'\n");
my ($ada, $eve) = map { $node->add_user($_) } qw(Ada Eve);

$node->sql(q{
	CREATE ROLE app_user LOGIN IN ROLE penny_user;
	CREATE ROLE app_agent LOGIN IN ROLE penny_agent;
	CREATE ROLE app_admin LOGIN IN ROLE penny_admin;
	GRANT SET ON PARAMETER log_min_error_statement TO app_admin;
	CREATE SCHEMA app;
	GRANT USAGE, CREATE ON SCHEMA app TO PUBLIC;
	SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL, backoff => '10 ms');
	CREATE FUNCTION app.echo(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j';
	SELECT penny.handle('echo', 'app.echo', queue => 'free', access => 'user');
	SELECT penny.handle('outside', queue => 'free', access => 'user');
	SELECT penny.handle('secret', queue => 'free', access => 'admin');
});

# Statements as a role that logged in; what comes out, errors too.
sub as
{
	my ($role, $sql) = @_;
	my ($out, $error);
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$error, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	return join "\n", grep { $_ ne '' } $out, $error =~ /ERROR:  (.*)/;
}
# Likewise as a user of penny.
sub act
{
	my ($user, $sql) = @_;
	my ($out, $error);
	$node->psql('postgres', "SELECT penny.act_as('$user') \\g /dev/null\n$sql", stdout => \$out, stderr => \$error, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return join "\n", grep { $_ ne '' } $out, $error =~ /ERROR:  (.*)/;
}
sub state_of { my ($id) = @_; return $node->sql("SELECT penny.job($id) ->> 'state'") }

subtest 'arguments that make no sense' => sub {
	my $crashes = $node->crash_restarts;
	like(as('app_user', $_), qr/^22004: /, $_)
		for 'CALL _penny.await_job(1, NULL, NULL)', q{CALL _penny.await_job(NULL, '1 s', NULL)}, q{CALL penny.enqueue_and_wait('echo', wait => NULL)};
	is(as('app_user', 'CALL _penny.check_alone(NULL)'), '', 'CALL _penny.check_alone(NULL)');
	for my $id (-1, -9_000_000, '-9223372036854775808', 0, '9223372036854775807')
	{
		is(as('app_user', "SELECT penny.cancel($id), penny.job($id), _penny.job_errors($id)"), 'f||', "a user asks for job $id");
		is(as('app_agent', "SELECT penny.cancel($id), penny.redrive($id), penny.job($id), _penny.job_errors($id)"), 'f|||', "an agent, too");
		like(as('app_agent', "SELECT penny.complete($id, 1)"), qr/^PY409: /, 'nobody holds it');
	}
	is($node->crash_restarts, $crashes, 'nothing crashes');
};

subtest 'what an error tells' => sub {
	$node->sql(q{CREATE TABLE app.salaries (who text, amount integer CHECK (amount < 0));
		CREATE FUNCTION app.pay(j jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO app.salaries VALUES ('Bob', 4711) RETURNING NULL::jsonb $$;
		SELECT penny.handle('pay', 'app.pay', queue => 'free', access => 'user', attempts => 1)});
	my $id = act($ada, q{SELECT penny.enqueue('pay')});
	ok($node->wait_until(sub { state_of($id) eq 'failed' }, 20), 'a job fails');
	like($node->sql("SELECT error FROM penny.dead_letters WHERE id = $id"), qr/Failing row contains \(Bob, 4711\)/, 'agents see the details');
	for my $from ("error FROM penny.dead_letters WHERE id = $id", "errors::text FROM penny.dead_letters WHERE id = $id", "error FROM penny.jobs WHERE id = $id", "penny.job($id)::text")
	{
		my $told = act($ada, "SELECT $from");
		like($told, qr/violates check constraint/, "$from: its user is told what failed");
		unlike($told, qr/4711|SQLSTATE/, 'and no details');
	}
};

subtest 'keys of others' => sub {
	my $victim = $node->sql(q{SELECT penny.enqueue('secret', key => 'billing', delay => '4 min')});
	my $adas = act($ada, q{SELECT penny.enqueue('outside', key => 'hers', delay => '4 min');});
	for my $mode (qw(keep replace debounce))
	{
		like(act($eve, "SELECT penny.enqueue('outside', key => '$_->[0]', key_mode => '$mode', delay => '4 min');"), qr/^PY409: key "$_->[0]" is held by a job of somebody else$/, "$mode: $_->[1]")
			for [ 'billing', 'of a kind that a user may not enqueue' ], [ 'hers', 'of another user' ];
		like(as('app_user', "SELECT penny.enqueue('outside', key => '$_', key_mode => '$mode', delay => '4 min')"), qr/^PY409: /, "$mode: of nobody, and of a user, for nobody") for qw(billing hers);
	}
	like(act($eve, q{SELECT penny.enqueue_flow('{"kind": "outside", "children": [{"kind": "outside", "key": "billing", "key_mode": "replace"}]}');}), qr/^PY409: /, 'in a flow');
	like(act($eve, q{SELECT penny.enqueue_many('[{"kind": "outside", "key": "billing", "key_mode": "replace"}]');}), qr/^PY409: /, 'in an array');
	is(act($eve, q{SELECT _penny.job_of_key('free', 'billing'), _penny.job_of_key('free', 'hers'), penny.cancel_key('free', 'billing'), penny.cancel_key('free', 'hers');}), '||f|f', 'and by name');
	is(act($eve, "CALL penny.enqueue_and_wait('outside', wait => '100 ms', key => 'hers');"), 'PY409: key "hers" is held by a job of somebody else', 'nor is its end waited for');
	is(state_of($_), 'delayed', 'they wait on') for $victim, $adas;

	is(act($ada, q{SELECT penny.enqueue('outside', key => 'hers', delay => '4 min');}), $adas, 'one keeps the job of one\'s own');
	my $next = act($ada, q{BEGIN; SELECT penny.enqueue('outside', key => 'hers', key_mode => 'replace', delay => '4 min') AS id \gset
		SELECT penny.enqueue('outside', key => 'hers') = :id, :id; COMMIT;});
	like($next, qr/^t\|\d+$/, 'or replaces it, and keeps that in the same transaction');
	is(state_of($adas), 'cancelled', 'which ends the first');
	my $nobodys = as('app_user', q{SELECT penny.enqueue('outside', key => 'plain', delay => '4 min')});
	is(as('app_user', q{SELECT penny.enqueue('outside', key => 'plain', delay => '4 min')}), $nobodys, 'so does a role without a user');
	isnt(as('app_agent', q{SELECT penny.enqueue('outside', key => 'billing', key_mode => 'replace', delay => '4 min')}), $victim, 'an agent replaces any');
	is(state_of($victim), 'cancelled', 'as it says');
	$node->sql(q{SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'free' AND state = 'delayed'});
};

subtest 'a client that holds keys and does nothing' => sub {
	$node->sql(q{
		CREATE TABLE app.done (job bigint);
		GRANT ALL ON app.done TO PUBLIC;
		CREATE FUNCTION app.slow(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN INSERT INTO app.done VALUES (penny.job_id()); PERFORM pg_sleep(0.5); RETURN NULL; END$$;
		SELECT penny.handle('slow', 'app.slow', queue => 'free', access => 'user', batch => false);
	});
	my @held = map { as('app_user', "SELECT penny.enqueue('slow', key => 'k$_')") } 1 .. 4;
	my $idle = $node->background_sql(q{
		SET SESSION AUTHORIZATION app_user;
		BEGIN; SELECT penny.enqueue('slow', key => 'k' || n, key_mode => 'replace') FROM generate_series(1, 4) n;
		SELECT pg_sleep(9);
		ROLLBACK;});
	usleep 300_000;
	# a worker that waits for each of its keys for a second leaves the others some
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny worker' AND wait_event_type = 'Lock'}) > 0 }, 5), 'a worker waits for a key');
	my $begun = time;
	my $id = as('app_user', q{SELECT penny.enqueue('echo', '{"a": 1}')});
	ok($node->wait_until(sub { state_of($id) eq 'completed' }, 6), 'other jobs go on') or diag state_of($id);
	is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(9)%' AND state = 'active' AND pid <> pg_backend_pid()}), 1, 'while it still holds them');
	$idle->finish;
	ok($node->wait_until(sub { !grep { state_of($_) ne 'completed' } @held }, 20), 'and those of the keys, in the end') or diag map { state_of($_) } @held;
	is($node->sql('SELECT count(*), count(DISTINCT job) FROM app.done'), '4|4', 'each once');
	is($node->sql("SELECT penny.job($held[0]) ->> 'attempt'"), 1, 'which was no attempt');
};

subtest 'a lock_timeout of a job\'s own' => sub {
	$node->sql(q{
		CREATE TABLE app.locked (n int);
		CREATE FUNCTION app.patient(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		DECLARE misses int := 0;
		BEGIN
			SET LOCAL lock_timeout = '100 ms';
			FOR i IN 1 .. 2 LOOP
				BEGIN
					LOCK TABLE app.locked;
				EXCEPTION WHEN lock_not_available THEN
					misses := misses + 1;
				END;
				PERFORM pg_sleep(5.2);
			END LOOP;
			RETURN to_jsonb(misses);
		END $$;
		SELECT penny.handle('patient', 'app.patient', queue => 'free');
	});
	my $holder = $node->background_sql('BEGIN; LOCK TABLE app.locked IN SHARE MODE; SELECT pg_sleep(7); COMMIT;');
	usleep 300_000;
	my $id = $node->sql(q{SELECT penny.enqueue('patient')});
	ok($node->wait_until(sub { state_of($id) eq 'completed' }, 20), 'may end twice');
	is($node->sql("SELECT penny.job($id) ->> 'result', penny.job($id) ->> 'attempt'"), '2|1', 'without harm to the job');
	$holder->finish;
};

subtest 'payloads that are more than one answer holds' => sub {
	$node->sql(q{SELECT penny.create_queue('large', concurrency => NULL, rate_limit => NULL); SELECT penny.handle('large', queue => 'large');
		SELECT count(penny.enqueue('large', to_jsonb(repeat('x', 1000000)))) FROM generate_series(1, 270)});
	is(as('app_agent', q{SELECT count(*) FROM penny.claim('large', 1000)}), 68, 'are claimed by parts');
	is(as('app_agent', q{CALL penny.claim_wait('large', 1000) \gset
		SELECT jsonb_array_length(:'jobs')}), 68, 'as JSON, too');
	is($node->sql(q{SELECT waiting, active FROM penny.queues WHERE name = 'large'}), '134|136', 'the others wait');

	$node->sql(q{SELECT penny.create_queue('parents', concurrency => NULL, rate_limit => NULL); SELECT penny.handle('parent', queue => 'parents');
		CREATE FUNCTION app.large(j jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(repeat('x', 1000000))$$;
		SELECT penny.handle('child', 'app.large', queue => 'free')});
	my $parent = $node->sql(q{SELECT penny.enqueue_flow(jsonb_build_object('kind', 'parent', 'children', jsonb_agg('{"kind": "child"}'::jsonb))) FROM generate_series(1, 270)});
	ok($node->wait_until(sub { $node->sql(q{SELECT waiting FROM penny.queues WHERE name = 'parents'}) == 1 }, 60), 'a parent of many is ready');
	my $next = $node->sql(q{SELECT penny.enqueue('parent')});
	is(as('app_agent', q{SELECT id, (SELECT count(*) FROM jsonb_array_elements(children) c WHERE c ? 'result'),
		(SELECT count(*) FROM jsonb_array_elements(children) c WHERE c @> '{"omitted": true, "state": "completed"}') FROM penny.claim('parents')}),
		"$parent|67|203", 'and finds of what they gave the first 64 MB');
	is(as('app_agent', q{SELECT id FROM penny.claim('parents')}), $next, 'and the next job comes next');
	$node->sql(q{SELECT count(penny.cancel(id)) FROM penny.jobs WHERE queue = 'large'});
};

subtest 'limits of a queue' => sub {
	$node->sql(q{SELECT penny.create_queue('mail', rate_limit => 1); SELECT penny.handle('mail', queue => 'mail', access => 'user')});
	for my $queue (qw(high-priority free))
	{
		like(act($ada, "SELECT penny.enqueue('mail', queue => '$queue');"), qr/^42501: permission denied to choose a queue for jobs of kind "mail"$/, "a user does not go around them by queue $queue");
		like(act($ada, qq{SELECT penny.enqueue_many('[{"kind": "mail"}, {"kind": "mail", "queue": "$queue"}]');}), qr/^42501: /, 'nor in an array');
		like(act($ada, "SELECT penny.enqueue_many('mail', '{1,2}', queue => '$queue');"), qr/^42501: /, 'nor for many');
		like(act($ada, qq{SELECT penny.enqueue_flow('{"kind": "mail", "children": [{"kind": "mail", "queue": "$queue"}]}');}), qr/^42501: /, 'nor in a flow');
		like(as('app_agent', "SELECT penny.enqueue('mail', queue => '$queue')"), qr/^\d+$/, 'an agent may');
	}
	like(act($ada, "SELECT penny.enqueue('mail', queue => 'mail');"), qr/^\d+$/, 'a user may name the one where they go');
};

subtest 'by HTTP' => sub {
	my $post = sub { $node->request(POST => '/api/v1/jobs', token => $node->token($ada), json => $_[0]) };
	is($post->({ kind => 'mail' })->{status}, 201, 'a job');
	is($post->({ kind => 'mail', queue => 'free' })->{status}, 403, 'in another queue');
	is($post->({ kind => 'mail', queue => 'nowhere' })->{status}, 400, 'in none that there is');
	is($post->({ kind => 'secret' })->{status}, 403, 'of a kind for others');
	is($post->({ kind => 'nobody' })->{status}, 403, 'of a kind without a handler');
	is($node->request(POST => '/api/v1/jobs', token => $node->token($ada), headers => [ 'Content-Type' => 'application/json' ],
		body => '{"kind": "mail", "payload": [' . join(',', ('1e100000') x 11) . ']}')->{status}, 413, 'with a small body that is a large payload');
};

subtest 'descriptors of another role\'s job' => sub {
	$node->sql(q{
		CREATE ROLE other_admin IN ROLE penny_admin;
		CREATE FUNCTION app.open(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$DECLARE o oid := lo_from_bytea(0, 'not for others'); BEGIN RETURN to_jsonb(lo_open(o, x'40000'::int)); END$$;
		CREATE FUNCTION app.read(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RETURN to_jsonb(convert_from(loread(0, 100), 'UTF8')); EXCEPTION WHEN undefined_object THEN RETURN '"none"'; END$$;
		SET ROLE app_admin; SELECT penny.handle('open', 'app.open', queue => 'free');
		SET ROLE other_admin; SELECT penny.handle('read', 'app.read', queue => 'free');
		RESET ROLE; SELECT penny.enqueue(kind) FROM unnest('{open,read}'::text[]) kind, generate_series(1, 20)});
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM penny.jobs WHERE kind IN ('open', 'read') AND state = 'completed'}) == 40 }, 20), 'both kinds are quick');
	$node->sql(q{SELECT penny.pause_queue('free'); SELECT penny.enqueue(kind) FROM generate_series(1, 10), unnest('{open,read}'::text[]) kind; SELECT penny.resume_queue('free')});
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM penny.jobs WHERE kind IN ('open', 'read') AND state = 'completed'}) == 60 }, 20), 'and run in one transaction');
	is($node->sql(q{SELECT DISTINCT result FROM penny.jobs WHERE kind = 'read'}), '"none"', 'find none');
};

subtest 'the secret of a webhook' => sub {
	my $secret = $node->sql('SELECT penny.webhook_secret()');
	my $handle = sub { my ($rest) = @_; return as('app_admin', "SET log_min_error_statement = 'panic';\nSELECT penny.handle('hook', url => 'https://hooks.example.com/', secret => '$secret'$rest)") };
	like($handle->(", $_"), qr/^PY400: /, $_) for q{attempts => 0}, q{backoff => '-1 s'}, q{timeout => '8 days'}, q{access => 'all'}, q{access => NULL}, 'batch => NULL';
	is($handle->(''), '', 'a webhook');
	is($node->sql(q{SELECT count(*) FROM _penny.handlers WHERE secret IS NOT NULL}), 1, 'has it');
	like(as('app_admin', $_), qr/^42501: /, $_) for 'SELECT secret FROM _penny.handlers', 'TABLE _penny.handlers', 'DELETE FROM _penny.handlers RETURNING secret',
		q{UPDATE _penny.handlers SET url = secret WHERE kind = 'hook'}, 'COPY _penny.handlers TO STDOUT';
	unlike($node->log_text, qr/\Q$secret\E/, 'is not in the log');
};

done_testing();
