# Deaths and restarts: the edge, the gateway, the supervisor, executors and the
# postmaster die in every way, settings are reloaded, statements cancelled. The
# database goes on, and penny serves again.
use strict;
use warnings;
use IO::Socket::INET;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# The edge is started through a script that notes what it was given: the edge
# itself does not let anybody look, not even its own user.
my $node = Penny::Cluster->prepared('lifecycle');
my $note = $node->basedir . '/given';
my $program = $ENV{PENNY_EDGE_PROGRAM} || $node->config_data('--bindir') . '/penny-edge';
append_to_file("$note.sh", <<"END");
#!/bin/sh
/bin/ls -l /proc/\$\$/fd > $note.fds
/bin/cat /proc/\$\$/environ > $note.environ
exec $program "\$@"
END
chmod 0755, "$note.sh";
$node->append_conf('postgresql.conf', "penny.edge_program = '$note.sh'\n");
$node->start;
$node->create_penny;
$node->wait_ready;

# A session of somebody else, which must not notice anything.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query('CREATE TEMP TABLE kept AS SELECT 42 AS answer');

sub stats { return $node->sql_json('SELECT penny.stats()') }
sub gateway { return stats()->{gateways}[0] }

# An answer that came through the edge and an executor.
sub served { return $node->is_ready }

# When a process began; its pause is measured by that, not by who looks.
sub began_at
{
	my ($pid) = @_;
	my ($ticks) = slurp_file("/proc/$pid/stat") =~ /^\d+ \(.*\) (?:\S+ ){19}(\d+)/;
	my ($up) = slurp_file('/proc/uptime') =~ /^(\S+)/;
	return time() - $up + $ticks / 100;
}

# Seconds until penny serves again.
sub seconds_to_serve
{
	my $start = time();
	$node->wait_until(\&served, 30) or return 'never';
	return time() - $start;
}

sub alive
{
	my ($pid) = @_;
	my $stat = eval { slurp_file("/proc/$pid/stat") } // return 0;
	return $stat !~ /^\d+ \(.*\) Z/;
}

subtest 'everybody is there, by name' => sub {
	is(scalar($node->backend_pids('penny supervisor')), 1, 'supervisor');
	is(scalar($node->backend_pids('penny gateway')), 1, 'gateway');
	is(scalar($node->backend_pids('penny executor')), 2, 'executors');
	is(scalar(my @edges = $node->edge_pids), 1, 'edge');
	like($node->sql("SELECT query FROM pg_stat_activity WHERE backend_type = 'penny gateway'"),
		qr/edge $edges[0], listening on 127\.0\.0\.1:$node->{http_port}/, 'the gateway says what it does');
};

