# penny worker: jobs of SQL functions run exactly once, in the role of their
# handler, and nothing but their effects is there for the next; errors, timeouts,
# crashes and stops are what they are and no more.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('worker', fsync => 1,
	conf => "penny.job_workers = 4\npenny.job_worker_idle_timeout = '1s'\npenny.job_worker_memory = '256MB'\n");

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE, CREATE ON SCHEMA app TO PUBLIC;
	CREATE TABLE app.log (at bigserial, job bigint, what text);
	CREATE SEQUENCE app.runs;
	CREATE FUNCTION app.note(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO app.log (job, what) VALUES (penny.job_id(), what)';
	CREATE FUNCTION app.run(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		IF j ? 'sql' THEN EXECUTE j ->> 'sql'; END IF;
		IF j ? 'ask' THEN EXECUTE j ->> 'ask' INTO result; PERFORM app.note(coalesce(result, 'null')); END IF;
		IF j ? 'note' THEN PERFORM app.note(j ->> 'note'); END IF;
		IF j ? 'fail' THEN RAISE EXCEPTION USING ERRCODE = coalesce(j ->> 'code', 'P0001'), MESSAGE = j ->> 'fail', DETAIL = 'it was told to'; END IF;
		RETURN j -> 'result';
	END $$;
	SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL, backoff => '10 ms');
	SELECT penny.handle('run', 'app.run', queue => 'free');
});

