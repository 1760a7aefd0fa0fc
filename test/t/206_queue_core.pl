# The job queue where tables, memory and transactions meet: callers whose snapshot is
# old, tables that are written anew, upkeep that is ended in the middle, limits over
# a restart.  Every job runs, once, and nothing stays behind.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(usleep);

my $node = Penny::Cluster->serving('queue_core', database => 'app', store => 0,
	conf => "penny.jobs_in_memory = 20000\npenny.job_workers = 3\npenny.job_worker_idle_timeout = '10 min'\n");
$node->sql(q{
	CREATE TABLE ran (id bigint, note text);
	CREATE FUNCTION run(p jsonb) RETURNS jsonb LANGUAGE sql AS $$INSERT INTO ran VALUES (penny.job_id(), p->>'note') RETURNING NULL::jsonb$$;
	CREATE FUNCTION nap(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1); RETURN NULL; END$$;
	SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL);
	SELECT penny.create_queue('far', concurrency => NULL, rate_limit => NULL);
	SELECT penny.handle('run', function => 'run', queue => 'free');
	SELECT penny.handle('nap', function => 'nap', queue => 'free', batch => false);
	SELECT penny.handle('outside', queue => 'far');});

sub ran { my ($note) = @_; return $node->sql("SELECT count(*) || ' ' || count(DISTINCT id) FROM ran WHERE note = '$note'") }
sub runs_once
{
	my ($note, $n, $name, $limit) = @_;
	$node->wait_until(sub { $node->sql("SELECT count(*) FROM ran WHERE note = '$note'") >= $n }, $limit // 20);
	usleep(200_000);
	is(ran($note), "$n $n", $name);
}
sub memory { return $node->sql('SELECT count(*) FROM _penny.jobs_in_memory()') }
sub loaded { return $node->wait_until(sub { $node->sql("SELECT _penny.queue_counters()->>'ready'") eq 'true' }, 30) }
sub job_table { return $node->sql(q{SELECT '_penny.job_' || (last_value >> 20) % 8 FROM _penny.job_id}) }
sub workers { return $node->backend_pids('penny worker') }

ok(loaded(), 'the tables are read');
$node->sql(q{SELECT penny.enqueue('outside')});
ok($node->wait_until(sub { $node->sql(q{SELECT count(penny.complete(id, token)) FROM penny.claim('far')}) == 1 }, 20), 'and the queues');

# Everything that an end brings about is done to rows as they are, not as the snapshot of
# the caller's transaction has them: what came after that would be taken for gone.
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	subtest "an old snapshot, $level" => sub {
		my $old = $node->background_psql('app');
		$old->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM ran");
		my $note = lc $level;
		my $parent = $node->sql(qq{SELECT penny.enqueue_flow('{"kind":"run","payload":{"note":"$note"},"children":[{"kind":"outside"}]}')});
		$node->sql(q{SELECT penny.enqueue('outside', key => 'k')});
		is($old->query_safe(q{SELECT count(penny.complete(id, token)) FROM penny.claim('far', 2)}), 2, 'completes what came after it');
		$old->query_safe('COMMIT');
		runs_once($note, 1, 'the parent goes on');
		is($node->sql('SELECT count(*) FROM _penny.job_keys'), 0, 'the key is given back');
		is($node->sql('SELECT count(*) FROM _penny.job_edges'), 0, 'and no edge is left');

		$old->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM ran");
		$parent = $node->sql(qq{SELECT penny.enqueue_flow('{"kind":"run","payload":{"note":"$note again"},"children":[{"kind":"outside"}]}')});
		is($old->query_safe("SELECT penny.cancel($parent)"), 't', 'cancels a parent that came after it');
		$old->query_safe('ROLLBACK');
		usleep(500_000);
		is(ran("$note again"), '0 0', 'which waits on when that is rolled back');
		$node->sql(q{SELECT penny.complete(id, token) FROM penny.claim('far', 1)});
		runs_once("$note again", 1, 'for its child');
		$old->quit;
	};
}

subtest 'tables that are written anew' => sub {
	$node->sql(q{SELECT penny.enqueue('run', '{"note":"hole"}') FROM generate_series(1, 50)});
	runs_once('hole', 50, 'rows that will go');
	$node->sql(q{SELECT penny.enqueue('run', '{"note":"moved"}', delay => '3 s') FROM generate_series(1, 20)});
	my $table = job_table();
	$node->sql("DELETE FROM $table WHERE payload->>'note' = 'hole'");
	$node->sql("VACUUM FULL $table");
	runs_once('moved', 20, 'jobs run wherever their rows are');
	is(memory(), 0, 'none is left');
};

