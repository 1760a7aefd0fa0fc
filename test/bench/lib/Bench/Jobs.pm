# What the figures of the job queue share: queues, handlers, jobs that are
# enqueued and run to their end.
#
# Queues of the figures are without limits unless a figure says otherwise: the
# limits of a queue would be all that is measured.  Everything is penny's SQL
# API; that a queue is empty is read from penny.queues, every few milliseconds in
# a session that stays open.
package Bench::Jobs;

use strict;
use warnings;

use Time::HiRes qw(time sleep);

use constant BATCH => 10_000;    # jobs of one bulk call
use constant GIVE_UP => 600;     # seconds until jobs count as stuck

# Queues, handlers and the tables that they write, once; and a session.
sub prepare
{
	my ($bench) = @_;
	my $server = $bench->{server};

	$bench->{job_session} //= $server->session;
	return if $bench->{jobs}++;
	$server->sql(<<'EOF_SQL');
CREATE TABLE public.bench_ledger (number bigint PRIMARY KEY);
CREATE TABLE public.bench_started (number bigint, at timestamptz);
CREATE FUNCTION public.bench_noop(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION public.bench_insert(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.bench_ledger VALUES ((job ->> 'n')::bigint); RETURN NULL; END $$;
CREATE FUNCTION public.bench_start(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.bench_started VALUES ((job ->> 'n')::bigint, clock_timestamp()); RETURN NULL; END $$;
CREATE FUNCTION public.bench_slow(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
SELECT penny.create_queue('bench', concurrency => NULL, rate_limit => NULL);
SELECT penny.create_queue('bench-urgent', concurrency => NULL, rate_limit => NULL, urgent => true);
SELECT penny.create_queue('bench-outside', concurrency => NULL, rate_limit => NULL);
SELECT penny.handle('bench_noop', 'public.bench_noop', queue => 'bench');
SELECT penny.handle('bench_insert', 'public.bench_insert', queue => 'bench');
SELECT penny.handle('bench_start', 'public.bench_start', queue => 'bench');
SELECT penny.handle('bench_slow', 'public.bench_slow', queue => 'bench-urgent');
SELECT penny.handle('bench_outside', queue => 'bench-outside');
EOF_SQL
}

# SQL in the session that stays open; after a restart of the server in a new one.
sub sql
{
	my ($bench, $sql) = @_;

	return $bench->{server}->session_sql($bench->{job_session}, $sql);
}

sub reconnect
{
	my ($bench) = @_;

	$bench->{server}->session_end(delete $bench->{job_session});
	$bench->{job_session} = $bench->{server}->session;
}

# So many jobs by bulk calls; seconds that it took.
sub fill
{
	my ($bench, $kind, $jobs, %with) = @_;
	my $batch = $with{batch} // BATCH;
	my $begin = time();

	for (my $done = 0; $done < $jobs; $done += $batch)
	{
		sql($bench, sprintf("SELECT cardinality(penny.enqueue_many('%s', ARRAY(SELECT jsonb_build_object('n', i)
			FROM generate_series(%d, %d) i)))", $kind, $done + 1,
			$done + $batch < $jobs ? $done + $batch : $jobs));
	}
	return time() - $begin;
}

# Jobs of a queue that have not ended.
sub left
{
	my ($bench, $queue) = @_;

	return sql($bench, "SELECT waiting + delayed + running FROM penny.queues WHERE name = '$queue'");
}

# Wait until none is left; calls $meanwhile->() each time that it looks.
sub drain
{
	my ($bench, $queue, $meanwhile) = @_;
	my $end = time() + GIVE_UP;

	while (left($bench, $queue) > 0)
	{
		die "jobs of $queue do not end\n" if time() > $end;
		$meanwhile->() if $meanwhile;
		sleep(0.005);
	}
}

# Jobs that wait, and then run: a second, by the time from the release of the queue until
# the last has its receipt; and what the workers took of the processor for each, us.
sub run_down
{
	my ($bench, $kind, $jobs, %with) = @_;
	my $server = $bench->{server};

	sql($bench, "SELECT penny.pause_queue('bench')");
	my $filled = fill($bench, $kind, $jobs);
	my $before = worker_cpu($server);
	my $begin = time();
	sql($bench, "SELECT penny.resume_queue('bench')");
	drain($bench, 'bench', $with{meanwhile});
	my $took = time() - $begin;
	return { rate => $jobs / $took, cpu => (worker_cpu($server) - $before) / 1e3 / $jobs,
		filled => $jobs / $filled };
}

sub worker_cpu
{
	my ($server) = @_;
	my $sum = 0;

	$sum += Bench::Measure::cpu_ns($_) for @{ $server->processes->{worker} };
	return $sum;
}

# synchronous_commit for everybody who asks for nothing else, at once.
sub durable
{
	my ($bench, $on) = @_;

	$bench->{server}->sql("ALTER SYSTEM SET synchronous_commit = $on");
	$bench->{server}->sql('SELECT pg_reload_conf()');
	sleep(0.05) until sql($bench, 'SHOW synchronous_commit') eq $on;
}

1;
