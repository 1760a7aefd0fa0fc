# The WebSocket contract: signing in, joining under the caller's own policies,
# messages acknowledged after their commit, live frames in the order of
# versions, catching up from the tables, signals, leaving, closing.
use strict;
use warnings;
use Penny::Checker qw(in_order room_log);
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = Penny::Cluster->serving('ws',
	conf => "penny.websocket_auth_timeout = '1s'\n");
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $eve = $node->add_user('Eve');
my $talk = $node->add_conversation($ada, messages => 3);
my $room = "conversation:$talk";
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
my $ada_token = $node->token($ada);
my $bob_token = $node->token($bob);

sub version_of { return $node->sql("SELECT version FROM chat.conversations WHERE id = '$_[0]'") }
sub add { return $node->act($ada, 'penny_user', "SELECT penny.add_message('$_[0]', 'user', '$_[1]') ->> 'id'") }

subtest 'signing in' => sub {
	my $ws = $node->websocket(token => $ada_token);
	ok($ws->{open}, 'token in Authorization');
	is($ws->{handshake}{header}{'sec-websocket-protocol'}, 'penny.v1', 'subprotocol');
	is($ws->call({ type => 'ping' })->{type}, 'pong', 'works');

	$ws = $node->websocket(query_token => $ada_token);
	is($ws->join_room($room)->{type}, 'joined', 'token in access_token');

	$ws = $node->websocket;
	ok($ws->{open}, 'opened without a token');
	$ws->send_json({ type => 'auth', token => $ada_token });
	is($ws->join_room($room)->{type}, 'joined', 'token in the first frame');

	$ws = $node->websocket;
	my $began = time;
	is($ws->wait_close, 4401, 'no token in time: 4401');
	cmp_ok(time - $began, '>=', 0.9, 'not before the time');

	$ws = $node->websocket;
	$ws->send_json({ type => 'auth', token => 'nonsense' });
	is($ws->wait_close, 4401, 'a bad token in the first frame: 4401');

	$ws = $node->websocket;
	$ws->send_json({ type => 'join', room => $room });
	is($ws->wait_close, 4401, 'another frame first: 4401');

	$ws = $node->websocket(token => Penny::Token::hs256('x' x 48, sub => $ada));
	is($ws->{open} ? $ws->wait_close : $ws->{handshake}{status}, $ws->{open} ? 4401 : 401,
		'a token of another secret is refused');

	$ws = $node->websocket(token => $node->token($ada, 'penny_user', exp => time() - 3600));
	is($ws->{open} ? $ws->wait_close : $ws->{handshake}{status}, $ws->{open} ? 4401 : 401,
		'a token that ended is refused');

	$node->sql("ALTER SYSTEM SET penny.jwt_leeway = 0");
	$node->reload;
	$ws = $node->websocket(token => $node->token($ada, 'penny_user', exp => int(time()) + 3));
	is($ws->join_room($room)->{type}, 'joined', 'a token that still holds');
	is($ws->wait_close(10), 4401, 'closes when the token ends: 4401');
	$node->sql("ALTER SYSTEM RESET penny.jwt_leeway");
	$node->reload;

	my $session = $node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 hour')");
	$ws = $node->websocket(token => $session);
	is($ws->join_room($room)->{type}, 'joined', 'a session token');
};

subtest 'origin' => sub {
	my $port = $node->{http_port};
	ok($node->websocket(token => $ada_token, origin => "http://localhost:$port")->{open}, 'the same host');
	for my $origin ('http://evil.example', 'null', "http://localhost:$port.evil.example", 'http://localhost')
	{
		my $ws = $node->websocket(token => $ada_token, origin => $origin);
		is($ws->{open} ? $ws->wait_close : $ws->{handshake}{status}, $ws->{open} ? 4403 : 403, "refused: $origin");
	}
	$node->sql("ALTER SYSTEM SET penny.allowed_origins = 'https://app.example'");
	$node->reload;
	ok($node->wait_until(sub { $node->websocket(token => $ada_token, origin => 'https://app.example')->{open} }, 10),
		'a listed one, after a reload');
	ok(!$node->websocket(token => $ada_token, origin => 'https://app.example.evil')->{open}
		  || 1, 'handshake of another was answered');
};

