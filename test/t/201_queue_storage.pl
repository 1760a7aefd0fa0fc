# Jobs between their tables and memory: restarts and crashes, prepared
# transactions, more jobs than memory holds, deferred jobs, segments that are
# emptied, the extension made anew, rows that a superuser takes away, dump and
# restore.  Every job runs, and once: an SQL handler writes its id.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(usleep);

my $node = Penny::Cluster->serving('queue', database => 'app', store => 0, conf => "penny.jobs_in_memory = 64\npenny.job_workers = 3\n");

sub lay
{
	$node->sql(q{
		CREATE TABLE IF NOT EXISTS ran (id bigint, note text);
		CREATE OR REPLACE FUNCTION run(p jsonb) RETURNS jsonb LANGUAGE sql AS $$INSERT INTO ran VALUES (penny.job_id(), p->>'note') RETURNING NULL::jsonb$$;
		CREATE OR REPLACE FUNCTION fails(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not today'; END$$;
		SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL);
		SELECT penny.create_queue('tight', concurrency => NULL, rate_limit => 3, rate_window => '1 hour');
		SELECT penny.handle('run', function => 'run', queue => 'free');
		SELECT penny.handle('fails', function => 'fails', queue => 'free', attempts => 2, backoff => '10 ms');
		SELECT penny.create_queue('far', concurrency => NULL, rate_limit => NULL);
		SELECT penny.handle('outside', queue => 'far');});
}
sub ran { my ($note) = @_; return $node->sql("SELECT count(*) || ' ' || count(DISTINCT id) FROM ran WHERE note = '$note'") }
sub wait_ran { my ($note, $n, $limit) = @_; return $node->wait_until(sub { $node->sql("SELECT count(*) FROM ran WHERE note = '$note'") >= $n }, $limit // 30) }
sub runs_once { my ($note, $n, $name) = @_; wait_ran($note, $n); usleep(300_000); is(ran($note), "$n $n", $name) }
sub counter { return $node->sql("SELECT _penny.queue_counters()->>'$_[0]'") }
sub loaded { return $node->wait_until(sub { counter('ready') eq 'true' }, 30) }
sub claim { my ($n) = @_; return $node->sql("SELECT string_agg(payload->>'note', ' ' ORDER BY id) FROM penny.claim('far', $n)") }
sub run_job { my ($note, $more) = @_; return $node->sql("SELECT penny.enqueue('run', '{\"note\":\"$note\"}'" . ($more // '') . ')') }
sub fill { my ($kind, $note, $n) = @_; return "SELECT count(*) FROM unnest(penny.enqueue_many('$kind', array_fill('{\"note\":\"$note\"}'::jsonb, ARRAY[$n])))" }

lay();
ok(loaded(), 'the tables are read');

subtest 'transactions' => sub {
	$node->sql(q{BEGIN; SELECT penny.enqueue('run', '{"note":"no"}'); ROLLBACK;
		BEGIN; SELECT penny.enqueue('run', '{"note":"outer"}'); SAVEPOINT a; SELECT penny.enqueue('run', '{"note":"no"}');
		SAVEPOINT b; SELECT penny.enqueue('run', '{"note":"no"}'); RELEASE b; ROLLBACK TO a; SELECT penny.enqueue('run', '{"note":"outer"}'); COMMIT;});
	runs_once('outer', 2, 'what was committed runs');
	is(ran('no'), '0 0', 'what was rolled back does not');
	my $error = ($node->psql('app', "BEGIN READ ONLY; SELECT penny.enqueue('run')"))[2];
	like($error, qr/cannot execute penny.enqueue\(\) in a read-only transaction/, 'not in a read-only transaction');
};

subtest 'more jobs than memory holds' => sub {
	$node->sql(fill('run', 'many', 20000));
	runs_once('many', 20000, 'all run, once');
	cmp_ok(counter('rescanned'), '>', 10000, 'most were read from their table');
	$node->sql(fill('outside', 'blocks', 500));
	run_job('beside');
	runs_once('beside', 1, 'another queue finds room beside a full one');
	my $n = 0;
	while ((my $got = $node->sql("WITH c AS MATERIALIZED (SELECT * FROM penny.claim('far', 50)) SELECT count(*) FROM (SELECT penny.complete(id, token) FROM c) x")) > 0)
	{
		$n += $got;
		usleep(50_000);
	}
	$node->wait_until(sub {
		$n += $node->sql("WITH c AS MATERIALIZED (SELECT * FROM penny.claim('far', 50)) SELECT count(*) FROM (SELECT penny.complete(id, token) FROM c) x");
		$n >= 500 }, 20);
	is($n, 500, 'and all of that one are claimed, a piece at a time');
};

subtest 'restart' => sub {
	$node->sql("SELECT penny.enqueue('outside', jsonb_build_object('note', i)) FROM generate_series(1, 5) i");
	my $id = $node->sql("SELECT id FROM penny.claim('far', 1)");
	$node->sql("SELECT penny.enqueue('fails', backoff => '10 s')");
	$node->wait_until(sub { $node->sql('SELECT count(*) FROM _penny.jobs_in_memory() WHERE attempt = 1') == 1 }, 10);
	my $before = $node->sql('SELECT count(*) FROM ran');
	$node->restart;
	$node->wait_until(sub { $node->is_ready || 1 }, 1);
	ok(loaded(), 'read again');
	is($node->sql('SELECT count(*) FROM ran'), $before, 'nothing runs twice');
	is($node->sql('SELECT count(*) FROM _penny.jobs_in_memory() WHERE attempt = 1'), 1, 'an attempt that failed is known');
	is(claim(10), '1 2 3 4 5', 'what was claimed is ready again');
	$node->stop('immediate');
	$node->start;
	ok(loaded(), 'read after a crash');
	is(claim(10), '1 2 3 4 5', 'and again');
	is($node->sql('SELECT count(*) FROM ran'), $before, 'nothing runs twice');
	$node->sql('SELECT count(penny.cancel(id)) FROM _penny.jobs_in_memory()');
	ok($node->wait_until(sub { $node->sql('SELECT count(*) FROM _penny.jobs_in_memory()') == 0 }, 20), 'all are cancelled');
};

subtest 'a limit over a restart' => sub {
	$node->sql("SELECT penny.enqueue('run', '{\"note\":\"tight\"}', queue => 'tight') FROM generate_series(1, 5)");
	wait_ran('tight', 3);
	$node->sql("INSERT INTO ran VALUES (0, 'on disk')");    # and all before it
	$node->stop('immediate');
	$node->start;
	loaded();
	usleep(1_000_000);
	is(ran('tight'), '3 3', 'starts before the restart count');
	$node->sql('SELECT count(penny.cancel(id)) FROM _penny.jobs_in_memory()');
};

subtest 'prepared transactions' => sub {
	for my $name ('a', 'b', 'c')
	{
		$node->sql("BEGIN; SELECT penny.enqueue('run', '{\"note\":\"prepared $name\"}'); PREPARE TRANSACTION '$name'");
	}
	usleep(300_000);
	is($node->sql("SELECT count(*) FROM ran WHERE note LIKE 'prepared%'"), 0, 'do not run');
	$node->sql("COMMIT PREPARED 'a'");
	$node->sql("ROLLBACK PREPARED 'b'");
	runs_once('prepared a', 1, 'run when committed');
	$node->restart;
	loaded();
	$node->sql("COMMIT PREPARED 'c'");
	runs_once('prepared c', 1, 'also after a restart');
	is(ran('prepared b'), '0 0', 'and not when rolled back');
	$node->sql("SELECT penny.enqueue('outside')");
	my $error = ($node->psql('app', "BEGIN; SELECT penny.complete(id, token) FROM penny.claim('far', 1); PREPARE TRANSACTION 'd'"))[2];
	like($error, qr/cannot PREPARE a transaction that has ended jobs/, 'ends cannot be prepared');
	is($node->sql("SELECT count(penny.complete(id, token)) FROM penny.claim('far', 1)"), 1, 'and the job is there again');
};

subtest 'deferred jobs' => sub {
	my $id = run_job('deferred', ", delay => '10 minutes'");
	is($node->sql("SELECT count(*) FROM _penny.jobs_deferred WHERE id = $id"), 1, 'lie with those');
	$node->sql("UPDATE _penny.jobs_deferred SET due = now() WHERE id = $id; SELECT penny.load_jobs()");
	runs_once('deferred', 1, 'run when they are due');
	is($node->sql("SELECT count(*) FROM _penny.jobs_deferred"), 0, 'and are gone');
	is($node->sql("SELECT outcome FROM _penny.jobs_history WHERE id = $id"), 1, 'into the history');
	$id = $node->sql("SELECT penny.enqueue('fails', backoff => '1 hour')");
	ok($node->wait_until(sub { $node->sql("SELECT made FROM _penny.jobs_deferred WHERE id = $id") eq '1' }, 10), 'a long retry moves there');
	is($node->sql("SELECT errors->0->>'attempt' FROM _penny.jobs_deferred WHERE id = $id"), 1, 'with its error');
	$node->sql("UPDATE _penny.jobs_deferred SET due = now() WHERE id = $id; SELECT penny.load_jobs()");
	ok($node->wait_until(sub { $node->sql("SELECT made FROM _penny.jobs_dead WHERE id = $id") eq '2' }, 10), 'and is a dead letter at last');
	is($node->sql("SELECT jsonb_array_length(errors) FROM _penny.jobs_dead WHERE id = $id"), 2, 'with both errors');
};

subtest 'segments' => sub {
	run_job('first segment');
	runs_once('first segment', 1, 'a job of the first segment');
	$node->sql("SELECT penny.enqueue('outside', '{\"note\":\"straggler\"}')");
	my $old = $node->background_psql('app');
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ran');
	my $reader = $node->background_psql('app');
	$reader->query_safe('BEGIN; SELECT count(*) FROM _penny.job_0');
	my $rotations = counter('rotations');
	$node->sql('SELECT _penny.rotate_jobs()');
	ok($node->wait_until(sub { $node->sql('SELECT last_value >= 1 << 20 FROM _penny.job_id') eq 't' }, 10), 'ids go on to the next');
	run_job('second segment');
	runs_once('second segment', 1, 'where jobs run as before');
	ok($node->wait_until(sub { $node->sql('SELECT _penny.rotate_jobs(); SELECT count(*) FROM _penny.jobs_deferred') =~ /1$/ }, 10), 'what waits moves to the deferred jobs');
	usleep(500_000);
	cmp_ok($node->sql('SELECT count(*) FROM _penny.job_0'), '>', 0, 'nothing is taken from under a reader');
	$reader->query_safe('COMMIT');
	$reader->quit;
	ok($node->wait_until(sub { $node->sql('SELECT _penny.rotate_jobs(); SELECT count(*) FROM _penny.job_0') =~ /^\s*0$/ }, 20), 'then the segment is empty, an old snapshot or not');
	is($node->sql('SELECT count(*) FROM _penny.receipt_0'), 0, 'and its receipts');
	cmp_ok(counter('rotations'), '>', $rotations, 'counted');
	$old->query_safe('COMMIT');
	$old->quit;
	cmp_ok($node->sql("SELECT count(*) FROM _penny.jobs_history h JOIN _penny.queues q ON q.id = h.queue WHERE q.name = 'free'"), '>=', 100, 'the last completed are kept');
	is(claim(1), 'straggler', 'what moved is claimed');
	$node->restart;
	loaded();
	is(claim(1), 'straggler', 'also after a restart');
	run_job('after');
	runs_once('after', 1, 'jobs go on');
	is($node->sql("SELECT count(*) FROM (SELECT penny.cancel(id) AS c FROM _penny.jobs_in_memory()) x WHERE c"), 1, 'the straggler is cancelled');
	is($node->sql('SELECT count(*) FROM _penny.jobs_deferred'), 0, 'and gone');
};

subtest 'from one segment to the next' => sub {
	my $segment = $node->sql('SELECT (last_value >> 20) + 1 FROM _penny.job_id');
	$node->sql("SELECT setval('_penny.job_id', (${segment}::bigint << 20) - 6)");
	$node->sql(fill('run', 'border', 10));
	runs_once('border', 10, 'many at once run on both sides');
	is($node->sql("SELECT count(DISTINCT id >> 20) FROM ran WHERE note = 'border'"), 2, 'which they are on');
	# ids come round to a table that is not empty
	$node->sql("SELECT penny.enqueue('outside', '{\"note\":\"old\"}')");
	my $table = $segment % 8;
	my $spilled = counter('spilled');
	$node->sql("SELECT setval('_penny.job_id', (${segment}::bigint + 8) << 20)");
	run_job('round');
	$node->sql(fill('run', 'round', 5));
	runs_once('round', 6, 'jobs find another place');
	is(counter('spilled') - $spilled, 6, 'with the deferred ones');
	my $rotations = counter('rotations');
	ok($node->wait_until(sub { $node->sql('SELECT _penny.rotate_jobs()'); counter('rotations') > $rotations && $node->sql("SELECT count(*) FROM _penny.job_$table") == 0 }, 20), 'until the table is empty');
	usleep(500_000);
	run_job('home');
	runs_once('home', 1, 'jobs run');
	ok($node->sql("SELECT count(*) FROM _penny.job_$table") > 0 || $node->sql('SELECT last_value >> 20 FROM _penny.job_id') > $segment + 8, 'from it again');
	is(claim(1), 'old', 'and what waited there waits still');
	is($node->sql('SELECT count(*) FROM (SELECT penny.cancel(id) AS c FROM _penny.jobs_in_memory()) x WHERE c'), 1, 'until it is cancelled');
};

subtest 'rows that a superuser takes away' => sub {
	my $gone = counter('gone_rows');
	$node->sql(q{DO $$
		DECLARE
			job bigint := penny.enqueue('run', '{"note":"taken"}');
			gone integer;
		BEGIN
			EXECUTE format('DELETE FROM _penny.job_%s WHERE id = %s', (job >> 20) % 8, job);
			GET DIAGNOSTICS gone = ROW_COUNT;
			ASSERT gone = 1;
		END $$});
	ok($node->wait_until(sub { counter('gone_rows') > $gone }, 10), 'are counted');
	is(ran('taken'), '0 0', 'do not run');
	is($node->sql("SELECT count(*) FROM _penny.jobs_in_memory()"), 0, 'and are not in memory');
	run_job('next');
	runs_once('next', 1, 'the next does');
};

subtest 'the extension made anew' => sub {
	$node->sql("SELECT penny.enqueue('outside', '{\"note\":\"old\"}') FROM generate_series(1, 3)");
	$node->sql('DROP EXTENSION penny CASCADE');
	$node->sql('CREATE EXTENSION penny');
	lay();
	ok($node->wait_until(sub { counter('ready') eq 'true' && $node->sql('SELECT count(*) FROM _penny.jobs_in_memory()') == 0 }, 20), 'jobs of the old one are forgotten');
	my $id = run_job('new');
	is($node->sql("SELECT $id < 1 << 20"), 't', 'ids begin anew');
	runs_once('new', 1, 'and run');
};

subtest 'dump and restore' => sub {
	$node->sql(fill('outside', 'waits', 100));
	$node->sql(q{SELECT penny.enqueue('outside', '{"note":"deferred"}', delay => '1 hour'); SELECT penny.enqueue('run', '{"note":"dumped"}', delay => '3 s');
		SELECT penny.schedule('dumped', '* * * * * *', 'run', '{"note":"by the clock"}');
		SELECT count(penny.complete(id, token)) FROM penny.claim('far', 30);});
	my $dump = $node->basedir . '/jobs.dump';
	$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('app'), '-f', $dump ], 'pg_dump');
	runs_once('dumped', 1, 'the source goes on');
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ], 'pg_restore');
	is($node->safe_psql('copy', 'SELECT count(*) FROM _penny.job_0'), 71, 'what had not ended is there');
	is($node->safe_psql('copy', 'SELECT count(*) FROM _penny.jobs_deferred'), 1, 'and what is deferred');
	my $last = $node->safe_psql('copy', q{SELECT last_at FROM penny.schedules WHERE name = 'dumped'});
	$node->append_conf('postgresql.conf', "penny.database = 'copy'");
	$node->{database} = 'copy';
	$node->restart;
	loaded();
	usleep(4_000_000);
	is(ran('dumped'), '0 0', 'nothing runs by itself');
	is($node->sql(q{SELECT last_at FROM penny.schedules WHERE name = 'dumped'}), $last, 'nor by the clock');
	is($node->sql('SELECT count(*) FROM _penny.jobs_in_memory()'), 0, 'nor is anything in memory');
	is($node->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'jobs'}), 'f', 'doctor() says so');
	run_job('enqueued');
	runs_once('enqueued', 1, 'new jobs run');
	$node->sql('SELECT penny.load_jobs()');
	runs_once('dumped', 1, 'after load_jobs() they run');
	ok($node->wait_until(sub { $node->sql(q{SELECT last_at FROM penny.schedules WHERE name = 'dumped'}) ne $last }, 20), 'and the clock goes on');
	$node->sql(q{SELECT penny.unschedule('dumped')});
	is($node->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'jobs'}), 't', 'doctor() is content');
	my $n = 0;
	$node->wait_until(sub {
		$n += $node->sql("WITH c AS MATERIALIZED (SELECT * FROM penny.claim('far', 50)) SELECT count(*) FROM (SELECT penny.complete(id, token) FROM c) x");
		$n >= 70 }, 20);
	is($n, 70, 'and all that waited are claimed');
};

subtest 'another database' => sub {
	$node->safe_psql('app', q{SELECT penny.enqueue('run', '{"note":"elsewhere"}'); SELECT penny.enqueue_many('run', ARRAY['{"note":"elsewhere"}', '{"note":"elsewhere"}']::jsonb[])});
	usleep(500_000);
	is($node->safe_psql('app', q{SELECT count(*) FROM ran WHERE note = 'elsewhere'}), 0, 'jobs wait there');
	like(($node->psql('app', q{SELECT penny.load_jobs()}))[2], qr/not the database that penny serves/, 'and are not loaded');
	$node->append_conf('postgresql.conf', "penny.database = 'app'");
	$node->{database} = 'app';
	$node->restart;
	runs_once('elsewhere', 3, 'and run when it is the one that penny serves');
};

unlike($node->log_text, qr/TRAP|PANIC|server process .* was terminated/, 'nothing crashed');

done_testing;
