# Every route of the HTTP contract with a real client: what it gives, what it
# stores, and its headers.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('smoke');
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $http = $node->http(token => $node->token($ada));
my $api = '/api/v1/conversations';

sub uuid_like { return like($_[0], qr/^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/, $_[1]) }

# A problem document with these parts.
sub is_problem
{
	my ($answer, $status, $name, %more) = @_;
	subtest $name => sub {
		is($answer->{status}, $status, 'status') or diag($answer->{body});
		like($answer->{header}{'content-type'}, qr{^application/problem\+json}, 'content type');
		my $problem = $answer->{json} || {};
		is($problem->{status}, $status, 'status in the document');
		like($problem->{code}, qr/^[0-9A-Z]{5}$/, 'code');
		ok(length($problem->{title} // ''), 'title');
		is($problem->{request_id}, $answer->{header}{'x-request-id'}, 'request id');
		is($problem->{code}, $more{code}, "code $more{code}") if $more{code};
		like($problem->{detail}, $more{detail}, 'detail') if $more{detail};
	};
}

subtest 'health' => sub {
	my $anonymous = $node->http;
	for my $path ('/livez', '/readyz')
	{
		my $answer = $anonymous->request('GET', $path);
		is($answer->{status}, 200, $path);
		ok(length $answer->{header}{'x-request-id'}, "$path: request id");
	}
};

my ($talk, $message);
subtest 'create and fetch' => sub {
	my $answer = $http->request('POST', $api, json => { title => 'Dinner', metadata => { place => 'harbour' } });
	is($answer->{status}, 201, 'created') or diag($answer->{body});
	$talk = $answer->{json}{id};
	uuid_like($talk, 'id');
	is($answer->{header}{location}, "$api/$talk", 'Location');
	is($answer->{json}{title}, 'Dinner', 'title');

	$answer = $http->request('POST', $api, json => { title => 'With messages',
			messages => [ { role => 'user', content => 'one' }, { role => 'user', content => 'two' } ] });
	is($answer->{status}, 201, 'created with messages') or diag($answer->{body});
	is($node->sql("SELECT string_agg(content, ' ' ORDER BY seq) FROM chat.messages WHERE conversation_id = '$answer->{json}{id}'"),
		'one two', 'they are stored in order');

	$answer = $http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'Where?', client_id => 'c1' });
	is($answer->{status}, 201, 'message created') or diag($answer->{body});
	$message = $answer->{json}{id};
	uuid_like($message, 'its id');
	is($answer->{json}{seq}, 1, 'its seq');
	my $again = $http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'Where?', client_id => 'c1' });
	is($again->{status}, 200, 'repeated client_id: 200');
	is($again->{json}{id}, $message, 'the same message');
	is_problem($http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'Who?', client_id => 'c1' }),
		409, 'another payload under it', code => 'PY409');

	$answer = $http->request('GET', "$api/$talk?messages=50");
	is($answer->{status}, 200, 'eager fetch');
	my $all = $answer->{json};
	is($all->{id} // $all->{conversation}{id}, $talk, 'the conversation');
	is($all->{messages}[0]{content}, 'Where?', 'its message');
	is($all->{messages}[0]{user}{name}, 'Ada', 'with its user');
	is($all->{position}{version}, $node->sql("SELECT version FROM chat.conversations WHERE id = '$talk'"), 'position');
	is_deeply($all, $node->sql_json("BEGIN; SELECT penny.act_as('$ada', 'penny_user') \\g /dev/null\nSELECT penny.conversation('$talk', 50); COMMIT"),
		'the same as penny.conversation()');
	my $etag = $answer->{header}{etag};
	like($etag, qr/^(W\/)?"[^"]+"$/, 'ETag');
	is($http->request('GET', "$api/$talk?messages=50")->{header}{etag}, $etag, 'ETag stays');
	my $unchanged = $http->request('GET', "$api/$talk?messages=50", headers => [ 'If-None-Match' => $etag ]);
	is($unchanged->{status}, 304, 'If-None-Match: 304');
	is($unchanged->{body}, '', 'without a body');
	$http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'Still hungry' });
	is($http->request('GET', "$api/$talk?messages=50", headers => [ 'If-None-Match' => $etag ])->{status}, 200, 'changed: 200');
	my $head = $http->request('HEAD', "$api/$talk");
	is($head->{status}, 200, 'HEAD');
};

