# Peers that are gone without a word: no packet comes or goes any more. Their
# connections end, and what they hold is given back; others do not notice.
use strict;
use warnings;
use Penny::Namespace qw(net);
use Penny::Cluster;
use Penny::Sse;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'no network of its own: namespaces are not allowed' unless Penny::Namespace::loopback('up');

my $node = Penny::Cluster->serving('half_open', conf => "penny.heartbeat_interval = '1s'\npenny.keepalive_timeout = '3s'\npenny.write_timeout = '2s'\npenny.body_timeout = '3s'\n");
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
my $token = $node->token($ada);
my $at = "/api/v1/conversations/$talk";
sub edge { return $node->sql_json('SELECT penny.stats()')->{gateways}[0]{edge} }
sub descriptors { my ($edge) = $node->edge_pids; my ($n) = slurp_file("/proc/$edge/status") =~ /^FDSize:\s+(\d+)/m; return $n }

subtest 'the kernel watches, too' => sub {
	my $client = $node->http(token => $token);
	is($client->request('GET', $at)->{status}, 200, 'a connection');
	my $timers = `ss -tnoH state established sport = :$node->{http_port}`;
	like($timers, qr/timer:\(keepalive,(?:[12]\d|30)sec/, 'probes an idle one after half a minute');
	$client->close_now;
};

subtest 'no packet comes through' => sub {
	ok($node->wait_until(sub { edge()->{connections} == 0 }, 10), 'nobody is connected');
	my @sockets = map { my $ws = $node->websocket(token => $token); $ws->join_room("conversation:$talk"); $ws } 1 .. 5;
	my @idle = map { my $c = $node->http(token => $token); $c->request('GET', $at); $c } 1 .. 5;
	my @halves = map { my $c = $node->http(token => $token); $c->send_bytes("POST $at/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc"); $c } 1 .. 5;
	ok($node->wait_until(sub { edge()->{connections} == 15 }, 10), 'fifteen clients');
	is(edge()->{members}, 5, 'five of them in a room');
	my $began = time;
	Penny::Namespace::loopback('down') or die;
	# changes go on by SQL, and wait for who does not take them
	$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', repeat('x', 100000))");
	ok($node->wait_until(sub { edge()->{connections} == 0 }, 30), 'all are given up');
	cmp_ok(time - $began, '<', 15, 'by heartbeat, keep-alive and body timeouts');
	is(edge()->{members}, 0, 'nobody is left in the room');
	is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND state <> 'idle'}), 0, 'no executor is held');
	Penny::Namespace::loopback('up') or die;
	$_->close_now for @sockets, @idle, @halves;
	ok($node->wait_until(sub { $node->is_ready }, 10), 'the network is back: serves');
	is($node->request('GET', $at, token => $token)->{status}, 200, 'as before');
};

subtest 'who only listens' => sub {
	ok($node->wait_until(sub { edge()->{connections} == 0 }, 10), 'nobody is connected');
	my @streams = map { my $sse = Penny::Sse->listen(port => $node->{http_port}, token => $token, path => "$at/events"); $sse->event; $sse } 1 .. 5;
	is(edge()->{members}, 5, 'five listen to events');
	my $began = time;
	Penny::Namespace::loopback('down') or die;
	ok($node->wait_until(sub { edge()->{connections} == 0 }, 30), 'all are given up, though nothing happens');
	cmp_ok(time - $began, '<', 12, 'by what they do not acknowledge');
	is(edge()->{members}, 0, 'nobody is left in the room');
	Penny::Namespace::loopback('up') or die;
	$_->close_now for @streams;
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
