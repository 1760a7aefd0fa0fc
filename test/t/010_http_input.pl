# Bad input over HTTP: a problem document says what and where, nothing is
# stored by halves, and the next client is served.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = Penny::Cluster->serving('input',
	conf => "penny.header_timeout = '1s'\npenny.body_timeout = '1s'\npenny.max_connections_per_address = 60\n");
my $ada = $node->add_user('Ada');
my $token = $node->token($ada);
my $api = '/api/v1/conversations';
my $talk = $node->add_conversation($ada, messages => 2);
my $stored = sub {
	$node->sql('SELECT (SELECT count(*) FROM chat.conversations), (SELECT count(*) FROM chat.messages), (SELECT sum(version) FROM chat.conversations)');
};
my $before = $stored->();

sub refused
{
	my ($name, $answer, $status, $detail) = @_;
	my $got = $answer ? $answer->{status} : 'no answer';
	like($got, ref $status ? $status : qr/^$status$/, "$name: $got") or diag($answer ? $answer->{body} : '');
	return unless $answer && $answer->{body} ne '';
	like($answer->{header}{'content-type'}, qr{^application/problem\+json}, "$name: a problem document");
	like($answer->{json}{detail} // '', $detail, "$name: says what and where") if $detail;
}

subtest 'bodies' => sub {
	my $http = $node->http(token => $token);
	my $at = "$api/$talk/messages";
	my @cases = (
		[ 'half an object', POST => $at, '{"role":"user"', 400, qr/JSON/i ],
		[ 'empty body', POST => $at, '', 400 ],
		[ 'a list', POST => $at, '[]', 400, qr/object/ ],
		[ 'a string', POST => $at, '"x"', 400 ],
		[ 'two values', POST => $at, '{"role":"user","content":"x"} {}', 400 ],
		[ 'comment', POST => $at, '{"role":"user",/**/"content":"x"}', 400 ],
		[ 'invalid UTF-8', POST => $at, "{\"role\":\"user\",\"content\":\"\xff\xfe\"}", 400, qr/UTF-?8/i ],
		[ 'overlong UTF-8', POST => $at, "{\"role\":\"user\",\"content\":\"\xc0\xaf\"}", 400 ],
		[ 'UTF-8 surrogate', POST => $at, "{\"role\":\"user\",\"content\":\"\xed\xa0\x80\"}", 400 ],
		[ 'raw NUL', POST => $at, "{\"role\":\"user\",\"content\":\"a\0b\"}", 400 ],
		[ 'escaped NUL', POST => $at, '{"role":"user","content":"a\u0000b"}', 400, qr/NUL|\\u0000|zero|U\+0000/i ],
		[ 'lone surrogate', POST => $at, '{"role":"user","content":"\ud800"}', 400 ],
		[ 'deep nesting', POST => $at, '{"role":"user","parts":' . ('[' x 20000) . (']' x 20000) . '}', 400 ],
		[ 'no role', POST => $at, '{"content":"x"}', 400, qr/role/ ],
		[ 'no such role', POST => $at, '{"role":"wizard","content":"x"}', qr/^40[03]$/, qr/role/ ],
		[ 'role is a number', POST => $at, '{"role":1,"content":"x"}', 400, qr/role/ ],
		[ 'content is a number', POST => $at, '{"role":"user","content":5}', 400, qr/content/ ],
		[ 'parts is an object', POST => $at, '{"role":"user","parts":{}}', 400, qr/parts/ ],
		[ 'no content', POST => $at, '{"role":"user"}', 400, qr/content|parts/ ],
		[ 'head is no id', POST => $at, '{"role":"user","content":"x","head":"first"}', 400, qr/head/ ],
		[ 'client_id is a list', POST => $at, '{"role":"user","content":"x","client_id":[]}', 400, qr/client_id/ ],
		[ 'client_id too long', POST => $at, '{"role":"user","content":"x","client_id":"' . ('x' x 300) . '"}', 400, qr/client_id/ ],
		[ 'an unknown member', POST => $at, '{"role":"user","content":"x","colour":"red"}', 400, qr/colour/ ],
		[ 'title is a list', POST => $api, '{"title":[]}', 400, qr/title/ ],
		[ 'metadata is a string', POST => $api, '{"metadata":"x"}', 400, qr/metadata/ ],
		[ 'one of the messages is bad', POST => $api, '{"messages":[{"role":"user","content":"ok"},{"role":"user"}]}', 400, qr/messages|\b[12]\b/ ],
		[ 'messages is no list', POST => $api, '{"messages":{}}', 400, qr/messages/ ],
		[ 'archived is a string', PATCH => "$api/$talk", '{"archived":"yes"}', 400, qr/archived/ ],
		[ 'patch with a list', PATCH => "$api/$talk", '[1]', 400 ]);
	for my $case (@cases)
	{
		my ($name, $method, $path, $body, $status, $detail) = @$case;
		refused($name, $http->request($method, $path, body => $body), $status, $detail);
	}
	is($http->request('GET', "$api/$talk")->{status}, 200, 'the same connection still serves');
	is($stored->(), $before, 'nothing was stored');
};

subtest 'paths and queries' => sub {
	my $http = $node->http(token => $token);
	my $unknown = '00000000-0000-7000-8000-000000000000';
	for my $id ('1', 'x', "$talk'", "$talk%00", '%', '%ff', '..', '0' x 5000, "$talk;drop", '%F0%9F%98%80')
	{
		my $answer = $http->request('GET', "$api/$id");
		refused('id ' . substr($id, 0, 20), $answer, qr/^40[04]$/);
		refused('artifacts of ' . substr($id, 0, 20), $http->request('GET', "$api/$id/artifacts"), qr/^40[04]$/);
	}
	refused('unknown conversation', $http->request($_->[0], "$api/$unknown$_->[1]", json => $_->[2]), 404)
	  for [ GET => '' ], [ PATCH => '', { title => 'x' } ], [ DELETE => '' ], [ GET => '/messages' ], [ GET => '/artifacts' ],
	  [ POST => '/messages', { role => 'user', content => 'x' } ];
	refused('unknown message', $http->request(DELETE => "$api/$talk/messages/$unknown"), 404);
	refused('unknown message', $http->request(PATCH => "$api/$talk/messages/$unknown", json => { content => 'x' }), 404);
	for my $query ('messages=-1', 'messages=x', 'messages=99999999999999999999', 'messages=1.5', 'messages=', 'messages=1%00')
	{
		refused("?$query", $http->request('GET', "$api/$talk?$query"), 400);
	}
	refused($_, $http->request('GET', $_), 400, qr/limit/) for "$api/$talk/artifacts?limit=1", '/api/v1/models?limit=1', '/api/v1/sessions?limit=1';
	is($http->request('POST', $_, json => {})->{status}, 405, "POST $_") for "$api/$talk/artifacts", '/api/v1/models', '/api/v1/sessions';
	refused("?$_", $http->request('GET', "$api?$_"), 400) for 'limit=0', 'limit=-5', 'limit=1e3', 'cursor=%00', 'cursor=' . 'a' x 3000;
	is($stored->(), $before, 'nothing was stored');
};

subtest 'sizes' => sub {
	refused('a body over the limit', $node->request('POST', "$api/$talk/messages", token => $token,
			body => '{"role":"user","content":"' . ('x' x 1_048_576) . '"}'), 413);
	my $claims = $node->http;
	$claims->send_bytes("POST $api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n");
	refused('a claim over the limit is refused before the body', $claims->read_response(timeout => 5), 413);
	refused('a path over the limit', $node->request('GET', '/' . 'a' x 9000), 414);
	refused('headers over the limit', $node->request('GET', $api, headers => [ map { ("X-$_", 'y' x 1000) } 1 .. 20 ]), 431);
	my $big = $node->request('POST', "$api/$talk/messages", token => $token,
		body => '{"role":"user","client_id":"big","content":"' . ('x' x 1_000_000) . '"}');
	is($big->{status}, 201, 'a body under the limit is taken');
	is(length $node->request('GET', "$api/$talk", token => $token)->{json}{messages}[0]{content}, 1_000_000, 'and given back whole');
	$node->act($ada, 'penny_user', "SELECT penny.delete_message('$talk', '$big->{json}{id}')");
	$before = $stored->();
};

subtest 'requests that are none' => sub {
	my $line = "Host: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\n";
	my $body = '{"role":"user","content":"smuggled"}';
	my $n = length $body;
	my $second = "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: $n\r\n\r\n$body";
	my %raw = (
		'garbage' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'x' x 100 . "\r\n\r\n",
		'HTTP/2 preface' => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		'HTTP/0.9' => "GET /livez\r\n\r\n",
		'HTTP/3.0' => "GET /livez HTTP/3.0\r\nHost: x\r\n\r\n",
		'two Content-Length' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: 0\r\nContent-Length: $n\r\n\r\n$body",
		'Content-Length with a sign' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: +$n\r\n\r\n$body",
		'negative Content-Length' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: -1\r\n\r\n",
		'list in Content-Length' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: $n, $n\r\n\r\n$body",
		'Content-Length and Transfer-Encoding' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$second",
		'chunked body' => "POST $api/$talk/messages HTTP/1.1\r\n${line}Transfer-Encoding: chunked\r\n\r\n" . sprintf('%x', $n) . "\r\n$body\r\n0\r\n\r\n",
		'space before the colon' => "GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
		'folded header' => "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
		'NUL in a header' => "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
		'control byte in a header' => "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\x07c\r\n\r\n",
		'no Host' => "GET /livez HTTP/1.1\r\n\r\n",
		'two Host' => "GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		'bare CR' => "GET /livez HTTP/1.1\rHost: x\r\r",
		'space in the path' => "GET /li vez HTTP/1.1\r\nHost: x\r\n\r\n",
		'control byte in the path' => "GET /livez\x01 HTTP/1.1\r\nHost: x\r\n\r\n");
	for my $name (sort keys %raw)
	{
		my $http = $node->http;
		$http->send_bytes($raw{$name});
		my $answer = eval { $http->read_response(timeout => 5) };
		like($answer ? $answer->{status} : $http->{eof} ? 'closed' : 'nothing', qr/^(4\d\d|50[15]|closed)$/,
			"$name: " . ($answer ? $answer->{status} : 'closed'));
		ok($http->closes_within(5), "$name: the connection ends");
		unlike($http->{in}, qr/HTTP/, "$name: and nothing after it is served");
	}
	my $h2c = $node->request('GET', '/livez', headers => [ Connection => 'Upgrade, HTTP2-Settings', Upgrade => 'h2c', 'HTTP2-Settings' => 'AAMAAABk' ]);
	is($h2c->{status}, 200, 'h2c is not taken up');
	is($stored->(), $before, 'nothing was stored');
};

subtest 'halves and slowness' => sub {
	my $http = $node->http(token => $token);
	my $whole = $http->format_request('POST', "$api/$talk/messages", json => { role => 'user', content => 'in pieces' });
	my $half = $node->http;
	$half->send_bytes(substr $whole, 0, length($whole) - 5);
	$half->reset_now;
	my $slow = $node->http;
	$slow->send_bytes("GET /livez HTTP/1.1\r\nHo");
	my $began = time;
	refused('half a head', $slow->read_response(timeout => 9), qr/^(408|no answer)$/);
	ok($slow->closes_within(5), 'is cut off');
	cmp_ok(time - $began, '<', 9, 'soon');
	$slow = $node->http;
	$slow->send_bytes(substr $whole, 0, length($whole) - 5);
	refused('half a body', $slow->read_response(timeout => 9), qr/^(408|no answer)$/);
	ok($slow->closes_within(5), 'is cut off');
	is($stored->(), $before, 'nothing was stored');

	my $patient = $node->http;
	for my $byte (split //, $whole) { $patient->send_bytes($byte) or last; }
	is(($patient->read_response || {})->{status}, 201, 'a request byte by byte is served');
};

subtest 'limits of connections' => sub {
	my @open = grep { $_ } map { Penny::Http->connect_to(port => $node->{http_port}) } 1 .. 80;
	my $served = 0;
	for my $http (@open)
	{
		$http->send_bytes("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
		my $answer = $http->read_response(timeout => 3);
		$served++ if $answer && $answer->{status} == 200;
	}
	cmp_ok($served, '<=', 60, "no more than the limit are served: $served");
	cmp_ok($served, '>=', 50, 'and no fewer');
	$_->close_now for @open;
	ok($node->wait_until(sub { $node->is_ready }, 10), 'and afterwards again');
};

is($node->crash_restarts, 0, 'no crash');
my ($gateway) = $node->sql('SELECT count(*) FROM pg_stat_activity WHERE backend_type = \'penny gateway\'');
is($gateway, 1, 'the gateway lives');
unlike($node->log_text, qr/penny-edge.*(signal|crash)/i, 'and its edge never died');
done_testing;