subtest 'list' => sub {
	my %seen;
	$http->request('POST', $api, json => { title => "talk $_" }) for 1 .. 5;
	my ($cursor, $pages) = ('', 0);
	while (1)
	{
		my $answer = $http->request('GET', "$api?limit=3" . ($cursor eq '' ? '' : "&cursor=$cursor"));
		is($answer->{status}, 200, 'page ' . ++$pages) or last;
		$seen{ $_->{id} }++ for @{ $answer->{json}{data} };
		cmp_ok(scalar @{ $answer->{json}{data} }, '<=', 3, 'no more than asked');
		$cursor = $answer->{json}{next_cursor};
		ok(!!$answer->{json}{has_more} == defined $cursor, 'has_more and next_cursor agree');
		last unless defined $cursor && $pages < 10;
	}
	is(scalar(keys %seen), 7, 'all conversations');
	is_deeply([ grep { $_ != 1 } values %seen ], [], 'each once');
	my $newest = $http->request('GET', "$api?limit=1")->{json}{data}[0];
	ok(exists $newest->{last_message}, 'with last_message');
	my $bobs = $node->request('GET', $api, token => $node->token($bob))->{json};
	is_deeply($bobs->{data}, [], "another's list is empty");
	ok(!$bobs->{has_more}, 'and says so');
	is_problem($http->request('GET', "$api?cursor=nonsense"), 400, 'a made-up cursor');
	is_problem($http->request('GET', "$api?limit=many"), 400, 'a limit that is no number', detail => qr/limit/);
};

subtest 'history' => sub {
	$http->request('POST', "$api/$talk/messages", json => { role => 'user', content => "line $_" }) for 3 .. 10;
	my $seqs = sub { [ map { $_->{seq} } @{ $http->request('GET', "$api/$talk/messages?$_[0]")->{json}{data} } ] };
	is_deeply($seqs->('after=2&limit=3'), [ 3, 4, 5 ], 'after, ascending');
	is_deeply($seqs->('before=6&limit=3'), [ 3, 4, 5 ], 'before: the nearest, ascending');
	is_deeply($seqs->('after=3&before=6'), [ 4, 5 ], 'both bounds are exclusive');
	my $answer = $http->request('GET', "$api/$talk/messages?after=8&limit=2");
	ok(!$answer->{json}{has_more}, 'no more');
	ok($http->request('GET', "$api/$talk/messages?limit=2")->{json}{has_more}, 'more');
	is_problem($http->request('GET', "$api/$talk/messages?before=x"), 400, 'a bound that is no number', detail => qr/before/);
};

