# What is told of a room in which nobody is, and that nobody who comes misses
# anything because of that.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('listeners');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada);
my $other = $node->add_conversation($ada);
my $room = "conversation:$talk";
my $token = $node->token($ada);

sub say_in { my ($conversation, $text) = @_; $node->act($ada, 'penny_user', "SELECT penny.add_message('$conversation', 'user', '$text')") }
# All events that the edge has taken out of the ring, also those it did not want.
sub numbers { return $node->sql("SELECT penny.stats() ->> 'events_published'") }

# Nobody is in the room: nothing is published.
my $before = numbers();
say_in($talk, $_) for 1 .. 5;
is(numbers(), $before, 'a room without members costs no event');
my $one = $node->websocket(token => $token);
$one->join_room($room);
say_in($talk, 'six');
is(numbers(), $before + 1, 'with one it costs one');
$one->wait_type('message');
$one->call({ type => 'leave', room => $room });
say_in($talk, 'seven');
is(numbers(), $before + 1, 'and none when it has left');

# Writers keep transactions open while clients come: the trigger has run, the
# commit has not.
my $first = $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'");
my $writer = $node->background_sql(join "\n",
	map { "BEGIN; SELECT penny.act_as('$ada', 'penny_user'); SELECT penny.add_message('$talk', 'user', 'm$_'); SELECT pg_sleep(0.006); COMMIT;" } 1 .. 250);
my @clients;
while (@clients < 60)
{
	my $ws = $node->websocket(token => $token);
	my $joined = $ws->join_room($room);
	push @clients, [ $ws, $joined->{position}{version} ];
	# now and then nobody is there
	if (@clients % 3 == 0) { $_->[0]->send_json({ type => 'leave', room => $room }), $_->[2] = 1 for grep { !$_->[2] } @clients[ -3 .. -1 ] }
}
$writer->finish;
my $last = $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'");
my ($gaps, $reached) = (0, 0);
for my $client (@clients)
{
	my ($ws, $at, $left) = @$client;
	while (my $frame = $ws->recv($left ? 0.3 : 5))
	{
		last if $frame->{type} eq 'left';
		next unless $frame->{version};
		$gaps++ if $frame->{version} != $at + 1;
		$at = $frame->{version};
		last if $at == $last;
	}
	$reached += $left || $at == $last;
}
is($gaps, 0, 'from its position on a client gets every version');
is($reached, 60, 'up to the newest');

$node->stop('fast');
done_testing();
