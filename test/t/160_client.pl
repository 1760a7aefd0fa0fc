# The JavaScript client (src/client): test/client/*.test.mjs under node, against
# servers of node that misbehave on command, and against this one. Each of their
# tests is one here.
use strict;
use warnings;
use Penny::Client;
use Penny::Cluster;
use Test::More;

my $missing = Penny::Client::missing();
plan(skip_all => $missing) if $missing;

Penny::Client::run_tests(qw(build protocol silence worker));

my $node = Penny::Cluster->serving('client', fsync => 1);
Penny::Client::run_tests_on($node, qw(server realtime));

is($node->crash_restarts, 0, 'no crash');
$node->stop('fast');
done_testing;
