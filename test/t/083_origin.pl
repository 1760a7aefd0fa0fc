# From which pages requests may come, and by which names they may call the
# server: CORS, the Origin of WebSockets, and Host.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('origin');
my $ada = $node->add_user('Ada');
my $token = $node->token($ada);
my $talk = $node->add_conversation($ada);
my $port = $node->{http_port};
my $edge = join ' ', $node->edge_pids;

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.wide(r penny.request) RETURNS penny.response LANGUAGE sql AS
		$$SELECT ROW(200, '{"Access-Control-Allow-Origin": "*", "access-control-allow-credentials": "true", "Vary": "Accept"}', '{}')::penny.response$$;
	CREATE FUNCTION app.done(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('user', r.user_id)$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES
		('GET', '/wide', 'app.wide', 'public'), ('PUT', '/wide', 'app.wide', 'public'), ('POST', '/done', 'app.done', 'public'), ('OPTIONS', '/done', 'app.done', 'public');
});

# Settings take effect when the gateway has passed them on: until $seen->().
sub set
{
	my ($lines, $seen) = @_;
	$node->append_conf('postgresql.conf', $lines);
	$node->reload;
	ok($node->wait_until($seen, 20), "settings: $lines") or BAIL_OUT('settings do not take effect');
}

sub ask
{
	my ($method, $path, @headers) = @_;
	return $node->http->request($method, $path, headers => \@headers, token => undef);
}

