# The JavaScript client in a page of Chromium.
use strict;
use warnings;
use Penny::Client;
use Penny::Cluster;
use Test::More;

my $missing = Penny::Client::missing();
plan(skip_all => $missing) if $missing;
my $chromium = Penny::Client::chromium();
plan(skip_all => 'chromium is not installed') unless $chromium;

my $node = Penny::Cluster->serving('browser');
$ENV{PENNY_CHROMIUM} = $chromium;
Penny::Client::run_tests_on($node, 'browser');

is($node->crash_restarts, 0, 'no crash');
$node->stop('fast');
done_testing;
