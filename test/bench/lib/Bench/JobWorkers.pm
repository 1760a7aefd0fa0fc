# Jobs whose work is done elsewhere, and jobs that waited over a restart.
package Bench::JobWorkers;

use strict;
use warnings;

use Bench::JobPeers;
use Bench::Jobs;
use Bench::Measure;
use IPC::Open2;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use constant CLAIM => 50;    # jobs of a claim
use constant GIVE_UP => 60;

# ---- external workers -----------------------------------------------------------------

# Claims of 50 and one call that completes them, by a client in C; BullMQ, whose workers are
# all external, beside it.
sub external
{
	my ($bench) = @_;
	my $jobs = $bench->{quick} ? 50_000 : 200_000;
	my @rows;

	Bench::Jobs::prepare($bench);
	my $version = Bench::JobPeers::start($bench);
	for my $durable (qw(off on))
	{
		Bench::Jobs::durable($bench, $durable);
		Bench::JobPeers::persist($bench, $durable eq 'on' ? 'always' : 'no');
		my $values = in_turn($bench->{runs},
			[ one => sub { claimers($bench, 1, $jobs) } ],
			[ several => sub { claimers($bench, 10, $jobs) } ],
			[ bullmq => sub { Bench::JobPeers::run_down($bench, 'bullmq', 2, jobs => $jobs / 10, kind => 'noop') } ]);
		my $base = sprintf('%s by %s', spread('%.0f', @{ $values->{bullmq}{rate} }), $version->{bullmq});

		for my $how ([ one => '1 external worker' ], [ several => '  10 of them' ])
		{
			my ($key, $text) = @$how;
			my @rate = @{ $values->{$key}{rate} };

			push @rows, {
				figure => $key ne 'one' ? "  $text" : $durable eq 'off'
					? "$text over SQL, claims of @{[CLAIM]}, synchronous_commit off" : "  $text, synchronous_commit on",
				measured => spread('%.0f', @rate) . ' jobs/s',
				base => $key eq 'one' ? $base : '',
				ratio => spread('%.2f', map { $rate[$_] / $values->{bullmq}{rate}[$_] } 0 .. $#rate),
				target => '>= 20000/s',
				reached => median(@rate) >= 20_000,
			};
		}
	}
	Bench::Jobs::durable($bench, 'on');
	Bench::JobPeers::persist($bench, 'no');
	return @rows;
}

# So many claimers, until nothing is left.
sub claimers
{
	my ($bench, $count, $jobs) = @_;
	my $server = $bench->{server};
	my @claimers;
	my ($begin, $end, $done) = (9e15, 0, 0);

	Bench::Jobs::fill($bench, 'bench_outside', $jobs);
	for (1 .. $count)
	{
		my $pid = open2(my $out, my $in, "$bench->{bin}/claimer", '-d', $server->{conninfo}, '-q', 'bench-outside',
			'-n', CLAIM);

		(readline($out) // '') eq "ready\n" or die "a claimer does not start\n";
		push @claimers, { pid => $pid, in => $in, out => $out };
	}
	for my $claimer (@claimers)
	{
		print { $claimer->{in} } "go\n";
		close($claimer->{in});
	}
	for my $claimer (@claimers)
	{
		my $result = JSON::PP::decode_json(readline($claimer->{out}) // die "a claimer failed\n");

		waitpid($claimer->{pid}, 0);
		$done += $result->{jobs};
		$begin = $result->{begin} if $result->{begin} < $begin;
		$end = $result->{end} if $result->{end} > $end;
	}
	Bench::Jobs::drain($bench, 'bench-outside');
	return { rate => $done * 1e3 / ($end - $begin) };
}

# ---- a restart ----------------------------------------------------------------------------

# A million jobs wait when the server is stopped, in good order and at once.
sub restart
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $jobs = $bench->{quick} ? 100_000 : 1_000_000;
	my @rows;

	Bench::Jobs::prepare($bench);
	for my $how (qw(fast immediate))
	{
		my (@first, @thousandth, @accepts);

		for my $round (1 .. ($bench->{quick} ? 1 : 3))
		{
			$server->sql('TRUNCATE public.bench_started');
			# nobody runs them before the restart
			$server->restart_with('penny.job_workers' => 0);
			Bench::Jobs::reconnect($bench);
			Bench::Jobs::fill($bench, 'bench_start', $jobs);
			$server->sql('ALTER SYSTEM RESET penny.job_workers');
			$server->sql('CHECKPOINT');
			$server->command('pg_ctl', 'stop', '-w', '-m', $how, '-D', $server->{data});
			my $begin = time();
			$server->start;
			push @accepts, time() - $begin;
			Bench::Jobs::reconnect($bench);
			my ($first, $thousandth) = started($bench);
			push @first, $first;
			push @thousandth, $thousandth;
			Bench::Jobs::drain($bench, 'bench');
			print STDERR '.';
		}
		push @rows, {
			figure => $how eq 'fast' ? "restart with $jobs jobs that wait: from the postmaster's start to the first that runs"
				: '  after an immediate shutdown',
			measured => sprintf('%.2f s, the thousandth %.2f s', median(@first), median(@thousandth)),
			base => sprintf('%.2f s until PostgreSQL accepts connections', median(@accepts)),
			target => '<= 5 s',
			reached => median(@thousandth) <= 5,
		};
	}
	print STDERR "\n";
	$server->wait_ready;
	return @rows;
}

# Seconds from the postmaster's start to the first and the thousandth start of a handler.
sub started
{
	my ($bench) = @_;
	my $end = time() + GIVE_UP;

	for (;;)
	{
		my @at = split /\n/, Bench::Jobs::sql($bench, 'SELECT extract(epoch FROM at - pg_postmaster_start_time())
			FROM public.bench_started WHERE at > pg_postmaster_start_time() ORDER BY at LIMIT 1000');

		return @at[ 0, 999 ] if @at == 1000;
		die "the jobs do not run again\n" if time() > $end;
		sleep(0.05);
	}
}

1;
