# Frames that gather, filters, and clients that do not read: with a real server,
# on the wire as others see it.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = Penny::Cluster->serving('batches', conf => "penny.batch_window = '500ms'\n");
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $talk = $node->add_conversation($ada, messages => 1);
my $room = "conversation:$talk";
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
my $token = $node->token($ada);

sub add { return $node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', '$_[0]') ->> 'id'") }
sub version_of { return $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'") }

# A client that sees batches as they come.
sub raw_message
{
	my ($ws, $limit) = @_;
	while (my $frame = $ws->read_frame($limit // 5))
	{
		return decode_json($frame->{payload}) if $frame->{opcode} == 1;
		$ws->send_frame(10, $frame->{payload}) if $frame->{opcode} == 9;
		return { type => 'closed', code => unpack('n', $frame->{payload}), reason => substr $frame->{payload}, 2 }
		  if $frame->{opcode} == 8;
	}
	return undef;
}

sub contents { return [ map { $_->{message}{content} } $_[0]{type} eq 'batch' ? @{ $_[0]{messages} } : $_[0] ] }

subtest 'batches' => sub {
	my $ws = $node->websocket(token => $token);
	my $plain = $node->websocket(token => $token);
	is($plain->call({ type => 'options', batch_ms => 0 })->{type}, 'ack', 'a window of its own');
	$_->join_room($room) for $ws, $plain;
	sleep 0.7;
	my $before = version_of();
	# transactions that follow each other inside one window, faster than a client of psql each
	$node->sql("DO \$\$ BEGIN FOR i IN 0..5 LOOP PERFORM penny.act_as('$ada', 'penny_user'); "
		. "PERFORM penny.add_message('$talk', 'user', CASE i WHEN 0 THEN 'one' ELSE 'n' || i END); "
		. "PERFORM penny.act_as(NULL); COMMIT; END LOOP; END \$\$");
	is_deeply(contents(raw_message($ws)), ['one'], 'the first without the window, and so not in the batch');
	my $batch = raw_message($ws);
	is($batch->{type}, 'batch', 'what follows is a batch');
	is($batch->{room}, $room, 'of the room');
	is_deeply(contents($batch), [ map { "n$_" } 1 .. 5 ], 'in order');
	is($batch->{version}, $before + 6, 'and tells how far it reaches');
	is_deeply(contents(raw_message($plain)), [$_], "at once without a window: $_") for 'one', map { "n$_" } 1 .. 5;
	$_->close_now for $ws, $plain;
};

subtest 'filters' => sub {
	my $ws = $node->websocket(token => $token);
	$ws->call({ type => 'join', room => $room, filter => { types => ['message.updated'] } });
	add('not wanted');
	$node->sql("SELECT penny.publish('$room', '{\"type\":\"message.updated\"}')");
	my $frame = $ws->wait_type('event');
	is($frame->{event}{type}, 'message.updated', 'what passes comes');
	my $position = $ws->wait_type('position', 10);
	ok(!grep({ $_->{type} eq 'message' } @{ $ws->{others} || [] }), 'what does not, does not');
	is($position->{version}, version_of(), 'but the position moves on') if $position;
	$ws->close_now;
};

subtest 'who does not read' => sub {
	$node->sql("ALTER SYSTEM SET penny.batch_window = 0");
	$node->reload;
	my $slow = $node->websocket(token => $token);
	my $position = $slow->join_room($room)->{position};
	my $healthy = $node->websocket(token => $token);
	$healthy->join_room($room);
	my $heard = 0;
	my $began = time;
	my $count = 0;
	# until it is put out: nothing waits for more than some seconds
	until ($node->sql("SELECT penny.stats() #>> '{gateways,0,edge,slow_members}'") // 0 or time - $began > 30)
	{
		$node->act($ada, 'penny_user', "SELECT count(penny.add_message('$talk', 'user', repeat('x', 100000))) "
			. "FROM generate_series(1, 10)");
		$count += 10;
		$heard++ while $heard < $count && $healthy->wait_type('message');
	}
	is($heard, $count, 'others get everything');
	my ($last, $closed) = ($position->{version});
	while (my $message = raw_message($slow))
	{
		($closed = $message), last if $message->{type} eq 'closed';
		fail("inversion or hole: $message->{version} after $last") if $message->{version} != $last + 1;
		$last = $message->{version};
	}
	is($closed->{code}, 4420, 'closed as slow');
	is(decode_json($closed->{reason} || '{}')->{reason}, 'slow', 'which it says');
	cmp_ok($last, '<', version_of(), 'nothing was kept for it without bound');
	my $again = $node->websocket(token => $token);
	ok($again->join_room($room, { epoch => $position->{epoch}, version => $last })->{type} eq 'joined', 'it comes back');
};

$node->stop('fast');
done_testing();
