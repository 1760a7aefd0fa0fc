# Several gateways on one port: clients spread over their edges, none is
# refused when a gateway or an edge ends, rooms and limits reach over all of
# them, and the port is nobody else's.
use strict;
use warnings;
use Penny::Checker qw(in_order room_log);
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

sub stats { return $_[0]->sql_json('SELECT penny.stats()')->{gateways} }
sub lines { my ($node, $pattern) = @_; return scalar(() = $node->log_text =~ /$pattern/g) }

# Settings that hold from now on in all edges.
sub set
{
	my ($node, %to) = @_;
	$node->sql("ALTER SYSTEM SET penny.$_ = $to{$_}") for sort keys %to;
	$node->reload;
	usleep(300_000);
}

my $node = Penny::Cluster->serving('three', conf => "penny.gateways = 3\npenny.executors_max = 4\npenny.websocket_messages_per_second = 10000\n");

subtest 'clients spread over the edges' => sub {
	is(scalar(my @edges = $node->edge_pids), 3, 'three edges');
	my $before = stats($node);
	my @open;
	for (1 .. 60)
	{
		my $http = $node->http;
		is($http->request('GET', '/readyz')->{status}, 200, 'answered') or last;
		push @open, $http;
	}
	my $now = stats($node);
	my @got = map { $now->[$_]{edge}{connections} } 0 .. 2;
	is($got[0] + $got[1] + $got[2], 60, 'every connection is somewhere');
	cmp_ok($_, '>=', 4, "one edge has $_ of 60") for @got;
	ok((grep { $now->[$_]{edge}{requests} > $before->[$_]{edge}{requests} } 0 .. 2) == 3, 'each has answered');
	like($node->sql(q{SELECT string_agg("check" || ' ' || ok, ',' ORDER BY "check") FROM penny.doctor() WHERE "check" ~ '^(edge|port)'}),
		qr/^edge of gateway 1 true,edge of gateway 2 true,edge of gateway 3 true,port of gateway 1 true/, 'doctor() has a row for each');
	is(lines($node, qr/penny listens on 127\.0\.0\.1:/), 1, 'the log says once that penny listens');
};

# Connections by a process of its own, one after the other, each with a
# request; what was refused, and how long the longest took.
sub hammer
{
	my ($node, $seconds) = @_;
	pipe(my $out, my $in) or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		close $out;
		my ($n, $refused, $longest, $until) = (0, 0, 0, time + $seconds);
		while (time < $until)
		{
			my $began = time;
			my $http = Penny::Http->connect_to(port => $node->{http_port});
			if (!$http) { $refused++; usleep(1000); next; }
			my $answer = eval { $http->request('GET', '/livez', timeout => 5) };
			$n++ if $answer && $answer->{status} == 200;
			my $took = time - $began;
			$longest = $took if $took > $longest;
			$http->close_now;
		}
		syswrite $in, "$n $refused $longest\n";
		require POSIX;
		POSIX::_exit(0);
	}
	close $in;
	return sub { my $line = <$out>; waitpid $pid, 0; return split ' ', $line };
}

for my $gateways (1, 3)
{
	my $n = $gateways == 3 ? $node : Penny::Cluster->serving('one');

	subtest "a gateway, an edge and a backend end, of $gateways" => sub {
		my $end = hammer($n, 6);
		usleep(300_000);
		for my $kill (1 .. 3)
		{
			my ($gateway) = $n->backend_pids('penny gateway');
			$n->sql("SELECT pg_terminate_backend($gateway)");
			ok($n->wait_until(sub { !grep { $_ == $gateway } $n->backend_pids('penny gateway') }, 10), 'a gateway ended');
			ok($n->wait_until(sub { scalar(my @e = $n->edge_pids) == $gateways }, 10), 'and came back');
			my ($edge) = $n->edge_pids;
			kill 'KILL', $edge;
			ok($n->wait_until(sub { my @e = $n->edge_pids; @e == $gateways && !grep { $_ == $edge } @e }, 10), 'an edge, too');
			usleep(500_000);
		}
		my ($answered, $refused, $longest) = $end->();
		cmp_ok($answered, '>', 100, "$answered connections were answered");
		is($refused, 0, 'none was refused');
		cmp_ok($longest, '<', 5, sprintf 'the longest took %.3f s', $longest);
	};
	$n->stop if $gateways == 1;
}


