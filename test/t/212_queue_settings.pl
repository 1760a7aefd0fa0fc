# Who sleeps because a queue lets nothing start is woken when the queue's settings do.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = Penny::Cluster->serving('settings');
$node->sql(q{SELECT penny.create_queue('ext', concurrency => NULL, rate_limit => NULL)});

for my $change ([ q{SELECT penny.pause_queue('ext')}, q{SELECT penny.resume_queue('ext')} ],
	[ q{SELECT penny.alter_queue('ext', '{"concurrency": 1}')}, q{SELECT penny.alter_queue('ext', '{"concurrency": 9}')} ])
{
	my ($less, $more) = @$change;
	$node->sql($less);
	$node->sql(q{SELECT penny.enqueue('work', queue => 'ext') FROM generate_series(1, 2)});
	my $claimer = $node->background_sql(q{CALL penny.claim_wait('ext', 2, '1 s', '60 s', 'first', NULL); CALL penny.claim_wait('ext', 2, '30 s', '60 s', 'second', NULL)});
	$node->wait_until(sub { $node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%second%' AND state = 'active' AND wait_event_type = 'Extension' AND query_start < now() - interval '2 s'}) > 0 });
	my $begun = time;
	$node->sql($more);
	like(scalar $claimer->finish, qr/"kind": "work"/, "$more: a job is claimed");
	cmp_ok(time - $begun, '<', 10, 'at once');
}

done_testing;