# A request with this Host (undef: none), over a connection of its own.
sub ask_host
{
	my ($host, %with) = @_;
	my $client = $node->http;
	my $version = $with{version} // '1.1';
	$client->send_bytes(($with{method} // 'GET') . ' ' . ($with{path} // '/livez') . " HTTP/$version\r\n" . (defined $host ? "Host: $host\r\n" : '') . ($with{more} // '') . "\r\n");
	return $client->read_response;
}

sub cors_of { my ($answer) = @_; return join ', ', sort grep { /^access-control-/ } keys %{ $answer->{header} } }

my $app = 'https://app.example.com';
my @preflight = ('Access-Control-Request-Method', 'PATCH', 'Access-Control-Request-Headers', 'authorization,content-type');
$node->wait_until(sub { ask('GET', '/wide')->{status} == 200 }, 20) or BAIL_OUT('no route');

subtest 'nothing of CORS until an origin is listed' => sub {
	for my $case ([ 'a page elsewhere', 'GET', '/livez', Origin => $app ], [ 'a route', 'GET', '/wide', Origin => $app ], [ 'an error', 'GET', '/api/v1/conversations', Origin => $app ],
		[ 'the same host', 'GET', '/livez', Origin => 'http://localhost' ], [ 'no page', 'GET', '/wide' ])
	{
		my ($name, @request) = @$case;
		my $answer = ask(@request);
		is(cors_of($answer), '', "$name: no header");
		unlike($answer->{header}{vary} // '', qr/Origin/, "$name: no Vary");
	}
	my $answer = ask('OPTIONS', '/api/v1/conversations', Origin => $app, @preflight);
	is($answer->{status}, 405, 'a preflight is a method that is not there');
	is(cors_of($answer), '', 'and no header');
};

set("penny.allowed_origins = '$app, http://dev.example.com:5173  https://[2001:db8::1]:8443,capacitor://localhost,http://plain.example.com'\n",
	sub { ($node->request('GET', '/livez', headers => [ Origin => $app ])->{header}{vary} // '') =~ /Origin/ });

subtest 'which origins may read answers' => sub {
	# the Origin as sent, and whether it is listed
	my @cases = (
		[ $app, 1 ], [ 'http://dev.example.com:5173', 1 ], [ 'https://[2001:db8::1]:8443', 1 ], [ 'capacitor://localhost', 1 ], [ 'https://APP.example.com', 1 ], [ "$app:443", 1 ],
		[ 'http://plain.example.com:80', 1 ],
		[ 'http://app.example.com', 0 ], [ "$app:8443", 0 ], [ 'http://dev.example.com', 0 ], [ 'http://dev.example.com:51730', 0 ], [ 'http://plain.example.com:443', 0 ],
		[ "$app.evil.com", 0 ], [ 'https://evil.com/https://app.example.com', 0 ], [ 'https://xapp.example.com', 0 ], [ 'https://sub.app.example.com', 0 ],
		[ 'https://example.com', 0 ], [ "$app/", 0 ], [ "$app,https://evil.com", 0 ], [ "https://evil.com $app", 0 ], [ "$app http://dev.example.com:5173", 0 ],
		[ 'null', 0 ], [ '*', 0 ], [ 'https://', 0 ], [ 'app.example.com', 0 ], [ 'https://app.example.com@evil.com', 0 ], [ 'https://user@app.example.com', 0 ],
		[ 'http://localhost', 0 ], [ "https://" . ('a' x 300), 0 ]);
	cmp_ok(scalar @cases, '>=', 20, scalar(@cases) . ' origins');
	for my $case (@cases)
	{
		my ($origin, $listed) = @$case;
		for my $request ([ 'GET', '/livez', 200 ], [ 'GET', '/wide', 200 ], [ 'GET', '/api/v1/conversations', 401 ], [ 'GET', '/nowhere', 404 ], [ 'DELETE', '/wide', 405 ])
		{
			my ($method, $path, $status) = @$request;
			my $answer = ask($method, $path, Origin => $origin);
			my $wanted = $listed ? $origin : undef;
			is_deeply([ $answer->{status}, $answer->{header}{'access-control-allow-origin'} ], [ $status, $wanted ], "$origin, $method $path");
			like($answer->{header}{vary}, qr/\bOrigin\b/, "$origin, $path: Vary");
			is($answer->{header}{'access-control-allow-credentials'}, undef, "$origin, $path: no credentials");
		}
		my $answer = ask('OPTIONS', '/api/v1/conversations/' . $talk, Origin => $origin, @preflight);
		is($answer->{status}, $listed ? 204 : 405, "$origin: preflight");
		is($answer->{header}{'access-control-allow-origin'}, $listed ? $origin : undef, "$origin: preflight, origin");
		is($answer->{header}{'access-control-allow-methods'}, $listed ? 'GET, HEAD, PATCH, DELETE' : undef, "$origin: preflight, methods");
		my $ws = $node->websocket(token => $token, origin => $origin);
		if ($listed) { is($ws->call({ type => 'ping' })->{type}, 'pong', "$origin: WebSocket") }
		else { is($ws->wait_close, 4403, "$origin: WebSocket") }
	}
};

subtest 'no Origin, several, the own host' => sub {
	my $answer = ask('GET', '/wide');
	is(cors_of($answer), '', 'none: no header');
	like($answer->{header}{vary}, qr/Accept.*Origin|Origin.*Accept/, 'none: Vary all the same, and that of the handler');
	$answer = ask('GET', '/livez', Origin => $app, Origin => $app);
	is(cors_of($answer), '', 'the same twice: no header');
	$answer = ask('GET', '/livez', Origin => $app, Origin => 'https://evil.com');
	is(cors_of($answer), '', 'two: no header');
	is($node->websocket(token => $token, headers => [ Origin => $app, Origin => $app ])->wait_close, 4403, 'the same twice: WebSocket');
	is($node->websocket(token => $token, headers => [ Origin => '' ])->wait_close, 4403, 'empty: WebSocket');
	is($node->websocket(token => $token)->call({ type => 'ping' })->{type}, 'pong', 'none: WebSocket');
	is($node->websocket(token => $token, origin => "http://localhost:$port")->call({ type => 'ping' })->{type}, 'pong', 'the own host: WebSocket');
	is($node->websocket(token => $token, origin => "http://localhost:@{[ $port + 1 ]}")->wait_close, 4403, 'another port of it: WebSocket');
	is(cors_of(ask('GET', '/livez', Origin => $app, Origin => '')), '', 'one and an empty one');
};

subtest 'preflights' => sub {
	my $answer = ask('OPTIONS', '/api/v1/conversations', Origin => $app, @preflight);
	is($answer->{status}, 204, 'answered');
	is($answer->{header}{'access-control-allow-methods'}, 'GET, HEAD, POST', 'the methods of the route');
	is($answer->{header}{'access-control-allow-headers'}, 'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, X-Request-Id', 'headers');
	like($answer->{header}{'access-control-max-age'}, qr/^[1-9]\d+$/, 'for how long');
	is($answer->{header}{'content-length'}, undef, 'no body');
	is(ask('OPTIONS', '/wide', Origin => $app, @preflight)->{header}{'access-control-allow-methods'}, 'GET, HEAD, PUT', 'of an own route');
	is(ask('OPTIONS', '/livez', Origin => $app, @preflight)->{header}{'access-control-allow-methods'}, 'GET, HEAD', 'of a path that the edge serves');
	$answer = ask('OPTIONS', '/nowhere', Origin => $app, @preflight);
	is_deeply([ $answer->{status}, $answer->{header}{'access-control-allow-origin'} ], [ 404, $app ], 'of no route');
	is(ask('OPTIONS', '/wide', Origin => $app)->{status}, 405, 'without Access-Control-Request-Method it is none');
	is(ask('OPTIONS', '/wide', @preflight)->{status}, 405, 'nor without Origin');
	is(ask('OPTIONS', '/done', Origin => $app)->{status}, 200, 'a route of that method');
	$answer = ask('OPTIONS', '/done', Origin => $app, @preflight);
	is_deeply([ $answer->{status}, $answer->{header}{'access-control-allow-methods'} ], [ 204, 'POST, OPTIONS' ], 'whose preflight is still one');
	my $client = $node->http;
	for (1 .. 3)
	{
		my $first = $client->request('OPTIONS', '/api/v1/conversations', headers => [ Origin => $app, @preflight ]);
		my $then = $client->request('GET', '/api/v1/conversations', token => $token, headers => [ Origin => $app ]);
		is_deeply([ $first->{status}, $then->{status}, $then->{header}{'access-control-allow-origin'} ], [ 204, 200, $app ], 'preflight and request on one connection');
		my $plain = $client->request('GET', '/livez');
		is($plain->{header}{'access-control-allow-origin'}, undef, 'and the next request of no page gets none');
	}
	my $etag = $node->request('GET', "/api/v1/conversations/$talk", token => $token, headers => [ Origin => $app ]);
	like($etag->{header}{'access-control-expose-headers'}, qr/ETag/, 'a page may read the ETag');
	my $same = $node->request('GET', "/api/v1/conversations/$talk", token => $token, headers => [ Origin => $app, 'If-None-Match' => $etag->{header}{etag} ]);
	is_deeply([ $same->{status}, $same->{header}{'access-control-allow-origin'} ], [ 304, $app ], 'also of 304');
};

subtest 'the list can be taken out again' => sub {
	set("penny.allowed_origins = ''\n", sub { !defined ask('GET', '/livez', Origin => $app)->{header}{vary} });
	is(cors_of(ask('GET', '/livez', Origin => $app)), '', 'no header');
	is($node->websocket(token => $token, origin => $app)->wait_close, 4403, 'no WebSocket');
};

subtest 'hosts' => sub {
	is(ask_host($_)->{status}, 200, "any host: $_") for 'localhost', 'evil.example.com', "[::1]:$port";
	set("penny.allowed_hosts = 'api.example.com, localhost 127.0.0.1:$port,[::1]:8443,only.example.com:8080'\n", sub { ask_host('evil.example.com')->{status} == 421 });
	my @cases = (
		[ 'api.example.com', 200 ], [ 'API.Example.COM', 200 ], [ 'api.example.com:80', 200 ], [ 'api.example.com:3000', 200 ], [ 'localhost', 200 ], [ "localhost:$port", 200 ],
		[ "127.0.0.1:$port", 200 ], [ '[::1]:8443', 200 ], [ 'only.example.com:8080', 200 ],
		[ 'only.example.com', 421 ], [ 'only.example.com:80', 421 ], [ '127.0.0.1', 421 ], [ '127.0.0.1:1', 421 ], [ '[::1]', 421 ], [ '[::2]:8443', 421 ],
		[ 'evil.example.com', 421 ], [ 'api.example.com.evil.com', 421 ], [ 'xapi.example.com', 421 ], [ 'example.com', 421 ], [ 'api.example.com.', 421 ], [ '192.168.0.1', 421 ],
		[ 'api.example.com:80:80', 400 ], [ 'api.example.com localhost', 400 ], [ 'api.example.com,localhost', [ 400, 421 ] ], [ 'user@api.example.com', 400 ]);
	for my $case (@cases)
	{
		my ($host, $wanted) = @$case;
		for my $path ('/livez', '/api/v1/conversations', '/ws')
		{
			my $expected = $wanted eq '200' ? { '/livez' => 200, '/api/v1/conversations' => 401, '/ws' => 426 }->{$path} : $wanted;
			my $status = ask_host($host, path => $path)->{status};
			ok(ref $expected ? scalar grep({ $_ == $status } @$expected) : $status == $expected, "$host $path: $status");
		}
	}
	is(ask_host(undef, version => '1.0')->{status}, 421, 'no Host, HTTP/1.0');
	is(ask_host(undef)->{status}, 400, 'no Host, HTTP/1.1');
	my $upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer $token\r\n";
	is(ask_host('evil.example.com', path => '/ws', more => $upgrade)->{status}, 421, 'no WebSocket by another name');
	is(ask_host('evil.example.com', path => '/ws', more => "${upgrade}Origin: http://evil.example.com\r\n")->{status}, 421, 'nor from a page of that name');
	is(ask_host('api.example.com', path => '/ws', more => "${upgrade}Origin: https://api.example.com\r\n")->{status}, 101, 'by a listed one');
	my $refused = ask_host('evil.example.com', path => '/api/v1/conversations', method => 'OPTIONS', more => "Origin: $app\r\nAccess-Control-Request-Method: GET\r\n");
	is_deeply([ $refused->{status}, cors_of($refused), $refused->{json}{code} ], [ 421, '', 'PY421' ], 'a problem document, and nothing of CORS');
	set("penny.allowed_hosts = ''\n", sub { ask_host('evil.example.com')->{status} == 200 });
};

subtest 'a page elsewhere is not the developer' => sub {
	set("penny.dev_user = '$ada'\n", sub { ask('POST', '/done')->{json}{user} });
	my $who = sub { my $answer = $node->http->request('POST', '/done', headers => [ @_ ], json => {}); return $answer->{json}{user} };
	is($who->(), $ada, 'a client without Origin is');
	is($who->(Origin => 'http://localhost'), $ada, 'a page of this host is');
	is($who->(Origin => $_), undef, "$_ is not") for 'https://evil.com', 'null', "http://localhost:1", 'http://127.0.0.1';
	is(ask_host('evil.example.com', path => '/done', method => 'POST', more => "Content-Length: 0\r\n")->{json}{user}, undef, 'nor a name that was made to point here');
	is($node->websocket(origin => 'https://evil.com')->wait_close, 4403, 'nor a WebSocket from there');
};

subtest 'settings that make no sense' => sub {
	for my $bad ("penny.allowed_origins = '*'", "penny.allowed_origins = 'null'", "penny.allowed_origins = 'app.example.com'", "penny.allowed_origins = 'https://app.example.com/'",
		"penny.allowed_origins = 'https://app.example.com/path'", "penny.allowed_origins = 'https://*.example.com'", "penny.allowed_origins = 'https://a.example.com https:b'",
		"penny.allowed_origins = 'https://a.example.com:'", "penny.allowed_origins = 'https://a:123456'", "penny.allowed_origins = 'https://@{[ 'a' x 256 ]}'",
		"penny.allowed_hosts = 'https://api.example.com'", "penny.allowed_hosts = '*'", "penny.allowed_hosts = 'a:b'", "penny.allowed_hosts = ':80'", "penny.allowed_hosts = '::1'",
		"penny.allowed_hosts = '[::1'", "penny.allowed_hosts = '@{[ 'a,' x 600 ]}'")
	{
		my ($code, $out, $error) = $node->psql('postgres', 'ALTER SYSTEM SET ' . $bad);
		like($error, qr/ERROR:  invalid value for parameter.*\nDETAIL:  \S.*\.$/, substr $bad, 0, 80);
	}
};

is(join(' ', $node->edge_pids), $edge, 'the edge lived through it');
is($node->crash_restarts, 0, 'no crash');
done_testing;
