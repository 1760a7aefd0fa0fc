# Deaths under writes: what was acknowledged is kept, and once.  Handlers that
# fail in every way leave nothing behind.  A crash is another epoch.
use strict;
use warnings;
use Penny::Checker qw(room_log);
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('processes', fsync => 1, conf => "penny.executors_min = 3\n");
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 1);
my $token = $node->token($ada);
my $at = "/api/v1/conversations/$talk/messages";
my $n = 0;
my %acked;

# Write until one is acknowledged; how long that took.
sub write_one
{
	my ($limit) = @_;
	my $began = time;
	my $content = 'write ' . ++$n;
	while (time - $began < ($limit // 30))
	{
		my $http = Penny::Http->connect_to(port => $node->{http_port});
		my $answer = $http && eval {
			$http->request('POST', $at, token => $token, timeout => 5, json => { role => 'user', content => $content, client_id => $content });
		};
		if ($answer && $answer->{status} =~ /^20[01]$/) { $acked{ $answer->{json}{id} } = $content; return time - $began; }
		usleep(5_000);
	}
	return undef;
}
sub nothing_lost
{
	my ($name) = @_;
	my %stored = map { $_ => 1 } split /\n/, $node->sql("SELECT id FROM chat.messages WHERE conversation_id = '$talk'");
	is_deeply([ grep { !$stored{$_} } keys %acked ], [], "$name: nothing acknowledged is lost");
	is($node->sql("SELECT count(*) FROM (SELECT content FROM chat.messages WHERE conversation_id = '$talk' GROUP BY content HAVING count(*) > 1) d"),
		0, "$name: nothing is there twice");
}

subtest 'the edge is killed' => sub {
	my $started = $node->sql('SELECT pg_postmaster_start_time()');
	my $session = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my @took;
	for (1 .. 15)
	{
		write_one() // fail('a write before the kill');
		my ($edge) = $node->edge_pids or next;
		my $ws = $node->websocket(token => $token);
		kill 'KILL', $edge;
		push @took, write_one() // 'never';
		ok($ws->closes_within(5), 'its sockets end') if $_ == 1;
	}
	is(scalar(grep { $_ eq 'never' } @took), 0, 'serving again');
	# one may be held up by what else the machine does
	cmp_ok((sort { $a <=> $b } @took)[ @took / 2 ], '<=', 1, 'within a second') or diag("@took");
	is($session->query_safe('SELECT pg_backend_pid()'), $pid, 'the SQL session is untouched');
	$session->quit;
	is($node->sql('SELECT pg_postmaster_start_time()'), $started, 'the server, too');
	is($node->crash_restarts, 0, 'no crash restart');
	nothing_lost('edge');
};

subtest 'a gateway, an executor or the supervisor is killed' => sub {
	my $restarts = 0;
	for my $type ('penny gateway', 'penny executor', 'penny supervisor')
	{
		ok(defined write_one(), "$type: a write before");
		my @edges = $node->edge_pids;
		my ($pid) = $node->backend_pids($type);
		kill 'KILL', $pid;
		$restarts++;
		ok($node->wait_until(sub { $node->crash_restarts == $restarts }, 15), "$type: PostgreSQL restarts its processes");
		ok(defined write_one(30), "$type: serves again");
		ok($node->wait_until(sub { !grep { kill 0, $_ } @edges }, 20), "$type: the old edge is gone");
		is(scalar(my @new = $node->edge_pids), 1, "$type: one edge");
		nothing_lost($type);
	}
};

subtest 'errors and FATAL inside handlers' => sub {
	$node->sql(q{
		CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user;
		CREATE TABLE app.t (i int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON app.t TO penny_user; INSERT INTO app.t VALUES (1);
		CREATE FUNCTION app.dies(r penny.request) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS
			$$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN '{}'; END$$;
		CREATE FUNCTION app.deferred(r penny.request) RETURNS jsonb LANGUAGE sql AS $$INSERT INTO app.t VALUES (1) RETURNING '{}'::jsonb$$;
		CREATE FUNCTION app.mess(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
			DECLARE c CURSOR FOR SELECT generate_series(1, 1000);
			BEGIN
				OPEN c; FETCH c INTO r.path;
				CREATE TEMPORARY TABLE left_behind (i int);
				PERFORM pg_advisory_lock(4711);
				PERFORM set_config('penny_test.left', 'behind', false), set_config('search_path', 'app', false), set_config('work_mem', '77MB', false);
				EXECUTE 'PREPARE left_behind AS SELECT 1';
				IF r.body ->> 'fail' IS NOT NULL THEN RAISE EXCEPTION 'as told'; END IF;
				RETURN '{}';
			END$$;
		CREATE FUNCTION app.look(r penny.request) RETURNS jsonb LANGUAGE sql AS $$
			SELECT jsonb_build_object('setting', nullif(current_setting('penny_test.left', true), ''), 'path', current_setting('search_path'), 'work_mem', current_setting('work_mem'),
				'temp', to_regclass('pg_temp.left_behind')::text, 'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
				'cursors', (SELECT count(*) FROM pg_cursors), 'prepared', (SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_behind'))$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('POST', '/dies', 'app.dies', 'user'), ('POST', '/deferred', 'app.deferred', 'user'),
			('POST', '/mess', 'app.mess', 'user'), ('GET', '/look', 'app.look', 'user');
	});
	my $http = $node->http(token => $token);
	my $clean;
	ok($node->wait_until(sub { my $a = $http->request('GET', '/look'); $a->{status} == 200 && ($clean = $a->{json}) }, 10), 'routes are there');
	for my $round (1 .. 6)
	{
		my $answer = $http->request('POST', '/mess', json => $round % 2 ? { fail => 1 } : {});
		my @look = map { $http->request('GET', '/look')->{json} } 1 .. 4;
		is_deeply(\@look, [ ($clean) x 4 ], "round $round: nothing is left behind ($answer->{status})");
	}
	is($http->request('POST', '/deferred')->{status}, 409, 'a constraint that fails at the commit');
	is($http->request('POST', '/dies')->{status}, 503, 'a FATAL: 503');
	is($http->request('GET', '/look')->{status}, 200, 'and the same connection goes on');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND (backend_xmin IS NOT NULL OR state LIKE 'idle in%')"),
		0, 'no executor holds a snapshot or a transaction');
	$node->sql("ALTER SYSTEM SET statement_timeout = '1ms'");
	$node->reload;
	$node->request('GET', '/look', token => $token) for 1 .. 20;
	$node->sql('ALTER SYSTEM RESET statement_timeout');
	$node->reload;
	ok(defined write_one(), "after everybody's statement_timeout was 1 ms: serves");
};

subtest 'immediate stop, and recovery' => sub {
	my $ws = $node->websocket(token => $token);
	my $position = $ws->join_room("conversation:$talk")->{position};
	write_one();
	$node->stop('immediate');
	$node->start;
	$node->wait_ready(60);
	nothing_lost('immediate');
	$ws = $node->websocket(token => $token);
	my $joined = $ws->join_room("conversation:$talk", $position);
	isnt($joined->{position}{epoch}, $position->{epoch}, 'another epoch');
	ok(!$joined->{recovered}, 'the old position is not taken for good');
	my $again = $joined->{position}{epoch};
	$node->restart;
	$node->wait_ready;
	is($node->websocket(token => $token)->join_room("conversation:$talk", $joined->{position})->{position}{epoch}, $again,
		'a clean restart keeps the epoch');
};

done_testing;
