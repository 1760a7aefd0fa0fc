# A client that was away for so long that what it missed comes in many pages.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('absence');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 1);
my $room = "conversation:$talk";
my $token = $node->token($ada);

sub add
{
	my ($count, $bytes) = @_;
	$node->act($ada, 'penny_user', "SELECT count(penny.add_message('$talk', 'user', "
		. "repeat(i::text, $bytes))) FROM generate_series(1, $count) i");
}

my $ws = $node->websocket(token => $token);
my $position = $ws->join_room($room)->{position};
$ws->close_now;

add(3, 900_000);
$ws = $node->websocket(token => $token);
my $joined = $ws->join_room($room, $position);
ok($joined->{recovered}, 'a few megabytes are caught up with');
is($ws->wait_type('message')->{version}, $position->{version} + $_, "message $_") for 1 .. 3;
$ws->close_now;

add(9, 900_000);
$ws = $node->websocket(token => $token);
$joined = $ws->join_room($room, $position);
is($joined && $joined->{type}, 'joined', 'more of them do not end the socket');
ok($joined->{recovered}, 'and come, page by page');
is($ws->wait_type('message')->{version}, $position->{version} + $_, "message $_") for 1 .. 12;
add(1, 10);
is($ws->wait_type('message')->{version}, $position->{version} + 13, 'it goes on from there');
$ws->close_now;

$node->stop('fast');
done_testing();
