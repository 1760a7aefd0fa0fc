# The queue through faults: test/t/200_queue_faults.pl, with more of everything.
package Bench::JobLog;

use strict;
use warnings;

# Jobs through kills and restarts, judged by logs and tables.
sub faults
{
	my ($bench) = @_;
	my $dir = "$bench->{dir}/joblog";
	my $pgxs = `"$bench->{server}{bindir}/pg_config" --pgxs` =~ s{/src/makefiles/pgxs\.mk\s*$}{}r;
	my ($faults, $jobs) = $bench->{quick} ? (20, 50_000) : (300, 1_000_000);

	# the server of the test is its own
	$bench->{server}->session_end(delete $bench->{job_session}) if $bench->{job_session};
	$bench->{server}->stop;
	mkdir $dir;
	local @ENV{qw(PENNY_QUEUE_FAULTS PENNY_QUEUE_JOBS PENNY_QUEUE_PAUSE PENNY_QUEUE_PROGRAMS TESTDIR PG_REGRESS PATH)} =
		($faults, $jobs, 0.8, "$bench->{dir}/bin", $dir, "$pgxs/src/test/regress/pg_regress",
			"$bench->{server}{bindir}:$ENV{PATH}");
	open(my $pipe, '-|', "cd '$dir' && perl -I'$bench->{dir}/t/lib' -I'$pgxs/src/test/perl'"
		. " '$bench->{dir}/t/200_queue_faults.pl' 2>&1") or die "could not run the test: $!\n";
	my $text = '';
	while (my $line = <$pipe>)
	{
		$text .= $line;
		print STDERR '.' if $line =~ /^# \d+ s:/;
	}
	print STDERR "\n";
	close($pipe);
	my $ended = $?;
	$bench->{server}->start;
	$bench->{server}->wait_ready;
	my ($kinds, $acknowledged, $doubt, $back, $again, $flight) = $text
		=~ /^# faults (.*); (\d+) acknowledged, (\d+) in doubt, (\d+) rolled back, (\d+) done .* again, of (\d+) in flight/m
		or die "the test did not get to its end:\n$text";
	my @wrong = $text =~ /^not ok \d+ - (.*)$/mg;

	return {
		figure => "$faults faults over $acknowledged jobs: lost, unexpected, twice in a transaction, left",
		measured => @wrong ? join(', ', @wrong) : $ended ? 'the test failed' : '0',
		base => "$kinds; $doubt in doubt, $back rolled back",
		target => '0',
		reached => !@wrong && $ended == 0,
	}, {
		figure => '  external jobs done again',
		measured => $again,
		base => "$flight in flight when something was killed",
		target => '<= in flight',
		reached => $again <= $flight,
	};
}

1;
