# Who is in a room: lists, what changes, several devices, other edges, and the
# ends that nobody announces: dead clients, dead edges, rights taken away.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

# a member that is not read for two of them is taken for dead
my $heartbeat = 4;
my $node = Penny::Cluster->serving('presence', conf => "penny.gateways = 3\npenny.executors_max = 4\npenny.heartbeat_interval = '${heartbeat}s'\n");
my %user = map { $_ => $node->add_user($_) } qw(Ada Bob Cyd Dan);
my %token = map { $_ => $node->token($user{$_}) } keys %user;
my %name = reverse %user;
my $talk = $node->add_conversation($user{Ada}, messages => 1);
my $room = "conversation:$talk";
$node->act($user{Ada}, 'penny_user', "SELECT penny.add_participant('$talk', '$user{$_}')") for qw(Bob Cyd Dan);

# A member that keeps what it is told; the mirror is what a client would show.
sub present
{
	my ($who, %with) = @_;
	my $ws = $node->websocket(token => $token{$who});
	is($ws->call({ type => 'join', room => $room, presence => JSON::PP::true, %with })->{type}, 'joined', "$who joins");
	return { ws => $ws, who => $who, there => undef };
}

sub take
{
	my ($member, $frame) = @_;
	return map { take($member, $_) } @{ $frame->{messages} } if $frame->{type} eq 'batch';
	return if $frame->{type} ne 'presence';
	$member->{lists}++ if $frame->{members};
	$member->{there} = {} if $frame->{members};
	$member->{there}{ $name{ $_->{user_id} } } = $_->{devices} for @{ $frame->{members} || $frame->{joined} };
	delete $member->{there}{ $name{$_} } for @{ $frame->{left} || [] };
	$member->{count} = $frame->{count};
}

