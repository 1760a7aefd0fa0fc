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

# Jobs of a queue that have not ended; one more while some are in their tables alone.
sub left
{
	my ($bench, $queue) = @_;

	return sql($bench, "SELECT waiting + delayed + active + missed::int FROM penny.queues, _penny.queue_facts()
		WHERE name = '$queue'");
}

# Jobs of the queue "bench" that have ended since the server started.
sub ended
{
	my ($bench) = @_;

	return sql($bench, "SELECT ended FROM penny.queues WHERE name = 'bench'");
}

# Wait until none is left.
sub drain
{
	my ($bench, $queue) = @_;

	wait_for(sub { left($bench, $queue) == 0 }, "jobs of $queue do not end");
}

# What waits in a queue of this kind is done with at once, by a handler that does nothing; then
# the kind is handled by `function` again, or by external workers.
sub clear
{
	my ($bench, $queue, $kind, $function) = @_;

	sql($bench, "SELECT penny.handle('$kind', 'public.bench_noop', queue => '$queue')");
	drain($bench, $queue);
	sql($bench, sprintf("SELECT penny.handle('%s', %s, queue => '%s')", $kind, $function ? "'$function'" : 'NULL', $queue));
}

sub wait_for
{
	my ($condition, $otherwise, $meanwhile) = @_;
	my $end = time() + GIVE_UP;

	until ($condition->())
	{
		die "$otherwise\n" if time() > $end;
		$meanwhile->() if $meanwhile;
		sleep(0.005);
	}
}

# Jobs that wait, and then run: a second, by the time from the release of the queue until
# the last has ended; and what the workers took of the processor for each, us.
sub run_down
{
	my ($bench, $kind, $jobs, %with) = @_;
	my $server = $bench->{server};

	drain($bench, 'bench');
	sql($bench, "SELECT penny.pause_queue('bench')");
	my $filled = fill($bench, $kind, $jobs);
	my $goal = ended($bench) + $jobs;
	my %cpu;
	my $look = sub { $cpu{$_} = Bench::Measure::cpu_ns($_) || $cpu{$_} for @{ $server->processes->{worker} } };
	$look->();
	my %before = %cpu;
	my $begin = time();
	sql($bench, "SELECT penny.resume_queue('bench')");
	wait_for(sub { ended($bench) >= $goal }, 'jobs do not end', $with{meanwhile});
	my $took = time() - $begin;
	$look->();
	my $cpu = 0;
	$cpu += $cpu{$_} - ($before{$_} // 0) for keys %cpu;
	return { rate => $jobs / $took, cpu => $cpu / 1e3 / $jobs, filled => $jobs / $filled };
}

# synchronous_commit for everybody who asks for nothing else, at once; that of jobs too,
# which is off by default.
sub durable
{
	my ($bench, $on) = @_;

	$bench->{server}->sql("ALTER SYSTEM SET $_ = $on") for qw(synchronous_commit penny.job_synchronous_commit);
	$bench->{server}->sql('SELECT pg_reload_conf()');
	sleep(0.05) until sql($bench, 'SHOW synchronous_commit') eq $on;
}

1;