# A second worker, which stays; then one of them is ended in the middle of upkeep.
sub two_workers
{
	$node->sql(q{SELECT penny.enqueue('nap') FROM generate_series(1, 4)}) if workers() < 2;
	return $node->wait_until(sub { workers() >= 2 && memory() == 0 }, 20);
}
sub end_blocked_worker
{
	my $blocked = q{FROM pg_stat_activity WHERE backend_type = 'penny worker' AND wait_event_type = 'Lock'};
	$node->wait_until(sub { $node->sql("SELECT count(*) $blocked") == 1 }, 20) or return 0;
	return $node->sql("SELECT pg_terminate_backend(pid, 5000) $blocked") eq 't';
}

subtest 'rows of another segment' => sub {
	ok(two_workers(), 'two workers');
	my $gone = $node->sql("SELECT _penny.queue_counters()->>'gone_rows'");
	my $table = job_table();
	$node->sql(qq{INSERT INTO $table SELECT (((SELECT last_value FROM _penny.job_id) >> 20) + 8 << 20) + i, q.id, 0, 0, 0, 0, -1, now(), now(), 'run', '{"note":"stray"}'
			FROM generate_series(1, 5000) i, _penny.queues q WHERE q.name = 'free';
		SELECT penny.load_jobs()});
	runs_once('stray', 5000, 'become deferred jobs, and run');
	is($node->sql("SELECT _penny.queue_counters()->>'gone_rows'"), $gone, 'none was taken before it was there');
};

subtest 'upkeep that is ended' => sub {
	ok(two_workers(), 'two workers');
	my $lock = $node->background_psql('app');
	$lock->query_safe(q{BEGIN; SELECT penny.enqueue('run', '{"note":"late"}', delay => '301 s'); LOCK TABLE _penny.jobs_restored});
	# the time until it is due is not waited for
	$lock->query_safe(q{UPDATE _penny.jobs_deferred SET due = now(); COMMIT; BEGIN; LOCK TABLE _penny.jobs_deferred});
	ok(end_blocked_worker(), 'a worker ends that looks for deferred jobs');
	$lock->query_safe('COMMIT');
	runs_once('late', 1, 'which run all the same');

	ok(two_workers(), 'two workers');
	$node->sql(q{SELECT penny.pause_queue('free')});
	$lock->query_safe(q{BEGIN; SELECT count(*) FROM unnest(penny.enqueue_many('run', array_fill('{"note":"many"}'::jsonb, ARRAY[6000])))});
	my $table = job_table();
	my $other = $node->background_sql("BEGIN; LOCK TABLE $table; SELECT pg_sleep(3); COMMIT");
	$node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '$table'::regclass") == 1 }, 20);
	$lock->query_safe('COMMIT');
	ok(end_blocked_worker(), 'a worker ends that reads rows which were left out');
	$other->finish;
	$node->sql(q{SELECT penny.resume_queue('free')});
	runs_once('many', 6000, 'which run all the same', 30);
	$lock->quit;
};

subtest 'upkeep that fails' => sub {
	my $errors = () = $node->log_text =~ /It lacks an index/g;
	$node->sql(q{BEGIN; SELECT penny.enqueue('run', '{"note":"failed"}', delay => '302 s'); DROP INDEX _penny.jobs_deferred_due;
		UPDATE _penny.jobs_deferred SET due = now(); COMMIT});
	ok($node->wait_until(sub { (() = $node->log_text =~ /It lacks an index/g) > $errors }, 20), 'deferred jobs cannot be read');
	$node->sql('CREATE INDEX jobs_deferred_due ON _penny.jobs_deferred (due, id) WHERE pending = 0');
	runs_once('failed', 1, 'they run when they can');
};

subtest 'an error that upkeep deals with itself' => sub {
	$node->sql(q{SELECT penny.create_queue('short'), penny.schedule('lost', '0 * * * *', 'run', queue => 'short'), penny.drop_queue('short');
		UPDATE _penny.schedules SET next_at = date_trunc('hour', now());
		SELECT _penny.rotate_jobs()});
	ok($node->wait_until(sub { $node->sql(q{SELECT last_error IS NOT NULL FROM _penny.schedules}) eq 't' }, 20), 'a schedule cannot enqueue');
	$node->sql(q{SELECT penny.unschedule('lost'); SELECT penny.enqueue('run', '{"note":"unharmed"}', attempts => 1) FROM generate_series(1, 3)});
	runs_once('unharmed', 3, 'which costs no job an attempt');
};

subtest 'an end that is not written down' => sub {
	$node->sql(q{CREATE SEQUENCE odd;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
			IF nextval('public.odd') % 2 = 1 THEN RAISE EXCEPTION 'not this time'; END IF; RETURN OLD; END$$;
		CREATE TRIGGER refuse BEFORE DELETE ON _penny.job_keys FOR EACH ROW EXECUTE FUNCTION refuse();});
	for my $i (1 .. 5)
	{
		my $id = $node->sql(qq{SELECT penny.enqueue('run', '{"note":"refused $i"}', key => 'k', attempts => 2, backoff => '10 ms')});
		ok($node->wait_until(sub { ran("refused $i") eq '1 1' }, 4), 'is a failure, and the next attempt comes in its time');
	}
	$node->sql('DROP TRIGGER refuse ON _penny.job_keys');
	unlike($node->log_text, qr/jobs were taken away/, 'nothing was taken away');
};