subtest 'the edge has nothing of PostgreSQL' => sub {
	my ($edge) = $node->edge_pids;
	my ($gateway) = $node->backend_pids('penny gateway');
	is(slurp_file("$note.environ"), '', 'no environment');
	my ($session_id) = slurp_file("/proc/$edge/stat") =~ /^\d+ \(.*\) \S+ \d+ \d+ (\d+)/;
	is($session_id, $edge, 'a session of its own');
	my %fd = slurp_file("$note.fds") =~ / (\d+) -> (.*)$/mg;
	my @others = grep { !m{^(?:socket:|pipe:|anon_inode:\[eventfd|/memfd:penny-|/dev/null$)} && $_ ne "$note.sh" && $_ ne "$note.fds" } values %fd;
	is("@others", '', 'no file of the server');
	# stdin to its listening socket, the wakes of 10 executors and the supervisor; 10 to 13 are the shell's own
	is(join(' ', sort { $a <=> $b } grep { $_ < 10 || $_ > 13 } keys %fd), join(' ', 0 .. 8, 16 .. 26), 'no other descriptor');
	like($fd{3}, qr/memfd:penny-p/, 'region P');
	like($fd{4}, qr/memfd:penny-e/, 'region E');
	like($fd{7}, qr/memfd:penny-s/, 'region S');
	like(slurp_file("/proc/$edge/cmdline"), qr/^[^\0]*penny-edge\0\x30\0001\0\d\0$/, 'arguments');
	my ($mask) = slurp_file("/proc/$edge/status") =~ /^SigBlk:\s*([0-9a-f]+)/m;
	is($mask, '0' x 16, 'no signal blocked');
};

subtest 'kill -9 of the edge' => sub {
	my $before = gateway()->{edge_crashes};
	my @took;
	for (1 .. 10)
	{
		my ($edge) = $node->edge_pids;
		kill 'KILL', $edge;
		push @took, seconds_to_serve();
	}
	is(scalar(grep { $_ eq 'never' } @took), 0, 'serves again');
	# one may be held up by what else the machine does
	cmp_ok((sort { $a <=> $b } @took)[5], '<=', 1, 'within a second') or diag("@took");
	is(gateway()->{edge_crashes}, $before + 10, 'counted');
	is($session->query('SELECT answer FROM kept'), 42, 'a session goes on');
};

subtest 'an edge that never answers is not started every few milliseconds' => sub {
	my $offset = length $node->log_text;
	my $killed = 0;
	$node->wait_until(sub {
		my ($edge) = $node->edge_pids;
		$killed += kill 'KILL', $edge if $edge;
		return substr($node->log_text, $offset) =~ /without an answered request in between/;
	}, 20);
	cmp_ok($killed, '>=', 5, 'the first five are replaced at once');
	like($node->sql(q{SELECT remedy FROM penny.doctor() WHERE "check" = 'edge'}), qr/penny-edge/, 'doctor() says so');
	cmp_ok(gateway()->{edge_failures_in_a_row}, '>=', 5, 'the row is counted');
	my ($edge);
	ok($node->wait_until(sub { ($edge) = $node->edge_pids }, 20), 'there is a next one');
	my ($said_at) = substr($node->log_text, $offset) =~ /^(\S+ \S+ \S+) .*without an answered request in between/m;
	$said_at = $node->sql("SELECT extract(epoch FROM '$said_at'::timestamptz)");
	cmp_ok(began_at($edge) - $said_at, '>', 0.9, 'after a pause');
	my $requests = gateway()->{edge}{requests};
	ok($node->wait_ready(20), 'and it serves');
	ok($node->wait_until(sub { gateway()->{edge}{requests} > $requests }, 20), 'which is counted');
	my $killed_at = time();
	kill 'KILL', $edge;
	ok($node->wait_until(sub { my ($next) = $node->edge_pids; $next && $next != $edge && ($edge = $next) }, 20), 'killed once more');
	cmp_ok(began_at($edge) - $killed_at, '<', 1.5, 'an answer ended the row: it is replaced at once');
	ok($node->wait_ready(10), 'and served');
};

subtest 'SIGTERM to a worker' => sub {
	for my $type ('penny gateway', 'penny supervisor', 'penny executor')
	{
		my ($pid) = $node->backend_pids($type);
		my ($edge) = $node->edge_pids;
		$node->sql("SELECT pg_terminate_backend($pid)");
		ok($node->wait_until(sub { my @pids = $node->backend_pids($type); @pids && !grep { $_ == $pid } @pids }, 10),
			"$type comes back");
		ok(!alive($edge), 'its edge was gone before') if $type eq 'penny gateway';
		cmp_ok(seconds_to_serve(), '<=', 15, 'and penny serves: the new edge is woken by executors');
		ok($node->wait_until(sub { $node->backend_pids('penny executor') >= 2 }, 10), 'with its executors');
	}
	is($node->crash_restarts, 0, 'without a restart of the server');
	is($session->query('SELECT answer FROM kept'), 42, 'a session goes on');
};

subtest 'an edge that is gone does not hold an executor' => sub {
	$node->sql(q{
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA app TO PUBLIC;
		CREATE FUNCTION app.large(r penny.request) RETURNS jsonb LANGUAGE sql AS
			$$SELECT jsonb_build_object('large', repeat('x', 30000000))$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/large', 'app.large', 'public')});
	ok($node->wait_until(sub { (($node->request('HEAD', '/large') || {})->{status} // 0) == 200 }, 10), 'a large answer');
	my $client = $node->http;
	$client->send_bytes($client->format_request('GET', '/large'));
	ok($node->wait_until(sub { stats()->{executors}{busy} == 1 }, 20), 'an executor writes it');
	usleep(500_000);
	is(stats()->{executors}{busy}, 1, 'and waits for a client that does not read');
	my ($edge) = $node->edge_pids;
	kill 'KILL', $edge;
	ok($node->wait_until(sub { stats()->{executors}{busy} == 0 }, 20), 'until the edge is another');
	ok($node->wait_ready(10), 'penny serves');
};

subtest 'a gateway that ends lets running requests finish' => sub {
	$node->sql(q{
		CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
			$$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN '{"done":true}'; END$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/slow', 'app.slow', 'public')});
	ok($node->wait_until(sub { (($node->request('GET', '/slow') || {})->{status} // 0) == 200 }, 10), 'a route that waits for a lock');
	$node->append_conf('postgresql.conf', "penny.drain_timeout = 30s\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.drain_timeout') eq '30s' }, 20), 'time to finish');
	$session->query('SELECT pg_advisory_lock(1)');
	my $idle = $node->http;
	is($idle->request('GET', '/livez')->{status}, 200, 'an idle connection');
	my $client = $node->http;
	$client->send_bytes($client->format_request('GET', '/slow'));
	ok($node->wait_until(sub { stats()->{executors}{busy} == 1 }, 20), 'a request runs');
	my ($gateway) = $node->backend_pids('penny gateway');
	$node->sql("SELECT pg_terminate_backend($gateway)");
	ok($idle->closes_within(10), 'the idle connection is closed');
	$session->query('SELECT pg_advisory_unlock(1)');
	is(($client->read_response || {})->{status}, 200, 'what runs is answered');
	ok($node->wait_ready(10), 'the next gateway serves');

	$node->append_conf('postgresql.conf', "penny.drain_timeout = 0\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.drain_timeout') eq '0' }, 20), 'no time to finish');
	$session->query('SELECT pg_advisory_lock(1)');
	$client = $node->http;
	$client->send_bytes($client->format_request('GET', '/slow'));
	ok($node->wait_until(sub { stats()->{executors}{busy} == 1 }, 20), 'a request runs');
	($gateway) = $node->backend_pids('penny gateway');
	$node->sql("SELECT pg_terminate_backend($gateway)");
	is(($client->read_response || { status => 503 })->{status}, 503, 'and is told, or cut off');
	$session->query('SELECT pg_advisory_unlock(1)');
	$node->append_conf('postgresql.conf', "penny.drain_timeout = 2s\n");
	$node->reload;
	ok($node->wait_ready(10), 'the next gateway serves');
};

subtest 'SIGTERM to all workers, again and again, also while they start' => sub {
	for my $round (1 .. 10)
	{
		$node->sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type LIKE 'penny %'");
		usleep(150_000 * ($round % 3));
	}
	ok($node->wait_ready(20), 'penny serves');
	is($node->crash_restarts, 0, 'without a restart of the server');
};

subtest 'pg_cancel_backend while idle' => sub {
	# those that load has started end by themselves
	ok($node->wait_until(sub { 2 == (my @pids = $node->backend_pids('penny executor')) }, 60), 'two executors');
	my @before = map { $node->backend_pids($_) } 'penny gateway', 'penny supervisor', 'penny executor';
	my ($edge) = $node->edge_pids;
	for (1 .. 3)
	{
		$node->sql("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE backend_type LIKE 'penny %'");
		ok(served(), 'served');
	}
	my %now = map { $_ => 1 } map { $node->backend_pids($_) } 'penny gateway', 'penny supervisor', 'penny executor';
	is_deeply([ grep { !$now{$_} } @before ], [], 'nobody ended');
	is(($node->edge_pids)[0], $edge, 'nor the edge');
};

subtest 'reload' => sub {
	my $old_port = $node->{http_port};
	my $new_port = Penny::Cluster::free_port();
	$node->append_conf('postgresql.conf', "penny.heartbeat_interval = 5s\n");
	my ($edge) = $node->edge_pids;
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.heartbeat_interval') eq '5s' }, 20), 'taken');
	is(($node->edge_pids)[0], $edge, 'by the running edge');

	$node->append_conf('postgresql.conf', "penny.port = $new_port\n");
	$node->reload;
	$node->{http_port} = $new_port;
	ok($node->wait_ready(10), 'another port serves');
	ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $old_port), 'the old one does not');

	$node->append_conf('postgresql.conf', "penny.port = 99999\n");
	$node->reload;
	ok($node->wait_until(sub { $node->log_text =~ /99999 is outside the valid range for parameter "penny.port"/ }, 20),
		'a bad value is refused');
	ok(served(), 'and the present one stays');
	$node->append_conf('postgresql.conf', "penny.port = $new_port\n");
	$node->reload;
};

subtest 'kill -9 of a worker restarts the server, and penny with it' => sub {
	my $postmaster = $node->postmaster_pid;
	my $fds = () = glob "/proc/$postmaster/fd/*";
	my $epoch = $node->sql('SELECT penny.epoch()');
	my $restarts = $node->crash_restarts;
	for my $type ('penny executor', 'penny gateway', 'penny supervisor')
	{
		my ($pid) = $node->backend_pids($type);
		my ($edge) = $node->edge_pids;
		kill 'KILL', $pid;
		ok($node->wait_until(sub { $node->crash_restarts == $restarts + 1 }, 10), "$type: the server restarts");
		$restarts++;
		ok($node->wait_until(sub { $node->is_ready && !alive($edge) }, 20), 'the old edge is gone, a new one serves');
	}
	isnt($node->sql('SELECT penny.epoch()'), $epoch, 'another epoch');
	is(scalar(() = glob "/proc/$postmaster/fd/*"), $fds, 'no descriptor was left behind');
	is(gateway()->{edge_crashes}, 0, 'the plane is a new one');
};

subtest 'stop and start' => sub {
	for my $mode ('fast', 'immediate', 'smart')
	{
		my ($edge) = $node->edge_pids;
		my $start = time();
		$node->stop($mode);
		cmp_ok(time() - $start, '<=', 20, "$mode: stops");
		ok($node->wait_until(sub { !alive($edge) }, 20), 'with the edge');
		$node->start;
		ok($node->wait_ready(20), 'serves again');
	}
};

subtest 'programs that are no edge' => sub {
	my $ticks = sub {
		my ($gateway) = $node->backend_pids('penny gateway');
		my ($user, $system) = slurp_file("/proc/$gateway/stat") =~ /^\d+ \(.*\) (?:\S+ ){11}(\d+) (\d+)/;
		return $user + $system;
	};
	my $with = sub {
		my ($script) = @_;
		unlink "$note.other";
		append_to_file("$note.other", "#!/bin/sh\n$script\n");
		chmod 0755, "$note.other";
		$node->append_conf('postgresql.conf', "penny.edge_program = '$note.other'\n");
		$node->restart;
	};
	$with->('exec >/dev/null 2>&1; exec /bin/sleep 1000');
	ok($node->wait_until(sub { gateway()->{edge_starts} == 1 }, 20), 'one that closes its log');
	my $before = $ticks->();
	usleep(1_000_000);
	cmp_ok($ticks->() - $before, '<=', 25, 'the gateway does not spin');

	my $offset = length $node->log_text;
	$with->('while :; do echo "LOG: \033[31m $$ and so on"; done');
	ok($node->wait_until(sub { gateway()->{edge_starts} == 1 }, 20), 'one that never stops talking');
	usleep(1_500_000);
	my $said = substr $node->log_text, $offset;
	cmp_ok(scalar(() = $said =~ /penny-edge: /g), '<=', 110, 'the log is not flooded');
	unlike($said, qr/\033/, 'nor the terminal that reads it');
	is($node->sql('SELECT 1'), 1, 'the database serves');

	unlink "$note.other";
	$node->restart;
	ok($node->wait_until(sub { gateway()->{edge_failures_in_a_row} >= 6 }, 10), 'one that is not there');
	like($node->log_text, qr/penny-edge: could not execute penny-edge: errno 002/, 'the log says so');
	cmp_ok(gateway()->{edge_starts}, '<=', 8, 'tried with pauses');
	$node->append_conf('postgresql.conf', "penny.edge_program = '$note.sh'\n");
	$node->restart;
	ok($node->wait_ready(10), 'and the edge again');
};

subtest 'kill -9 of the postmaster' => sub {
	my $postmaster = $node->postmaster_pid;
	ok($node->wait_until(sub { 2 == (my @pids = $node->backend_pids('penny executor')) }, 20), 'both executors are there');
	my @workers = map { $node->backend_pids($_) } 'penny gateway', 'penny supervisor', 'penny executor';
	my @all = (@workers, $node->edge_pids);
	is(scalar @all, 5, 'five processes');
	kill 'KILL', $postmaster;
	ok($node->wait_until(sub { !grep { alive($_) } @all }, 20), 'all are gone');
	# The kernel closes what lay on the shelf of sockets a moment after its owners.
	my $socket;
	ok($node->wait_until(sub { $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $node->{http_port}, ReuseAddr => 1) }, 20),
		'the port is free');
	close $socket if $socket;
	$node->wait_until(sub { !alive($postmaster) && !-e "/proc/$postmaster" }, 20);
	unlink $node->data_dir . '/postmaster.pid' if !alive($postmaster);
	$node->{_pid} = undef;
	$node->start;
	ok($node->wait_ready(20), 'the next start serves');
};

unlike($node->log_text, qr/PANIC|terminated by signal 11|broken invariant/, 'no crash of our own making');
done_testing;