# Give a job; its id.  Options of penny.enqueue() after the payload.
sub give
{
	my ($payload, $options, $kind) = @_;
	my $text = ref $payload ? JSON::PP->new->canonical->encode($payload) : $payload;
	return $node->sql(sprintf q{SELECT penny.enqueue('%s', $j$%s$j$%s)}, $kind // 'run', $text, $options ? ", $options" : '');
}
# How attempts at a job ended: "outcome attempt", a line each; successes without a result are in no line.
sub ends { my ($id) = @_; return $node->sql("SELECT outcome || ' ' || attempt FROM _penny.receipt_0 WHERE id = $id AND ids IS NULL ORDER BY attempt") }
sub error_of { my ($id) = @_; return $node->sql("SELECT error FROM _penny.receipt_0 WHERE id = $id AND ids IS NULL ORDER BY attempt DESC LIMIT 1") }
sub noted { my ($id) = @_; return $node->sql('SELECT what FROM app.log' . ($id ? " WHERE job = $id" : '') . ' ORDER BY at') }
sub wait_for { my ($id, $ends, $limit) = @_; return $node->wait_until(sub { ends($id) eq $ends }, $limit // 10) || diag("job $id: " . ends($id) . ' ' . error_of($id)) && 0 }
sub wait_noted { my ($id, $what, $limit) = @_; return $node->wait_until(sub { noted($id) eq $what }, $limit // 10) || diag("job $id noted: " . noted($id) . ' ' . ends($id) . error_of($id)) && 0 }
sub workers { return $node->backend_pids('penny worker') }
# Have jobs taken together: given while the queue is paused.
sub together
{
	my ($code) = @_;
	$node->sql("SELECT penny.pause_queue('free')");
	my @ids = $code->();
	$node->sql("SELECT penny.resume_queue('free')");
	return @ids;
}
# Crash restarts since; true when there was one and penny serves again.
sub restarted { my ($before) = @_; return $node->wait_until(sub { $node->crash_restarts > $before }, 20) && $node->wait_ready(20) }

subtest 'a job' => sub {
	my $id = give({ note => 'hello', result => { answer => 42 } });
	ok(wait_for($id, '1 1'), 'completes');
	is(noted($id), 'hello', 'with its effect');
	is($node->sql("SELECT result, worker FROM _penny.receipt_0 WHERE id = $id"), '{"answer": 42}|penny worker 0', 'result and who ran it');
	is($node->sql("SELECT count(*) FROM app.log WHERE what = 'hello'"), 1, 'once');
	$node->sql(q{BEGIN; SELECT penny.enqueue('run', '{"note":"undone"}'); ROLLBACK});
	$id = give({ ask => q{SELECT penny.job_context() - 'id' - 'enqueued_at'} }, q{priority => 3, group_key => 'g'});
	ok(wait_noted($id, '{"key": null, "kind": "run", "group": "g", "queue": "free", "parent": null, "attempt": 1, "user_id": null, "attempts": 3, "children": []}'), 'a job knows what it is');
	is($node->sql("SELECT count(*) FROM app.log WHERE what = 'undone'"), 0, 'what was rolled back does not run');
	is($node->sql('SELECT penny.job_id(), penny.job_context()'), '|', 'outside of a handler there is none');
	$node->sql(q{CREATE FUNCTION app.big(j jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(repeat('x', 1100000))$$; SELECT penny.handle('big', 'app.big', queue => 'free', attempts => 1)});
	my $id2 = give('{}', undef, 'big');
	ok(wait_for($id2, '3 1'), 'a result of more than 1 MB');
	like(error_of($id2), qr/^the result of the job is too long\nDETAIL: It has 1100002 bytes, allowed are 1048576\.\nSQLSTATE: 54000$/, 'is an error, which is kept');
};

subtest 'exactly once, whatever fails in a batch' => sub {
	my @ids = together(sub {
		split /\n/, $node->sql(q{SELECT penny.enqueue('run', CASE WHEN n % 10 = 0 THEN jsonb_build_object('note', 'b' || n, 'fail', 'boo ' || n) ELSE jsonb_build_object('note', 'b' || n) END, attempts => 1) FROM generate_series(1, 200) n});
	});
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM app.log WHERE what ~ '^b\d'}) == 180 }, 10), 'those that do not fail run');
	is($node->sql(q{SELECT count(DISTINCT what), count(DISTINCT job) FROM app.log WHERE what ~ '^b\d'}), '180|180', 'once each');
	ok(wait_for($ids[199], '3 1'), 'the last fails');
	is($node->sql("SELECT count(*) FROM _penny.jobs_dead WHERE id BETWEEN $ids[0] AND $ids[199]"), 20, 'dead letters');
	is(error_of($ids[19]), "boo 20\nDETAIL: it was told to\nSQLSTATE: P0001", 'with the error');
	is($node->sql("SELECT sum(jobs) FROM _penny.receipt_0 WHERE outcome IN (1, 6) AND id <= $ids[199] AND last_id >= $ids[0]"), 180, 'every one has its receipt');

	my $id = give({ sql => q{SELECT nextval('app.runs')}, fail => 'again' }, 'attempts => 3');
	ok(wait_for($id, "2 1\n2 2\n3 3"), 'three attempts');
	is($node->sql('SELECT last_value FROM app.runs'), 3, 'were made');
	$id = give({ sql => q{DO $$BEGIN IF nextval('app.runs') < 6 THEN RAISE SQLSTATE '40001'; END IF; END$$}, note => 'collided' });
	ok(wait_noted($id, 'collided'), 'collisions are tried again at once');
	is(ends($id), '1 1', 'and are no attempts');
	$id = give({ sql => 'CREATE TABLE app.once (i int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); INSERT INTO app.once VALUES (1), (1)' }, 'attempts => 1');
	ok(wait_for($id, '3 1'), 'what fails at the end of the job');
	like(error_of($id), qr/duplicate key/, 'is its error');
	like($node->log_text, qr/LOG:  penny job failed: boo 20\n.*DETAIL:  it was told to\n.*CONTEXT:  penny job $ids[19] of kind run, attempt 1/, 'the log says whose');
};

subtest 'the role of the handler' => sub {
	$node->sql(q{
		CREATE ROLE boss LOGIN IN ROLE penny_admin; CREATE ROLE clerk LOGIN; GRANT INSERT ON app.log TO boss; GRANT USAGE ON SEQUENCE app.log_at_seq TO boss;
		GRANT penny_user TO clerk;
	});
	my ($code, $out, $error) = $node->psql('postgres', q{SELECT penny.handle('bossy', 'app.run(jsonb)', queue => 'free', attempts => 1)}, extra_params => [ '-U', 'boss' ]);
	is($code, 0, 'penny_admin registers') or diag $error;
	my $id = give({ ask => q{SELECT current_user || ' ' || session_user || ' ' || coalesce(penny.user_id()::text, 'nobody')} }, undef, 'bossy');
	ok(wait_noted($id, 'boss penny_authenticator nobody'), 'runs as the role, and as nobody');
	for my $try ('SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres', 'SET LOCAL ROLE penny_user')
	{
		$id = give({ sql => $try }, undef, 'bossy');
		ok(wait_for($id, '3 1'), "$try is refused");
		like(error_of($id), qr/cannot set parameter "(role|session_authorization)" within security-restricted|cannot set parameter "(role|session_authorization)"/, 'with an error') or diag(error_of($id));
	}
	$id = give({ sql => 'SELECT * FROM _penny.jobs_dead' }, undef, 'bossy');
	ok(wait_for($id, '3 1'), 'what the role may not do it may not do');
	like(error_of($id), qr/permission denied for table jobs_dead/, 'here');
	$node->sql('REVOKE EXECUTE ON FUNCTION app.run(jsonb) FROM PUBLIC');
	$id = give({ note => 'not allowed' }, undef, 'bossy');
	ok(wait_for($id, '3 1'), 'not without the right to execute the function');
	like(error_of($id), qr/^role "boss" may not execute function app\.run\(jsonb\)/, 'which is asked for each time');
	$node->sql('GRANT EXECUTE ON FUNCTION app.run(jsonb) TO boss');
	$id = give({ note => 'allowed' }, undef, 'bossy');
	ok(wait_noted($id, 'allowed'), 'and is back at once');
	$node->sql(q{CREATE FUNCTION app.gone(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j'; SELECT penny.handle('gone', 'app.gone', queue => 'free', attempts => 1); DROP FUNCTION app.gone(jsonb)});
	$id = give('{}', undef, 'gone');
	ok(wait_for($id, '3 1'), 'a function that is gone');
	like(error_of($id), qr/^function app\.gone\(jsonb\) does not exist/, 'is an error');
	$node->sql(q{CREATE FUNCTION app.gone(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(1)'});
	$id = give('{}', undef, 'gone');
	ok(wait_for($id, '1 1'), 'until it is there again');
};

subtest 'nothing is left for the next' => sub {
	my $look = q{SELECT concat_ws(' ', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), current_setting('work_mem'),
		nullif(current_setting('app.x', true), ''), current_setting('search_path'), to_regclass('left_over') IS NULL, (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name = 'c'))};
	my $clean = give({ ask => $look });
	ok($node->wait_until(sub { noted($clean) ne '' }, 10), 'a look');
	my $expected = noted($clean);
	my @left = (
		q{SELECT pg_advisory_lock(7)}, q{SET work_mem = '123MB'}, q{SET LOCAL work_mem = '123MB'}, q{SET search_path = nowhere}, q{SELECT set_config('app.x', 'y', false)},
		q{CREATE TEMP TABLE left_over (i int)}, q{CREATE TEMP TABLE left_over (i int) ON COMMIT DROP}, q{PREPARE p AS SELECT 1}, q{DECLARE c CURSOR WITH HOLD FOR SELECT 1}, q{DECLARE c CURSOR FOR SELECT 1},
		q{SET statement_timeout = 1}, q{SET lock_timeout = 1});
	for my $what (@left)
	{
		my @ids = together(sub { (give({ sql => $what }), give({ ask => $look })) });
		ok(wait_noted($ids[1], $expected), $what);
	}
	my @ids = together(sub { (give({ sql => q{SELECT nextval('app.runs')} }), give({ ask => q{SELECT lastval()} }, 'attempts => 1')) });
	ok(wait_for($ids[1], '3 1'), 'lastval()');
	is($node->sql('SELECT count(*) FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname ~ $$^pg_temp$$)'), 0, 'no temporary tables stay');
	# deferred triggers run in the role of their job
	$node->sql(q{
		CREATE TABLE app.slow (i int);
		CREATE FUNCTION app.who() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM app.note('by ' || current_user); RETURN NULL; END$$;
		CREATE CONSTRAINT TRIGGER who AFTER INSERT ON app.slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.who();
		GRANT INSERT ON app.slow TO boss});
	my $id = give({ sql => 'INSERT INTO app.slow VALUES (1)' }, undef, 'bossy');
	ok(wait_noted($id, 'by boss'), 'deferred triggers');
};

subtest 'timeouts' => sub {
	my $begun = time();
	my $id = give({ sql => 'SELECT pg_sleep(20)' }, "attempts => 1, timeout => '100 ms'");
	ok(wait_for($id, '3 1'), 'a job that takes too long');
	cmp_ok(time() - $begun, '<', 5, 'is ended');
	is(error_of($id), "the job ran longer than its timeout\nSQLSTATE: 57014", 'and told why');
	$id = give({ sql => q{SET statement_timeout = 0; SELECT pg_sleep(20)} }, "attempts => 1, timeout => '1500 ms'");
	ok(wait_for($id, '3 1'), 'whatever statement_timeout it sets');
	$id = give({ sql => q{DO $$BEGIN PERFORM pg_sleep(20); EXCEPTION WHEN query_canceled THEN NULL; END$$}, note => 'late' }, "attempts => 1, timeout => '200 ms'");
	ok(wait_for($id, '3 1'), 'also when it swallows its cancel');
	is(noted($id), '', 'without an effect');
	$id = give({ sql => 'SELECT pg_sleep(0.3)', note => 'in time' }, "timeout => '10 s'");
	ok(wait_noted($id, 'in time'), 'one that takes its time');
	# a cancel by an administrator is an error of the job
	$id = give({ sql => 'SELECT pg_sleep(20)' }, 'attempts => 1');
	my $running = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny worker' AND query = 'job $id of kind run' AND state = 'active'";
	ok($node->wait_until(sub { $node->sql($running) ne '' }, 10), 'shown in pg_stat_activity');
	$node->sql("SELECT pg_cancel_backend(($running))");
	ok(wait_for($id, '3 1'), 'pg_cancel_backend()');
	like(error_of($id), qr/^canceling statement/, 'as such');
	# one that does not stop at all ends its worker, twice
	$id = give({ sql => q{DO $$BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END$$} }, "attempts => 9, timeout => '100 ms'");
	ok(wait_for($id, '3 1', 30), 'a job that cannot be stopped becomes a dead letter');
	like(error_of($id), qr/^ended the process that ran it 2 times, at last at .*: killed from outside, or did not stop when it was told to$/, 'which says so');
	is($node->sql("SELECT reason FROM _penny.jobs_dead WHERE id = $id"), 'crashed', 'reason');
	is($node->crash_restarts, 0, 'the server does not mind');
};

subtest 'cancelling' => sub {
	my $id = give({ sql => 'SELECT pg_sleep(30)' });
	my $running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'job $id of kind run' AND state = 'active'";
	ok($node->wait_until(sub { $node->sql($running) == 1 }, 10), 'a job runs');
	my $begun = time();
	is($node->sql("SELECT penny.cancel($id)"), 't', 'is cancelled');
	ok(wait_for($id, '4 1'), 'and ends as such');
	cmp_ok(time() - $begun, '<', 5, 'at once');
	is($node->sql("SELECT count(*) FROM _penny.jobs_dead WHERE id = $id"), 0, 'it is no dead letter');
	$id = give({ sql => q{DO $$BEGIN PERFORM pg_sleep(30); EXCEPTION WHEN query_canceled THEN NULL; END$$}, note => 'swallowed' });
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'job $id of kind run' AND state = 'active'") == 1 }, 10), 'one that swallows it');
	is($node->sql("SELECT penny.cancel($id)"), 't', 'is cancelled');
	ok(wait_for($id, '4 1'), 'too');
	is(noted($id), '', 'and has no effect');
	# two of one worker's batch: the first runs, the second is cancelled before it does
	my @ids = together(sub { (give({ sql => 'SELECT pg_sleep(0.7)', note => 'first' }, "group_key => 'one'"), give({ note => 'second' }, "group_key => 'one'")) });
	$node->sql("SELECT penny.cancel($ids[1])");
	ok(wait_noted($ids[0], 'first'), 'the first runs');
	ok($node->wait_until(sub { noted($ids[1]) ne '' || ends($ids[1]) eq '4 1' }, 10), 'the second has ended, too');
};

subtest 'a long job holds up nobody' => sub {
	my $others = sub { $node->sql("SELECT count(*) FROM app.log WHERE what = '$_[0]'") };
	# how long one of the kind takes is known, so many make a batch; one worker is there
	my $known = sub {
		my ($what) = @_;
		$node->sql("SELECT penny.handle('$what', 'app.run', queue => 'free')");
		ok($node->wait_until(sub { scalar(my @w = workers()) == 1 }, 20), 'one worker is there');
		for my $round (1 .. 4)
		{
			$node->sql(qq{SELECT count(penny.enqueue('$what', '{"note":"$what"}')) FROM generate_series(1, 50)});
			$node->wait_until(sub { $others->($what) == 50 * $round }, 10);
		}
		is($others->($what), 200, '200 have run');
	};
	$known->('many');
	my $give = sub {
		my ($kind, $first, $what, $fails) = @_;
		$fails //= -1;
		return split /\n/, $node->sql(qq{SELECT penny.enqueue('$kind', CASE WHEN n = 0 THEN jsonb_build_object('sql', \$q\$$first\$q\$, 'note', '$what first') WHEN n = $fails THEN '{"fail":"boo"}' ELSE jsonb_build_object('note', '$what') END, attempts => 1) FROM generate_series(0, 20) n});
	};
	my $begun = time();
	my @ids = $give->('many', 'SELECT pg_sleep(8)', 'behind');
	ok($node->wait_until(sub { $others->('behind') >= 20 }, 6), 'those that are behind it run');
	cmp_ok(time() - $begun, '<', 3, 'soon');
	is($others->('behind first'), 0, 'while it does');
	ok(wait_noted($ids[0], 'behind first', 15), 'which completes');
	cmp_ok(time() - $begun, '>=', 8, 'in its time');
	usleep(300_000);
	is($node->sql(q{SELECT count(*), count(DISTINCT job) FROM app.log WHERE what = 'behind'}), '20|20', 'each ran once');
	is($node->sql("SELECT coalesce(sum(jobs), 0) FROM _penny.receipt_0 WHERE id <= $ids[20] AND last_id >= $ids[0]"), 21, 'and has its receipt');
	is($node->sql("SELECT count(*) FROM _penny.jobs_in_memory() WHERE id >= $ids[0]"), 0, 'nothing stays in memory');

	# one that fails in the end, and one whose worker is told to go
	$known->('more');
	@ids = $give->('more', 'DO $x$BEGIN PERFORM pg_sleep(10); RAISE EXCEPTION $m$late$m$; END$x$', 'beside');
	ok($node->wait_until(sub { $others->('beside') >= 20 }, 9), 'behind one that will fail');
	ok(wait_for($ids[0], '3 1'), 'it fails');
	is($others->('beside'), 20, 'which is undone alone');
	$node->sql(q{ALTER SEQUENCE app.runs RESTART});
	$known->('most');
	@ids = $give->('most', 'DO $x$BEGIN IF nextval($m$app.runs$m$) = 1 THEN PERFORM pg_sleep(100); END IF; END$x$', 'after');
	ok($node->wait_until(sub { $others->('after') >= 20 }, 20), 'behind one that is stopped');
	$node->sql("SELECT pg_terminate_backend((SELECT pid FROM pg_stat_activity WHERE query = 'job $ids[0] of kind most' AND state = 'active'))");
	ok(wait_noted($ids[0], 'after first', 15), 'it runs again');
	is($others->('after'), 20, 'the others do not');
	# each alone after an error: now the first takes long, and those that ran with it and were undone are behind it
	$node->sql(q{ALTER SEQUENCE app.runs RESTART});
	$known->('least');
	@ids = $give->('least', 'DO $x$BEGIN IF nextval($m$app.runs$m$) = 2 THEN PERFORM pg_sleep(10); END IF; END$x$', 'again', 5);
	ok($node->wait_until(sub { $others->('again') >= 19 }, 9), 'behind one that runs long when it runs again');
	is($others->('again first'), 0, 'while it does');
	ok(wait_noted($ids[0], 'again first', 20), 'which completes');
	ok(wait_for($ids[5], '3 1'), 'the one that fails does');
	usleep(300_000);
	is($node->sql(q{SELECT count(*), count(DISTINCT job) FROM app.log WHERE what = 'again'}), '19|19', 'each of the others ran once');
	is($node->sql("SELECT count(*) FROM _penny.jobs_in_memory() WHERE id >= $ids[0]"), 0, 'nothing stays in memory');
};

subtest 'memory' => sub {
	my $id = give({ sql => q{DO $$DECLARE a text[]; BEGIN FOR i IN 1 .. 1000 LOOP a[i] := repeat(i::text || 'x', 1000000); END LOOP; END$$} }, 'attempts => 1');
	ok(wait_for($id, '3 1', 30), 'a job that wants too much');
	like(error_of($id), qr/^out of memory.*SQLSTATE: 53200/s, 'gets an error');
	$id = give({ note => 'goes on' });
	ok(wait_noted($id, 'goes on'), 'and the next job runs');
};

subtest 'pause and settings' => sub {
	$node->sql("SELECT penny.pause_queue('free')");
	my $id = give({ note => 'paused' });
	my $urgent = give({ note => 'other queue' }, "queue => 'high-priority'");
	ok(wait_noted($urgent, 'other queue'), 'another queue');
	is(noted($id), '', 'nothing of a paused queue runs');
	$node->sql("SELECT penny.resume_queue('free')");
	ok(wait_noted($id, 'paused'), 'resumed');
	my $external = give('{}', undef, 'nobody.knows');
	my $waits = "SELECT count(*) FROM _penny.receipt_0 WHERE id = $external";
	$node->sql(q{SELECT penny.handle('nobody.knows', 'app.gone')});
	ok(wait_for($external, '1 1'), 'a job that waited for a handler');
	$node->sql('BEGIN; SELECT penny.create_queue($$mine$$, rate_limit => NULL); SELECT penny.enqueue($$run$$, $${"note":"mine"}$$, queue => $$mine$$); COMMIT');
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM app.log WHERE what = 'mine'}) == 1 }, 10), 'a queue that is made with its first job');
};

subtest 'workers come and go' => sub {
	ok($node->wait_until(sub { scalar(my @w = workers()) == 1 }, 10), 'one is there when nothing is to be done');
	my @ids = map { give({ sql => 'SELECT pg_sleep(0.7)' }) } 1 .. 6;
	ok($node->wait_until(sub { scalar(my @w = workers()) == 4 }, 5), 'more when jobs wait, up to the setting');
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny worker' AND state = 'active'") == 0 }, 10), 'all run');
	ok($node->wait_until(sub { scalar(my @w = workers()) == 1 }, 10), 'and end');

	my ($pid) = workers();
	my $switches = sub { open my $in, '<', "/proc/$pid/status" or return 0; my ($n) = join('', <$in>) =~ /^voluntary_ctxt_switches:\s*(\d+)/m; return $n };
	my $later = give({ note => 'later' }, "delay => '1 h'");
	usleep(1_500_000);
	my ($before, $xacts) = ($switches->(), $node->sql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'"));
	usleep(4_000_000);
	cmp_ok($switches->() - $before, '<=', 4, 'idle, it wakes at most once a second');
	my $soon = time();
	my $id = give({ note => 'soon' }, "delay => '300 ms'");
	ok(wait_noted($id, 'soon', 3), 'a job that comes due');
};

subtest 'stopping burns no attempt' => sub {
	$node->sql(q{ALTER SEQUENCE app.runs RESTART});
	my $once = q{DO $$BEGIN IF nextval('app.runs') % 2 = 1 THEN PERFORM pg_sleep(100); END IF; END$$};
	for my $way ('terminate', 'fast')
	{
		my $id = give({ sql => $once, ask => 'SELECT penny.job_context() ->> $$attempt$$' }, 'attempts => 1');
		my $running = "SELECT pid FROM pg_stat_activity WHERE query = 'job $id of kind run' AND state = 'active'";
		ok($node->wait_until(sub { $node->sql($running) ne '' }, 10), 'a job runs');
		my $begun = time();
		if ($way eq 'fast') { $node->restart; $node->wait_ready }
		else { $node->sql("SELECT pg_terminate_backend(($running))") }
		ok(wait_noted($id, '1', 15), "$way: it runs again, as its first attempt");
		cmp_ok(time() - $begun, '<', 15, 'soon');
	}
};

subtest 'crashes' => sub {
	my $restarts = $node->crash_restarts;
	my $kill = sub { my ($signal) = @_; return { sql => "COPY (SELECT 1) TO PROGRAM 'kill -$signal \$PPID'; SELECT pg_sleep(10)" } };
	my @beside = map { give({ sql => 'SELECT pg_sleep(1.5)', note => "beside $_" }) } 1, 2;
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny worker' AND state = 'active'") == 2 }, 10), 'two run');
	my $id = give($kill->('SEGV'), 'attempts => 9');
	ok(restarted($restarts), 'a job crashes the server');
	ok(restarted($restarts + 1), 'and once more');
	ok(wait_for($id, '3 1', 20), 'then it is a dead letter');
	like(error_of($id), qr/^ended the process that ran it 2 times, at last at .*: signal 11, Segmentation fault$/, 'which says how it went');
	is($node->sql("SELECT reason FROM _penny.jobs_dead WHERE id = $id"), 'crashed', 'reason');
	ok(wait_noted($beside[$_], 'beside ' . ($_ + 1), 20), 'who ran beside it goes on') for 0, 1;
	is($node->crash_restarts, $restarts + 2, 'no further crash');
	ok($node->wait_until(sub { !-e $node->data_dir . '/penny.jobs' }, 5), 'nothing is remembered of it');

	# killed from outside: once is forgiven
	$node->sql(q{ALTER SEQUENCE app.runs RESTART});
	$id = give({ sql => q{DO $$BEGIN IF nextval('app.runs') = 1 THEN PERFORM pg_sleep(100); END IF; END$$}, note => 'survived' });
	my $running = "SELECT pid FROM pg_stat_activity WHERE query = 'job $id of kind run' AND state = 'active'";
	ok($node->wait_until(sub { $node->sql($running) ne '' }, 10), 'a job runs');
	$restarts = $node->crash_restarts;
	$node->sql('CREATE TABLE app.flush ()'); # the sequence is on disk
	kill 'KILL', $node->sql($running);
	ok(restarted($restarts), 'its worker is killed');
	ok(wait_noted($id, 'survived', 20), 'it runs again');
	is(ends($id), '1 1', 'no attempt was burnt');
	ok($node->wait_until(sub { !-e $node->data_dir . '/penny.jobs' }, 5), 'and is no suspect any more');
	is($node->sql(q{SELECT count(*), count(DISTINCT job) FROM app.log WHERE what = 'survived'}), '1|1', 'its effect is there once');
};

subtest 'executions of tools that never end' => sub {
	my $ada = $node->add_user('Ada');
	my $talk = $node->add_conversation($ada);
	$node->sql(q{INSERT INTO chat.tools (id) VALUES ('t')});
	$node->sql(qq{INSERT INTO chat.tool_executions (conversation_id, tool_id, status, started_at) VALUES ('$talk', 't', 'running', now()), ('$talk', 't', 'approval_requested', now() - interval '1 day'), ('$talk', 't', 'running', now() - interval '50 min')});
	my $rows = 'SELECT status, coalesce(error, $$-$$), finished_at IS NOT NULL FROM chat.tool_executions ORDER BY started_at';
	my $version = $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'");
	is($node->sql('SELECT _penny.execution_sweep(now())'), 1, 'nothing is too old, and some are open');
	is($node->sql('SELECT _penny.execution_sweep(now() + interval $$15 min$$)'), 1, 'another clock');
	is($node->sql($rows), "approval_requested|-|f\nfailed|the tool did not come to an end within 3600 s|t\nrunning|-|f", 'the old one has failed');
	cmp_ok($node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'"), '>', $version, 'as a change of its conversation');
	$node->append_conf('postgresql.conf', "penny.execution_timeout = '1s'\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql($rows) =~ /failed\|the tool did not come to an end within 1 s\|t$/ }, 20), 'an executor does it by itself');
};

subtest 'the database is wanted alone' => sub {
	my $other = Penny::Cluster->serving('alone', database => 'mine', store => 0, conf => "penny.job_workers = 2\n");
	my $here = sub { $other->psql('mine', $_[0]) };
	ok($other->wait_until(sub { scalar(my @w = $other->backend_pids('penny worker')) }, 20), 'a worker is there');
	$here->(q{CREATE FUNCTION slow(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_sleep(100)::text)'; SELECT penny.handle('slow', 'slow'); SELECT penny.handle('note', 'slow'); SELECT penny.enqueue('slow')});
	ok($other->wait_until(sub { $other->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query ~ '^job' AND state = 'active'}) == 1 }, 10), 'a long job runs');
	# a command that is undone ends the job's process, and burns no attempt
	$other->psql('postgres', 'ALTER DATABASE mine RENAME TO yours; ALTER DATABASE yours RENAME TO mine');
	ok($other->wait_until(sub { $other->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query ~ '^job' AND state = 'active'}) == 1 }, 20), 'it runs again after the database was renamed');
	is(($here->('SELECT count(*) FROM _penny.receipt_0'))[1], 0, 'as its first attempt');
	$here->(q{SELECT penny.enqueue('slow'), penny.schedule('ticks', '* * * * * *', 'note')});
	ok($other->wait_until(sub { scalar(my @w = $other->backend_pids('penny spare worker')) }, 20), 'a spare worker is there');
	my ($code, undef, $error) = $other->psql('postgres', 'DROP DATABASE mine');
	is($code, 0, 'DROP DATABASE') or diag $error;
	$other->psql('postgres', 'CREATE DATABASE mine');
	is(scalar(my @none = map { $other->backend_pids("penny $_") } 'worker', 'spare worker'), 0, 'no worker without the extension');
	$other->psql('mine', 'CREATE EXTENSION penny');
	ok($other->wait_until(sub { scalar(my @w = $other->backend_pids('penny worker')) }, 20), 'one with it');
	$here->(q{SELECT penny.create_queue('fresh'); SELECT penny.enqueue('note', queue => 'fresh'); CREATE TABLE log (i int); CREATE FUNCTION note(jsonb) RETURNS jsonb LANGUAGE sql AS 'INSERT INTO log VALUES (1); SELECT NULL::jsonb'; SELECT penny.handle('note', 'note'); SELECT penny.enqueue('note')});
	ok($other->wait_until(sub { ($here->('SELECT count(*) FROM log'))[1] == 2 }, 10), 'whose jobs run, by its handlers');
	is($other->crash_restarts, 0, 'no crash');
};

subtest 'upkeep while all workers run long jobs' => sub {
	my $busy = Penny::Cluster->serving('busy', store => 0, conf => "penny.job_workers = 2\npenny.job_worker_idle_timeout = '1s'\n");
	my $spare = sub { scalar(my @pids = $busy->backend_pids('penny spare worker')) };
	my $running = sub { $busy->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny worker' AND query ~ '^job .* of kind slow' AND state = 'active'}) };
	$busy->sql(q{
		CREATE FUNCTION slow(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_sleep((j ->> 0)::float)::text)';
		SELECT penny.handle('slow', 'slow'), penny.handle('task'), penny.create_queue('ext', backoff => '0 s')});
	$busy->sql(q{SELECT penny.enqueue('slow', '[0.5]') FROM generate_series(1, 2)});
	ok($busy->wait_until(sub { $busy->sql('SELECT coalesce(sum(jobs), 0) FROM _penny.receipt_0') == 2 }, 10), 'jobs run');
	is($spare->(), 0, 'no spare worker where nothing waits for one');
	$busy->sql(q{SELECT penny.enqueue('slow', '[8]') FROM generate_series(1, 2)});
	ok($busy->wait_until(sub { $running->() == 2 }, 5), 'both workers are busy');

	my $begun = time();
	my $leased = $busy->sql(q{SELECT penny.enqueue('task', queue => 'ext')});
	$busy->sql(q{SELECT penny.claim('ext', lease => '1 s')});
	$busy->sql(q{SELECT penny.schedule('ticks', '* * * * * *', 'task', '"tick"', queue => 'ext')});
	# when it is due in less than 5 minutes it is read into memory
	my $deferred = $busy->sql(q{SELECT penny.enqueue('task', '"deferred"', delay => '301 s', queue => 'ext')});
	my $waits = $busy->sql(q{SELECT penny.enqueue('slow', '[0]')});
	my %seen;
	$busy->wait_until(sub {
		$seen{lease} //= time() - $begun if $busy->sql("SELECT count(*) FROM _penny.receipt_0 WHERE id = $leased AND error ~ 'lease'") == 1;
		$seen{schedule} //= time() - $begun if $busy->sql(q{SELECT count(*) FROM _penny.job_0 WHERE payload = '"tick"'}) >= 2;
		$seen{deferred} //= time() - $begun if $busy->sql("SELECT count(*) FROM _penny.jobs_in_memory() WHERE id = $deferred") == 1;
		return keys %seen == 3;
	}, 6);
	is($running->(), 2, 'while the workers are busy');
	for my $what (qw(lease schedule deferred))
	{
		cmp_ok($seen{$what} // 99, '<', 3, "$what: attended to within 3 s");
	}
	is($spare->(), 1, 'by one spare worker');
	is($busy->sql("SELECT penny.job($waits) ->> 'state'"), 'waiting', 'which runs no job');
	ok($busy->wait_until(sub { $running->() == 0 }, 15), 'the jobs end');
	ok($busy->wait_until(sub { $spare->() == 0 }, 5), 'and the spare worker');
	is($busy->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'worker slots'}), 't', 'with a slot of its own');
	is($busy->crash_restarts, 0, 'no crash');
};

subtest 'few slots' => sub {
	my $short = Penny::Cluster->serving('short', store => 0, conf => "max_worker_processes = 6\n");
	$short->sql(q{CREATE FUNCTION slow(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(pg_sleep(0.3)::text)'; SELECT penny.handle('slow', 'slow')});
	$short->sql(q{SELECT penny.enqueue('slow') FROM generate_series(1, 6)});
	ok($short->wait_until(sub { $short->sql('SELECT coalesce(sum(jobs), 0) FROM _penny.receipt_0') == 6 }, 20), 'all jobs run');
	my $said = () = $short->log_text =~ /no background worker slot is free for another penny worker/g;
	is($said, 1, 'the log says once that slots are short');
};

done_testing();