subtest 'artifacts, models, sessions' => sub {
	$node->sql("INSERT INTO chat.artifacts (id, conversation_id, kind, title) VALUES ('00000000-0000-7000-a000-000000000001', '$talk', 'code', 'menu');
		INSERT INTO chat.artifact_versions (artifact_id, content) VALUES ('00000000-0000-7000-a000-000000000001', 'fish'), ('00000000-0000-7000-a000-000000000001', 'soup');
		INSERT INTO chat.models (id, name) VALUES ('m-1', 'Model')");
	my $answer = $http->request('GET', "$api/$talk/artifacts");
	is($answer->{status}, 200, 'artifacts') or diag($answer->{body});
	is_deeply([ map { [ @$_{qw(title number content)} ] } @{ $answer->{json}{data} } ], [ [ 'menu', 2, 'soup' ] ], 'with the newest version');
	$node->sql("INSERT INTO chat.artifact_versions (artifact_id, content) VALUES ('00000000-0000-7000-a000-000000000001', 'salad')");
	is($http->request('GET', "$api/$talk/artifacts")->{json}{data}[0]{content}, 'salad', 'and a newer one at once');
	is_deeply([ map { $_->{name} } @{ $http->request('GET', '/api/v1/models')->{json}{data} } ], ['Model'], 'models');
	is_deeply($http->request('GET', '/api/v1/sessions')->{json}, { data => [] }, 'no sessions');
	my $session = $node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 hour')");
	$answer = $node->request('GET', '/api/v1/sessions', token => $session);
	is_deeply([ map { $_->{role} } @{ $answer->{json}{data} } ], ['penny_user'], 'one session, asked with its own token');
	my $hash = $node->sql("SELECT encode(sha256('$session'), 'hex')");
	is($answer->{json}{data}[0]{id}, substr($hash, 0, 32), 'named by half of the hash');
	$node->sql('DELETE FROM chat.sessions');
	is_deeply($http->request('GET', '/api/v1/sessions')->{json}, { data => [] }, 'and gone again');
	is($node->request('GET', $_)->{status}, 401, "$_ needs a token") for "$api/$talk/artifacts", '/api/v1/models', '/api/v1/sessions';
	$node->sql("DELETE FROM chat.artifacts; DELETE FROM chat.models");
};

subtest 'change' => sub {
	my $fetched = $http->request('GET', "$api/$talk");
	my $answer = $http->request('PATCH', "$api/$talk", json => { title => 'Supper' }, headers => [ 'If-Match' => '"other"' ]);
	is_problem($answer, 412, 'If-Match of another state');
	is($node->sql("SELECT title FROM chat.conversations WHERE id = '$talk'"), 'Dinner', 'nothing changed');
	$answer = $http->request('PATCH', "$api/$talk", json => { title => 'Supper', metadata => { a => 1 }, archived => JSON::PP::true, pinned => JSON::PP::true });
	is($answer->{status}, 200, 'patched') or diag($answer->{body});
	is($answer->{json}{title}, 'Supper', 'the new state');
	is($node->sql("SELECT title, archived_at IS NOT NULL, pinned_at IS NOT NULL, metadata FROM chat.conversations WHERE id = '$talk'"),
		'Supper|t|t|{"a": 1}', 'is stored');
	my $etag = $answer->{header}{etag} // $http->request('GET', "$api/$talk")->{header}{etag};
	is($http->request('PATCH', "$api/$talk", json => { title => 'Late supper' }, headers => [ 'If-Match' => $etag ])->{status}, 200,
		'If-Match of the present state');
	is_problem($http->request('PATCH', "$api/$talk", json => { colour => 'red' }), 400, 'an unknown member', detail => qr/colour/);

	$answer = $http->request('PATCH', "$api/$talk/messages/$message", json => { content => 'Where to?' });
	is($answer->{status}, 200, 'message patched') or diag($answer->{body});
	is($answer->{json}{content}, 'Where to?', 'its new state');
	$answer = $http->request('DELETE', "$api/$talk/messages/$message");
	is($answer->{status}, 204, 'message deleted');
	is($answer->{body}, '', 'no body');
	is_problem($http->request('DELETE', "$api/$talk/messages/$message"), 404, 'it is gone');
	is($node->sql("SELECT kind FROM chat.tombstones WHERE id = '$message'"), 'message', 'a tombstone is left');
	my $seq = $http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'next' })->{json}{seq};
	is($seq, 11, 'its number is not used again');
	my $first = $node->sql("SELECT id FROM chat.messages WHERE conversation_id = '$talk' ORDER BY seq LIMIT 1");
	my $newest = $node->sql("SELECT head_message_id FROM chat.conversations WHERE id = '$talk'");
	is_problem($http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'stale', head => $first }),
		409, 'a stale head', code => 'PY409', detail => qr/$newest/);
	is($http->request('POST', "$api/$talk/messages", json => { role => 'user', content => 'fresh', head => $newest })->{status}, 201,
		'the present head');

	$answer = $http->request('DELETE', "$api/$talk");
	is($answer->{status}, 204, 'conversation deleted');
	is_problem($http->request('GET', "$api/$talk"), 404, 'it is gone');
	is($node->sql("SELECT count(*) FROM chat.messages WHERE conversation_id = '$talk'"), 0, 'with its messages');
};

subtest 'jobs' => sub {
	my $agent = $node->token($node->add_user('a worker'), 'penny_agent');
	$node->sql("CREATE FUNCTION twice(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb((p -> ''n'')::int * 2)'");
	$node->sql("SELECT penny.handle('twice', function => 'twice', access => 'user'); SELECT penny.handle('outside', access => 'user')");
	my $answer = $http->request('POST', '/api/v1/jobs?wait=20', json => { kind => 'twice', payload => { n => 21 } });
	is("$answer->{status} $answer->{json}{state} $answer->{json}{result}", '200 completed 42', 'a job and its result');
	my $job = $http->request('POST', '/api/v1/jobs', json => { kind => 'outside' })->{json}{id};
	my $worker = $node->http(token => $agent);
	my $claim = $worker->request('POST', '/api/v1/queues/normal/claim?wait=20', json => { worker => 'smoke' })->{json}{data}[0];
	is($claim->{id}, $job, 'an external worker claims');
	is($worker->request('POST', '/api/v1/jobs/complete', json => { jobs => [ { id => $job, token => $claim->{token}, result => 'done' } ] })->{status}, 200, 'and completes');
	is($http->request('GET', "/api/v1/jobs/$job")->{json}{result}, 'done', 'with a result');
	is($http->request('DELETE', "/api/v1/jobs/$job")->{status}, 409, 'after which it cannot be cancelled');
};

