# The isolation tests of the cache fail when the fence is weakened: they do look
# into the windows.
use strict;
use warnings;
use File::Basename qw(dirname);
use IPC::Run qw(run);
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('cachespecs', store => 0);
my $tester = dirname($ENV{PG_REGRESS}) . '/../isolation/isolationtester';
plan skip_all => 'isolationtester is not installed' unless -x $tester;

# What a spec says in a mode.
sub output
{
	my ($spec, $mode) = @_;
	local $ENV{PGOPTIONS} = "-c penny.debug_cache_fence=$mode";
	my ($out, $err) = ('', '');
	run([ $tester, $node->connstr('postgres') ], '<', "test/specs/$spec.spec", '>', \$out, '2>', \$err)
	  or die "$spec: $err";
	return $out;
}

for my $spec (qw(cache_fill cache_levels))
{
	my $strong = output($spec, 'on');
	like($strong, qr/starting permutation/, "$spec runs");
	is(output($spec, 'on'), $strong, "$spec says the same each time");
	isnt(output($spec, $_), $strong, "$spec notices the fence \"$_\"") for qw(generation delete);
}
done_testing;
