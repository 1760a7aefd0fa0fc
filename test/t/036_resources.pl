# When something runs out: disk space, memory of the edge, locks, connections;
# and when somebody holds penny's tables. penny says so to who asks, waits, and
# goes on by itself.
use strict;
use warnings;
use Penny::Namespace qw(mount);
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

sub status { my ($answer) = @_; return $answer ? $answer->{status} : 'none' }
# CPU of processes, in ticks.
sub ticks
{
	my $sum = 0;
	for my $pid (@_)
	{
		my ($user, $system) = slurp_file("/proc/$pid/stat") =~ /^\d+ \(.*\) (?:\S+ ){11}(\d+) (\d+)/;
		$sum += $user + $system;
	}
	return $sum;
}

my $node = Penny::Cluster->serving('resources', conf => "max_locks_per_transaction = 10\nmax_connections = 20\nautovacuum = off\npenny.statement_timeout = '3s'\nlog_min_messages = warning\n");
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
my $token = $node->token($ada);
my $at = "/api/v1/conversations/$talk";
my $n = 0;
sub post { return $node->request('POST', "$at/messages", token => $token, timeout => 30, json => { role => 'user', content => 'message ' . ++$n, client_id => "c$n" }) }
sub get { return $node->request('GET', $at, token => $token, timeout => 30) }
is(status(post()), 201, 'serves');

subtest 'the lock table is full' => sub {
	my @pids = ((map { $node->backend_pids($_) } 'penny supervisor', 'penny gateway', 'penny executor'), $node->edge_pids);
	my $hold = $node->background_psql('postgres', on_error_stop => 0);
	$hold->query_safe(q{
		BEGIN;
		DO $$
		DECLARE
			n int := 0;
			step int := 4096;
		BEGIN
			WHILE step >= 1 LOOP
				BEGIN
					PERFORM count(pg_advisory_xact_lock(g)) FROM generate_series(n + 1, n + step) g;
					n := n + step;
				EXCEPTION WHEN out_of_memory THEN
					step := step / 2;
				END;
			END LOOP;
		END
		$$});
	my %seen;
	for (1 .. 10)
	{
		my $answer = post();
		$seen{ status($answer) }++;
		ok($answer->{header}{'retry-after'}, 'Retry-After') if status($answer) eq '503';
	}
	is_deeply(\%seen, { 503 => 10 }, 'requests get 503') or diag(join ' ', %seen);
	my $before = ticks(@pids);
	usleep(1_000_000);
	cmp_ok(ticks(@pids) - $before, '<=', 25, 'nobody spins');
	$hold->query('ROLLBACK');
	$hold->quit;
	is(status(post()), 201, 'and on');
};

subtest 'locks on the tables' => sub {
	my $hold = $node->background_psql('postgres');
	$hold->query_safe('BEGIN; LOCK chat.messages IN ACCESS EXCLUSIVE MODE');
	my $answer = get();
	is(status($answer), 504, 'a held table: 504 after penny.statement_timeout');
	is($answer->{header}{'content-type'}, 'application/problem+json', 'a problem');
	is(status($node->request('GET', '/livez')), 200, '/livez: 200');
	$hold->query_safe('ROLLBACK');
	is(status(get()), 200, 'released: serves');

	$hold->query_safe('BEGIN; LOCK penny.routes IN ACCESS EXCLUSIVE MODE');
	is(status(get()), 200, 'penny.routes held: serves from what it knows');
	$hold->query_safe('ROLLBACK');
	$hold->quit;

	# penny holds nothing while it waits: clients are connected, one is in a room, one reads nothing
	my $ws = $node->websocket(token => $token);
	$ws->join_room("conversation:$talk");
	my $http = $node->http(token => $token);
	is($http->request('GET', $at)->{status}, 200, 'an open connection');
	for my $sql ('VACUUM FULL chat.messages', 'VACUUM FULL chat.conversations', 'VACUUM FULL penny.routes', 'CLUSTER chat.messages USING messages_pkey', 'REINDEX TABLE chat.participants',
		'BEGIN; LOCK chat.messages, chat.conversations, chat.participants, penny.routes IN ACCESS EXCLUSIVE MODE; COMMIT', 'TRUNCATE chat.sessions')
	{
		my ($code, undef, $error) = $node->psql('postgres', "SET lock_timeout = '1s';\n$sql");
		is($error, '', "$sql does not wait");
		is(status(get()), 200, 'and penny serves');
	}
	is(status(post()), 201, 'also writes');
	is(($ws->wait_type('message') || {})->{message}{content}, "message $n", 'and the room hears it');
};

subtest 'no connection is left' => sub {
	my @held = map { my $h = $node->background_psql('postgres'); $h->query_safe('SELECT 1'); $h } 1 .. 20;
	my ($code) = $node->psql('postgres', 'SELECT 1');
	isnt($code, 0, 'for a client');
	is(status(post()), 201, 'penny has its own');
	$_->quit for @held;
};