subtest 'methods, paths, headers' => sub {
	is_problem($http->request('GET', '/api/v1/nothing'), 404, 'no such route');
	my $answer = $http->request('PUT', $api, json => {});
	is_problem($answer, 405, 'no such method');
	my %allow = map { $_ => 1 } split /,\s*/, $answer->{header}{allow} // '';
	ok($allow{GET} && $allow{POST} && !$allow{PUT}, 'Allow') or diag($answer->{header}{allow});
	my $one = $http->request('GET', $api)->{header}{'x-request-id'};
	my $two = $http->request('GET', $api)->{header}{'x-request-id'};
	ok(length $one && $one ne $two, 'X-Request-Id');
	is_problem($node->request('GET', $api), 401, 'no token', code => 'PY401');
	ok($node->request('GET', $api)->{header}{'www-authenticate'}, 'WWW-Authenticate');
	is_problem($http->request('POST', $api, body => 'title=x', headers => [ 'Content-Type' => 'application/x-www-form-urlencoded' ]),
		415, 'not JSON', code => 'PY415');
};

subtest 'keep-alive and pipelining' => sub {
	my $client = $node->http(token => $node->token($ada));
	$client->send_bytes(join '', map { $client->format_request('GET', "$api?limit=$_") } 1 .. 20);
	is_deeply([ map { my $a = $client->read_response; $a ? $a->{status} : 'none' } 1 .. 20 ], [ (200) x 20 ], '20 requests in one piece');
	$client->send_bytes($client->format_request('POST', $api, json => { title => "pipelined $_" })) for 1 .. 5;
	my @titles = map { my $a = $client->read_response; $a->{json}{title} } 1 .. 5;
	is_deeply(\@titles, [ map { "pipelined $_" } 1 .. 5 ], 'answers in the order of the requests');
	my $answer = $client->request('GET', $api, headers => [ Connection => 'close' ]);
	is($answer->{status}, 200, 'Connection: close');
	ok($client->closes_within(5), 'closes');
};

subtest 'sessions' => sub {
	my $token = $node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 hour')");
	like($token, qr/^pns_[A-Za-z0-9_-]{43}$/, 'a session token');
	is($node->request('GET', $api, token => $token)->{status}, 200, 'is accepted');
	is($node->sql("SELECT count(*) FROM chat.sessions WHERE encode(token_hash, 'escape') LIKE '%' || '$token' || '%'"), 0, 'and not stored');
	is($node->request('GET', $api, token => "$token!")->{status}, 401, 'nearly the same is not');
	$node->sql('DELETE FROM chat.sessions');
	is($node->request('GET', $api, token => $token)->{status}, 401, 'nor after its deletion');
};

