#!/usr/bin/perl
# tap_run.pl [--seconds=N] [--counts=FILE] TEST...: run TAP tests as prove does,
# each file for no longer than N seconds, and write "passed failed skipped" to
# FILE.  A file that dies, bails out, plans wrongly or is cut off is one failure
# more, and the next one runs all the same; a file that skips all its tests is
# one skipped.
use strict;
use warnings;
use Getopt::Long;
use TAP::Harness;
use TAP::Parser::Aggregator;

my ($seconds, $counts) = (300, undef);
GetOptions('seconds=i' => \$seconds, 'counts=s' => \$counts) or exit 2;

my ($passed, $failed, $skipped) = (0, 0, 0);
my $all = TAP::Parser::Aggregator->new;
my $harness = TAP::Harness->new(
	{
		timer => 1,
		failures => 1,
		exec => sub {
			my ($self, $file) = @_;
			my @run = ('timeout', '-k', '20', $seconds);
			return [ @run, $file =~ /\.pl$/ ? ($^X, '-Itest/t/lib', $file) : "./$file" ];
		}
	});
$all->start;
for my $file (@ARGV)
{
	next if eval { $harness->aggregate_tests($all, $file); 1 };
	print "$file: $@";
	$failed++ unless grep { $_ eq $file } $all->descriptions;
}
$all->stop;
$harness->summary($all);

for my $file ($all->descriptions)
{
	my ($parser) = $all->parsers($file);
	$skipped += $parser->skip_all ? 1 : scalar $parser->skipped;
	$passed += scalar($parser->passed) - scalar($parser->skipped);
	$failed += $parser->failed;
	if (!$parser->failed && $parser->has_problems)
	{
		$failed++;
		my $status = $parser->exit || 0;
		print "$file: ", $status == 124 ? "cut off after $seconds s\n" : "ended with status $status\n";
	}
	print "$file: skipped: ", $parser->skip_all, "\n" if $parser->skip_all;
}
if (defined $counts)
{
	open my $out, '>', $counts or die "$counts: $!\n";
	print $out "$passed $failed $skipped\n";
	close $out or die "$counts: $!\n";
}
exit($failed ? 1 : 0);