subtest 'the memory of the edge' => sub {
	my ($edge) = $node->edge_pids;
	my $session = $node->background_psql('postgres');
	my $backend = $session->query_safe('SELECT pg_backend_pid()');
	my ($size) = slurp_file("/proc/$edge/status") =~ /^VmSize:\s+(\d+)/m;
	my $limit = ($size + 2048) * 1024;
	system('prlimit', "--pid=$edge", "--as=$limit:$limit") == 0 or die 'prlimit';
	my $crashes = $node->sql_json('SELECT penny.stats()')->{gateways}[0]{edge_crashes};
	my @clients;
	for (1 .. 100)
	{
		my $http = Penny::Http->connect_to(port => $node->{http_port}) or last;
		push @clients, $http;
		# signed in: strangers may not make the edge keep so much
		last if !$http->send_bytes("POST $at/messages HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer $token\r\nContent-Length: 1000000\r\n\r\n" . 'x' x 500_000, 1);
	}
	ok($node->wait_until(sub { $node->sql_json('SELECT penny.stats()')->{gateways}[0]{edge_crashes} > $crashes }, 10), 'it runs out and ends');
	$_->close_now for @clients;
	ok($node->wait_until(sub { my $h = Penny::Http->connect_to(port => $node->{http_port}); $h && status($h->request('GET', $at, token => $token, timeout => 5)) eq '200' }, 10), 'serves');
	is($session->query_safe('SELECT pg_backend_pid()'), $backend, 'the SQL session is untouched');
	$session->quit;
	is($node->crash_restarts, 0, 'the server, too');
};

subtest 'no space on the disk' => sub {
	my $mount = Penny::Namespace::tmpfs('48m') or plan skip_all => 'no file system can be mounted here: namespaces are not allowed';
	# data files on a small disk
	mkdir "$mount/space";
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$mount/space'");
	$node->safe_psql('postgres', 'ALTER TABLE chat.messages SET TABLESPACE small');
	ok($node->wait_until(sub { status(post()) eq '201' }, 20), 'messages lie there');
	fill("$mount/filler");
	my $answer;
	for (1 .. 60)
	{
		$answer = $node->request('POST', "$at/messages", token => $token, json => { role => 'user', content => 'y' x 100_000 . join '', map { chr(33 + rand 90) } 1 .. 50_000 });
		last if status($answer) ne '201';
	}
	is(status($answer), 503, 'data: a write gets 503');
	ok($answer->{header}{'retry-after'}, 'Retry-After');
	is($answer->{json}{code}, '53100', 'code');
	is(status($node->request('GET', "$at?messages=1", token => $token)), 200, 'reads go on');
	unlink "$mount/filler";
	ok($node->wait_until(sub { status(post()) eq '201' }, 20), 'with space again: 201, by itself');
	is($node->crash_restarts, 0, 'no crash');
	$node->stop;
};

subtest 'no space for WAL' => sub {
	my $mount = Penny::Namespace::tmpfs('160m') or plan skip_all => 'no file system can be mounted here: namespaces are not allowed';
	my $other = Penny::Cluster->prepared('wal', init => { extra => [ '-X', "$mount/wal" ] }, fsync => 1, conf => "max_wal_size = 32MB\nmin_wal_size = 32MB\nwal_recycle = off\n");
	$other->start;
	$other->create_penny;
	$other->wait_ready;
	my $user = $other->add_user('Ada');
	my $id = $other->add_conversation($user);
	my $bearer = $other->token($user);
	my $write = sub { my $h = Penny::Http->connect_to(port => $other->{http_port}) or return 'none';
		my $a = $h->request('POST', "/api/v1/conversations/$id/messages", token => $bearer, timeout => 10, json => { role => 'user', content => $_[0], client_id => $_[0] }); return status($a) };
	my @acked;
	for (1 .. 5) { push @acked, $_ if $write->("before $_") eq '201' }
	fill("$mount/filler");
	# WAL that cannot be written is a PANIC of PostgreSQL's own: it ends, and comes back when there is space
	my ($code) = $other->psql('postgres', q{CREATE TABLE big (t text); INSERT INTO big SELECT repeat(md5(g::text), 30) FROM generate_series(1, 60000) g});
	isnt($code, 0, 'WAL is full');
	like($other->log_text, qr/No space left on device/, 'the log says why');
	unlink "$mount/filler";
	my $pid = eval { $other->postmaster_pid };
	if (!$pid || !$other->wait_until(sub { $other->is_ready }, 15))
	{
		$other->{_pid} = undef;
		$other->wait_until(sub { !$pid || !kill 0, $pid }, 10);
		$other->start;
	}
	ok($other->wait_ready(30), 'serves when there is space');
	is($write->('after'), '201', 'writes, too');
	is($other->sql("SELECT count(*) FROM chat.messages WHERE content LIKE 'before %'"), scalar @acked, 'nothing acknowledged is lost');
	$other->stop;
};

sub fill
{
	my ($file) = @_;
	open my $out, '>', $file or die "$file: $!";
	while (1) { defined syswrite $out, "\0" x 65536 or last }
	close $out;
}

done_testing;