# Ids go on and what waits in the segment moves.
sub move_on
{
	my $segment = $node->sql('SELECT last_value >> 20 FROM _penny.job_id');
	return $node->wait_until(sub { $node->sql('SELECT _penny.rotate_jobs(); SELECT last_value >> 20 FROM _penny.job_id') =~ /(\d+)$/ && $1 > $segment }, 20);
}

subtest 'ids that go on' => sub {
	my $taker = $node->background_psql('app');
	$taker->query_safe(q{BEGIN; SELECT penny.enqueue('run', '{"note":"taker"}')});
	my $before = $node->sql('SELECT last_value FROM _penny.job_id');
	$node->sql('SELECT _penny.rotate_jobs()');
	usleep(500_000);
	is($node->sql('SELECT last_value FROM _penny.job_id'), $before, 'not while others take some');
	$taker->query_safe('COMMIT');
	$taker->quit;
	ok(move_on(), 'afterwards');
	runs_once('taker', 1, 'and jobs run');
};

subtest 'a job whose segment is gone' => sub {
	$node->sql(q{CREATE FUNCTION fails(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not now'; END$$;
		SELECT penny.handle('fails', 'public.fails', attempts => 2, backoff => '20 min')});
	my $id = $node->sql(q{SELECT penny.enqueue('fails')});
	my $look = "SELECT j ->> 'state', j ->> 'attempt' FROM penny.job($id) j";
	ok($node->wait_until(sub { $node->sql($look) eq 'delayed|1' }, 20), 'it failed and waits for long');
	move_on();
	ok($node->wait_until(sub { $node->sql("SELECT _penny.rotate_jobs(); SELECT count(*) FROM _penny.job_rows WHERE id = $id") =~ /0$/ }, 20), 'its segment is emptied');
	is($node->sql($look), 'delayed|1', 'it still waits');
	is($node->sql("SELECT penny.cancel($id)"), 't', 'until it is cancelled');
};

subtest 'a job that moves while it is cancelled' => sub {
	my $id = $node->sql(q{SELECT penny.enqueue('run', '{"note":"cancelled"}', delay => '250 s')});
	my $table = job_table();
	my $lock = $node->background_psql('app');
	$lock->query_safe("BEGIN; LOCK TABLE $table");
	my $cancel = $node->background_sql("SELECT pg_backend_pid(); SELECT penny.cancel($id)");
	my $blocked = "FROM pg_stat_activity WHERE query LIKE '%penny.cancel($id)%' AND wait_event_type = 'Lock'";
	ok($node->wait_until(sub { $node->sql("SELECT count(*) $blocked") == 1 }, 20), 'it has looked for the row');
	my $pid = $node->sql("SELECT pid $blocked");
	kill STOP => $pid;
	$lock->query_safe('COMMIT');
	$lock->quit;
	$node->sql(q{SELECT penny.enqueue('run', '{"note":"mover"}')});
	runs_once('mover', 1, 'another job');
	move_on();
	ok($node->wait_until(sub { $node->sql("SELECT _penny.rotate_jobs(); SELECT count(*) FROM _penny.jobs_deferred WHERE id = $id") =~ /1$/ }, 20), 'it moves');
	kill CONT => $pid;
	like($cancel->finish, qr/^t$/m, 'it is cancelled');
	is($node->sql("SELECT count(*) FROM _penny.jobs_deferred WHERE id = $id"), 0, 'and its row is gone');
	is(memory(), 0, 'and its entry');
};

subtest 'a limit over a restart' => sub {
	$node->sql(q{SELECT penny.create_queue('tight', concurrency => NULL, rate_limit => 3, rate_window => '1 hour');
		SELECT penny.enqueue('run', '{"note":"tight"}', queue => 'tight', delay => '301 s') FROM generate_series(1, 3);
		UPDATE _penny.jobs_deferred SET due = now();
		SELECT penny.load_jobs()});
	runs_once('tight', 3, 'as many deferred jobs as may');
	$node->sql(q{SELECT penny.enqueue('run', '{"note":"tight"}', queue => 'tight') FROM generate_series(1, 3)});
	$node->stop('immediate');
	$node->start;
	loaded();
	usleep(1_000_000);
	is(ran('tight'), '3 3', 'starts of deferred jobs count after a restart');
};

unlike($node->log_text, qr/TRAP|PANIC|server process .* was terminated/, 'nothing crashed');
$node->stop;
done_testing;
