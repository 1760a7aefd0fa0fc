# The end: PostgreSQL stops, the gateway ends, penny-edge is replaced.  Clients
# are told when to come back, requests that run are finished, nobody waits.
use strict;
use warnings;
use File::Copy;
use JSON::PP;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $sockets = 1000;
my $node = Penny::Cluster->prepared('drain', conf => "penny.max_connections_per_address = 5000\nlog_min_messages = info\npenny.drain_timeout = 15s\n");
my $program = $ENV{PENNY_EDGE_PROGRAM} || $node->config_data('--bindir') . '/penny-edge';
my $copy = $node->basedir . '/penny-edge';
copy($program, $copy) or die "copy: $!";
chmod 0755, $copy;
$node->append_conf('postgresql.conf', "penny.edge_program = '$copy'\n");
$node->start;
$node->create_penny;
$node->wait_ready;
my $ada = $node->add_user('Ada');
my $token = $node->token($ada);
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE TABLE app.done (what text);
	GRANT INSERT, SELECT ON app.done TO penny_user;
	CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
		$$BEGIN PERFORM pg_sleep((r.params->>'s')::float8), pg_advisory_xact_lock_shared(1); INSERT INTO app.done VALUES (r.params->>'s'); RETURN '{"done":true}'; END$$;
	GRANT EXECUTE ON FUNCTION app.slow TO penny_user;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('POST', '/slow/{s}', 'app.slow', 'user')});
ok($node->wait_until(sub { (($node->request('POST', '/slow/0', token => $token) || {})->{status} // 0) == 200 }, 10), 'a slow route');

# Start a request that runs so many seconds.
sub begin_slow
{
	my ($seconds) = @_;
	my $client = $node->http(token => $token);
	$client->send_bytes($client->format_request('POST', "/slow/$seconds"));
	ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'penny executor%' AND state = 'active' AND query LIKE 'POST /slow%'}) >= 1 }, 10), 'a request runs');
	return $client;
}

# How often each code was said, and the times to come back.
sub goodbyes
{
	my (@ws) = @_;
	my (%code, %after);
	for my $ws (@ws)
	{
		my $frame;
		do { $frame = $ws->read_frame(5) } while ($frame && $frame->{opcode} != 8);
		my ($code, $reason) = $frame ? unpack('n a*', $frame->{payload}) : ('none', '{}');
		$code{$code}++;
		$after{ (eval { decode_json($reason) } || {})->{retry_after_ms} // 'none' }++;
		$ws->close_now;
	}
	return (\%code, \%after);
}

sub websockets { return map { $node->websocket(token => $token) } 1 .. $_[0] }

subtest 'the edge is replaced' => sub {
	my @ws = websockets(20);
	my $idle = $node->http;
	is($idle->request('GET', '/livez')->{status}, 200, 'an idle connection');
	my ($old) = $node->edge_pids;
	$node->reload;
	is($node->sql('SELECT 1'), 1, 'a reload of settings alone');
	is($idle->request('GET', '/livez')->{status}, 200, 'drops nothing');
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $slow = begin_slow(0);
	copy($program, "$copy.new") or die "copy: $!";
	chmod 0755, "$copy.new";
	rename "$copy.new", $copy or die "rename: $!";
	$node->reload;
	my ($code, $after) = goodbyes(@ws);
	is_deeply($code, { 1012 => 20 }, 'WebSockets are closed with 1012');
	ok(!grep({ !/^\d+$/ || $_ < 100 || $_ > 5000 } keys %$after), 'and told when to come back');
	cmp_ok(scalar(keys %$after), '>', 10, 'not all at the same time');
	ok($idle->closes_within(10), 'idle connections are closed');
	$gate->quit;
	my $answer = $slow->read_response;
	is($answer->{status}, 200, 'what runs is finished');
	is($answer->{header}{connection}, 'close', 'and closes its connection');
	ok($node->wait_until(sub { my ($new) = $node->edge_pids; $new && $new != $old }, 20), 'another edge');
	ok($node->wait_ready(20), 'serves');
	like($node->log_text, qr/penny-edge was replaced: another is started/, 'logged');
};

subtest 'the gateway ends alone' => sub {
	my @ws = websockets(5);
	my ($gateway) = $node->backend_pids('penny gateway');
	$node->sql("SELECT pg_terminate_backend($gateway)");
	my ($code) = goodbyes(@ws);
	is_deeply($code, { 1012 => 5 }, 'another follows: 1012');
	ok($node->wait_ready(10), 'it does');
};

# Stop the server while a request of so many seconds runs; how long it took.
sub stop_under
{
	my ($seconds, @ws) = @_;
	my $slow = begin_slow($seconds);
	my $started = time;
	kill 'INT', $node->postmaster_pid;
	my $answer = $slow->read_response(timeout => 10);
	my $answered = time - $started;
	my $pid_file = $node->data_dir . '/postmaster.pid';
	ok($node->wait_until(sub { !-e $pid_file }, 20), 'the server is down');
	my $took = time - $started;
	$node->_update_pid(0);
	return ($answer, $answered, $took);
}

subtest "PostgreSQL stops with $sockets sockets open" => sub {
	my @ws = websockets($sockets - 100);
	my @idle = map { $node->http } 1 .. 100;
	is(scalar(grep { $_->{open} } @ws), $sockets - 100, 'WebSockets');
	is(scalar(grep { (($_->request('GET', '/livez') || {})->{status} // 0) == 200 } @idle), 100, 'idle connections');
	my ($answer, $answered, $took) = stop_under(3);
	is($answer->{status}, 200, 'a request of three seconds is finished') or diag($answer->{body});
	is($answer->{header}{connection}, 'close', 'Connection: close');
	cmp_ok($took, '<', 10, sprintf('down in %.2f s', $took));
	my ($code, $after) = goodbyes(@ws);
	is_deeply($code, { 1001 => $sockets - 100 }, 'WebSockets were closed with 1001');
	cmp_ok(scalar(keys %$after), '>', 300, 'and come back at different times');
	is(scalar(grep { $_->closes_within(0) && !$_->{reset} } @idle), 100, 'idle connections were closed in order');
	$_->close_now for @idle;
};

subtest 'a request that does not end' => sub {
	$node->append_conf('postgresql.conf', "penny.drain_timeout = 2s\n");
	$node->start;
	$node->wait_ready;
	is($node->sql(q{SELECT count(*) FROM app.done WHERE what = '3'}), 1, 'what was answered is committed');
	my ($answer, $answered, $took) = stop_under(30);
	is($answer->{status}, 503, 'is answered with 503');
	cmp_ok($answered, '>=', 1.4, 'after it was given its time');
	cmp_ok($took, '<', 15, sprintf('and does not hold the server: down in %.2f s', $took));
	$node->start;
	$node->wait_ready;
	is($node->sql(q{SELECT count(*) FROM app.done WHERE what = '30'}), 0, 'and is not carried out');
};

subtest 'clients that read nothing' => sub {
	my @ws = websockets(50);
	my @begun = map { my $c = $node->http; $c->send_bytes("GET /livez HTTP/1.1\r\nHo"); $c } 1 .. 50;
	my $started = time;
	$node->stop('fast');
	cmp_ok(time - $started, '<', 15, sprintf('do not hold it: down in %.2f s', time - $started));
	is((grep { my $answer = $_->read_response(timeout => 1); $answer && $answer->{status} == 503 } @begun), 50, 'half a request is answered with 503');
	$_->close_now for @ws, @begun;
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
