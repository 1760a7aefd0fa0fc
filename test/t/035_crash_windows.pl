# Crashes at the worst moments: committed and not yet told, claimed and not yet
# run, in the middle of an answer. Nothing acknowledged is lost; what is tried
# again with its client_id is there once. And a standby: nothing listens there
# until it is promoted, then it serves what was replicated.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->prepared('windows', fsync => 1, init => { allows_streaming => 1 }, conf => "penny.executors_max = 2\npenny.statement_timeout = '60s'\n");
$node->start;
$node->create_penny;
$node->wait_ready;
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 1);
my $token = $node->token($ada);
my $at = "/api/v1/conversations/$talk/messages";
sub format_message { my ($http, $text) = @_; return $http->format_request('POST', $at, json => { role => 'user', content => $text, client_id => $text }) }
sub again { my ($text) = @_; return $node->request('POST', $at, token => $token, timeout => 30, json => { role => 'user', content => $text, client_id => $text }) }
sub stored { my ($text) = @_; return $node->sql("SELECT count(*) FROM chat.messages WHERE content = '$text'") }
sub crash
{
	my ($pid) = @_;
	my $restarts = $node->crash_restarts;
	kill 'KILL', $pid;
	return $node->wait_until(sub { $node->crash_restarts == $restarts + 1 }, 15) && $node->wait_ready(30);
}
my $waiting = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny executor' AND wait_event = '%s'};

subtest 'between commit and answer' => sub {
	# a commit that waits for a standby which is not there: it is in the WAL, and nobody was told
	$node->sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	$node->reload;
	my $http = $node->http(token => $token);
	$http->send_bytes(format_message($http, 'window 1'));
	my $pid;
	ok($node->wait_until(sub { $pid = $node->sql(sprintf $waiting, 'SyncRep') }, 15), 'an executor waits in its commit');
	is($node->sql('SELECT count(*) FROM penny.quarantine()'), 0, 'nobody is blamed yet');
	ok(crash($pid), 'it is killed there');
	unlink $node->data_dir . '/postgresql.auto.conf';
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW synchronous_standby_names') eq '' }, 10), 'commits wait no more');
	ok(!defined $http->read_response(timeout => 5), 'the client was told nothing');
	is(stored('window 1'), 1, 'the message is there');
	my $answer = again('window 1');
	is($answer->{status}, 200, 'sent again: 200, not 201');
	is(stored('window 1'), 1, 'and there once');
	ok($node->wait_until(sub { $node->sql('SELECT count(*) FROM penny.quarantine()') == 0 }, 20), 'which clears the request');
};

subtest 'between claim and commit' => sub {
	my $hold = $node->background_psql('postgres');
	$hold->query_safe("BEGIN; SELECT 1 FROM chat.conversations WHERE id = '$talk' FOR UPDATE");
	my @clients = map { my $http = $node->http(token => $token); $http->send_bytes(format_message($http, "window 2.$_")); $http } 1 .. 6;
	my $pid;
	ok($node->wait_until(sub { my @pids = split /\n/, $node->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny executor' AND wait_event_type = 'Lock'}); $pid = $pids[0]; @pids == 2 }, 15), 'two run, four wait in the edge');
	ok(crash($pid), 'one is killed');
	eval { $hold->quit };
	is(scalar(grep { my $a = $_->read_response(timeout => 5); $a && $a->{status} =~ /^2/ } @clients), 0, 'nobody is told that it was done');
	is(stored("window 2.$_"), 0, "message $_ is not there") for 1 .. 6;
	is(again("window 2.$_")->{status}, 201, "message $_ again: 201") for 1 .. 6;
	is(stored("window 2.$_"), 1, "message $_ is there once") for 1 .. 6;
};

subtest 'in the middle of an answer' => sub {
	$node->sql(q{CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user; CREATE FUNCTION app.large(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('large', repeat('x', 12000000))$$;
		INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/large', 'app.large')});
	my $http = $node->http(token => $token);
	$http->send_bytes($http->format_request('GET', '/large'));
	ok($node->wait_until(sub { $node->sql_json('SELECT penny.stats()')->{executors}{busy} == 1 }, 10), 'an executor hands over its pieces');
	ok(crash(($node->backend_pids('penny executor'))[0]), 'it is killed');
	my $answer = eval { $http->read_response(timeout => 10) };
	ok(!defined $answer || length $answer->{body} < 12_000_000, 'the client sees a connection that ended, and no whole answer');
	is($node->request('HEAD', '/large', token => $token, timeout => 30)->{header}{'content-length'}, 12_000_013, 'again: whole');
};

subtest 'a standby' => sub {
	$node->backup('base');
	my $standby = Penny::Cluster->new('standby');
	@{$standby}{qw(database secret http_port)} = (@{$node}{qw(database secret)}, Penny::Cluster::free_port());
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "penny.port = $standby->{http_port}\n");
	$standby->start;
	my $ws = $node->websocket(token => $token);
	my $position = $ws->join_room("conversation:$talk")->{position};
	is(again('replicated')->{status}, 201, 'a message on the primary');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('write'));
	is($standby->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'penny%'}), 0, 'nothing of penny runs on the standby');
	ok(!Penny::Http->connect_to(port => $standby->{http_port}), 'nothing listens');
	is($standby->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'recovery'}), 'f', 'doctor() says why');
	is($standby->sql("SELECT count(*) FROM chat.messages WHERE content = 'replicated'"), 1, 'SQL reads it');
	$node->stop('immediate');
	my $began = time;
	$standby->promote;
	ok($standby->wait_ready(30), 'promoted: serves');
	cmp_ok(time - $began, '<', 20, 'soon');
	my $answer = $standby->request('GET', $at, token => $standby->token($ada));
	ok((grep { $_->{content} eq 'replicated' } @{ $answer->{json}{data} }), 'with what was replicated');
	is($standby->request('POST', $at, token => $standby->token($ada), json => { role => 'user', content => 'replicated', client_id => 'replicated' })->{status}, 200, 'a message that is sent again is known');
	my $joined = $standby->websocket(token => $standby->token($ada))->join_room("conversation:$talk", $position);
	isnt($joined->{position}{epoch}, $position->{epoch}, 'another epoch');
	ok(!$joined->{recovered}, 'in which an old position is not taken');
	is($standby->crash_restarts, 0, 'no crash');
};

done_testing;
