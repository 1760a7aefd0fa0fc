# Reloads without pause under load, with changing, bad and absent values: no
# request is dropped and a bad value keeps the one before it.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('reload');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
my $token = $node->token($ada);
my $at = "/api/v1/conversations/$talk";

# Clients that ask, write and chat all the time; each leaves a line of what went wrong and one with its count.
my $results = $node->basedir . '/results';
sub load
{
	my ($what) = @_;
	my $pid = fork // die;
	return $pid if $pid;
	my ($stop, $n) = (0, 0);
	local $SIG{TERM} = sub { $stop = 1 };
	my $http = $node->http(token => $token);
	my $ws = $what eq 'chat' ? $node->websocket(token => $token) : undef;
	$ws->join_room("conversation:$talk") if $ws;
	while (!$stop)
	{
		my $answer =
		    $what eq 'chat' ? $ws->call({ type => 'ping' })
		  : $what eq 'write' ? $http->request('POST', "$at/messages", json => { role => 'user', content => "w$n", client_id => "$$-$n" })
		  : $http->request('GET', $at);
		my $good = $answer && ($what eq 'chat' ? $answer->{type} eq 'pong' : $answer->{status} =~ /^20[01]$/);
		append_to_file($results, "bad $what " . ($answer ? $answer->{status} // $answer->{type} : 'none') . "\n") unless $good;
		last if !$answer;
		usleep(25_000) if $ws;    # no more than it may say
		$n++;
	}
	append_to_file($results, "count $what $n\n");
	require POSIX;
	POSIX::_exit(0);
}

my ($edge) = $node->edge_pids;
my %before = map { $_ => 1 } map { $node->backend_pids($_) } 'penny gateway', 'penny supervisor', 'penny executor';
my $conf = $node->data_dir . '/postgresql.conf';
my $text = slurp_file($conf);
my @clients = map { load($_) } 'read', 'read', 'write', 'chat';
my @variants = ("penny.heartbeat_interval = 20s\npenny.statement_timeout = 20s\n", "penny.port = 99999\npenny.max_client_connections = none\n", "penny.allowed_origins = 'https://a.example'\npenny.max_connections_per_address = 500\n",
	"penny.write_timeout = -1\npenny.jwt_roles = ',,'\n", "penny.executor_memory = 1\npenny.drain_timeout = 3s\n", "penny.no_such = 1\n", '');
my $postmaster = $node->postmaster_pid;
my $reloads = 0;
for my $i (1 .. 400)
{
	open my $out, '>', "$conf.new" or die;
	print $out $text, $variants[ $i % @variants ];
	close $out;
	rename "$conf.new", $conf or die;
	$reloads += kill 'HUP', $postmaster;
	usleep(10_000);
}
open my $out, '>', $conf or die;
print $out $text;
close $out;
$node->reload;
usleep(200_000);
kill 'TERM', @clients;
waitpid $_, 0 for @clients;
my $said = slurp_file($results);
is($reloads, 400, 'a reload every 10 ms');
is(join('', grep { /^bad/ } split /^/, $said), '', 'no request was dropped');
cmp_ok((() = $said =~ /^count/mg), '==', 4, 'by four clients');
my %count;
$count{$1} += $2 while $said =~ /^count (\w+) (\d+)/mg;
cmp_ok($count{$_}, '>', 20, "$_: $count{$_}") for qw(read write chat);
is($node->sql("SELECT count(*) - 3 FROM chat.messages WHERE conversation_id = '$talk'"), $count{write}, 'each write is there once');
is(($node->edge_pids)[0], $edge, 'the same edge');
my @now = map { $node->backend_pids($_) } 'penny gateway', 'penny supervisor', 'penny executor';
is(scalar(grep { $before{$_} } @now), scalar(keys %before), 'the same workers');
like($node->log_text, qr/99999 is outside the valid range for parameter "penny.port"/, 'bad values are told');
is($node->sql(q{SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('penny.port', 'penny.executor_memory')}), "penny.executor_memory=1048576 penny.port=$node->{http_port}", 'and not taken');
ok($node->is_ready, 'serves');

subtest 'another port under load' => sub {
	my $old = $node->http(token => $token);
	is($old->request('GET', $at)->{status}, 200, 'a connection');
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $running = $node->http(token => $token);
	$node->sql(q{CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user; CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN '{}'; END$$;
		INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/slow', 'app.slow')});
	$running->send_bytes($running->format_request('GET', '/slow'));
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE query = 'GET /slow' AND state = 'active'}) }, 10), 'a request runs');
	my $port = Penny::Cluster::free_port();
	$node->append_conf('postgresql.conf', "penny.port = $port\npenny.drain_timeout = 30s\n");
	$node->reload;
	my $was = $node->{http_port};
	$node->{http_port} = $port;
	ok($old->closes_within(20), 'an idle connection is closed');
	$gate->quit;
	is(($running->read_response || {})->{status}, 200, 'the request that ran is answered');
	ok($node->wait_ready(20), 'the new port serves');
	ok(!Penny::Http->connect_to(port => $was), 'the old port is closed');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
