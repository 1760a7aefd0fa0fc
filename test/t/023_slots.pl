# Executors by load, with enough worker slots and with too few.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $SLOW = q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO PUBLIC;
	CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN '{}'; END$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/slow', 'app.slow', 'public');
};

sub lines { my ($node, $pattern) = @_; return scalar(() = $node->log_text =~ /$pattern/g) }
sub executors { my ($node) = @_; return scalar(my @pids = $node->backend_pids('penny executor')) }

# So many requests at once, which run until so many executors are seen and some
# time more; the statuses that came, and the most executors seen.
sub burst
{
	my ($node, $n, $wanted) = @_;
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @clients = map { $node->http } 1 .. $n;
	$_->send_bytes($_->format_request('GET', '/slow')) for @clients;
	my ($most, $enough) = (0);
	my $deadline = time() + 20;
	while (time() < ($enough // $deadline))
	{
		my $now = executors($node);
		$most = $now if $now > $most;
		$enough //= time() + 1 if $most >= $wanted;
	}
	$gate->quit;
	my %status;
	$status{ ($_->read_response(timeout => 30) || {})->{status} // 'none' }++ for @clients;
	return (\%status, $most);
}

sub ready_for_slow
{
	my ($node) = @_;
	$node->sql($SLOW);
	return $node->wait_until(sub { (($node->request('GET', '/slow') || {})->{status} // 0) == 200 }, 10);
}

subtest 'room for all' => sub {
	my $node = Penny::Cluster->serving('room', conf => "max_worker_processes = 32\npenny.executor_idle_timeout = 1s\n");
	ok(ready_for_slow($node), 'a slow route');
	ok($node->wait_until(sub { executors($node) == 2 }, 20), 'the minimum');
	my ($status, $most) = burst($node, 20, 10);
	is_deeply($status, { 200 => 20 }, 'all are answered');
	is($most, 10, 'by the maximum of executors');
	ok($node->wait_until(sub { executors($node) == 2 }, 20), 'those above the minimum end when idle');
	is(lines($node, qr/max_worker_processes/), 0, 'nothing is missing');
	is($node->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'worker slots'}), 't', 'doctor() agrees');
	my $stats;
	$node->wait_until(sub { $stats = $node->sql_json('SELECT penny.stats()')->{executors}; $stats->{running} == 2 && $stats->{idle} == 2 }, 20);
	cmp_ok($stats->{served}, '>=', 20, 'stats: served');
	is($stats->{running}, 2, 'stats: running');
	is($stats->{idle}, 2, 'stats: idle');
	is(lines($node, qr/executor.*exited with exit code/), 0, 'the log is quiet about it');

	$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'penny supervisor'});
	ok($node->wait_until(sub { scalar(my @pids = $node->backend_pids('penny supervisor')) }, 10), 'another supervisor');
	($status, $most) = burst($node, 20, 10);
	is_deeply($status, { 200 => 20 }, 'goes on');
	is($most, 10, 'starting executors');
	is($node->crash_restarts, 0, 'no crash');
};

subtest 'the default of 8 slots' => sub {
	my $node = Penny::Cluster->serving('short', conf => "max_worker_processes = 8\n");
	ok(ready_for_slow($node), 'a slow route');
	is(lines($node, qr/HINT:  Set "max_worker_processes" to 32\./), 1, 'the log says once what to set');
	my ($status, $most) = burst($node, 20, 4);
	is_deeply($status, { 200 => 20 }, 'all are answered');
	is($most, 4, 'by as many executors as there is room for, beside a job worker');
	burst($node, 20, 4);
	is(lines($node, qr/max_worker_processes" to/), 1, 'not said again');
	like($node->sql(q{SELECT ok, detail, remedy FROM penny.doctor() WHERE "check" = 'worker slots'}),
		qr/^f\|max_worker_processes is 8, penny alone needs 23\|Set "max_worker_processes" to 32 /, 'doctor() tells the number');
	is($node->crash_restarts, 0, 'no crash');
};

subtest 'no slot but for the supervisor' => sub {
	my $node = Penny::Cluster->prepared('none', conf => "max_worker_processes = 1\nmax_logical_replication_workers = 0\n");
	$node->start;
	$node->create_penny;
	is($node->sql('SELECT 1'), 1, 'the database serves SQL');
	ok($node->wait_until(sub { lines($node, qr/HINT:  Set "max_worker_processes" to 31\./) == 1 }, 20), 'the log has the number');
	is($node->crash_restarts, 0, 'no crash');
};

done_testing;