subtest 'routes of a user' => sub {
	$node->sql(q{
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA app TO penny_user, penny_authenticator;
		CREATE FUNCTION app.echo(r penny.request) RETURNS jsonb LANGUAGE sql AS
			$$SELECT to_jsonb(r) || jsonb_build_object('me', penny.user_id(), 'now_role', current_user)$$;
		CREATE FUNCTION app.teapot(r penny.request) RETURNS penny.response LANGUAGE sql AS
			$$SELECT (418, '{"X-Pot":"short and stout"}', '{"tea":true}')::penny.response$$;
		CREATE FUNCTION app.nothing(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
		CREATE FUNCTION app.writes(r penny.request) RETURNS jsonb LANGUAGE sql AS
			$$INSERT INTO chat.users (id, name) VALUES (penny.user_id(), 'x') ON CONFLICT (id) DO UPDATE SET name = 'x' RETURNING to_jsonb(name)$$;
		CREATE SEQUENCE app.tries;
		GRANT USAGE ON SEQUENCE app.tries TO penny_user;
		CREATE FUNCTION app.flaky(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
			$$BEGIN IF nextval('app.tries') < 3 THEN RAISE serialization_failure; END IF; RETURN '{"ok":true}'; END$$;
		CREATE FUNCTION app.secret(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
			$$BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'the secret is 42'; END$$;
		CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS
			$$BEGIN PERFORM pg_sleep(60); RETURN '{}'; END$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES
			('GET', '/echo/{thing}/of/{other}', 'app.echo', 'user'),
			('POST', '/echo', 'app.echo', 'public'),
			('GET', '/teapot', 'app.teapot', 'user'),
			('GET', '/nothing', 'app.nothing', 'user'),
			('GET', '/writes', 'app.writes', 'user'),
			('POST', '/writes', 'app.writes', 'user'),
			('POST', '/flaky', 'app.flaky', 'user'),
			('GET', '/secret', 'app.secret', 'user'),
			('GET', '/agents-only', 'app.echo', 'agent');
		INSERT INTO penny.routes (method, pattern, handler, access, statement_timeout) VALUES
			('GET', '/slow', 'app.slow', 'user', '200 ms'),
			('GET', '/slower', 'app.slow', 'user', '50 s');
	});
	ok($node->wait_until(sub { $http->request('GET', '/nothing')->{status} == 404 && $http->request('GET', '/teapot')->{status} == 418 }, 10),
		'new routes are taken up');
	my $answer = $http->request('GET', '/echo/a%20b/of/%C3%A9?q=1&q=2&x=%26', headers => [ 'X-Custom' => 'yes' ]);
	is($answer->{status}, 200, 'path, query, headers') or diag($answer->{body});
	is_deeply($answer->{json}{params}, { thing => 'a b', other => "\x{e9}" }, 'params, decoded');
	is($answer->{json}{query}{x}, '&', 'query, decoded');
	is($answer->{json}{headers}{'x-custom'}, 'yes', 'headers in lower case');
	ok(!exists $answer->{json}{headers}{authorization}, 'without the token');
	is($answer->{json}{user_id}, $ada, 'user');
	is($answer->{json}{me}, $ada, 'penny.user_id()');
	is($answer->{json}{now_role}, 'penny_user', 'role');
	$answer = $node->request('POST', '/echo', json => { a => [ 1, undef ] });
	is($answer->{status}, 200, 'a public route without a token') or diag($answer->{body});
	is_deeply($answer->{json}{body}, { a => [ 1, undef ] }, 'body');
	is($answer->{json}{me}, undef, 'nobody');
	$answer = $http->request('GET', '/teapot');
	is($answer->{header}{'x-pot'}, 'short and stout', 'penny.response: header');
	is_deeply($answer->{json}, { tea => JSON::PP::true }, 'and body');
	is_problem($http->request('GET', '/nothing'), 404, 'NULL is 404');
	is_problem($http->request('GET', '/writes'), 405, 'GET is read only', code => '25006');
	is($http->request('POST', '/writes')->{status}, 200, 'POST writes');
	is($http->request('POST', '/flaky')->{status}, 200, 'serialization failures are retried');
	$answer = $http->request('GET', '/secret');
	is_problem($answer, 500, 'an unexpected error', code => 'XX000');
	unlike($answer->{body}, qr/secret|is 42/, 'keeps its text to itself');
	like($node->log_text, qr/the secret is 42/, 'the log has it');
	is_problem($http->request('GET', '/slow'), 504, 'past its deadline', code => '57014');
	is_problem($http->request('GET', '/agents-only'), 403, 'needs an agent');
	is($node->request('GET', '/agents-only', token => $node->token($ada, 'penny_agent'))->{status}, 200, 'an agent may');

	my $client = $node->http(token => $node->token($ada));
	$client->send_bytes($client->format_request('GET', '/slower'));
	my $busy = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND state = 'active' AND query LIKE '%slower%'};
	ok($node->wait_until(sub { $node->sql($busy) == 1 }, 10), 'a running request is seen with its route');
	$client->reset_now;
	ok($node->wait_until(sub { $node->sql($busy) == 0 }, 20), 'and cancelled when the client goes');

	eval { $node->sql("INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/x', 'app.missing', 'user')") };
	like($@ . $node->sql("SELECT count(*) FROM penny.routes WHERE pattern = '/x'"), qr/0$/, 'a handler that is not there is refused');
	$node->sql("DELETE FROM penny.routes WHERE pattern = '/teapot'");
	ok($node->wait_until(sub { $http->request('GET', '/teapot')->{status} == 404 }, 10), 'a route taken away is gone');
};

subtest 'what SQL says of itself' => sub {
	is($node->sql("SELECT string_agg(\"check\" || ': ' || detail, '; ') FROM penny.doctor() WHERE ok IS NOT TRUE"), '', 'doctor() finds nothing');
	ok($node->sql_json('SELECT penny.stats()'), 'stats() is JSON');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('penny supervisor', 'penny gateway')"), 2, 'workers by name');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
