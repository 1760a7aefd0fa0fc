# Prepared transactions reach the members of a room when, and only when, they
# are committed, whoever commits them and whatever happened in between.
use strict;
use warnings;
use Penny::Checker qw(in_order);
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('prepared');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada);
my $room = "conversation:$talk";

# Statements that write a message as Ada, in a transaction that the caller opened.
sub message { return "SELECT penny.add_message('$talk', 'user', '$_[0]')" }
sub prepare_message
{
	my ($name, $text) = @_;
	$node->act($ada, 'penny_user', message($text) . "; PREPARE TRANSACTION '$name'");
}

my $socket = $node->websocket(token => $node->token($ada));
my $joined = $socket->join_room($room);
is($joined->{type}, 'joined', 'joined') or diag(explain($joined));
my @frames;

# The next message of the room.
sub next_message
{
	my $frame = $socket->wait_type('message');
	push @frames, $frame if $frame;
	return $frame ? $frame->{message}{content} : 'nothing came';
}

prepare_message('one', 'first');
$node->sql("SELECT penny.publish('$room', '{\"type\":\"marker\"}')");
is($socket->wait_type('event')->{event}{type}, 'marker', 'a prepared message is not told: a later event comes alone');
$node->sql("COMMIT PREPARED 'one'");
is(next_message(), 'first', 'told when it is committed');

prepare_message('two', 'never');
$node->sql("ROLLBACK PREPARED 'two'");
$node->act($ada, 'penny_user', message('second'));
is(next_message(), 'second', 'one rolled back is never told');

prepare_message('three', 'third');
my $error = eval { $node->sql("COMMIT PREPARED 'no such one'"); '' } // $@;
like($error, qr/does not exist/, 'an unknown name is an error');
$node->sql("COMMIT PREPARED 'three'");
is(next_message(), 'third', 'a name used once is the right one');

prepare_message('three', 'fourth');
$node->sql("COMMIT PREPARED 'three'");
is(next_message(), 'fourth', 'a name used again, too');

$node->act($ada, 'penny_user', message('fifth') . "; SAVEPOINT s; " . message('undone')
	  . "; ROLLBACK TO s; " . message('sixth') . "; PREPARE TRANSACTION 'five'");
$node->sql("COMMIT PREPARED 'five'");
is(next_message(), 'fifth', 'what a savepoint kept');
is(next_message(), 'sixth', 'and nothing that it gave back');
is_deeply([ in_order('Ada', \@frames, $frames[0]{version}, $frames[-1]{version}) ], [], 'in order, without holes');

$error = eval { $node->sql("BEGIN; SELECT penny.publish('$room', '{\"type\":\"lost\"}'); PREPARE TRANSACTION 'six'"); '' } // $@;
like($error, qr/cannot PREPARE a transaction that has published/, 'a broadcast cannot be prepared: it is in no table');

# The server forgets what it knew of it, PostgreSQL does not.
prepare_message('seven', 'seventh');
$node->restart;
$node->wait_ready;
$socket = $node->websocket(token => $node->token($ada));
$joined = $socket->join_room($room);
is($joined->{type}, 'joined', 'joined after a restart');
$node->sql("COMMIT PREPARED 'seven'");
is(next_message(), 'seventh', 'a transaction prepared before the restart is told');

prepare_message('eight', 'eighth');
$node->stop('immediate');
$node->start;
$node->wait_ready;
$socket = $node->websocket(token => $node->token($ada));
$socket->join_room($room);
$node->sql("COMMIT PREPARED 'eight'");
is(next_message(), 'eighth', 'and one prepared before a crash');

$node->sql("INSERT INTO penny.routes (method, pattern, handler, access) SELECT 'GET', '/second-list', handler, access FROM penny.routes WHERE pattern = '/api/v1/conversations' AND method = 'GET'; ");
my $http = $node->http(token => $node->token($ada));
ok($node->wait_until(sub { $http->request('GET', '/second-list')->{status} == 200 }, 10), 'a route, committed');
$node->sql("BEGIN; DELETE FROM penny.routes WHERE pattern = '/second-list'; PREPARE TRANSACTION 'nine'");
is($http->request('GET', '/second-list')->{status}, 200, 'a prepared change of routes is not seen');
$node->sql("COMMIT PREPARED 'nine'");
ok($node->wait_until(sub { $http->request('GET', '/second-list')->{status} == 404 }, 10), 'until it is committed');

is($node->sql('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left');
is($node->crash_restarts, 0, 'no crash');
done_testing;
