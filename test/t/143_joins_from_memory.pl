# Who joins a conversation having missed nothing is answered from the cache:
# no table is read, and whatever changes what the answer would be ends that.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('joins');
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $talk = $node->add_conversation($ada);
my $room = "conversation:$talk";
$node->sql("INSERT INTO chat.participants (conversation_id, user_id) VALUES ('$talk', '$bob')");

my $token = $node->token($ada);
my $ws = $node->websocket(token => $token);
my ($hits, $position);

sub hits { return $node->sql_json('SELECT penny.cache_stats()')->{kinds}{conversation}{hits} }

# Join, and leave; gives the frame `joined`, or the error.
sub join_once
{
	my ($who, @since) = @_;
	my $joined = $who->call({ type => 'join', room => $room, @since });
	$who->call({ type => 'leave', room => $room }) if $joined->{type} eq 'joined';
	return $joined;
}

$position = join_once($ws)->{position};
ok($position->{version} > 0, 'a first join');
$hits = hits();
my $same = 0;
$same += join_once($ws, since => $position)->{recovered} ? 1 : 0 for 1 .. 20;
is($same, 20, 'joins of one that has missed nothing');
is(hits() - $hits, 20, 'each from memory');
my $other = $node->websocket(token => $node->token($bob));
is(join_once($other)->{position}{version}, $position->{version}, 'another member');
is(hits() - $hits, 20, 'reads for itself');
my $stranger = $node->websocket(token => $node->token($node->add_user('Mallory')));
is(join_once($stranger)->{code}, 'PY404', 'a stranger finds nothing') for 1 .. 2;

$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'news')");
my $joined = $ws->call({ type => 'join', room => $room, since => $position });
ok($joined->{recovered}, 'after a change one that was away recovers');
ok($joined->{position}{version} > $position->{version}, 'to the new position');
is($ws->wait_type('message', 5)->{message}{content}, 'news', 'with what it missed');
$ws->call({ type => 'leave', room => $room });

join_once($other);
$node->sql("DELETE FROM chat.participants WHERE conversation_id = '$talk' AND user_id = '$bob'");
is(join_once($other)->{code}, 'PY404', 'who was put out is not let in from memory');

my $answer = $node->sql_json("BEGIN; SELECT penny.act_as('$ada', 'penny_agent') \\g /dev/null\n"
	. "SELECT penny.add_message('$talk', 'assistant', 'To', status => 'streaming'); COMMIT")->{id};
$hits = hits();
join_once($ws) for 1 .. 3;
is(hits() - $hits, 0, 'while a message grows every join reads its state');
done_testing;
