# The oracle of the cache: random questions by random callers, between random
# changes of rows, policies, rights, roles and tables, by this session and by
# another; the answer through the cache is to the byte the one that a
# SERIALIZABLE transaction, which goes around the cache, reads from the tables.
# What is asked and changed: lib/cache_oracle.sql.
#
# PENNY_ORACLE_CASES and PENNY_ORACLE_SEED ask for other runs.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $cases = $ENV{PENNY_ORACLE_CASES} || 110_000;
my $seed = $ENV{PENNY_ORACLE_SEED} // sprintf '%.6f', rand;

# A child by inheritance has no index: such plans are not worth compiling.
my $node = Penny::Cluster->serving('oracle', conf => "jit = off\n");
$node->safe_psql('postgres', "SELECT setseed($seed);\n" . do { local (@ARGV, $/) = dirname(abs_path(__FILE__)) . '/lib/cache_oracle.sql'; <> });

my $began = time;
my $report = decode_json($node->safe_psql('postgres', "CALL oracle.run($cases, $seed, 0)"));
my $stats = $node->sql_json('SELECT penny.cache_stats()');
my $hits = $stats->{hits};
diag sprintf '%d cases (seed %s), %d changes, %d hits (%.0f %%), %d denials, %d reads past opaque policies and triggers, %.0f s',
  $report->{cases}, $seed, $report->{changes}, $hits, 100 * $hits / $report->{cases}, $report->{denials}, $stats->{refused}{policy}, time - $began;

is_deeply($report->{wrong}, [], 'every cached answer is the uncached one')
  or diag(JSON::PP->new->pretty->canonical->encode($report->{wrong}[0]));
cmp_ok($report->{cases}, '>=', $cases, 'of all cases');
cmp_ok($hits, '>', 0.4 * $report->{cases}, 'a large part of them hits');
my %of = map { $_ => $stats->{kinds}{$_}{hits} } qw(conversation list messages artifacts models session);
cmp_ok($of{$_}, '>', 0, "hits of kind $_") for sort keys %of;
if ($cases >= 100_000)
{
	is(scalar(keys %{ { map { $_ => 1 } @{ $report->{topics} } } }), 14, 'under policies and rights of every kind');
	cmp_ok($report->{taken}, '>=', 10, 'rights were taken away from callers who had just been answered');
	cmp_ok($stats->{refused}{policy}, '>', 0, 'and some policies kept reads from the cache');
}

done_testing();
