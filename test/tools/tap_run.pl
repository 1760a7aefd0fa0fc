#!/usr/bin/perl
# tap_run.pl [--seconds=N] [--jobs=N] [--counts=FILE] TEST...: run TAP tests as
# prove does, each file for no longer than N seconds, and write "passed failed
# skipped" to FILE.  A file that dies, plans wrongly or is cut off is one
# failure more; a file that skips all its tests is one skipped.
use strict;
use warnings;
use Getopt::Long;
use TAP::Harness;

my ($seconds, $jobs, $counts) = (300, 1, undef);
GetOptions('seconds=i' => \$seconds, 'jobs=i' => \$jobs, 'counts=s' => \$counts) or exit 2;

my ($passed, $failed, $skipped) = (0, 0, 0);
my $harness = TAP::Harness->new(
	{
		timer => 1,
		verbosity => 0,
		failures => 1,
		comments => 0,
		merge => 0,
		jobs => $jobs,
		exec => sub {
			my ($self, $file) = @_;
			my @run = ('timeout', '-k', '20', $seconds);
			return [ @run, $file =~ /\.pl$/ ? ($^X, '-Itest/t/lib', $file) : "./$file" ];
		}
	});
my $all = $harness->runtests(@ARGV);
for my $file ($all->descriptions)
{
	my ($parser) = $all->parsers($file);
	$skipped += $parser->skip_all ? 1 : scalar $parser->skipped;
	$passed += scalar($parser->passed) - scalar($parser->skipped);
	$failed += $parser->failed;
	if (!$parser->failed && $parser->has_problems)
	{
		$failed++;
		print "$file: ", $parser->exit == 124 || $parser->wait == 124 << 8
		  ? "cut off after $seconds s\n"
		  : 'ended with status ' . ($parser->exit || 0) . "\n";
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