subtest 'rooms reach over all edges' => sub {
	my $ada = $node->add_user('Ada');
	my $bob = $node->add_user('Bob');
	my $talk = $node->add_conversation($ada, messages => 1);
	my $room = "conversation:$talk";
	$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
	my @member = map { $node->websocket(token => $node->token($_ % 2 ? $bob : $ada)) } 0 .. 11;
	my $version;
	$version = $_->join_room($room)->{position}{version} for @member;
	my @got = map { $_->{edge}{members} } @{ stats($node) };
	ok(!(grep { $_ == 0 } @got), "members at each edge: @got");

	# two senders, signals and messages, each at its own edge or not
	my $n = 40;
	for my $i (1 .. $n)
	{
		for my $from (0, 1)
		{
			$member[$from]->send_json({ type => 'signal', room => $room, event => { type => 'typing', n => $i, from => $from } });
			$member[$from]->send_json({ type => 'message', room => $room, content => "$from $i", ref => "$from $i" }) if $i % 10 == 0;
		}
	}
	my (%frames, %acked);
	my @bad;
	for my $m (0 .. $#member)
	{
		my (@messages, %last);
		my $signals = $m < 2 ? $n : 2 * $n;
		my $acks = $m < 2 ? $n / 10 : 0;
		while ($signals > 0 || @messages < $n / 5 || $acks > 0)
		{
			my $frame = $member[$m]->recv(10) or last;
			if ($frame->{type} eq 'message') { push @messages, $frame }
			elsif ($frame->{type} eq 'ack') { $acked{ $frame->{id} } = $frame->{version}; $acks-- }
			elsif ($frame->{type} eq 'event')
			{
				my ($from, $i) = @{ $frame->{event} }{qw(from n)};
				push @bad, "member $m got its own signal" if $from == $m;
				push @bad, "member $m: signal $i of $from after " . ($last{$from} // 0) if $i != ($last{$from} // 0) + 1;
				push @bad, "member $m: signal of another user" if $frame->{user_id} ne ($from ? $bob : $ada);
				$last{$from} = $i;
				$signals--;
			}
			else { push @bad, "member $m got $frame->{type}" }
		}
		push @bad, "member $m misses $signals signals" if $signals;
		push @bad, in_order("member $m", \@messages, $version + 1, $version + $n / 5);
		$frames{$m} = \@messages;
	}
	is(scalar keys %acked, $n / 5, 'all messages are acknowledged');
	my %stored = map { split /\|/ } split /\n/, $node->sql("SELECT id, version FROM chat.messages WHERE conversation_id = '$talk'");
	push @bad, room_log(members => \%frames, acked => \%acked, stored => \%stored);
	is("@bad[0 .. ($#bad > 9 ? 9 : $#bad)]", '', 'everybody got everything in order, but their own signals');

	# who has lost access is heard by nobody, even before its edge knows
	my $eve = $node->websocket(token => $node->token($node->add_user('Eve')));
	is($eve->call({ type => 'signal', room => $room, event => {}, ref => 'e' })->{type}, 'error', 'a stranger may not signal');
	$_->close_now for @member, $eve;
};

# So many requests at once over so many new connections; statuses by number.
sub burst
{
	my ($count, $path, %with) = @_;
	my (%status, @open, $refusal);
	for (1 .. $count)
	{
		my $http = Penny::Http->connect_to(port => $node->{http_port}, %with) or next;
		my $answer = eval { $http->request('GET', $path, timeout => 5, ($with{token} ? (token => $with{token}) : ())) };
		$status{ $answer ? $answer->{status} : 'none' }++;
		$refusal = $answer if $answer && $answer->{status} =~ /^(429|503)$/;
		push @open, $http;
	}
	return (\%status, $refusal, @open);
}

sub nobody { return $node->wait_until(sub { my $n = 0; $n += $_->{edge}{connections} for @{ stats($node) }; $n == 0 }, 10) }

subtest 'limits hold over all edges' => sub {
	ok(nobody(), 'no connections to begin with');
	set($node, max_client_connections => 30);
	my ($status, $refusal, @open) = burst(50, '/livez');
	is($status->{200}, 30, 'as many connections as there may be');
	is($status->{503}, 20, 'the others are refused');
	my ($edge) = $node->edge_pids;
	kill 'KILL', $edge;
	ok($node->wait_until(sub { my @e = $node->edge_pids; @e == 3 && !grep { $_ == $edge } @e }, 10), 'an edge was lost');
	my $left = 0;
	$left += $_->{edge}{connections} for @{ stats($node) };
	cmp_ok($left, '<', 30, "with its connections, $left are left");
	($status, $refusal, my @more) = burst(40, '/livez');
	is(($status->{200} // 0) + $left, 30, 'their places can be had again');
	@open = @more = ();
	ok(nobody(), 'all closed');

	set($node, max_client_connections => 1000, max_connections_per_address => 15);
	($status, $refusal, @open) = burst(40, '/livez');
	is($status->{200}, 15, 'as many as an address may have');
	is($refusal->{status}, 429, 'then 429');
	($status, $refusal, @more) = burst(5, '/livez', local_address => '127.0.0.2');
	is($status->{200}, 5, 'another address has its own');
	@open = @more = ();
	ok(nobody(), 'all closed');
	set($node, max_connections_per_address => 1000);

	set($node, connections_per_second => 10);
	my $began = time;
	($status, $refusal, @open) = burst(60, '/livez');
	my $may = 10 + 10 * (time - $began);
	cmp_ok($status->{200}, '>=', 10, "$status->{200} connections in a second's burst");
	cmp_ok($status->{200}, '<=', $may + 1, sprintf 'of %.1f', $may);
	is($refusal->{status}, 429, 'then 429');
	is($refusal->{header}{'retry-after'}, 2, 'with Retry-After');
	set($node, connections_per_second => 0);
	@open = ();
};

subtest 'rates of requests' => sub {
	my $ada = $node->add_user('Ada the quick');
	my $path = '/api/v1/conversations';
	set($node, requests_per_second => 12);
	my $began = time;
	my ($status, $refusal, @open) = burst(40, $path, token => $node->token($ada));
	my $may = 12 + 12 * (time - $began);
	cmp_ok($status->{200}, '>=', 12, "$status->{200} requests of one address");
	cmp_ok($status->{200}, '<=', $may + 1, sprintf 'of %.1f', $may);
	is($refusal->{status}, 429, 'then 429');
	is($refusal->{header}{'retry-after'}, 1, 'with Retry-After');
	like($refusal->{json}{detail}, qr/^your address/, 'that says why');
	($status) = burst(30, '/livez');
	is($status->{200}, 30, 'the health of the server may be asked for');

	usleep(1_200_000);
	$began = time;
	my $served = 0;
	for my $address (2 .. 5)
	{
		($status, my $why) = burst(9, $path, token => $node->token($ada), local_address => "127.0.0.$address");
		$served += $status->{200} // 0;
		$refusal = $why if $why;
	}
	$may = 12 + 12 * (time - $began);
	cmp_ok($served, '>=', 12, "$served requests of one user by four addresses");
	# those whose token was new to one of the two gateways are counted by executors, apart
	cmp_ok($served, '<=', $may + 4, sprintf 'of %.1f', $may);
	is($refusal->{header}{'retry-after'}, 1, 'then 429 with Retry-After');
	is($refusal->{json}{code}, 'PY429', 'by an executor');
	my $bob = $node->add_user('Bob the slow');
	($status) = burst(9, $path, token => $node->token($bob), local_address => '127.0.0.6');
	is($status->{200}, 9, 'another user has its own');
	set($node, requests_per_second => 0);
};

subtest 'nobody else has the port' => sub {
	my $second = Penny::Cluster->prepared('second', http_port => $node->{http_port}, conf => "penny.gateways = 2\n");
	$second->start;
	$second->create_penny;
	ok($second->wait_until(sub { lines($second, qr/could not bind the address for .*: Address already in use/) == 1 }, 20),
		'a second cluster of several gateways is refused, and says so once');
	socket(my $socket, Socket::PF_INET, Socket::SOCK_STREAM, 0) or die "socket: $!";
	setsockopt($socket, Socket::SOL_SOCKET, $_, 1) for Socket::SO_REUSEADDR, 15;    # SO_REUSEPORT
	ok(!bind($socket, Socket::sockaddr_in($node->{http_port}, Socket::INADDR_LOOPBACK)), 'nor can anybody share it by SO_REUSEPORT');
	ok($node->is_ready, 'the first one has the requests') for 1 .. 10;
	is($_->{edge}{accepted}, 0, 'the second one none') for @{ stats($second) };
	$node->stop('fast');
	ok($second->wait_ready(20), 'it takes over when the first one stops');
	ok($second->wait_until(sub { scalar(my @e = $second->edge_pids) == 2 }, 10), 'with both its edges');
	my $pid = ($second->backend_pids('client backend'))[0];
	my $end = hammer($second, 3);
	usleep(200_000);
	kill 'KILL', ($second->backend_pids('penny executor'))[0];
	ok($second->wait_until(sub { $second->crash_restarts == 1 && eval { $second->is_ready } }, 30), 'a crash restart');
	my ($answered, $refused, $longest) = $end->();
	is($refused, 0, sprintf 'refuses no connection: %d answered, the longest took %.3f s', $answered, $longest);
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