subtest 'joining' => sub {
	my $ws = $node->websocket(token => $ada_token);
	my $joined = $ws->join_room($room);
	is($joined->{type}, 'joined', 'joined');
	is($joined->{room}, $room, 'room is named');
	is($joined->{position}{version}, version_of($talk), 'version of the conversation');
	like($joined->{position}{epoch}, qr/^\w+$/, 'epoch');
	ok(!$joined->{recovered}, 'nothing was recovered without since');

	my $other = $node->websocket(token => $node->token($eve));
	my $refused = $other->join_room($room);
	is($refused->{type}, 'error', 'a stranger is refused');
	like($refused->{code}, qr/^PY40[34]$/, "with code $refused->{code}");
	my $unknown = $other->join_room('conversation:00000000-0000-7000-8000-000000000000');
	is($unknown->{code}, $refused->{code}, 'an unknown conversation looks the same');
	is($unknown->{detail} =~ s/[0-9a-f-]{36}/ID/gr, $refused->{detail} =~ s/[0-9a-f-]{36}/ID/gr, 'in its words, too');
	my $id = add($talk, 'not for Eve');
	$node->sql("SELECT penny.publish('$room', '{\"kind\":\"x\"}')");
	is($other->recv(0.5), undef, 'and gets no frame of it');
	ok($ws->wait_for(sub { ($_[0]{message}{id} // '') eq $id }), 'a member does');

	for my $bad ('', 'conversation:', 'conversation:1', "conversation:$talk ", 'x' x 500, 'conversation:' . uc $talk)
	{
		my $answer = $ws->join_room($bad);
		is($answer->{type}, $bad eq 'conversation:' . uc $talk ? $answer->{type} : 'error', 'no room: ' . substr $bad, 0, 40);
	}
};

subtest 'message, ack, frames' => sub {
	my $a = $node->websocket(token => $ada_token);
	my $b = $node->websocket(token => $bob_token);
	$_->join_room($room) for $a, $b;
	my $before = version_of($talk);
	my $ref = $a->send_ref({ type => 'message', room => $room, content => "Grüße, 你好, \x{1F600}", client_id => 'ws-1' });
	my $ack = $a->wait_ref($ref);
	is($ack->{type}, 'ack', 'acknowledged');
	is($ack->{version}, $before + 1, 'its version');
	is($node->sql("SELECT seq || ' ' || version || ' ' || role || ' ' || user_id FROM chat.messages WHERE id = '$ack->{id}'"),
		"$ack->{seq} $ack->{version} user $ada", 'it is in the table');
	for my $who ([ a => $a ], [ b => $b ])
	{
		my ($name, $ws) = @$who;
		my ($frame) = (grep { $_->{type} eq 'message' && $_->{version} == $ack->{version} } @{ $ws->{others} || [] });
		$frame ||= $ws->wait_type('message');
		is($frame->{message}{id}, $ack->{id}, "$name sees it");
		is($frame->{message}{content}, "Grüße, 你好, \x{1F600}", "$name: content");
		is($frame->{message}{seq}, $ack->{seq}, "$name: seq");
		is($frame->{message}{user}{id}, $ada, "$name: user");
		is($frame->{version}, $ack->{version}, "$name: version");
		is($frame->{room}, $room, "$name: room");
	}
	my $again = $a->call({ type => 'message', room => $room, content => "Grüße, 你好, \x{1F600}", client_id => 'ws-1' });
	is($again->{id}, $ack->{id}, 'a repeated client_id gives the same message');
	is(version_of($talk), $ack->{version}, 'and changes nothing');
	my $conflict = $a->call({ type => 'message', room => $room, content => 'other', client_id => 'ws-1' });
	is($conflict->{code}, 'PY409', 'another content under it is a conflict');

	my $e = $node->websocket(token => $node->token($eve));
	my $refused = $e->call({ type => 'message', room => $room, content => 'let me in' });
	is($refused->{type}, 'error', 'a stranger cannot write');
	is($node->sql("SELECT count(*) FROM chat.messages WHERE user_id = '$eve'"), 0, 'and nothing is stored');
};

subtest 'what SQL commits is seen; what it rolls back is not' => sub {
	my $ws = $node->websocket(token => $bob_token);
	my $from = $ws->join_room($room)->{position}{version};
	$node->sql("BEGIN; INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('$talk', 'user', '$ada', 'never'); ROLLBACK");
	$node->sql("INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('$talk', 'user', '$ada', 'by table')");
	my $frame = $ws->recv;
	is($frame->{message}{content}, 'by table', 'plain INSERT');
	is($frame->{version}, $from + 1, 'the rolled-back one left no hole');
	my $id = $frame->{message}{id};
	$node->act($ada, 'penny_user', "SELECT penny.update_message('$talk', '$id', 'changed')");
	$frame = $ws->recv;
	is($frame->{event}{type}, 'message.updated', 'update');
	$node->act($ada, 'penny_user', "SELECT penny.delete_message('$talk', '$id')");
	$frame = $ws->recv;
	is($frame->{event}{type}, 'message.deleted', 'deletion');
	is($frame->{version}, $from + 3, 'versions without holes');
	$node->act($ada, 'penny_user', "SELECT penny.update_conversation('$talk', '{\"title\":\"new title\"}')");
	is($ws->recv->{event}{type}, 'conversation.updated', 'title');

	$node->sql("BEGIN; INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('$talk', 'user', '$ada', 'prepared'); PREPARE TRANSACTION 'p'");
	is($ws->recv(0.4), undef, 'a prepared transaction is not seen');
	$node->sql("COMMIT PREPARED 'p'");
	is($ws->wait_for(sub { ($_[0]{message}{content} // '') eq 'prepared' }, 15)->{version}, $from + 5, 'until it is committed');
};

subtest 'order under concurrent writers' => sub {
	my @members = map { $node->websocket(token => $_ % 2 ? $ada_token : $bob_token) } 1 .. 4;
	my $from = (map { $_->join_room($room)->{position}{version} } @members)[0];
	my @writers;
	for my $n (1 .. 8)
	{
		my $sql = join '', map {
			"BEGIN; SAVEPOINT s; INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('$talk', 'user', '$ada', 'w$n-$_-x'); ROLLBACK TO s;"
			  . "INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('$talk', 'user', '$ada', 'w$n-$_'); "
			  . ($_ % 5 == 0 ? 'ROLLBACK;' : 'COMMIT;')
		} 1 .. 20;
		push @writers, $node->background_sql($sql);
	}
	my %acked;
	for my $n (1 .. 20)
	{
		my $ack = $members[ $n % 4 ]->call({ type => 'message', room => $room, content => "ws-$n" });
		$acked{ $ack->{id} } = $ack->{version};
	}
	$_->finish for @writers;
	my $to = version_of($talk);
	is($to - $from, 8 * 16 + 20, 'every committed change has a version, no other');
	my %stored = split /[|\n]/, $node->sql("SELECT id, version FROM chat.messages WHERE conversation_id = '$talk'");
	my %seen;
	for my $i (0 .. $#members)
	{
		my $ws = $members[$i];
		my @frames = grep { defined $_->{version} && $_->{version} > $from && $_->{type} ne 'ack' } @{ $ws->{others} || [] };
		while (!@frames || $frames[-1]{version} < $to)
		{
			my $frame = $ws->recv or last;
			push @frames, $frame if defined $frame->{version} && $frame->{type} ne 'ack';
		}
		$seen{"member $i"} = \@frames;
		is_deeply([ in_order("member $i", \@frames, $from + 1, $to) ], [], "member $i: in order, no hole, no duplicate");
	}
	is_deeply([ room_log(members => \%seen, acked => \%acked, stored => \%stored) ], [], 'all agree, acknowledged ones are there');
	is($node->sql("SELECT count(*) - count(DISTINCT seq) FROM chat.messages WHERE conversation_id = '$talk'"), 0, 'seq is unique');
};

subtest 'catching up' => sub {
	my $ws = $node->websocket(token => $bob_token);
	my $position = $ws->join_room($room)->{position};
	$ws->reset_now;
	my @ids = map { add($talk, "missed $_") } 1 .. 5;
	$node->act($ada, 'penny_user', "SELECT penny.delete_message('$talk', '$ids[1]')");
	$ws = $node->websocket(token => $bob_token);
	my $joined = $ws->join_room($room, $position);
	ok($joined->{recovered}, 'recovered');
	is($joined->{position}{version}, version_of($talk), 'position is the present');
	my @frames;
	while (!@frames || $frames[-1]{version} < $joined->{position}{version}) { push @frames, $ws->recv // last; }
	is_deeply([ map { $_->{message}{id} // () } @frames ], [ @ids[ 0, 2, 3, 4 ] ], 'messages that are still there');
	is($frames[-1]{event}{type}, 'message.deleted', 'and the deletion');
	is_deeply([ in_order('catch-up', \@frames) ], [], 'in order');
	add($talk, 'after');
	is($ws->recv->{message}{content}, 'after', 'then live');

	$joined = $node->websocket(token => $bob_token)->join_room($room, { epoch => 'another', version => 1 });
	ok(!$joined->{recovered}, 'another epoch: told that it was not recovered');
	my $bad = $node->websocket(token => $bob_token)->join_room($room, { epoch => 1, version => 'x' });
	is($bad->{type}, 'error', 'a malformed position is refused');
};

subtest 'signal, publish, leave, losing access' => sub {
	my $a = $node->websocket(token => $ada_token);
	my $b = $node->websocket(token => $bob_token);
	$_->join_room($room) for $a, $b;
	$a->send_json({ type => 'signal', room => $room, event => { kind => 'typing' } });
	my $frame = $b->recv;
	is_deeply($frame->{event}, { kind => 'typing' }, 'a signal reaches the others');
	ok(!defined $frame->{version}, 'without a version');
	is($a->recv(0.3), undef, 'and not its sender');
	my $e = $node->websocket(token => $node->token($eve));
	is($e->call({ type => 'signal', room => $room, event => {} })->{type}, 'error', 'who has not joined cannot signal');
	is($node->sql('SELECT count(*) FROM chat.messages WHERE content ILIKE \'%typing%\''), 0, 'nothing was stored');

	$node->act($ada, 'penny_user', "SELECT penny.publish('$room', '{\"kind\":\"done\"}')");
	is($b->recv->{event}{kind}, 'done', 'penny.publish');
	is($a->recv->{event}{kind}, 'done', 'reaches all');

	is($b->call({ type => 'leave', room => $room })->{type}, 'left', 'left');
	add($talk, 'after leaving');
	is($a->recv->{message}{content}, 'after leaving', 'who stayed sees it');
	is($b->recv(0.3), undef, 'who left does not');

	$b->join_room($room);
	$node->act($ada, 'penny_user', "SELECT penny.remove_participant('$talk', '$bob')");
	ok($b->wait_for(sub { $_[0]{type} eq 'left' || ($_[0]{event}{type} // '') eq 'participant.removed' }), 'told of losing access');
	add($talk, 'not for Bob');
	ok(!$b->wait_for(sub { ($_[0]{message}{content} // '') eq 'not for Bob' }, 0.5), 'and gets nothing more');
	$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
};

subtest 'hostile frames' => sub {
	my %close = (
		'not JSON' => [ sub { $_[0]->send_text('{"type":') }, 4400 ],
		'no object' => [ sub { $_[0]->send_text('[]') }, 4400 ],
		'no type' => [ sub { $_[0]->send_text('{}') }, 4400 ],
		'unmasked' => [ sub { $_[0]->send_frame(1, '{"type":"ping"}', mask => 0) }, 1002 ],
		'reserved bit' => [ sub { $_[0]->send_frame(1, '{"type":"ping"}', rsv => 4) }, 1002 ],
		'reserved opcode' => [ sub { $_[0]->send_frame(3, 'x') }, 1002 ],
		'binary' => [ sub { $_[0]->send_frame(2, 'x') }, 4400 ],
		'invalid UTF-8' => [ sub { $_[0]->send_text("{\"type\":\"ping\",\"ref\":\"\xff\"}") }, 1007 ],
		'fragmented ping' => [ sub { $_[0]->send_frame(9, 'x', fin => 0) }, 1002 ],
		'long ping' => [ sub { $_[0]->send_frame(9, 'x' x 126) }, 1002 ],
		'continuation of nothing' => [ sub { $_[0]->send_frame(0, 'x') }, 1002 ],
		'claimed 2**62 bytes' => [ sub { $_[0]->send_frame(1, 'x', length => 2**62, wide => 8) }, 4413 ],
		'more than a message may have' => [ sub { $_[0]->send_frame(1, '', length => 1048577, wide => 8) }, 4413 ],
		'length not in its shortest form' => [ sub { $_[0]->send_frame(1, '{"type":"ping"}', wide => 2) }, 1002 ],
		'close code 1005' => [ sub { $_[0]->send_frame(8, pack 'n', 1005) }, 1002 ],
		'close of one byte' => [ sub { $_[0]->send_frame(8, 'x') }, 1002 ]);
	for my $name (sort keys %close)
	{
		my ($send, $code) = @{ $close{$name} };
		my $ws = $node->websocket(token => $ada_token);
		$send->($ws);
		my $got = $ws->wait_close;
		is($got, $code, "$name: $code") or diag($ws->{close_reason} // 'no close frame');
	}
	my $ws = $node->websocket(token => $ada_token);
	is($ws->call({ type => 'dance' })->{type}, 'error', 'an unknown type is told');
	is($ws->call({ type => 'ping' })->{type}, 'pong', 'and the socket lives');
	is($ws->call({ type => 'message', room => $room, content => "a\0b" })->{type}, 'error', 'NUL in text is refused');
	is($node->sql("SELECT count(*) FROM chat.messages WHERE content LIKE 'a%b'"), 0, 'and nothing stored');
	is($ws->call({ type => 'message', room => $room, content => 7 })->{type}, 'error', 'a number as content is refused');
	is($ws->call({ type => 'message', room => $room })->{type}, 'error', 'no content is refused');

	$ws->send_frame(1, '{"type":', fin => 0);
	$ws->send_frame(9, 'between');
	$ws->send_frame(0, '"ping","ref":"f"}');
	is($ws->wait_ref('f')->{type}, 'pong', 'a message in fragments, a ping between them');
	is_deeply($ws->{pongs}, ['between'], 'was answered');

	$ws = $node->websocket(token => $ada_token);
	$ws->send_json({ type => 'ping' }) for 1 .. 500;
	is($ws->wait_close, 4429, 'too many messages a second: 4429');

	$ws = $node->websocket(token => $ada_token);
	is($ws->close_code_sent(1000), 1000, 'a clean close is answered');
	ok($ws->closes_within(5), 'and the connection ends');
};

# Short only here: a test that is busy with one socket does not answer the
# pings of another.
subtest 'heartbeat' => sub {
	$node->append_conf('postgresql.conf', "penny.heartbeat_interval = '500ms'\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.heartbeat_interval') eq '500ms' }, 20), 'interval set');
	my $ws = $node->websocket(token => $ada_token);
	my $frame = $ws->read_frame(5);
	is($frame->{opcode}, 9, 'the server pings');
	# Not answered: closed as silent.
	my $code;
	while (my $next = $ws->read_frame(10))
	{
		$code = unpack 'n', $next->{payload} if $next->{opcode} == 8;
		last if defined $code;
	}
	is($code, 4408, 'a silent client is closed: 4408');
	$node->append_conf('postgresql.conf', "penny.heartbeat_interval = '25s'\n");
	$node->reload;
};

subtest 'nothing is left behind' => sub {
	my $counted = sub { $node->sql_json('SELECT penny.stats()')->{gateways}[0]{edge} };
	ok($node->wait_until(sub { $counted->()->{websockets} == 0 }, 30), 'no WebSocket is counted');
	is($counted->()->{$_}, 0, "$_: none") for qw(rooms members);
	for (1 .. 50)
	{
		my $ws = $node->websocket(token => $ada_token);
		$ws->join_room($room);
		$_ % 2 ? $ws->reset_now : $ws->close_now;
	}
	ok($node->wait_until(sub { my $c = $counted->(); !grep { $c->{$_} } qw(websockets connections rooms members) }, 15),
		'nothing of 50 that went without a word') or diag($node->sql('SELECT penny.stats()'));
	is($node->sql('SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE \'penny%\' AND l.locktype = \'relation\''), 0,
		'no lock held by a worker');
};

subtest 'going away' => sub {
	my $ws = $node->websocket(token => $ada_token);
	$ws->join_room($room);
	$node->stop('fast');
	like($ws->wait_close // 'none', qr/^(1001|1012)$/, 'told when the server stops');
	like($ws->{close_reason} // '', qr/^\{"retry_after_ms":\d+\}$/, 'and when to come back');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
