# External workers over SQL: leases, tokens, exactly-once completion, who is woken,
# cancelling, and sessions that wait.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('claims', conf => "penny.executors_min = 1\npenny.job_workers = 3\n");
$node->sql(q{
	SELECT penny.create_queue('ext', concurrency => NULL, rate_limit => NULL, backoff => '0 s', attempts => 5);
	SELECT penny.create_queue('sql', concurrency => NULL, rate_limit => NULL, backoff => '0 s', attempts => 2);
	CREATE TABLE effects (job bigint, what text);
	CREATE FUNCTION quick(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p || '{"done": true}' $$;
	CREATE FUNCTION silent(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
	CREATE FUNCTION broken(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no luck'; END $$;
	CREATE FUNCTION long(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO effects VALUES (penny.job_id(), 'long'); PERFORM penny.progress('{"at": 1}'); PERFORM pg_sleep(600); RETURN NULL; END $$;
	SELECT penny.handle(f, function => f, queue => 'sql') FROM unnest('{quick,silent,broken,long}'::text[]) f;
	SELECT penny.handle('task', queue => 'ext')});

sub session { return $node->background_psql('postgres', on_error_stop => 0) }
sub enqueue { return $node->sql("SELECT penny.enqueue('task', '{}', queue => '" . ($_[0] // 'ext') . "')") }
sub claim { return split /\|/, $node->sql("SELECT id, token FROM penny.claim('" . ($_[0] // 'ext') . "', lease => '" . ($_[1] // '60 s') . "', worker => 'crane')") }
sub state_of { return $node->sql("SELECT penny.job($_[0]) ->> 'state'") }
sub fails
{
	my ($sql, $like, $name) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	isnt($rc, 0, "$name: refused");
	like($err, $like, $name);
	return;
}
sub becomes
{
	my ($job, $state, $name) = @_;
	ok($node->wait_until(sub { (state_of($job) // '') eq $state }, 20), $name) or diag("it is " . state_of($job));
	return;
}
# Sessions in a procedure that sleep; from 17 on the wait event has a name.
my $sleeps = "wait_event IN ('Extension', 'PennyJobWait') AND query LIKE 'CALL%'";
sub asleep
{
	my ($n) = @_;
	return $node->wait_until(
		sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE $sleeps") == $n }, 20);
}
sub waiter
{
	my ($queue, $wait, %with) = @_;
	return $node->background_sql("CALL penny.claim_wait('$queue', " . ($with{n} // 1) . ", '$wait', '60 s', '" . ($with{worker} // 'crane') . "')");
}

subtest 'a claim and its end' => sub {
	my $job = enqueue();
	my ($id, $token) = claim();
	is($id, $job, 'it is given out');
	is($node->sql("SELECT penny.job($id) ->> 'state' || ' ' || (penny.job($id) ->> 'worker')"), 'active crane', 'and says by whom it is held');
	is(claim(), 0, 'to one');
	fails("SELECT penny.complete($id, $token + 1)", qr/not held with this token/, 'another token');
	fails("SELECT penny.complete($id, 0)", qr/not held with this token/, 'token 0');
	is($node->sql("SELECT penny.complete($id, $token, '{\"n\": 1}')"), 't', 'completed');
	is($node->sql("SELECT j ->> 'state', j ->> 'worker', j -> 'result' FROM penny.job($id) j"), 'completed|crane|{"n": 1}', 'with its result, by whom');
	fails("SELECT penny.complete($id, $token)", qr/not held with this token/, 'once');
	fails("SELECT penny.fail($id, $token, 'x')", qr/not held with this token/, 'and it cannot fail after that');
	is($node->sql("SELECT penny.extend('{$id}', '{$token}'), penny.release('{$id}', '{$token}')"), '{f}|0', 'nor be held on to');
};

subtest 'effects and completion are one transaction' => sub {
	my $job = enqueue();
	my ($id, $token) = claim();
	my $session = session();
	$session->query("BEGIN; INSERT INTO effects VALUES ($id, 'once'); SELECT penny.complete($id, $token); ROLLBACK");
	is($node->sql("SELECT count(*) FROM effects WHERE job = $id"), 0, 'no effect of what was rolled back');
	is(state_of($id), 'active', 'and it is still held');
	$session->query("BEGIN; INSERT INTO effects VALUES ($id, 'once'); SELECT penny.complete($id, $token); COMMIT");
	is($node->sql("SELECT count(*) FROM effects WHERE job = $id"), 1, 'the effect');
	is(state_of($id), 'completed', 'with the end');

	enqueue();
	($id, $token) = claim();
	$session->query("BEGIN; SAVEPOINT a; INSERT INTO effects VALUES ($id, 'a'); SELECT penny.complete($id, $token); ROLLBACK TO a;
		INSERT INTO effects VALUES ($id, 'b'); SELECT penny.complete($id, $token); COMMIT");
	is($node->sql("SELECT string_agg(what, ',') FROM effects WHERE job = $id") . ' ' . state_of($id), 'b completed', 'savepoints: what is rolled back can be done again');

	enqueue();
	($id, $token) = claim();
	$session->query("BEGIN; SELECT penny.complete($id, $token)");
	fails("SELECT penny.complete($id, $token)", qr/not held with this token/, 'an end under way keeps others out');
	is($node->sql("SELECT penny.cancel($id)"), 'f', 'of cancelling, too');
	$session->{stderr} = '';
	$session->query("PREPARE TRANSACTION 'ended'");
	like($session->{stderr}, qr/cannot PREPARE a transaction that has ended jobs/, 'it cannot be prepared');
	is(state_of($id), 'active', 'that undoes it');
	is($node->sql("SELECT penny.release('{$id}', '{$token}')"), 1, 'given back');
	is((claim())[0], $id, 'and given out again');
	$node->sql("SELECT penny.cancel($id)");
	$session->quit;
};

subtest 'a claim whose transaction rolls back' => sub {
	my $job = enqueue();
	my $session = session();
	is($session->query("BEGIN; SELECT id FROM penny.claim('ext')"), $job, 'claimed');
	is(claim(), 0, 'by this one');
	$session->query('ROLLBACK');
	my ($id, $token) = claim();
	is($id, $job, 'is ready again at once');
	is($node->sql("SELECT penny.job($id) ->> 'attempt'"), 1, 'and no attempt was made');
	$node->sql("SELECT penny.release('{$id}', '{$token}')");

	$session->query("BEGIN; SAVEPOINT s; SELECT id FROM penny.claim('ext'); ROLLBACK TO s");
	is((claim())[0], $job, 'a subtransaction that rolls back likewise');
	$session->query('COMMIT');
	$node->sql("SELECT penny.cancel($job)");

	$job = enqueue();
	is($session->query("BEGIN; SELECT id FROM penny.claim('ext')"), $job, 'claimed again');
	$node->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'");
	ok($node->wait_until(sub { ($id) = claim(); ($id // 0) == $job }, 20), 'a session that is ended gives back, too');
	$node->sql("SELECT penny.cancel($job)");
	eval { $session->quit };
};

subtest 'leases' => sub {
	my $job = enqueue();
	my ($id, $token) = claim('ext', '0.2 s');
	is($node->sql("SELECT penny.extend('{$id}', '{$token}', '60 s')"), '{t}', 'extended');
	usleep 400_000;
	is(state_of($id), 'active', 'it holds for the new time');
	$node->sql("SELECT penny.extend('{$id}', '{$token}', '0.1 s')");
	my ($again, $other);
	ok($node->wait_until(sub { ($again, $other) = claim(); $again }, 20), 'given out again when the lease has ended');
	is($again, $id, 'that job');
	cmp_ok($other, '>', $token, 'by a greater token');
	fails("SELECT penny.complete($id, $token)", qr/not held with this token/, 'who comes too late is told');
	is($node->sql("SELECT penny.extend('{$id,$id}', '{$token,$other}')"), '{f,t}', 'also when extending');
	like($node->sql("SELECT penny.job($id) -> 'errors' -> 0"), qr/"error": "the worker's lease ended.*"worker": "crane"/, 'an attempt that failed');
	$node->sql("SELECT penny.complete($id, $other)");
	is($node->sql("SELECT penny.job($id) ->> 'attempt'"), 2, 'the second counts');
};

subtest 'failures' => sub {
	my $job = enqueue();
	my ($id, $token) = claim();
	$node->sql("SELECT penny.fail($id, $token, 'once')");
	($id, $token) = claim();
	is($id, $job, 'again at once');
	$node->sql("SELECT penny.fail($id, $token, 'later', retry_in => '1 hour')");
	is(state_of($id), 'delayed', 'or when the worker says');
	$node->sql("SELECT penny.cancel($id)");
	is(state_of($id), 'cancelled', 'cancelled where it waits');
	enqueue();
	($id, $token) = claim();
	$node->sql("SELECT penny.fail($id, $token, 'never', permanent => true)");
	is($node->sql("SELECT j ->> 'state', j ->> 'reason', j ->> 'error' FROM penny.job($id) j"), 'failed|permanent|never', 'or never');
};

subtest 'many at once' => sub {
	$node->sql(q{SELECT penny.enqueue_many('task', array_agg('{}'::jsonb)) FROM generate_series(1, 200)});
	$node->sql(q{CREATE TABLE held AS SELECT id, token FROM penny.claim('ext', 200, worker => 'digger')});
	is($node->sql('SELECT count(*) FROM held'), 200, 'claimed');
	fails("SELECT penny.complete(array_agg(id), array_agg(token + (id = (SELECT max(id) FROM held))::int)) FROM held", qr/not held/, 'with one stale token');
	is($node->sql('SELECT count(*) FROM held WHERE penny.job(id) ->> \'state\' = \'active\''), 200, 'none is completed');
	fails("SELECT penny.complete(array_agg(id) || min(id), array_agg(token) || min(token)) FROM held", qr/not held/, 'with one of them twice');
	is($node->sql("SELECT penny.complete(array_agg(id), array_agg(token), array_agg(CASE WHEN id % 2 = 0 THEN to_jsonb(id) END)) FROM held"), 200, 'all, some with results');
	is($node->sql("SELECT count(*), count(j -> 'result') FROM held, penny.job(id) j WHERE j ->> 'state' = 'completed' AND j ->> 'worker' = 'digger'"), '200|100', 'completed by whom they were held');
	is($node->sql("SELECT sum(jobs) FROM (SELECT * FROM _penny.receipt_0) r WHERE worker = 'digger' AND outcome = 6"), 100, 'the others share a receipt');
	$node->sql('DROP TABLE held');
};

subtest 'limits hold over all' => sub {
	$node->sql(q{SELECT penny.create_queue('few', concurrency => 3, rate_limit => NULL); SELECT penny.create_queue('slow', concurrency => NULL, rate_limit => 5, rate_window => '2 s');
		SELECT penny.enqueue_many('task', array_agg('{}'::jsonb), queue => q) FROM generate_series(1, 20), unnest('{few,slow}'::text[]) q GROUP BY q});
	$node->wait_until(sub { $node->sql("SELECT count(*) FROM penny.claim('few')") == 1 }, 20);
	my @claims = map { $node->background_sql("SELECT count(*) FROM penny.claim('few', 20)") } 1 .. 4;
	my $n = 1;
	$n += $_->finish for @claims;
	is($n, 3, 'as many as may run together, whoever claims');
	@claims = map { waiter('few', '20 s') } 1 .. 2;
	ok(asleep(2), 'who wants more waits');
	$node->sql("SELECT penny.release(array_agg(id), array_agg(0::bigint)) FROM penny.jobs WHERE queue = 'few' AND state = 'active'");
	ok(asleep(2), 'a token is needed to give back');
	$node->sql("SELECT penny.cancel((SELECT min(id) FROM penny.jobs WHERE queue = 'few' AND state = 'active'))");
	ok(asleep(1), 'when one ends, one goes on');
	$node->sql("SELECT penny.alter_queue('few', '{\"concurrency\": 5}')");
	ok(asleep(0), 'when more are allowed, too');
	$_->finish for @claims;

	my @starts;
	my $begin = time;
	while (@starts < 15 && time - $begin < 30)
	{
		my $got = waiter('slow', '20 s', n => 20)->finish;
		push @starts, time for 1 .. (() = $got =~ /"token"/g);
	}
	is(scalar @starts, 15, 'fifteen starts of a rate of 5 in 2 s');
	cmp_ok($starts[$_ + 5] - $starts[$_], '>', 1.5, "start $_ and the fifth after it") for 0, 4, 9;
	is($node->sql(q{SELECT count(*) FROM (SELECT s, lead(s, 5) OVER (ORDER BY s) AS after FROM (SELECT (penny.job(id) ->> 'started_at')::timestamptz AS s
		FROM penny.jobs WHERE queue = 'slow' AND state = 'active') a) w WHERE after - s < interval '2 s'}), 0, 'no window holds more');
	# nothing but what follows makes time pass for who waits
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue IN ('few', 'slow') AND state IN ('active', 'waiting')");
};

subtest 'who waits is woken' => sub {
	my $session = session();
	my $one = waiter('ext', '30 s');
	ok(asleep(1), 'it sleeps');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE $sleeps AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"), 0, 'without a snapshot');
	my $gets = sub {
		my ($of, $id, $name) = @_;
		my $started = time;
		like($of->finish, qr/"id": "$id"/, $name);
		cmp_ok(time - $started, '<', 10, 'long before its time is over');
	};
	my $job = enqueue();
	$gets->($one, $job, 'a commit wakes it');
	$node->sql("SELECT penny.cancel($job)");

	$one = waiter('ext', '30 s');
	ok(asleep(1), 'for time');
	$job = $node->sql("SELECT penny.enqueue('task', delay => '0.5 s')");
	$gets->($one, $job, 'a job that comes due');
	$node->sql("SELECT penny.cancel($job)");

	$one = waiter('ext', '30 s');
	asleep(1);
	$session->query("BEGIN; SELECT penny.enqueue('task')");
	ok(asleep(1), 'what is not committed wakes nobody');
	$session->query('COMMIT');
	($job) = $one->finish =~ /"id": "(\d+)"/;
	ok($job, 'the commit does');
	my $token = $node->sql("SELECT penny.extend('{$job}', '{1}')");
	$node->sql("SELECT penny.cancel($job)");

	$session->query("SELECT penny.enqueue('task')");
	my ($id, $held) = claim();
	$one = waiter('ext', '30 s');
	asleep(1);
	$node->sql("SELECT penny.release('{$id}', '{$held}')");
	$gets->($one, $id, 'what is given back');
	$node->sql("SELECT penny.cancel($id)");

	$session->query("SELECT penny.enqueue('task')");
	($id, $held) = claim();
	$one = waiter('ext', '30 s');
	asleep(1);
	$node->sql("SELECT penny.fail($id, $held, 'x', retry_in => '0.3 s')");
	$gets->($one, $id, 'a retry when its time has come');
	$node->sql("SELECT penny.cancel($id)");

	$session->query("SELECT penny.enqueue('task')");
	($id, $held) = claim('ext', '0.3 s');
	$one = waiter('ext', '30 s');
	$gets->($one, $id, 'a lease that ends');
	$node->sql("SELECT penny.cancel($id)");

	$node->sql("SELECT penny.pause_queue('ext')");
	$job = enqueue();
	like(waiter('ext', '0.3 s')->finish, qr{^\[\]$}, 'a paused queue gives nothing');
	$one = waiter('ext', '30 s');
	asleep(1);
	$node->sql("SELECT penny.resume_queue('ext')");
	$gets->($one, $job, 'until it goes on');
	$node->sql("SELECT penny.cancel($job)");
	fails("BEGIN; CALL penny.claim_wait('ext')", qr/cannot run inside a transaction block/, 'in a block');
	$session->quit;
};

subtest 'one job wakes one' => sub {
	my @waiters = map { waiter('ext', '30 s', worker => "w$_") } 1 .. 5;
	ok(asleep(5), 'five sleep');
	for my $left (reverse 0 .. 4)
	{
		enqueue();
		ok(asleep($left), "$left sleep on");
	}
	my %jobs = map { $_->finish =~ /"id": "(\d+)"/ ? ($1 => 1) : () } @waiters;
	is(scalar keys %jobs, 5, 'each has another job');
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state = 'active'");

	# one commit, many jobs: who takes one wakes the next
	@waiters = map { waiter('ext', '30 s') } 1 .. 5;
	asleep(5);
	$node->sql("SELECT penny.enqueue_many('task', array_agg('{}'::jsonb)) FROM generate_series(1, 5)");
	is(scalar(grep { $_->finish =~ /"token"/ } @waiters), 5, 'five jobs of one commit reach five');
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state = 'active'");

	# whoever is woken and ends, or is ended, passes it on
	for my $round (1 .. 10)
	{
		@waiters = map { waiter('ext', '30 s') } 1 .. 3;
		asleep(3);
		$node->sql("DO \$\$ BEGIN PERFORM penny.enqueue('task'); COMMIT;
			PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%' AND pid <> pg_backend_pid() ORDER BY pid LIMIT " . ($round % 2 + 1) . '; END $$');
		ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM penny.jobs WHERE queue = 'ext' AND state = 'waiting'") == 0 }, 10), "round $round: nothing is left lying")
			or last;
		$node->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%' AND pid <> pg_backend_pid()");
		$_->finish for @waiters;
		$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state IN ('active', 'waiting')");
	}
	# who minds the time goes, and another one minds it
	@waiters = map { waiter('ext', '30 s') } 1 .. 3;
	asleep(3);
	my $job = $node->sql("SELECT penny.enqueue('task', delay => '1 s')");
	$node->sql("SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL%' ORDER BY backend_start LIMIT 2) a");
	ok($node->wait_until(sub { state_of($job) eq 'active' }, 10), 'a delayed job comes to the one that is left');
	$_->finish for @waiters;
	$node->sql("SELECT penny.cancel($job)");
};

subtest 'cancelling in every state' => sub {
	my $session = session();
	my $job = $node->sql("SELECT penny.enqueue('task')");
	$session->query("BEGIN; SELECT penny.cancel($job)");
	is(claim(), 0, 'what is being cancelled is not given out');
	$session->query('ROLLBACK');
	is((claim())[0], $job, 'rolled back: it is');
	is($node->sql("SELECT penny.cancel($job)"), 't', 'claimed');
	is(state_of($job), 'cancelled', 'ended');
	is($node->sql("SELECT penny.cancel($job)"), 'f', 'twice');
	is($node->sql("SELECT penny.cancel(999999999)"), 'f', 'no such job');
	$job = $node->sql("SELECT penny.enqueue('task', delay => '1 min')");
	is($node->sql("SELECT penny.cancel($job)") . state_of($job), 'tcancelled', 'delayed');
	$job = $node->sql("SELECT penny.enqueue('task', delay => '1 day')");
	is($node->sql("SELECT penny.cancel($job)") . state_of($job), 'tcancelled', 'deferred');
	is($session->query("BEGIN; SELECT penny.cancel(penny.enqueue('task')); COMMIT"), 't', 'enqueued in the same transaction');
	is(claim(), 0, 'is not given out');
	my $flow = $node->sql(q{SELECT penny.enqueue_flow('{"kind": "task", "queue": "ext", "children": [{"kind": "task", "queue": "ext"}]}')});
	is(state_of($flow), 'blocked', 'a parent');
	is($node->sql("SELECT penny.cancel($flow)") . state_of($flow), 'tcancelled', 'blocked');
	is(claim(), 0, 'with what it waits for');

	$job = $node->sql("SELECT penny.enqueue('long')");
	ok($node->wait_until(sub { ($node->sql("SELECT penny.job($job) -> 'progress' ->> 'at'") // '') eq '1' }, 20), 'an SQL handler runs, and its progress is seen');
	$session->query("BEGIN; SELECT penny.cancel($job)");
	usleep 200_000;
	is(state_of($job), 'active', 'until the commit it runs on');
	$session->query('ROLLBACK');
	usleep 200_000;
	is(state_of($job), 'active', 'and when that is rolled back');
	is($node->sql("SELECT penny.cancel($job)"), 't', 'running');
	becomes($job, 'cancelled', 'it is interrupted');
	is($node->sql("SELECT count(*) FROM effects WHERE job = $job"), 0, 'nothing of it is left');
	$node->sql("SELECT penny.cancel_key('ext', 'k')");
	$job = $node->sql("SELECT penny.enqueue('task', key => 'k')");
	is($node->sql("SELECT penny.cancel_key('ext', 'k')") . state_of($job), 'tcancelled', 'by key');
	$session->quit;
};

subtest 'enqueue_and_wait' => sub {
	is($node->sql(q{CALL penny.enqueue_and_wait('quick', '{"a": 1}')}), '{"a": 1, "done": true}', 'the result');
	is($node->sql(q{CALL penny.enqueue_and_wait('silent')}), '', 'none');
	fails(q{CALL penny.enqueue_and_wait('broken')}, qr/job \d+ has failed\n.*no luck/s, 'a failure');
	fails(q{CALL penny.enqueue_and_wait('task', '{}', '0.3 s')}, qr/has not ended yet/, 'the time is over');
	fails(q{BEGIN; CALL penny.enqueue_and_wait('quick')}, qr/cannot run inside a transaction block/, 'in a block');
	fails(q{DO $$ DECLARE r jsonb; BEGIN CALL penny.enqueue_and_wait('quick', result => r); EXCEPTION WHEN no_data_found THEN NULL; END $$},
		qr/cannot run inside a transaction block|invalid transaction termination|cannot commit/, 'in a subtransaction');
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state = 'waiting'");
	my $waits = $node->background_sql(q{CALL penny.enqueue_and_wait('task', '{"q": 1}', '30 s')});
	ok(asleep(1), 'it waits');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE $sleeps AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"), 0, 'without a snapshot');
	my ($id, $token) = claim();
	$node->sql("SELECT penny.fail($id, $token, 'once', retry_in => '0.1 s')");
	ok(asleep(1), 'a failed attempt is not the end');
	$node->wait_until(sub { ($id, $token) = claim('ext', '0.1 s'); $id }, 20);
	ok($node->wait_until(sub { ($id, $token) = claim(); $id }, 20), 'nor is a lease that ends');
	$node->sql("SELECT penny.fail($id, $token, 'once', retry_in => '10 min')");
	ok(asleep(1), 'nor a retry far away, for which it moves');
	is(state_of($id), 'delayed', 'it is delayed');
	$node->sql("SELECT penny.cancel($id)");
	like($waits->finish, qr/job $id has been cancelled/, 'but being cancelled');
	my $far = $node->sql("SELECT penny.enqueue('task', key => 'far')");
	($id, $token) = claim();
	$node->sql("SELECT penny.fail($far, $token, 'once', retry_in => '10 min')");
	$waits = $node->background_sql(q{CALL penny.enqueue_and_wait('task', '{}', '30 s', key => 'far')});
	ok(asleep(1), 'one that has moved can be waited for');
	$node->sql("SELECT penny.cancel($far)");
	like($waits->finish, qr/job $far has been cancelled/, 'until it ends');
	for my $n (1 .. 30)
	{
		my $got = $node->sql(qq{CALL penny.enqueue_and_wait('quick', '{"n": $n}')});
		next if $got eq qq({"n": $n, "done": true});
		fail("the end is seen when one is told of it: $got");
		last;
	}
};

subtest 'workers know of an earlier time' => sub {
	my $gate = session();
	$gate->query('BEGIN; CREATE TABLE gate (); COMMIT; BEGIN; LOCK TABLE gate');
	$node->sql(q{CREATE FUNCTION gated(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM gate; RETURN NULL; END $$;
		SELECT penny.handle('gated', function => 'gated', queue => 'sql', batch => false)});
	for my $n (1 .. 3)
	{
		$node->sql("SELECT penny.enqueue('gated')");
		ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny worker' AND wait_event_type = 'Lock'") == $n }, 20), "$n at work");
	}
	$gate->query('COMMIT');
	for my $round (1 .. 5)
	{
		# whoever minds the time has work, and hands it over
		$node->sql(q{CALL penny.enqueue_and_wait('quick')});
		my $job = $node->sql("SELECT penny.enqueue('quick', delay => '0.3 s')");
		becomes($job, 'completed', "round $round: a delayed job");
		is($node->sql("SELECT (j ->> 'started_at')::timestamptz - (j ->> 'run_at')::timestamptz < '3 s' FROM penny.job($job) j"), 't', 'is not late');
	}
	$gate->quit;
};

subtest 'after a restart' => sub {
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state IN ('waiting', 'active')");
	my $job = enqueue();
	my ($id, $token) = claim();
	my $session = session();
	$session->query("BEGIN; SELECT penny.complete($id, $token)");
	my $pid = $session->query('SELECT pg_backend_pid()');
	my $restarts = $node->crash_restarts;
	kill 'KILL', $pid;
	ok($node->wait_until(sub { $node->crash_restarts > $restarts }, 30), 'a session that completes is killed');
	ok($node->wait_ready(60), 'all restarts');
	my ($again, $other);
	ok($node->wait_until(sub { my $out = eval { $node->sql("SELECT id, token FROM penny.claim('ext')") } // ''; ($again, $other) = split /\|/, $out; $again }, 60), 'the job is given out again');
	is($again, $job, 'that one');
	cmp_ok($other, '>', $token, 'with a greater token');
	fails("SELECT penny.complete($job, $token)", qr/not held with this token/, 'the old one is worth nothing');
	is($node->sql("SELECT penny.complete($job, $other)"), 't', 'the new one is');
	eval { $session->quit };
};

$node->stop;
done_testing();
