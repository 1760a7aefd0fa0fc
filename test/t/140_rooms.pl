# Kinds of rooms: who gets in, what is told there, and that a right that is
# taken away ends the membership in that commit's wake.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('rooms');
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $talk = $node->add_conversation($ada);

# A commit that tells a room something, after everything that was told before.
sub marker
{
	my ($room, $name) = @_;
	$node->sql("SELECT penny.publish('$room', '{\"type\":\"$name\"}')");
}

# The types of the events until the marker of this name.
sub told_until
{
	my ($ws, $name) = @_;
	my @seen;
	while (my $frame = $ws->recv)
	{
		next unless $frame->{type} eq 'event';
		return join ' ', @seen if $frame->{event}{type} eq $name;
		push @seen, $frame->{event}{type};
	}
	return "no $name after: @seen";
}

sub refused
{
	my ($ws, $room, $name) = @_;
	my $answer = $ws->join_room($room);
	is($answer && $answer->{type} . ' ' . ($answer->{code} // ''), 'error PY404', $name) or diag(explain($answer));
}

# ---- user:<id> ---------------------------------------------------------------------

my $ada_ws = $node->websocket(token => $node->token($ada));
my $bob_ws = $node->websocket(token => $node->token($bob));
my $joined = $ada_ws->join_room("user:$ada");
is($joined->{type}, 'joined', 'the own room') or diag(explain($joined));
is($joined->{position}{version}, 0, 'which has no versions');
refused($ada_ws, "user:$bob", 'not that of another user');
refused($ada_ws, 'user:' . uc $ada, 'nor the own one by another name') if $ada ne uc $ada;
refused($ada_ws, "user:", 'nor one without a name');
my $admin_ws = $node->websocket(token => $node->token($node->add_user('Root'), 'penny_admin'));
is($admin_ws->join_room("user:$ada")->{type}, 'joined', 'an admin comes into all');

$node->act($bob, 'penny_user', "SELECT penny.create_conversation('Of Bob')");
my $new = $node->sql_json("BEGIN; SELECT penny.act_as('$ada', 'penny_user') \\g /dev/null\nSELECT penny.create_conversation('Of Ada'); COMMIT")->{id};
$node->act($ada, 'penny_user', "SELECT penny.add_message('$new', 'user', 'one')");
$node->act($ada, 'penny_user', "SELECT penny.update_conversation('$new', '{\"title\":\"Dinner\"}')");
$node->act($ada, 'penny_user', "SELECT penny.delete_conversation('$new')");
marker("user:$ada", 'end');
is(told_until($ada_ws, 'end'), 'conversation.added conversation.changed conversation.changed conversation.removed',
	'a list is told what becomes of its conversations');
is($bob_ws->join_room("user:$bob")->{type}, 'joined', 'Bob listens');
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
my $event = $bob_ws->wait_type('event')->{event};
is_deeply([ @{$event}{qw(type conversation_id)} ], [ 'conversation.added', $talk ], 'who is invited is told');
$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'never'); ROLLBACK; BEGIN; SELECT penny.act_as('$ada', 'penny_user'); SELECT penny.add_message('$talk', 'user', 'hello')");
is($bob_ws->wait_type('event')->{event}{type}, 'conversation.changed', 'a message is told to all lists');
$node->act($ada, 'penny_user', "SELECT penny.remove_participant('$talk', '$bob')");
marker("user:$bob", 'end');
is(told_until($bob_ws, 'end'), 'conversation.removed', 'and so is the end');

# A prepared transaction cannot keep a hint: its members are told that they missed something.
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob'); PREPARE TRANSACTION 'p'");
$node->sql("COMMIT PREPARED 'p'");
is($bob_ws->wait_type('event')->{event}{type}, 'missed', 'what a prepared transaction changed is told as missed');

# So much in one transaction that the ring would be overrun.
$node->act($ada, 'penny_user', "SELECT count(penny.create_conversation(i::text)) FROM generate_series(1, 5000) i");
my $missed = $ada_ws->wait_for(sub { $_[0]{type} eq 'event' && $_[0]{event}{type} eq 'missed' });
ok($missed, 'as is too much for the ring');

# ---- role:<name> ---------------------------------------------------------------------

is($ada_ws->join_room('role:penny_user')->{type}, 'joined', 'the room of the own role');
refused($ada_ws, 'role:penny_agent', 'not that of another one');
refused($ada_ws, 'role:no such role', 'nor of one that is none');
refused($ada_ws, 'role:' . 'x' x 100, 'nor of a name too long for one');
my $agent_ws = $node->websocket(token => $node->token($bob, 'penny_agent'));
is($agent_ws->join_room("role:$_")->{type}, 'joined', "an agent has the rights of $_") for qw(penny_user penny_agent);
$node->sql('CREATE ROLE editors; GRANT editors TO penny_user');
is($ada_ws->join_room('role:editors')->{type}, 'joined', 'a role of the application');
$node->sql("SELECT penny.publish('role:editors', '{\"type\":\"news\"}')");
is($ada_ws->wait_for(sub { $_[0]{room} eq 'role:editors' && $_[0]{type} eq 'event' })->{event}{type}, 'news', 'is told what is for it');
$node->sql('REVOKE editors FROM penny_user');
my $left = $ada_ws->wait_for(sub { $_[0]{type} eq 'left' || $_[0]{type} eq 'error' });
is($left && $left->{room}, 'role:editors', 'REVOKE ends the membership') or diag(explain($left));
refused($ada_ws, 'role:editors', 'and nobody comes in again');
$node->sql('GRANT editors TO penny_user; SET ROLE penny_user; RESET ROLE');
is($ada_ws->join_room('role:editors')->{type}, 'joined', 'GRANT lets in again');
# from another database: roles are the server's
$node->sql('CREATE DATABASE other');
$node->safe_psql('other', 'REVOKE editors FROM penny_user');
$left = $ada_ws->wait_for(sub { $_[0]{type} eq 'left' || $_[0]{type} eq 'error' });
is($left && $left->{room}, 'role:editors', 'a REVOKE in another database, too') or diag(explain($left));

# ---- free rooms -----------------------------------------------------------------------

refused($ada_ws, 'team:red', 'a room without a policy');
$node->sql(<<'SQL');
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO penny_user;
CREATE TABLE app.team (name text, user_id uuid, writes boolean);
ALTER TABLE app.team ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.team FOR SELECT USING (user_id = penny.user_id());
GRANT SELECT ON app.team TO penny_user;
CREATE FUNCTION app.team_room(room text) RETURNS jsonb LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT jsonb_build_object('read', true, 'write', t.writes) FROM app.team t WHERE t.name = split_part(room, ':', 2);
END;
CREATE FUNCTION app.anybody(room text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION app.broken(room text) RETURNS boolean LANGUAGE sql AS 'SELECT 1/0 = 1';
CREATE FUNCTION app.wrong(room text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION app.recheck() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM penny.room_recheck('team:' || OLD.name); RETURN NULL; END $$;
CREATE TRIGGER recheck AFTER UPDATE OR DELETE ON app.team FOR EACH ROW EXECUTE FUNCTION app.recheck();
INSERT INTO penny.room_policies VALUES ('team', 'app.team_room'), ('lobby', 'app.anybody'), ('broken', 'app.broken');
SQL
for my $bad (['conversation', 'app.anybody', qr/cannot be the prefix/], ['Team', 'app.anybody', qr/cannot be the prefix/],
	['x:y', 'app.anybody', qr/cannot be the prefix/], ['x', 'app.nothing', qr/does not exist/], ['x', 'app.wrong', qr/returns boolean or jsonb/],
	['x', 'app.anybody(text); DROP TABLE app.team; --', qr/does not exist|invalid|syntax|expected/])
{
	my ($status, $out, $err) = $node->psql('postgres', "INSERT INTO penny.room_policies VALUES (\$\$$bad->[0]\$\$, \$\$$bad->[1]\$\$)");
	like($err, $bad->[2], "policy of $bad->[0] by $bad->[1] is refused");
}
is($ada_ws->join_room('lobby:1')->{type}, 'joined', 'a room for anybody');
refused($ada_ws, $_, "nothing is $_") for 'lobby', 'lobby:', 'nolobby:1';
my $answer = $ada_ws->join_room('broken:1');
is($answer->{type}, 'error', 'a handler that fails lets nobody in');
refused($ada_ws, 'team:red', 'not of the team');
$node->sql("INSERT INTO app.team VALUES ('red', '$ada', false), ('red', '$bob', true)");
is($ada_ws->join_room('team:red')->{type}, 'joined', 'of the team, by the policies of the caller');
is($bob_ws->join_room('team:red')->{type}, 'joined', 'Bob is, too');
my ($status, $out, $err) = $node->psql('postgres', "BEGIN; SELECT penny.act_as('$ada', 'penny_user'); SELECT penny.publish('team:red', '{\"a\":1}')");
like($err, qr/needs role penny_agent/, 'who may only read cannot publish');
$node->act($bob, 'penny_user', "SELECT penny.publish('team:red', '{\"type\":\"goal\"}')");
is($ada_ws->wait_for(sub { $_[0]{room} eq 'team:red' && $_[0]{type} eq 'event' })->{event}{type}, 'goal', 'who may write can');
$node->sql("BEGIN; DELETE FROM app.team WHERE user_id = '$ada'; ROLLBACK");
marker('team:red', 'rolled back');
is(told_until($ada_ws, 'rolled back'), '', 'what was rolled back ends nothing');
$node->sql("DELETE FROM app.team WHERE user_id = '$ada'");
$left = $ada_ws->wait_for(sub { $_[0]{type} eq 'left' || $_[0]{type} eq 'error' });
is($left && $left->{room}, 'team:red', 'the end of the right ends the membership');
marker('team:red', 'after');
is(told_until($bob_ws, 'after') =~ /goal/ ? 'goal' : 'nothing', 'goal', 'Bob stays');
$node->sql("DELETE FROM penny.room_policies WHERE prefix = 'team'");
$left = $bob_ws->wait_for(sub { $_[0]{type} eq 'left' || $_[0]{type} eq 'error' });
is($left && $left->{room}, 'team:red', 'and without a policy there is no such room');

# ---- sessions -------------------------------------------------------------------------------

my $eve = $node->add_user('Eve');
my @tokens = map { $node->act($eve, 'penny_admin', "SELECT penny.create_session('$eve')") } 1 .. 2;
my @eve_ws = map { $node->websocket(token => $_) } @tokens;
is($_->join_room("user:$eve")->{type}, 'joined', 'signed in by a session') for @eve_ws;
$node->sql("DELETE FROM chat.sessions WHERE token_hash = sha256('$tokens[0]')");
is($eve_ws[0]->wait_close, 4401, 'the end of a session ends its socket');
is($eve_ws[1]->call({ type => 'join', room => "user:$eve" })->{type}, 'joined', 'and no other');
$node->sql('TRUNCATE chat.sessions');
is($eve_ws[1]->wait_close, 4401, 'TRUNCATE ends all');
ok($ada_ws->join_room("user:$ada"), 'but nobody who signed in otherwise');

# An owner without a participation is in the room as the owner, and for as long.
my $own = $node->add_user('Own');
my $own_ws = $node->websocket(token => $node->token($own));
my $given = $node->add_conversation($own);
$node->sql("DELETE FROM chat.participants WHERE conversation_id = '$given'");
is($own_ws->join_room("conversation:$given")->{type}, 'joined', 'the owner joins');
$node->sql("UPDATE chat.conversations SET owner_id = '$ada' WHERE id = '$given'");
my $gone = $own_ws->wait_for(sub { $_[0]{type} eq 'left' || $_[0]{type} eq 'error' });
is($gone && $gone->{room}, "conversation:$given", 'and is out when the conversation is given away') or diag(explain($gone));

# The function that a room asks is another one now.
$node->sql(q{CREATE FUNCTION public.open_house(room text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
INSERT INTO penny.room_policies VALUES ('house', 'public.open_house')});
is($own_ws->join_room('house:1')->{type}, 'joined', 'an open house');
$node->sql(q{CREATE OR REPLACE FUNCTION public.open_house(room text) RETURNS boolean LANGUAGE sql AS 'SELECT false'});
$gone = $own_ws->wait_for(sub { ($_[0]{type} eq 'left' || $_[0]{type} eq 'error') && $_[0]{room} eq 'house:1' });
ok($gone, 'which the commit that replaces the function closes');
$own_ws->join_room("conversation:" . (my $mine = $node->add_conversation($own)));
$node->sql('ALTER TABLE chat.conversations DISABLE ROW LEVEL SECURITY');
is($own_ws->join_room("conversation:$given")->{type}, 'joined', 'without row-level security everybody may join');
$node->sql('ALTER TABLE chat.conversations ENABLE ROW LEVEL SECURITY');
ok($own_ws->wait_for(sub { ($_[0]{type} eq 'left' || $_[0]{type} eq 'error') && $_[0]{room} eq "conversation:$given" }), 'until it is there again');

$node->stop('fast');
done_testing();