sub shown { my $there = $_[0]{there} // {}; return join ' ', map { "$_$there->{$_}" } sort keys %$there }

# Does a member come to show this within so many seconds?
sub comes_to_show
{
	my ($member, $wanted, $limit, $what) = @_;
	my ($began, $late) = (time, time + $limit);
	while (shown($member) ne $wanted)
	{
		my $left = $late - time;
		my $frame = $left > 0 ? $member->{ws}->recv($left) : undef or last;
		take($member, $frame);
	}
	is(shown($member), $wanted, $what // "$member->{who} sees $wanted");
	return time - $began;
}

my $ada = present('Ada');
my (@bobs, $plain);

subtest 'who comes and goes' => sub {
	comes_to_show($ada, 'Ada1', 20);
	is($ada->{lists}, 1, 'by a list');
	$plain = $node->websocket(token => $token{Dan});
	$plain->join_room($room);
	@bobs = map { present("Bob") } 1 .. 6;
	comes_to_show($ada, 'Ada1 Bob6', 20, 'six devices of one user, at several edges');
	is($ada->{count}, 2, 'are one of two users');
	comes_to_show($_, 'Ada1 Bob6', 20, 'each sees that') for @bobs;
	my @edges = map { $_->{edge}{members} } @{ $node->sql_json('SELECT penny.stats()')->{gateways} };
	cmp_ok(scalar(grep { $_ > 0 } @edges), '>=', 2, "members at several edges: @edges");
	is($ada->{lists}, 1, 'who is there gets no list again');
	$_->{ws}->close_now for @bobs[0 .. 2];
	comes_to_show($ada, 'Ada1 Bob3', 20, 'three are gone');
	$_->{ws}->call({ type => 'leave', room => $room }) for @bobs[3 .. 5];
	comes_to_show($ada, 'Ada1', 20, 'the others have left');
	is($plain->call({ type => 'ping' })->{type}, 'pong', 'who does not ask is told nothing');
	is(scalar(grep { $_->{type} eq 'presence' } @{ $plain->{others} || [] }), 0, 'and is not shown');
	my $bad = $node->websocket(token => $token{Bob});
	is($bad->call({ type => 'join', room => $room, presence => 'yes' })->{code}, 'PY400', 'presence is true or false');
	$_->close_now for $plain, $bad, map { $_->{ws} } @bobs[3 .. 5];
};

subtest 'filters do not matter' => sub {
	my $bob = present('Bob', filter => { types => ['message'] });
	comes_to_show($bob, 'Ada1 Bob1', 20);
	comes_to_show($ada, 'Ada1 Bob1', 20);
	$bob->{ws}->close_now;
	comes_to_show($ada, 'Ada1', 20);
};

subtest 'changes gather' => sub {
	$node->sql("ALTER SYSTEM SET penny.batch_window = '400ms'");
	$node->reload;
	sleep 0.5;
	my $bob = present('Bob');
	comes_to_show($ada, 'Ada1 Bob1', 20);
	my $frames = 0;
	my $began = time;
	for (1 .. 5)
	{
		$bob->{ws}->call({ type => 'leave', room => $room });
		$bob->{ws}->call({ type => 'join', room => $room, presence => JSON::PP::true });
	}
	my $took = time - $began;
	my $late = time + 1.2;
	while ((my $left = $late - time) > 0)
	{
		my $frame = $ada->{ws}->recv($left) or last;
		$frames += $frame->{type} eq 'presence';
		take($ada, $frame);
	}
	# one at once, one after the first window, one after each that passed meanwhile
	cmp_ok($frames, '<=', 3 + $took / 0.4, "leaving and coming back five times is $frames frames");
	is(shown($ada), 'Ada1 Bob1', 'and in the end he is there');
	$bob->{ws}->close_now;
	$node->sql('ALTER SYSTEM RESET penny.batch_window');
	$node->reload;
	comes_to_show($ada, 'Ada1', 20);
};

subtest 'a right that is taken away' => sub {
	my $cyd = present('Cyd');
	comes_to_show($ada, 'Ada1 Cyd1', 20);
	$node->act($user{Ada}, 'penny_user', "SELECT penny.remove_participant('$talk', '$user{Cyd}')");
	is($cyd->{ws}->wait_type('left')->{reason}, 'revoked', 'Cyd is out');
	comes_to_show($ada, 'Ada1', 20, 'and not shown');
	$cyd->{ws}->close_now;
};

subtest 'a peer that is dead' => sub {
	my $bob = present('Bob');
	comes_to_show($ada, 'Ada1 Bob1', 20);
	# Bob reads no more, so no ping is answered; the socket stays open
	my $took = comes_to_show($ada, 'Ada1', 20, 'a silent peer is gone');
	cmp_ok($took, '<', 18, sprintf 'after some heartbeats: %.1f s', $took);
	$bob->{ws}->close_now;
};

subtest 'an edge that is dead' => sub {
	my @bob = map { present('Bob') } 1 .. 9;
	comes_to_show($ada, 'Ada1 Bob9', 20);
	my ($fullest) = sort { $b->{edge}{members} <=> $a->{edge}{members} } @{ $node->sql_json('SELECT penny.stats()')->{gateways} };
	kill 'KILL', $fullest->{edge_pid};
	# who is cut off comes back; Ada may be one of them
	my @alive = grep { my $pong = eval { $_->{ws}->call({ type => 'ping' }, 10) }; $pong && $pong->{type} eq 'pong' } @bob;
	cmp_ok(scalar(@alive), '<', 9, 'some were at that edge: ' . (9 - @alive));
	my $pong = eval { $ada->{ws}->call({ type => 'ping' }, 10) };
	$ada = present('Ada') unless $pong && $pong->{type} eq 'pong';
	my $n = @alive;
	take($ada, $_) for @{ $ada->{ws}{others} || [] };
	my $late = time + 20;
	while (time < $late && shown($ada) ne "Ada1 Bob$n")
	{
		for my $member (@alive) { while (my $frame = $member->{ws}->recv(0.01)) { } }
		my $frame = $ada->{ws}->recv(0.2) or next;
		take($ada, $frame);
	}
	is(shown($ada), "Ada1 Bob$n", 'those of the dead edge are not shown any more');
	$_->{ws}->close_now for @bob;
};

$ada->{ws}->close_now;
$node->stop;
done_testing();
