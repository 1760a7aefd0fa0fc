# Server-Sent Events with a real server: what others' clients read, resuming
# while there are writers, answers that grow, rights and tokens that end, faults.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use Penny::Cluster;
use Penny::Sse;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = Penny::Cluster->serving('sse', conf => "penny.gateways = 2\npenny.heartbeat_interval = '1s'\n");
my ($ada, $bot, $eve) = map { $node->add_user($_) } qw(Ada Bot Eve);
my $talk = $node->add_conversation($ada, messages => 1);
my $room = "conversation:$talk";
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bot')");
my $token = $node->token($ada);
my $agent = $node->http(token => $node->token($bot, 'penny_agent'));
my $path = "/api/v1/conversations/$talk";
my $epoch = $node->sql('SELECT penny.epoch()');

sub listen_to
{
	my (%with) = @_;
	return Penny::Sse->listen(port => $node->{http_port}, token => $token, path => "$path/events", %with);
}
sub ask
{
	my ($doc, %with) = @_;
	return listen_to(method => 'POST', path => "$path/messages?stream=true", json => $doc,
		headers => [ Accept => 'text/event-stream' ], %with);
}
sub streams_open
{
	my $open = 0;
	$open += $_->{edge}{event_streams} for @{ $node->sql_json('SELECT penny.stats()')->{gateways} };
	return $open;
}
sub add { return $node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', '$_[0]') ->> 'id'") }
sub version_of { return $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'") }
sub answer
{
	my ($content, $status) = @_;
	my $made = $agent->request(POST => "$path/messages",
		json => { role => 'assistant', content => $content, status => $status // 'completed' });
	BAIL_OUT($made->{body}) unless $made->{status} == 201;
	return $made->{json}{id};
}
sub chunk
{
	my ($message, $body) = @_;
	my $answer = $agent->request(POST => "$path/messages/$message/chunks", json => $body);
	is($answer->{status}, 200, 'a piece') or diag($answer->{body});
}

subtest 'as others read it' => sub {
	my $sse = listen_to();
	is($sse->{status}, 200, 'a stream');
	is($sse->{header}{'cache-control'}, 'no-cache', 'not to be kept');
	my $joined = $sse->event;
	is_deeply([ @{$joined}{qw(type id)}, $joined->{data}{room} ], [ 'joined', "$epoch:" . version_of(), $room ], 'joined first');
	my $ws = $node->websocket(token => $token);
	$ws->join_room($room);
	add("line one\nline two");
	my $event = $sse->event;
	is_deeply($event->{data}, $ws->wait_type('message'), 'what a WebSocket is told');
	is($event->{id}, "$epoch:$event->{data}{version}", 'under its position');
	$node->sql("SELECT penny.publish('$room', '{\"type\":\"goal\"}')");
	$event = $sse->event;
	is_deeply([ $event->{type}, $event->{id}, $event->{data}{event} ], [ 'event', undef, { type => 'goal' } ], 'what has no version has no id');
	ok($node->wait_until(sub { streams_open() == 1 }, 20), 'it is counted');
	add('after a pause');
	$sse->wait_type('message');
	my $comments = @{ $sse->{comments} };
	ok($node->wait_until(sub { !$sse->event(0.1) && @{ $sse->{comments} } > $comments }, 20), 'heartbeats are comments');
	$_->close_now for $sse, $ws;

	my $out = '';
	my $curl = IPC::Run::start(
		[ 'curl', '-sN', '--max-time', '60', '-H', "Authorization: Bearer $token", '-H', "Last-Event-ID: $epoch:" . (version_of() - 1),
			"http://localhost:$node->{http_port}$path/events" ], '>', \$out);
	ok($node->wait_until(sub { $curl->pump_nb; $out =~ /after a pause/ }, 20), 'curl reads on from its position');
	my $id = add('to curl');
	ok($node->wait_until(sub { $curl->pump_nb; $out =~ /\Q$id\E/ }, 20), 'and hears at once');
	$curl->kill_kill;
	like($out, qr/\Aretry: \d+\n\nid: \S+\nevent: joined\ndata: \{"type":"joined".*\}\n\nid: \S+\nevent: message\ndata: \{/, 'the bytes of an event stream');
};

subtest 'what is refused' => sub {
	my $problem = listen_to(token => undef)->{problem};
	is_deeply([ @{$problem}{qw(status)}, $problem->{header}{'content-type'} ], [ 401, 'application/problem+json' ], 'nobody');
	is(listen_to(token => "x$token")->{problem}{status}, 401, 'a token that is none');
	is(listen_to(token => $node->token($eve))->{problem}{status}, 404, 'a stranger');
	my $other = '/api/v1/conversations/' . substr($talk, 0, 35) . (substr($talk, 35) eq '0' ? '1' : '0');
	is(listen_to(path => "$other/events")->{problem}{status}, 404, 'no such conversation');
	is(listen_to(headers => [ 'Last-Event-ID' => 'nonsense' ])->{problem}{status}, 400, 'no id of ours');
	is(listen_to(headers => [ Accept => 'application/json' ])->{problem}{json}{code}, 'PY406', 'not what is wanted');
	my $head = $node->request(HEAD => "$path/events", token => $token);
	is_deeply([ $head->{status}, $head->{header}{'content-type'} ], [ 200, 'text/event-stream' ], 'HEAD');
	is($node->request(HEAD => "$path/events", token => $node->token($eve))->{status}, 404, 'HEAD of a stranger');
	my $wrong = $node->request(DELETE => "$path/events", token => $token);
	is_deeply([ $wrong->{status}, $wrong->{header}{allow} ], [ 405, 'GET, HEAD' ], 'another method');
	my $sse = listen_to(token => undef, path => "$path/events?access_token=$token");
	is($sse->event->{type}, 'joined', 'a token in the query, for EventSource');
	$sse->close_now;
};

subtest 'a route of the user comes first' => sub {
	$node->sql(q{
		CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user;
		CREATE FUNCTION app.own(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"own":true}'::jsonb$$;
		GRANT EXECUTE ON FUNCTION app.own TO penny_user;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/api/v1/conversations/{id}/events', 'app.own', 'user')});
	ok($node->wait_until(sub { ((listen_to()->{problem} || {})->{body} // '') eq '{"own": true}' }, 10), 'it answers');
	$node->sql(q{DELETE FROM penny.routes WHERE handler = 'app.own'});
	ok($node->wait_until(sub { !listen_to()->{problem} }, 10), 'and is gone again');
};

subtest 'no gap and no duplicate under writers' => sub {
	my $start = version_of();
	my $count = 150;
	my @writers = map {
		$node->background_sql("SELECT penny.act_as('$ada', 'penny_user');\n"
			. join '', map { "SELECT penny.add_message('$talk', 'user', 'w$_');\nSELECT pg_sleep(0.01);\n" } 1 .. $count)
	} 1 .. 2;
	my ($last, $wrong, $breaks) = ("$epoch:$start", '', 0);
	my $next = $start + 1;
	my $limit = time + 60;
	while ($next <= $start + 2 * $count && time < $limit)
	{
		my $sse = listen_to(headers => [ 'Last-Event-ID' => $last ]);
		$sse->wait_type('joined') or next;
		for (1 .. 1 + int rand 15)
		{
			last if $next > $start + 2 * $count;
			my $event = $sse->wait_for(sub { defined $_[0]{id} }) // last;
			$wrong .= "$event->{version} for $next; " if $event->{version} != $next;
			$next = $event->{version} + 1;
		}
		$last = $sse->{last_id};
		$breaks++;
		$breaks % 2 ? $sse->reset_now : $sse->close_now;
	}
	my @errors = grep { /ERROR/ } map { $_->finish } @writers;
	is("@errors", '', 'the writers wrote');
	is($wrong, '', 'each version once, in order');
	is($next - 1, $start + 2 * $count, 'and all of them');
	cmp_ok($breaks, '>', 10, "over $breaks connections");
};

subtest 'another history' => sub {
	my $sse = listen_to(headers => [ 'Last-Event-ID' => "somewhere:3" ]);
	my $joined = $sse->event;
	is_deeply([ @{ $joined->{data} }{qw(recovered reset)} ], [ JSON::PP::false, 'epoch' ], 'is told');
	is($joined->{id}, "$epoch:" . version_of(), 'and where it is now');
	$sse->close_now;
};

subtest 'a message that grows' => sub {
	my $sse = listen_to();
	$sse->event;
	my $message = answer('', 'streaming');
	is($sse->event->{data}{message}{status}, 'streaming', 'it begins');
	chunk($message, { delta => $_ }) for 'a', 'b';
	my $late = listen_to();
	my $state = $late->wait_type('stream');
	is_deeply([ @{ $state->{data} }{qw(message_id index text)} ], [ $message, 2, 'ab' ], 'who comes late has the text so far');
	chunk($message, { delta => $_ }) for 'c', "d\n";
	chunk($message, { finish => 'completed' });
	my @pieces = map { $sse->wait_type('stream')->{data} } 1 .. 4;
	is_deeply([ map { [ @{$_}{qw(index delta)} ] } @pieces ], [ [ 1, 'a' ], [ 2, 'b' ], [ 3, 'c' ], [ 4, "d\n" ] ], 'pieces in order');
	is_deeply([ map { $late->wait_type('stream')->{data}{index} } 1 .. 2 ], [ 3, 4 ], 'and goes on');
	for my $one ($sse, $late)
	{
		my $end = $one->wait_for(sub { $_[0]{type} eq 'event' && $_[0]{data}{event}{type} eq 'message.updated' });
		is_deeply([ @{ $end->{data}{event}{message} }{qw(status content)} ], [ 'completed', "abcd\n" ], 'to its end');
		$one->close_now;
	}
};

subtest 'asking' => sub {
	my $sse = ask({ role => 'user', content => 'Why?', client_id => 'q1' });
	is($sse->{status}, 201, 'it is stored');
	my $first = $sse->event;
	my $id = $first->{data}{message}{id};
	is_deeply([ $first->{type}, @{ $first->{data}{message} }{qw(content role)}, $first->{data}{room}, $first->{data}{version} ],
		[ 'message', 'Why?', 'user', $room, version_of() ], 'and told first');
	is($sse->{header}{location}, "$path/messages/$id", 'with its place');
	is($first->{id}, "$epoch:" . version_of(), 'under its position');
	add('meanwhile');
	my $message = answer('', 'streaming');
	is($sse->event->{data}{message}{content}, 'meanwhile', 'what else happens comes along');
	is($sse->event->{data}{message}{id}, $message, 'the answer begins');
	chunk($message, { delta => $_ }) for 'Be', 'cause';
	my $again = ask({ role => 'user', content => 'Why?', client_id => 'q1' });
	is($again->{status}, 200, 'asked again it is the same message');
	is($again->event->{data}{message}{id}, $id, 'told first');
	my $state = $again->wait_type('stream');
	is_deeply([ @{ $state->{data} }{qw(message_id text)} ], [ $message, 'Because' ], 'and its answer is followed');
	chunk($message, { delta => '.', finish => 'completed' });
	for my $one ($sse, $again)
	{
		my @rest = $one->rest;
		my $end = $rest[-1]{data}{event};
		is_deeply([ $end->{type}, @{ $end->{message} }{qw(id status content)} ], [ 'message.updated', $message, 'completed', 'Because.' ], 'to its end');
		is(join('', map { $_->{data}{delta} // '' } @rest), $one == $sse ? 'Because.' : '.', 'with all its pieces');
		ok($one->{whole}, 'where the stream ends');
		ok($one->closes_within(2), 'and the connection');
	}
	add('later');
	answer('Another answer');
	my $third = ask({ role => 'user', content => 'Why?', client_id => 'q1' });
	my @rest = $third->rest;
	is($rest[0]{data}{message}{id}, $id, 'asked when all is over');
	my ($told) = grep { ($_->{data}{message}{id} // '') eq $message } @rest;
	is($told->{data}{message}{content}, 'Because.', 'the answer is told');
	is($rest[-1]{text}, $told->{text}, 'and ends it');
	ok($third->{whole}, 'at once');

	my $quick = ask({ role => 'user', content => 'And?' });
	$quick->event;
	answer('So.');
	is_deeply([ map { $_->{data}{message}{content} } $quick->rest ], ['So.'], 'an answer that comes whole');

	my $gone = ask({ role => 'user', content => 'Never mind' });
	my $row = $gone->event->{data}{message}{id};
	$gone->reset_now;
	is($node->sql("SELECT count(*) FROM chat.messages WHERE id = '$row'"), 1, 'whoever goes, it is stored');
};

subtest 'asking what cannot be stored' => sub {
	my $http = $node->http(token => $token);
	my $before = version_of();
	for my $bad ([ { role => 'user' }, 400 ], [ { role => 'assistant', content => 'x' }, 403 ], [ [], 400 ],
		[ { role => 'user', content => 'x', client_id => 'q1' }, 409 ])
	{
		my $answer = $http->request(POST => "$path/messages?stream=true", json => $bad->[0]);
		is($answer->{status}, $bad->[1], encode_json($bad->[0])) or diag($answer->{body});
		is($answer->{header}{'content-type'}, 'application/problem+json', 'a problem as others');
		ok($answer->{json}{request_id}, 'with its request');
	}
	is($http->request(POST => "$path/messages?stream=maybe", json => { role => 'user', content => 'x' })->{status}, 400, 'neither true nor false');
	is($http->request(POST => "$path/messages?stream=true", json => { role => 'user', content => 'x' }, headers => [ Accept => 'application/json' ])->{status}, 406, 'a client that takes none');
	is($node->request(POST => "$path/messages?stream=true", token => $node->token($eve), json => { role => 'user', content => 'x' })->{status}, 404, 'a stranger');
	is(version_of(), $before, 'nothing of that was stored');
	my $plain = $http->request(POST => "$path/messages?stream=false", json => { role => 'user', content => 'plain' });
	is_deeply([ $plain->{status}, $plain->{json}{content}, $plain->{header}{'penny-follow'} ], [ 201, 'plain', undef ], 'and without a stream');
};

subtest 'nobody answers' => sub {
	$node->append_conf('postgresql.conf', "penny.stream_timeout = '2s'\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.stream_timeout') eq '2s' }, 20), 'a short patience');
	my ($began, $sse, @rest);
	# until both edges have the setting
	ok($node->wait_until(sub { $began = time; $sse = ask({ role => 'user', content => 'Anybody?' }); @rest = $sse->rest(6); $sse->{whole} }, 40), 'it ends');
	is(scalar @rest, 1, 'with nothing but the message');
	cmp_ok(time - $began, '>', 1.9, 'after that time');
	is($sse->{comments}[-1], 'nothing was heard of an answer', 'and says why');
};

subtest 'rights end' => sub {
	my $sse = listen_to(token => $node->token($bot));
	$sse->event;
	$node->act($ada, 'penny_user', "SELECT penny.remove_participant('$talk', '$bot')");
	my @rest = $sse->rest(5);
	is_deeply([ map { $_->{type} } grep { $_->{type} ne 'event' } @rest ], ['left'], 'who is removed is told') or diag(explain(\@rest));
	is($rest[-1]{data}{reason}, 'revoked', 'why');
	ok($sse->{whole} && $sse->closes_within(2), 'and closed');
	is(listen_to(token => $node->token($bot))->{problem}{status}, 404, 'and does not come in again');

	my $session = $node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 hour')");
	$sse = listen_to(token => $session);
	$sse->event;
	$node->sql("DELETE FROM chat.sessions");
	is_deeply([ $sse->rest(5) ], [], 'a session that ends');
	is($sse->{comments}[-1], 'the token is not valid any more', 'ends its streams');
	ok($sse->{whole}, 'properly');

	$sse = listen_to(token => $node->token($ada, 'penny_user', exp => time + 2));
	SKIP:
	{
		skip 'no short token', 1 if $sse->{problem};
		$sse->event;
		$sse->rest(6);
		is($sse->{comments}[-1], 'the token has ended', 'so does the end of a token');
	}

	my $doomed = $node->add_conversation($ada);
	$sse = listen_to(path => "/api/v1/conversations/$doomed/events");
	$sse->event;
	$node->act($ada, 'penny_user', "SELECT penny.delete_conversation('$doomed')");
	my @end = $sse->rest(5);
	is_deeply([ map { "$_->{type} $_->{data}{reason}" } @end ], ['left deleted'], 'and a conversation that is deleted');
	ok($node->wait_until(sub { streams_open() == 0 }, 20), 'no stream is left open');
};

subtest 'edges end' => sub {
	my @streams = map { my $one = listen_to(); $one->event; $one } 1 .. 6;
	kill 'KILL', $node->edge_pids;
	is(scalar(grep { $_->rest(5); $_->{whole} } @streams), 0, 'a crash is no end');
	my $id = add('while they were away');
	ok($node->wait_until(sub { my $one = listen_to(); my $good = $one && !$one->{problem}; $one->close_now if $one; $good }, 10), 'others follow');
	for my $old (@streams)
	{
		my $new = listen_to(headers => [ 'Last-Event-ID' => $old->{last_id} ]);
		is(($new->wait_for(sub { ($_[0]{data}{message}{id} // '') eq $id }) // {})->{type}, 'message', 'who comes back missed nothing');
		$_->close_now for $old, $new;
	}
	@streams = map { my $one = listen_to(); $one->event; $one } 1 .. 10;
	my $asking = ask({ role => 'user', content => 'Are you there?' });
	$asking->event;
	$node->stop('fast');
	my %after;
	for my $one (@streams, $asking)
	{
		$one->rest(5);
		is(!!$one->{whole}, $one != $asking, $one != $asking ? 'a stop is an end' : 'but not that of an answer');
		$after{ $one->{retry}[-1] }++ if @{ $one->{retry} } == 2;
	}
	cmp_ok(scalar keys %after, '>', 5, 'with different times to come back');
	$node->start;
	$node->wait_ready;
	my $new = listen_to(headers => [ 'Last-Event-ID' => $streams[0]{last_id} ]);
	is($new->event->{data}{recovered}, JSON::PP::true, 'and after a clean restart they go on');
	$new->close_now;
};

is($node->crash_restarts, 0, 'nothing crashed');
$node->stop('fast');
done_testing();
