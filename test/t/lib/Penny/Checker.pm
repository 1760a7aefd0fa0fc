# Penny::Checker: judges what happened, after it happened.
#
# room_log: what the members of a room saw, against what was acknowledged.
package Penny::Checker;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(room_log in_order);

# Complaints about the order of versions in one client's list of frames: each
# version once, ascending, and without holes when $from and $to are given.
sub in_order
{
	my ($name, $frames, $from, $to) = @_;
	my @bad;
	my $last;
	for my $frame (@$frames)
	{
		my $version = $frame->{version};
		next unless defined $version;
		push @bad, "$name: version $version after $last"
		  if defined $last && $version <= $last;
		push @bad, "$name: a hole between $last and $version"
		  if defined $last && $version > $last + 1 && defined $from;
		push @bad, "$name: starts at $version, not at $from"
		  if !defined $last && defined $from && $version != $from;
		$last = $version;
	}
	push @bad, "$name: ends at " . ($last // 'nothing') . ", not at $to"
	  if defined $to && (!defined $last || $last != $to);
	return @bad;
}

# All members agree on (version -> message id); every acknowledged message was
# seen by each; nothing was seen that is not in the table.
#	members => { name => [frames] }, acked => { id => version }, stored => { id => version }
sub room_log
{
	my (%log) = @_;
	my (@bad, %seen_at);
	for my $name (sort keys %{ $log{members} })
	{
		my %saw;
		for my $frame (@{ $log{members}{$name} })
		{
			next unless $frame->{type} eq 'message';
			my ($version, $id) = ($frame->{version}, $frame->{message}{id});
			push @bad, "$name: message $id twice" if $saw{$id}++;
			$seen_at{$version} //= $id;
			push @bad, "$name: version $version is $id, another saw $seen_at{$version}"
			  if $seen_at{$version} ne $id;
			push @bad, "$name: message $id is not in the table"
			  unless defined $log{stored}{$id};
		}
		for my $id (keys %{ $log{acked} || {} })
		{
			push @bad, "$name: acknowledged message $id was not seen" unless $saw{$id};
		}
	}
	for my $id (keys %{ $log{acked} || {} })
	{
		push @bad, "acknowledged message $id is not in the table" unless defined $log{stored}{$id};
	}
	return @bad;
}

1;
