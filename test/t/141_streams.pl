# Messages that grow: pieces to the room, text so far for everybody who comes
# late, one snapshot for both, and what becomes of a producer that dies.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('streams', init => { allows_streaming => 1 }, conf => "penny.stream_timeout = '2s'\n");
my $ada = $node->add_user('Ada');
my $bot = $node->add_user('Bot');
my $eve = $node->add_user('Eve');
my $talk = $node->add_conversation($ada);
my $room = "conversation:$talk";
my $held;
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bot')");
my $token = $node->token($ada);
my $agent = $node->http(token => $node->token($bot, 'penny_agent'));

sub start
{
	my ($content) = @_;
	my $made = $agent->request(POST => "/api/v1/conversations/$talk/messages",
		json => { role => 'assistant', content => $content // '', status => 'streaming' });
	BAIL_OUT($made->{body}) unless $made->{status} == 201;
	return $made->{json}{id};
}
sub chunk
{
	my ($message, $body, $http) = @_;
	return ($http || $agent)->request(POST => "/api/v1/conversations/$talk/messages/$message/chunks", json => $body);
}
sub index_of { my $answer = chunk(@_); return $answer->{json}{index} // "$answer->{status} $answer->{body}" }
sub shown
{
	my ($message) = @_;
	my $page = $node->request(GET => "/api/v1/conversations/$talk", token => $token)->{json};
	my ($one) = grep { $_->{id} eq $message } @{ $page->{messages} };
	return "$one->{status}: $one->{content}";
}

# A client as a client must be: drops what it has, appends what is next.
sub follow
{
	my ($text, $frame) = @_;
	return if $frame->{type} ne 'stream';
	my $known = \$text->{ $frame->{message_id} };
	if (exists $frame->{text}) { $$known = { next => $frame->{index} + 1, text => $frame->{text} } }
	elsif (!$$known) { $$known = { next => 2, text => $frame->{delta} } if $frame->{index} == 1 }
	elsif ($frame->{index} == $$known->{next}) { $$known->{text} .= $frame->{delta}; $$known->{next}++ }
	elsif ($frame->{index} > $$known->{next}) { $text->{hole} = 1; $$known->{next} = 1e9 }
}

# ---- the plain case ---------------------------------------------------------------

my $ws = $node->websocket(token => $token);
my $joined = $ws->join_room($room);
my $message = start();
is($ws->wait_type('message')->{message}{status}, 'streaming', 'the message is told when it begins');
is(index_of($message, { delta => 'Hel' }), 1, 'the first piece');
is(index_of($message, { delta => 'lo "W', index => 2 }), 2, 'the second, by its number');
is(index_of($message, { delta => 'lo "W', index => 2 }), 2, 'repeated it is the same');
is(index_of($message, { delta => "orld\x{263a}\n", index => 3 }), 3, 'the third');
for my $n (1 .. 3)
{
	my $frame = $ws->wait_type('stream');
	is_deeply([ @{$frame}{qw(room message_id index delta)} ], [ $room, $message, $n, ('Hel', 'lo "W', "orld\x{263a}\n")[ $n - 1 ] ], "piece $n is told");
}
my $text = "Hello \"World\x{263a}\n";
is(shown($message), "streaming: $text", 'the text so far is in what is fetched');

my $late = $node->websocket(token => $token);
$joined = $late->join_room($room);
my $state = $late->wait_type('stream');
is_deeply([ @{$state}{qw(message_id index text)} ], [ $message, 3, $text ], 'and who comes late gets it');
is(index_of($message, { delta => '!' }), 4, 'it goes on');
is($late->wait_type('stream')->{index}, 4, 'for the late one, too');

my $finished = chunk($message, { delta => '?', finish => 'completed', metadata => { stop => 'end' }, input_tokens => 3, output_tokens => 5 });
is($finished->{status}, 200, 'it ends') or diag($finished->{body});
is_deeply([ @{ $finished->{json} }{qw(status content)}, $finished->{json}{metadata}, $finished->{json}{usage} ],
	[ 'completed', "$text!?", { stop => 'end' }, { input_tokens => 3, output_tokens => 5 } ], 'as the message that it is now');
my $updated = $late->wait_for(sub { $_[0]{type} eq 'event' && $_[0]{event}{type} eq 'message.updated' });
is_deeply([ @{ $updated->{event}{message} }{qw(status content)} ], [ 'completed', "$text!?" ], 'which the room is told');
is(chunk($message, { finish => 'completed' })->{status}, 200, 'ended again it is the same');
is(chunk($message, { finish => 'failed' })->{status}, 409, 'but not in another way');
is(chunk($message, { delta => 'x' })->{status}, 409, 'nor does it grow any more');
is($node->sql('SELECT count(*) FROM _penny.stream_chunks'), 0, 'no piece is left behind');

# ---- what is refused ------------------------------------------------------------------

$message = start('Begin ');
my $user = $node->http(token => $token);
is(chunk($message, { delta => 'x' }, $user)->{status}, 403, 'a user does not stream');
my $stranger = $node->http(token => $node->token($eve, 'penny_agent'));
is(chunk($message, { delta => 'x' }, $stranger)->{status}, 404, 'an agent that takes no part sees no message');
for my $bad ([ {}, 400 ], [ { delta => 1 }, 400 ], [ { delta => '' }, 400 ], [ { delta => 'x', index => 0 }, 400 ], [ { delta => 'x', index => 1.5 }, 400 ],
	[ { delta => 'x', index => 3 }, 409 ], [ { index => 1 }, 400 ], [ { finish => 'done' }, 400 ], [ { finish => 'completed', error => 'x' }, 400 ],
	[ { delta => 'x', content => 'y' }, 400 ], [ { delta => 'x', what => 1 }, 400 ], [ { delta => 'x' x 16385 }, 413 ], [ [], 400 ],
	[ { finish => 'completed', input_tokens => -1 }, 400 ])
{
	my $answer = chunk($message, $bad->[0]);
	my $what = JSON::PP->new->canonical->encode($bad->[0]);
	is($answer->{status}, $bad->[1], substr $what, 0, 60) or diag($answer->{body});
}
is($agent->request(POST => "/api/v1/conversations/$talk/messages/$talk/chunks", json => { delta => 'x' })->{status}, 404, 'no such message');
is($agent->request(POST => "/api/v1/conversations/$message/messages/$message/chunks", json => { delta => 'x' })->{status}, 404, 'a message of another conversation');
is(shown($message), 'streaming: Begin ', 'nothing of that was added');

# ---- rollback, savepoints, several in one transaction -------------------------------------

sub bot { return $node->act($bot, 'penny_agent', $_[0]) }
bot("SELECT penny.stream_append('$message', 'lost'); ROLLBACK; BEGIN");
bot("SELECT penny.stream_append('$message', 'a'); SAVEPOINT s; SELECT penny.stream_append('$message', 'lost'); ROLLBACK TO s; SELECT penny.stream_append('$message', 'b')");
my %seen;
follow(\%seen, $_) while $_ = $ws->recv(0.5);
is_deeply($seen{$message}, { next => 3, text => 'ab' }, 'what was rolled back is not told and leaves no hole');
is(shown($message), 'streaming: Begin ab', 'nor is it shown');

# A checkpoint moves the pieces and is no change.
my $version = $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'");
bot("SELECT penny.stream_append('$message', repeat('c', 10000)), penny.stream_append('$message', repeat('d', 10000))");
is($node->sql("SELECT length(content) FROM chat.messages WHERE id = '$message'"), 20008, 'enough text goes into the row');
is($node->sql("SELECT string_agg(index || ':' || length(chunk), ',') FROM _penny.stream_chunks"), '4:0', 'and leaves the number of pieces');
is($node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'"), $version, 'without a new version');
is(index_of($message, { delta => 'e' }), 5, 'the numbers go on');
# The content is put in the place of all, or left alone.
is($agent->request(PATCH => "/api/v1/conversations/$talk/messages/$message", json => { metadata => { a => 1 } })->{status}, 200, 'another change');
is(shown($message), 'streaming: Begin ab' . 'c' x 10000 . 'd' x 10000 . 'e', 'leaves the text alone');
is($agent->request(PATCH => "/api/v1/conversations/$talk/messages/$message", json => { content => 'New' })->{status}, 200, 'other content');
is(shown($message), 'streaming: New', 'takes the place of all');
is(index_of($message, { delta => 'er' }), 6, 'and grows on');
is(shown($message), 'streaming: Newer', 'from there');
is($agent->request(PATCH => "/api/v1/conversations/$talk/messages/$message", json => { status => 'cancelled' })->{status}, 200, 'ended by a plain change');
is(shown($message), 'cancelled: Newer', 'it takes its pieces along');
$message = start();
chunk($message, { delta => 'x' });
is(chunk($message, { error => 'no model' })->{json}{metadata}{error}, 'no model', 'a failure says why');
$message = start();
chunk($message, { delta => 'x' });
is($agent->request(DELETE => "/api/v1/conversations/$talk/messages/$message")->{status} < 300 ? 1 : $node->sql("DELETE FROM chat.messages WHERE id = '$message'; SELECT 1"), 1, 'a message that grows is deleted');
is($node->sql('SELECT count(*) FROM _penny.stream_chunks'), 0, 'with its pieces');

# Content that is that of the row without its pieces takes their place, too.
$message = start();
chunk($message, { delta => 'not to be said' });
is(chunk($message, { finish => 'completed', content => '' })->{json}{content}, '', 'the end says that there is no text');
$message = start('Hm ');
chunk($message, { delta => 'not to be said' });
$agent->request(PATCH => "/api/v1/conversations/$talk/messages/$message", json => { content => 'Hm ' });
is(shown($message), 'streaming: Hm ', 'and so does a plain change');
chunk($message, { delta => 'yes', finish => 'completed' });
is(shown($message), 'completed: Hm yes', 'after which it grows on');

# Who may not change the message may not let it grow.
$message = start();
$node->sql("CREATE POLICY sealed ON chat.messages AS RESTRICTIVE FOR UPDATE USING (metadata ->> 'sealed' IS NULL); UPDATE chat.messages SET metadata = '{\"sealed\":true}' WHERE id = '$message'");
is(chunk($message, { delta => 'x' })->{status}, 403, 'own policies for UPDATE are asked');
$node->sql("DROP POLICY sealed ON chat.messages");
my $before = $node->sql("SELECT ctid, xmax FROM chat.messages WHERE id = '$message'");
is(chunk($message, { delta => 'x' })->{status}, 200, 'each time');
is($node->sql("SELECT ctid, xmax FROM chat.messages WHERE id = '$message'"), $before, 'without a write');

# One who waited for the transaction that put him out.
$held = $node->background_psql('postgres');
$held->query_safe("BEGIN; SELECT penny.stream_append('$message', 'y'); DELETE FROM chat.participants WHERE user_id = '$bot' AND conversation_id = '$talk'");
my $late_bot = $node->background_sql("BEGIN; SELECT penny.act_as('$bot', 'penny_agent'); SELECT penny.stream_append('$message', 'behind the removal'); COMMIT");
ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") > 0 }, 10), 'a producer waits');
$held->query_safe('COMMIT');
$held->quit;
eval { $late_bot->finish };
is(shown($message), 'streaming: xy', 'and writes nothing behind the removal');
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bot')");
chunk($message, { finish => 'completed' });

# ---- several producers, and watchers that come and go -------------------------------------

$message = start();
$_->close_now for $ws, $late;
my @producers = map
{
	my $n = $_;
	$node->background_sql(join "\n", map { "BEGIN; SELECT penny.act_as('$bot', 'penny_agent'); SELECT penny.stream_append('$message', '<$n.$_>'); COMMIT;" } 1 .. 150)
} 1 .. 3;
my @watchers;
for my $n (1 .. 25)
{
	my $one = $node->websocket(token => $token);
	$one->join_room($room);
	my %text;
	follow(\%text, $_) while $_ = $one->recv($n % 5 ? 0.02 : 0.2);
	push @watchers, [ $one, \%text ];
}
$_->finish for @producers;
chunk($message, { delta => '<end>' });
my $whole = shown($message) =~ s/^streaming: //r;
my ($same, $holes) = (0, 0);
for my $watcher (@watchers)
{
	my ($one, $text) = @$watcher;
	until ($text->{$message} && $text->{$message}{text} =~ /<end>$/)
	{
		# at a hole a client joins again
		$holes++, $one->send_json({ type => 'join', room => $room }) if delete $text->{hole};
		my $frame = $one->recv(5) or last;
		follow($text, $frame);
	}
	$same++ if $text->{$message} && $text->{$message}{text} eq $whole;
}
is($same, 25, 'whoever came when, and followed, has the whole text') or diag("$holes holes");
my %order;
for my $n (1 .. 3) { $order{$n} = join ',', $whole =~ /<$n\.(\d+)>/g }
is_deeply(\%order, { map { $_ => join ',', 1 .. 150 } 1 .. 3 }, 'each producer in its order, nothing twice');
chunk($message, { finish => 'completed' });

# ---- a producer that dies -----------------------------------------------------------------

$message = start();
my $watch = $node->websocket(token => $token);
$watch->join_room($room);
chunk($message, { delta => "so far $_ " }) for 1 .. 3;
my $slow = start();
my $since = time;
my $end;
while (time - $since < 20 && !$end)
{
	chunk($slow, { delta => '.' });
	$end = $watch->wait_for(sub { $_[0]{type} eq 'event' && $_[0]{event}{type} eq 'message.updated' }, 1);
}
is_deeply([ @{ $end->{event}{message} }{qw(id status content)} ], [ $message, 'interrupted', 'so far 1 so far 2 so far 3 ' ],
	'a silent producer: the message is closed with the text so far');
is((shown($slow) =~ /^streaming: \.+$/) ? 1 : shown($slow), 1, 'one that is heard goes on');
is(chunk($message, { delta => 'late' })->{status}, 409, 'who comes back too late is told');
chunk($slow, { finish => 'completed' });
ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM chat.messages WHERE status = 'streaming'") == 0 }, 10), 'nothing grows any more');

# A conversation that somebody has locked, and one whose owner's trigger refuses:
# both keep their messages, and nobody else's.
my $other = $node->add_conversation($ada);
my $third = $node->add_conversation($ada);
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$_', '$bot')") for $other, $third;
my $stuck = start('stuck');
my $refused = $node->sql("INSERT INTO chat.messages (conversation_id, role, content, status) VALUES ('$other', 'assistant', 'refused', 'streaming') RETURNING id");
$node->sql(q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON chat.messages FOR EACH ROW WHEN (NEW.content = 'refused') EXECUTE FUNCTION refuse();});
$held = $node->background_psql('postgres');
$held->query_safe("BEGIN; SELECT id FROM chat.conversations WHERE id = '$talk' FOR UPDATE");
my $free = $node->sql("INSERT INTO chat.messages (conversation_id, role, content, status) VALUES ('$third', 'assistant', 'free', 'streaming') RETURNING id");
ok($node->wait_until(sub { $node->sql("SELECT status FROM chat.messages WHERE id = '$free'") eq 'interrupted' }, 15),
	'messages that cannot be closed keep no other one open');
is($node->sql("SELECT string_agg(status, ',') FROM chat.messages WHERE id IN ('$stuck', '$refused')"), 'streaming,streaming', 'they stay as they are');
ok($node->wait_until(sub { $node->log_text =~ /could not close message $refused, whose producer is gone: never/ }, 15), 'the log says why');
$held->query_safe('COMMIT');
$held->quit;
$node->sql('DROP TRIGGER refuse ON chat.messages; DROP FUNCTION refuse()');
ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM chat.messages WHERE status = 'streaming'") == 0 }, 15), 'and are closed when they can be');

# The owner of the tables makes them what he likes: nothing of it runs as the owner of the extension.
$node->sql(q{CREATE ROLE keeper; GRANT CREATE ON DATABASE postgres TO keeper; GRANT ALL ON SCHEMA public, chat TO keeper;
SELECT format('ALTER TABLE %s OWNER TO keeper', oid::regclass) FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r' \gexec
CREATE TABLE ran_as (name text); GRANT ALL ON ran_as TO keeper; SET ROLE keeper;
CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ran_as VALUES (current_user); RETURN true; END $$;
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF pg_trigger_depth() > 1 AND EXISTS (SELECT FROM pg_class WHERE oid = 'chat.messages'::regclass AND relkind = 'r') THEN
		ALTER TABLE chat.messages RENAME TO messages_hidden;
		CREATE VIEW chat.messages AS SELECT NULL::uuid AS id, 'x'::text AS status WHERE trap();
	END IF; RETURN NULL; END $$;});
$message = start();
chunk($message, { delta => 'x' });
$node->sql('SET ROLE keeper; CREATE TRIGGER swap BEFORE UPDATE ON chat.conversations FOR EACH STATEMENT EXECUTE FUNCTION swap()');
$node->psql('postgres', "BEGIN; SET LOCAL ROLE keeper; TRUNCATE chat.messages CASCADE; COMMIT");
is($node->sql("SELECT coalesce(string_agg(name, ','), 'nobody') FROM ran_as"), 'nobody', 'a view in the place of the table is not read with more rights');
$node->psql('postgres', 'DROP VIEW chat.messages; ALTER TABLE chat.messages_hidden RENAME TO messages');
$node->sql('DROP TRIGGER swap ON chat.conversations');
chunk($message, { finish => 'completed' });

# A crash takes pieces: no message goes on with a hole in it.
$message = start('kept ');
chunk($message, { delta => 'maybe lost' });
my $fresh = start('');
$node->stop('immediate');
$node->append_conf('postgresql.conf', "penny.stream_timeout = '1h'\n");
$node->start;
$node->wait_ready;
$agent = $node->http(token => $node->token($bot, 'penny_agent'));
is(chunk($message, { delta => 'after' })->{status}, 409, 'after a crash a message takes no more');
ok($node->wait_until(sub { shown($message) eq 'interrupted: kept ' && shown($fresh) eq 'interrupted: ' }, 15), 'it is closed at once with what was saved')
  or diag(shown($message), ' ', shown($fresh));
$message = start('new ');
is(index_of($message, { delta => 'one' }), 1, 'a new one grows');
$node->stop('fast');
$node->start;
$node->wait_ready;
$agent = $node->http(token => $node->token($bot, 'penny_agent'));
is(index_of($message, { delta => ' two' }), 2, 'and outlives an orderly restart');
is(shown($message), 'streaming: new one two', 'with its text');


# The end of recovery takes the pieces, too, and comes long after the standby's start.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'penny.port = ' . Penny::Cluster::free_port() . "\n");
$standby->start;
$message = start('logged ');
chunk($message, { delta => 'not logged' });
$node->wait_for_catchup($standby);
$node->stop('fast');
$standby->promote;
my $sure = time;
my $status = '';
until ($status eq 'interrupted' || time - $sure > 20)
{
	$standby->psql('postgres', "SELECT penny.stream_append('$message', 'hole')") if $standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 'f';
	$status = $standby->safe_psql('postgres', "SELECT status FROM chat.messages WHERE id = '$message'");
}
is($standby->safe_psql('postgres', "SELECT status, content FROM chat.messages WHERE id = '$message'"), 'interrupted|logged ',
	'after a promotion no message goes on with a hole in it');
$standby->stop('fast');
done_testing();
