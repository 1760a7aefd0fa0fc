# Rooms through faults: test/t/190_room_log.pl, with more of everything.
package Bench::RoomLog;

use strict;
use warnings;

# Deliveries through faults, judged by the tables.
sub faults
{
	my ($bench) = @_;
	my $dir = "$bench->{dir}/roomlog";
	my $pgxs = `"$bench->{server}{bindir}/pg_config" --pgxs` =~ s{/src/makefiles/pgxs\.mk\s*$}{}r;
	my ($faults, $enough) = $bench->{quick} ? (24, 50_000) : (300, 1_000_000);

	# the servers of the test are its own
	$bench->{server}->stop;
	mkdir $dir;
	local @ENV{qw(PENNY_ROOM_FAULTS PENNY_ROOM_DELIVERIES PENNY_ROOM_MEMBERS PENNY_ROOM_PAUSE
		PENNY_ROOM_PROGRAMS TESTDIR PG_REGRESS PATH)} = ($faults, $enough, 30, 0.8, "$bench->{dir}/bin", $dir,
		"$pgxs/src/test/regress/pg_regress", "$bench->{server}{bindir}:$ENV{PATH}");
	open(my $pipe, '-|', "cd '$dir' && perl -I'$bench->{dir}/t/lib' -I'$pgxs/src/test/perl'"
		. " '$bench->{dir}/t/190_room_log.pl' 2>&1") or die "could not run the test: $!\n";
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
	my ($kinds, $deliveries, $joins) = $text =~ /^# faults (.*); (\d+) deliveries, (\d+) joins/m
		or die "the test did not get to its end:\n$text";
	my @wrong = $text =~ /^not ok \d+ - (.*)$/mg;

	return {
		figure => "$faults faults over $deliveries deliveries: gaps, inversions, frames rolled back",
		measured => @wrong ? join(', ', @wrong) : $ended ? 'the test failed' : '0',
		base => "$kinds; $joins joins",
		target => '0',
		reached => !@wrong && $ended == 0,
	};
}

1;
