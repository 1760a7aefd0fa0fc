#!/usr/bin/perl
# steps.pl FILE...: the steps of sql/store as rows of _penny.store_step, for the
# install script.  A step is what follows a line "--# kind name"; the line
# "--! version N" before it says with which version of the store it came.
use strict;
use warnings;

my ($number, $version, @rows) = (0);
for my $file (@ARGV)
{
	my $step;
	open my $in, '<', $file or die "$file: $!\n";
	while (<$in>)
	{
		if (/^--! version (\d+)\s*$/) { $version = $1; $step = undef; }
		elsif (/^--# (\w+) (.+?)\s*$/)
		{
			die "$file:$.: no version before this step\n" unless defined $version;
			push @rows, $step = { number => ++$number, version => $version, kind => $1, name => $2, body => '' };
		}
		elsif (defined $step) { $step->{body} .= $_; }
		elsif (!/^\s*(--.*)?$/) { die "$file:$.: this belongs to no step\n"; }
	}
	close $in;
}
exit 0 unless @rows;
print "INSERT INTO _penny.store_step (number, version, kind, name, body) VALUES\n";
print join(",\n", map {
	my $step = $_;
	die "step $step->{name} holds the quote\n" if $step->{body} =~ /\$step\$/;
	$step->{body} =~ s/\s+\z//;
	"($step->{number}, $step->{version}, '$step->{kind}', '$step->{name}', \$step\$$step->{body}\$step\$)";
} @rows), ";\n";
