# Which job starts when: limits over a rolling window, and who waits behind a
# flood of what is more urgent.
package Bench::JobOrder;

use strict;
use warnings;

use Bench::Jobs;
use Bench::Measure;
use Time::HiRes qw(time sleep);

use constant LIMIT => 100;
use constant FLOOD => 4000;    # other jobs a second

# ---- the limiter -----------------------------------------------------------------------

# More jobs than may start, for some windows, beside another queue that keeps all
# workers awake.  Looked at is every window that begins with a start, by the
# handlers' own clocks: what whoever they call would see.
sub limiter
{
	my ($bench) = @_;
	my ($window, $windows) = $bench->{quick} ? (5, 4) : (60, 4);
	my $server = $bench->{server};

	Bench::Jobs::prepare($bench);
	$server->sql("TRUNCATE public.bench_started;
		SELECT penny.create_queue('bench-limited', concurrency => 10, rate_limit => @{[LIMIT]}, rate_window => '$window s')");
	Bench::Jobs::sql($bench, "SELECT cardinality(penny.enqueue_many('bench_start', ARRAY(SELECT
		jsonb_build_object('n', i) FROM generate_series(1, @{[ LIMIT * ($windows + 2) ]}) i), queue => 'bench-limited'))");
	# no-op jobs without an end, so that the workers have something to do all the time
	my $begin = time();
	my $flood = 0;
	while (time() - $begin < $window * $windows + 1)
	{
		Bench::Jobs::fill($bench, 'bench_noop', FLOOD / 20);
		$flood += FLOOD / 20;
		sleep(0.05);
	}
	my @starts = split /\n/, $server->sql('SELECT extract(epoch FROM at) FROM public.bench_started ORDER BY at');
	Bench::Jobs::sql($bench, q{SELECT penny.alter_queue('bench-limited', '{"rate_limit": null}')});
	Bench::Jobs::drain($bench, 'bench-limited');
	$server->sql("SELECT penny.drop_queue('bench-limited')");
	Bench::Jobs::drain($bench, 'bench');
	my ($violations, $narrowest) = windows(\@starts, $window);
	# what was used of what the limit allows from the first start to the end of the last window
	my $used = grep { $_ < $starts[0] + $window * $windows } @starts;

	return ({
		figure => LIMIT . " starts in $window s, beside other jobs: windows with more",
		measured => sprintf('%d of %d', $violations, scalar @starts),
		base => sprintf('the narrowest %d starts lie in %.4f s; %d other jobs meanwhile', LIMIT + 1, $narrowest, $flood),
		target => '0',
		reached => $violations == 0,
	}, {
		figure => '  of the limit used',
		measured => sprintf('%.1f %%', 100 * $used / (LIMIT * $windows)),
		base => "$windows windows",
		target => '>= 99 %',
		reached => $used >= 0.99 * LIMIT * $windows,
	});
}

# Windows that begin at a start and have more than LIMIT in them; the least time in which one
# more than LIMIT started.
sub windows
{
	my ($starts, $window) = @_;
	my ($violations, $narrowest) = (0, 9e9);

	for my $i (0 .. $#$starts - LIMIT)
	{
		my $span = $starts->[ $i + LIMIT ] - $starts->[$i];

		$violations++ if $span < $window;
		$narrowest = $span if $span < $narrowest;
	}
	return ($violations, $narrowest);
}

# ---- the flood ---------------------------------------------------------------------------

# Urgent jobs of 50 ms, more than all workers can do; now and then one that is not urgent.
sub flood
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $jobs = $bench->{quick} ? 50 : 300;
	my (%late, $urgent);

	Bench::Jobs::prepare($bench);
	my $first = 1;
	for my $flooded (0, 1)
	{
		$server->sql('TRUNCATE public.bench_started');
		# ten workers do 200 a second
		Bench::Jobs::fill($bench, 'bench_slow', 200 * (5 + $jobs * 0.15), batch => 5000) if $flooded;
		sleep(0.1) while $flooded && Bench::Jobs::sql($bench,
			"SELECT active FROM penny.queues WHERE name = 'bench-urgent'") == 0;
		my $result = client("$bench->{bin}/jobdelay", '-d', $server->{conninfo}, '-n', $jobs, '-i', 100, '-f', $first,
			'-q', "SELECT penny.enqueue('bench_start', jsonb_build_object('n', \$1::bigint))");

		$urgent = Bench::Jobs::left($bench, 'bench-urgent') if $flooded;
		$late{$flooded} = $result;
		$first += $jobs;
		print STDERR '.';
	}
	print STDERR "\n";
	Bench::Jobs::clear($bench, 'bench-urgent', 'bench_slow', 'public.bench_slow');
	my ($most, $p50) = map { $late{1}{"sent_${_}_us"} / 1e6 } qw(max p50);

	return {
		figure => 'normal jobs during a flood of urgent ones of 50 ms: late',
		measured => sprintf('p50 %.3f s, max %.3f s of %d', $p50, $most, $late{1}{jobs}),
		base => sprintf('p50 %.4f s, max %.4f s without; %d urgent ones still waited in the end',
			map({ $late{0}{"sent_${_}_us"} / 1e6 } qw(p50 max)), $urgent),
		target => 'max <= 2 s',
		reached => $most <= 2 && $urgent > 0,
	};
}

1;
