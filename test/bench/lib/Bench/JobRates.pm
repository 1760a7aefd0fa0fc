# How many jobs a second: against other queues on the same machine in turn, and
# while an old snapshot is held.
package Bench::JobRates;

use strict;
use warnings;

use Bench::JobPeers;
use Bench::Jobs;
use Bench::Measure;
use Time::HiRes qw(time);

# ---- against the peers --------------------------------------------------------------

# No-op jobs.
sub noop
{
	my ($bench) = @_;

	return against($bench, 'no-op SQL jobs', 'bench_noop', 'noop',
		{ graphile => [ 3, 2 ], bullmq => [ 8, 2 ] }, 300_000, 200_000, 30_000);
}

# One row for each job, exactly once; for the peers by a unique number.
sub insert
{
	my ($bench) = @_;

	return against($bench, 'SQL jobs that insert one row, exactly once', 'bench_insert', 'insert',
		{ graphile => [ undef, 1 ], bullmq => [ undef, 1 ] }, 150_000, 30_000, 15_000, 5);
}

# penny, graphile-worker and BullMQ in turn.  $peers: {name => [target of the ratio, processes]};
# $better: target against whichever is quicker.
sub against
{
	my ($bench, $what, $kind, $peer_kind, $peers, $ours, $graphile, $bullmq, $better) = @_;
	my @rows;

	Bench::Jobs::prepare($bench);
	my $version = Bench::JobPeers::start($bench);
	my $less = $bench->{quick} ? 0.3 : 1;
	my $clean = sub { $bench->{server}->sql('TRUNCATE public.bench_ledger') if $kind eq 'bench_insert' };
	my $peer = sub {
		my ($name, $jobs, $processes, %options) = @_;

		$clean->();
		return Bench::JobPeers::run_down($bench, $name, $processes, jobs => $jobs * $less, kind => $peer_kind, %options);
	};

	for my $durable (qw(off on))
	{
		Bench::Jobs::durable($bench, $durable);
		Bench::JobPeers::persist($bench, $durable eq 'on' ? 'always' : 'no');
		my $values = in_turn($bench->{runs},
			[ penny => sub {
				$clean->();
				my $result = Bench::Jobs::run_down($bench, $kind, $ours * $less);

				die "rows are missing\n" if $kind eq 'bench_insert'
					&& $bench->{server}->sql('SELECT count(*) FROM public.bench_ledger') != $ours * $less;
				return $result;
			} ],
			[ graphile => sub { $peer->('graphile', $graphile, $peers->{graphile}[1], batching => JSON::PP::true()) } ],
			[ bullmq => sub { $peer->('bullmq', $bullmq, $peers->{bullmq}[1]) } ]);
		my $plain = $peer->('graphile', 10_000, 1, batching => JSON::PP::false());
		my $everysec;
		if ($durable eq 'off')
		{
			Bench::JobPeers::persist($bench, 'everysec');
			$everysec = $peer->('bullmq', $bullmq, $peers->{bullmq}[1])->{rate};
		}
		my %ratio = map {
			my $name = $_;
			($name => [ map { $values->{penny}{rate}[$_] / $values->{$name}{rate}[$_] } 0 .. $bench->{runs} - 1 ])
		} qw(graphile bullmq);
		my $measured = sprintf('%s jobs/s, %.1f us of the workers each', spread('%.0f', @{ $values->{penny}{rate} }),
			median(@{ $values->{penny}{cpu} }));
		my %base = (
			graphile => sprintf('%s by %s with its local queue; %.0f with its defaults',
				spread('%.0f', @{ $values->{graphile}{rate} }), $version->{'graphile-worker'}, $plain->{rate}),
			bullmq => sprintf('%s by %s, Redis %s', spread('%.0f', @{ $values->{bullmq}{rate} }), $version->{bullmq},
				$everysec ? sprintf('without persistence; %.0f with appendfsync everysec', $everysec)
					: 'with appendfsync always'));
		my ($best) = sort { median(@{ $ratio{$a} }) <=> median(@{ $ratio{$b} }) } keys %ratio;
		my $first = 1;

		for my $name (qw(graphile bullmq))
		{
			my $target = $better ? ($name eq $best ? $better : undef) : $peers->{$name}[0];

			push @rows, {
				figure => !$first ? '    against BullMQ'
					: $durable eq 'off' ? "$what, synchronous_commit off, against graphile-worker"
					: '  synchronous_commit on, against graphile-worker',
				measured => $first ? $measured : '',
				base => $base{$name},
				ratio => spread('%.2f', @{ $ratio{$name} }),
				$target ? (target => ">= $target", reached => median(@{ $ratio{$name} }) >= $target) : (),
			};
			$first = 0;
		}
	}
	Bench::Jobs::durable($bench, 'on');
	Bench::JobPeers::persist($bench, 'no');
	return @rows;
}

# ---- enqueueing in bulk -----------------------------------------------------------------

