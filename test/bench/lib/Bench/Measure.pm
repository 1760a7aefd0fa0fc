# Processor time of processes, medians with intervals, alternating runs.
#
# A machine shared with others is noisy by half, so nothing is compared between
# runs that did not alternate, and a comparison within a few per cent is made in
# processor time for one operation, not in rates.
package Bench::Measure;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();

our @EXPORT = qw(median interval alternate in_turn cpu_ns cpu_of client spread);

# User + system time of a process in ns, all threads; 0 when it is gone.
sub cpu_ns
{
	my ($pid) = @_;
	my $sum = 0;

	for my $file (glob "/proc/$pid/task/*/schedstat")
	{
		open(my $fh, '<', $file) or next;
		my ($ns) = split ' ', (<$fh> // '0');
		$sum += $ns;
	}
	return $sum;
}

# Processor time that each of some groups of processes takes while a function
# runs: (result, {group => ns}).  Groups: {name => [pid, ...]}.
sub cpu_of
{
	my ($groups, $function) = @_;
	my (%before, %used);

	$before{$_} = cpu_ns($_) for map { @$_ } values %$groups;
	my $result = $function->();
	for my $name (keys %$groups)
	{
		$used{$name} = 0;
		$used{$name} += cpu_ns($_) - $before{$_} for @{ $groups->{$name} };
	}
	return ($result, \%used);
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $n = @sorted;

	return $n % 2 ? $sorted[ $n / 2 ] : ($sorted[ $n / 2 - 1 ] + $sorted[ $n / 2 ]) / 2;
}

# The interval that holds the median of the population with at least 95 per
# cent, from ranks (binomial); with fewer than 6 values their whole range.
sub interval
{
	my @sorted = sort { $a <=> $b } @_;
	my $n = @sorted;
	my ($skip, $tail, $p) = (0, 0, 0.5**$n);

	for my $k (0 .. $n)
	{
		$tail += $p;
		last if $tail > 0.025;
		$skip = $k + 1;
		$p *= ($n - $k) / ($k + 1);
	}
	$skip-- if $skip > 0;
	return ($sorted[$skip], $sorted[ $n - 1 - $skip ]);
}

# "median (low to high)"
sub spread
{
	my ($format, @values) = @_;

	return sprintf("$format ($format to $format)", median(@values), interval(@values));
}

# Run A and B in turn n times after one unmeasured round of each; each returns
# a hash of numbers.  Returns ({key => [values of A]}, {key => [values of B]}).
sub alternate
{
	my ($n, $a_run, $b_run) = @_;
	my (%a_values, %b_values);

	for my $round (0 .. $n)
	{
		my ($a_result, $b_result) = ($a_run->(), $b_run->());
		next if $round == 0;
		push @{ $a_values{$_} }, $a_result->{$_} for keys %$a_result;
		push @{ $b_values{$_} }, $b_result->{$_} for keys %$b_result;
		print STDERR '.';
	}
	print STDERR "\n";
	return (\%a_values, \%b_values);
}

# The same for any number of sides, [name => run], ...: {name => {key => [values]}}.
sub in_turn
{
	my ($n, @sides) = @_;
	my %values;

	for my $round (0 .. $n)
	{
		for my $side (@sides)
		{
			my ($name, $run) = @$side;
			my $result = $run->();

			next if $round == 0;
			push @{ $values{$name}{$_} }, $result->{$_} for keys %$result;
		}
		print STDERR '.' if $round > 0;
	}
	print STDERR "\n";
	return \%values;
}

# Run a load client and read the line of JSON that it prints.
sub client
{
	my (@command) = @_;

	open(my $pipe, '-|', @command) or die "could not run $command[0]: $!\n";
	my $line = <$pipe>;
	close($pipe);
	die "$command[0] failed\n" if $? != 0 || !defined $line;
	return JSON::PP::decode_json($line);
}

1;