# Calls of 1,000 jobs, a transaction each, into a queue that is not run meanwhile, against the
# same rows by INSERT; and the peers' own bulk calls.
sub bulk
{
	my ($bench) = @_;
	my $jobs = $bench->{quick} ? 50_000 : 200_000;
	my @rows;

	Bench::Jobs::prepare($bench);
	Bench::JobPeers::start($bench);
	my $plain = Bench::JobCosts::plain_insert($bench);
	for my $durable (qw(off on))
	{
		Bench::Jobs::durable($bench, $durable);
		my $values = in_turn($bench->{runs},
			[ penny => sub {
				Bench::Jobs::sql($bench, "SELECT penny.pause_queue('bench')");
				my $took = Bench::Jobs::fill($bench, 'bench_noop', $jobs, batch => 1000);

				Bench::Jobs::sql($bench, "SELECT penny.resume_queue('bench')");
				Bench::Jobs::drain($bench, 'bench');
				return { rate => $jobs / $took };
			} ],
			[ plain => sub {
				my $begin = time();

				Bench::Jobs::sql($bench, "$plain->{many} FROM generate_series(1, 1000) i") for 1 .. $jobs / 1000;
				my $took = time() - $begin;
				Bench::Jobs::sql($bench, "TRUNCATE $plain->{table}");
				return { rate => $jobs / $took };
			} ]);
		my @ratio = map { $values->{penny}{rate}[$_] / $values->{plain}{rate}[$_] } 0 .. $bench->{runs} - 1;
		my $base = spread('%.0f', @{ $values->{plain}{rate} }) . ' rows by INSERT ... SELECT';

		if ($durable eq 'on')
		{
			my %options = (jobs => 50_000, kind => 'noop');

			$base .= sprintf('; %s %.0f/s', $_, filled($bench, $_, %options)) for qw(graphile bullmq);
		}
		push @rows, {
			figure => $durable eq 'off' ? 'bulk enqueue, 1,000 a call and transaction, synchronous_commit off'
				: '  synchronous_commit on',
			measured => spread('%.0f', @{ $values->{penny}{rate} }) . ' jobs/s',
			base => $base,
			ratio => spread('%.2f', @ratio),
			target => '>= 100000/s',
			reached => median(@{ $values->{penny}{rate} }) >= 100_000,
		};
	}
	return @rows;
}

sub filled
{
	my ($bench, $peer, %options) = @_;
	my $result = client(Bench::JobPeers::command($bench, $peer, 'fill', %options));

	return $result->{jobs} / $result->{seconds};
}

# ---- a snapshot that is held ---------------------------------------------------------------

my $hot = "relid IN (SELECT oid FROM pg_class WHERE relnamespace = '_penny'::regnamespace
	AND relname ~ '^(job|receipt)_[0-9]+\$')";

# The same jobs with and without a snapshot that is older than all of them.
sub held_snapshot
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $jobs = $bench->{quick} ? 100_000 : 1_000_000;
	my $changed = "SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE $hot";
	my ($dead, $most) = (0, 0);

	Bench::Jobs::prepare($bench);
	$server->sql('CREATE EXTENSION IF NOT EXISTS pgstattuple');
	Bench::Jobs::sql($bench, 'SELECT pg_stat_force_next_flush()');
	my $before = Bench::Jobs::sql($bench, $changed);
	my $run = sub {
		my ($held) = @_;
		my $session;
		my $last = time();

		if ($held)
		{
			$session = $server->session;
			$server->session_sql($session, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
		}
		my $result = Bench::Jobs::run_down($bench, 'bench_noop', $jobs, meanwhile => sub {
			return if time() - $last < 0.5;
			$last = time();
			my $now = Bench::Jobs::sql($bench, "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE $hot");
			$most = $now if $held && $now > $most;
		});
		if ($held)
		{
			my $now = $server->sql("SELECT sum((pgstattuple(relid)).dead_tuple_count) FROM pg_stat_user_tables WHERE $hot");

			$dead = $now if $now > $dead;
			$server->session_sql($session, 'COMMIT');
			$server->session_end($session);
		}
		return $result;
	};
	my $pairs = $bench->{quick} ? 2 : 5;
	my ($h, $f) = alternate($pairs, sub { $run->(1) }, sub { $run->(0) });
	my @ratio = map { $h->{rate}[$_] / $f->{rate}[$_] } 0 .. $pairs - 1;
	# what a session did is told when it is idle
	Bench::Jobs::sql($bench, 'SELECT pg_stat_force_next_flush()');
	my $updates = Bench::Jobs::sql($bench, $changed) - $before;

	return ({
		figure => "$jobs jobs under a held snapshot: dead tuples in segments and receipts",
		measured => sprintf('%d at the end, at most %d in between', $dead, $most),
		base => "$updates rows updated or deleted in all runs",
		target => '0',
		reached => $dead == 0 && $most == 0 && $updates == 0,
	}, {
		figure => '  jobs a second',
		measured => spread('%.0f', @{ $h->{rate} }),
		base => spread('%.0f', @{ $f->{rate} }) . ' without',
		ratio => spread('%.2f', @ratio),
		target => '>= 0.95',
		reached => median(@ratio) >= 0.95,
	});
}

1;
