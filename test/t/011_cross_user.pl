# Every route, with every other user's ids: what a caller may not see does not
# exist for it, and tokens that are not exactly right are refused.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha384 hmac_sha512);
use Penny::Cluster;
use Penny::Token qw(encode_part hs256 sign_parts);
use Test::More;

my $node = Penny::Cluster->serving('cross', conf => "penny.jwt_audience = 'penny'\npenny.jwt_issuer = 'tests'\n");
my $api = '/api/v1/conversations';
my %fits = (aud => 'penny', iss => 'tests');
my (%user, %talk, %message, %token);
for my $name (qw(ada bob eve agent admin))
{
	$user{$name} = $node->add_user($name);
	$talk{$name} = $node->add_conversation($user{$name}, messages => 2);
	$message{$name} = $node->sql("SELECT id FROM chat.messages WHERE conversation_id = '$talk{$name}' ORDER BY seq LIMIT 1");
	$token{$name} = $node->token($user{$name}, { agent => 'penny_agent', admin => 'penny_admin' }->{$name} || 'penny_user', %fits);
}
$node->sql("INSERT INTO chat.sessions (token_hash, user_id, role, expires_at) VALUES (sha256('x'), '$user{ada}', 'penny_user', now() + '1 hour')");
$node->sql("DO \$\$ BEGIN PERFORM penny.handle('cross', access => 'user'); END \$\$");
my %job = map { $_ => $node->act($user{$_}, 'penny_user', "SELECT penny.enqueue('cross', '{\"of\": \"message 1\"}')") } keys %user;
my $state = sub { $node->sql("SELECT md5(string_agg(c::text || coalesce(m::text, ''), ',' ORDER BY c.id, m.id)) FROM chat.conversations c LEFT JOIN chat.messages m ON m.conversation_id = c.id") };

subtest 'every route with the ids of others' => sub {
	my $before = $state->();
	for my $who (qw(ada bob eve agent))
	{
		my $http = $node->http(token => $token{$who});
		for my $of (grep { $_ ne $who } sort keys %user)
		{
			my @routes = (
				[ GET => "$api/$talk{$of}" ],
				[ PATCH => "$api/$talk{$of}", { title => 'mine' } ],
				[ DELETE => "$api/$talk{$of}" ],
				[ GET => "$api/$talk{$of}/messages" ],
				[ GET => "$api/$talk{$of}/artifacts" ],
				[ POST => "$api/$talk{$of}/messages", { role => 'user', content => 'mine' } ],
				[ PATCH => "$api/$talk{$of}/messages/$message{$of}", { content => 'mine' } ],
				[ DELETE => "$api/$talk{$of}/messages/$message{$of}" ],
				[ PATCH => "$api/$talk{$who}/messages/$message{$of}", { content => 'mine' } ],
				[ DELETE => "$api/$talk{$who}/messages/$message{$of}" ],
				[ POST => "$api/$talk{$who}/messages", { role => 'user', content => 'x', head => $message{$of} }, qr/^4(00|04|09)$/ ]);
			for my $route (@routes)
			{
				my ($method, $path, $body, $status) = @$route;
				my $answer = $http->request($method, $path, ($body ? (json => $body) : ()));
				$status ||= qr/^40[34]$/;
				my $seen = $path =~ s/$talk{$of}/<${of}'s>/r =~ s/$message{$of}/<${of}'s>/r =~ s/$talk{$who}/<own>/r;
				like($answer->{status}, $status, "$who: $method $seen");
				unlike($answer->{body}, qr/message [12]\b/, "$who: no word of it");
			}
		}
		for my $of (grep { $_ ne $who && $who ne 'agent' } sort keys %user)
		{
			for my $route ([ GET => "/api/v1/jobs/$job{$of}" ], [ GET => "/api/v1/jobs/$job{$of}?wait=5" ], [ DELETE => "/api/v1/jobs/$job{$of}" ])
			{
				my $answer = $http->request(@$route);
				is($answer->{status}, 404, "$who: $route->[0] a job of $of");
				unlike($answer->{body}, qr/message [12]\b/, "$who: no word of it");
			}
		}
		my $list = $http->request('GET', "$api?limit=100")->{json}{data};
		is_deeply([ map { $_->{id} } @$list ], [ $talk{$who} ], "$who: the list has the own ones");
		is_deeply([ map { $_->{role} } @{ $http->request('GET', '/api/v1/sessions')->{json}{data} } ], [ $who eq 'ada' ? 'penny_user' : () ], "$who: the own sessions");
	}
	is($state->(), $before, 'nothing changed');
};

subtest 'what roles may do' => sub {
	my $admin = $node->http(token => $token{admin});
	is($admin->request('GET', "$api/$talk{ada}")->{status}, 200, 'an admin sees all');
	is(scalar @{ $admin->request('GET', "$api?limit=100")->{json}{data} }, 1, 'but the list is its own');
	my $ada = $node->http(token => $token{ada});
	for my $role (qw(assistant system developer tool))
	{
		my $answer = $ada->request('POST', "$api/$talk{ada}/messages", json => { role => $role, content => 'x' });
		like($answer->{status}, qr/^40[03]$/, "a user writes no message of role $role");
	}
	my $agent = $node->http(token => $token{agent});
	is($agent->request('POST', "$api/$talk{agent}/messages", json => { role => 'assistant', content => 'x' })->{status}, 201, 'an agent does');
	$node->act($user{ada}, 'penny_user', "SELECT penny.add_participant('$talk{ada}', '$user{bob}')");
	my $bob = $node->http(token => $token{bob});
	is($bob->request('GET', "$api/$talk{ada}")->{status}, 200, 'a participant sees');
	is($bob->request('POST', "$api/$talk{ada}/messages", json => { role => 'user', content => 'hello' })->{json}{user_id}
		  // $bob->request('GET', "$api/$talk{ada}")->{json}{messages}[0]{user}{id}, $user{bob}, 'and writes as itself');
	like($bob->request('PATCH', "$api/$talk{ada}/messages/$message{ada}", json => { content => 'x' })->{status}, qr/^40[34]$/, "but not another's message");
	like($bob->request('DELETE', "$api/$talk{ada}")->{status}, qr/^40[34]$/, 'nor deletes the conversation');
	$node->act($user{ada}, 'penny_user', "SELECT penny.remove_participant('$talk{ada}', '$user{bob}')");
	is($bob->request('GET', "$api/$talk{ada}")->{status}, 404, 'and afterwards sees no more');
};

subtest 'alternating callers on one connection' => sub {
	my $http = $node->http;
	my @wrong;
	for my $n (1 .. 200)
	{
		my $who = (qw(ada eve agent))[ $n % 3 ];
		my $answer = $http->request('GET', $api, token => $token{$who});
		push @wrong, "$n: $who" unless $answer && $answer->{status} == 200 && "@{[ map { $_->{id} } @{ $answer->{json}{data} } ]}" eq $talk{$who};
	}
	is_deeply(\@wrong, [], 'each gets its own');
};

subtest 'tokens that are not right' => sub {
	my $secret = $node->{secret};
	my $sub = $user{ada};
	my %good = (sub => $sub, exp => time() + 3600, %fits);
	my $header = { alg => 'HS256', typ => 'JWT' };
	my $token = sign_parts($secret, $header, \%good);
	my ($h, $p, $s) = split /\./, $token;
	my $sign = sub { sign_parts($secret, @_) };
	my $with = sub { my %more = @_; my %claims = (%good, %more); delete $claims{$_} for grep { !defined $claims{$_} } keys %claims; $sign->($header, \%claims) };
	my $raw = sub { $sign->($header, $_[0]) };
	my $flip = substr($s, 0, 1) eq 'A' ? 'B' : 'A';
	my %bad = (
		'empty' => '', 'one part' => $h, 'two parts' => "$h.$p", 'no signature' => "$h.$p.", 'four parts' => "$token.$s",
		'empty header' => ".$p.$s", 'empty payload' => "$h..$s", 'dots' => '..', 'a word' => 'token', 'spaces inside' => "$h. $p.$s",
		'signature of others' => hs256('y' x 48, %good), 'signature changed' => "$h.$p.$flip" . substr($s, 1),
		'signature cut' => "$h.$p." . substr($s, 0, -1), 'signature longer' => "$token" . 'A', 'signature padded' => "$token=",
		'signature in base64' => "$h.$p." . ($s =~ tr{-_}{+/}r) . '+', 'payload of another' => $h . '.' . encode_part({ %good, sub => $user{bob} }) . ".$s",
		'header of another' => encode_part({ alg => 'HS256', typ => 'JWT', kid => 'x' }) . ".$p.$s",
		'alg none' => encode_part({ alg => 'none' }) . ".$p.", 'alg None' => encode_part({ alg => 'None' }) . ".$p.",
		'alg none, signed' => $sign->({ alg => 'none' }, \%good), 'alg NONE, signed' => $sign->({ alg => 'NONE' }, \%good),
		'no alg' => $sign->({ typ => 'JWT' }, \%good), 'alg null' => $sign->({ alg => undef }, \%good), 'alg number' => $sign->({ alg => 256 }, \%good),
		'alg list' => $sign->({ alg => ['HS256'] }, \%good), 'alg hs256' => $sign->({ alg => 'hs256' }, \%good), 'alg empty' => $sign->({ alg => '' }, \%good),
		'HS384' => sign_parts($secret, { alg => 'HS384', typ => 'JWT' }, \%good, \&hmac_sha384),
		'HS512' => sign_parts($secret, { alg => 'HS512', typ => 'JWT' }, \%good, \&hmac_sha512),
		'HS512 called HS256' => sign_parts($secret, $header, \%good, \&hmac_sha512),
		'RS256, signed by HMAC' => $sign->({ alg => 'RS256', typ => 'JWT' }, \%good), 'ES256, signed by HMAC' => $sign->({ alg => 'ES256' }, \%good),
		'EdDSA, signed by HMAC' => $sign->({ alg => 'EdDSA' }, \%good), 'PS256, signed by HMAC' => $sign->({ alg => 'PS256' }, \%good),
		'crit' => $sign->({ %$header, crit => ['exp'] }, \%good), 'crit empty' => $sign->({ %$header, crit => [] }, \%good),
		'jku' => $sign->({ %$header, jku => 'http://evil.example/keys' }, \%good), 'x5u' => $sign->({ %$header, x5u => 'http://evil.example' }, \%good),
		'jwk' => $sign->({ %$header, jwk => { kty => 'oct', k => 'eA' } }, \%good), 'zip' => $sign->({ %$header, zip => 'DEF' }, \%good),
		'typ JWE' => $sign->({ alg => 'HS256', typ => 'JWE' }, \%good), 'typ at+jwt' => $sign->({ alg => 'HS256', typ => 'dpop+jwt' }, \%good),
		'header no JSON' => $sign->('{"alg":', \%good), 'header a list' => $sign->('["HS256"]', \%good), 'header twice alg' => $sign->('{"alg":"HS256","alg":"none"}', \%good),
		'payload no JSON' => $raw->('{'), 'payload a list' => $raw->('[]'), 'payload a string' => $raw->('"x"'), 'payload empty' => $raw->(''),
		'payload with a tail' => $raw->('{"sub":"' . $sub . '","exp":9999999999,"aud":"penny","iss":"tests"} x'),
		'twice sub' => $raw->('{"sub":"' . $user{bob} . '","sub":"' . $sub . '","exp":9999999999,"aud":"penny","iss":"tests"}'),
		'twice exp' => $raw->('{"sub":"' . $sub . '","exp":1,"exp":9999999999,"aud":"penny","iss":"tests"}'),
		'invalid UTF-8' => $raw->("{\"sub\":\"$sub\",\"exp\":9999999999,\"aud\":\"penny\",\"iss\":\"tests\",\"x\":\"\xff\"}"),
		'NUL in a claim' => $raw->('{"sub":"' . $sub . '","exp":9999999999,"aud":"penny","iss":"tests","x":"\u0000"}'),
		'too deep' => $raw->('{"sub":"' . $sub . '","exp":9999999999,"aud":"penny","iss":"tests","x":' . '[' x 200 . ']' x 200 . '}'),
		'no exp' => $with->(exp => undef), 'exp past' => $with->(exp => time() - 3600), 'exp zero' => $with->(exp => 0), 'exp negative' => $with->(exp => -1),
		'exp a string' => $raw->('{"sub":"' . $sub . '","exp":"9999999999","aud":"penny","iss":"tests"}'),
		'exp null' => $raw->('{"sub":"' . $sub . '","exp":null,"aud":"penny","iss":"tests"}'), 'exp true' => $raw->('{"sub":"' . $sub . '","exp":true,"aud":"penny","iss":"tests"}'),
		'exp beyond all numbers' => $raw->('{"sub":"' . $sub . '","exp":1e999,"aud":"penny","iss":"tests"}'), 'exp a list' => $with->(exp => [ time() + 100 ]),
		'nbf in the future' => $with->(nbf => time() + 3600), 'nbf a string' => $with->(nbf => 'soon'), 'iat in the future' => $with->(iat => time() + 3600),
		'no sub' => $with->(sub => undef), 'sub empty' => $with->(sub => ''), 'sub a name' => $with->(sub => 'ada'), 'sub a number' => $with->(sub => 1),
		'sub with a quote' => $with->(sub => "$sub'"), 'sub cut' => $with->(sub => substr $sub, 0, 35), 'sub a list' => $with->(sub => [$sub]),
		'no aud' => $with->(aud => undef), 'aud of another' => $with->(aud => 'other'), 'aud list of others' => $with->(aud => [ 'a', 'b' ]), 'aud a prefix' => $with->(aud => 'penn'),
		'aud empty list' => $with->(aud => []), 'aud a number' => $with->(aud => 1), 'no iss' => $with->(iss => undef), 'iss of another' => $with->(iss => 'Tests'), 'iss a list' => $with->(iss => ['tests']),
		'role postgres' => $with->(role => 'postgres'), 'role penny_authenticator' => $with->(role => 'penny_authenticator'), 'role pg_read_all_data' => $with->(role => 'pg_read_all_data'),
		'role unknown' => $with->(role => 'nobody'), 'role empty' => $with->(role => ''), 'role a list' => $with->(role => ['penny_user']), 'role none' => $with->(role => 'none'),
		'role with a quote' => $with->(role => 'penny_user"'), 'role in capitals' => $with->(role => 'PENNY_USER'), 'role a number' => $with->(role => 16384),
		'a session that is none' => 'pns_' . 'A' x 43, 'a session too short' => 'pns_AAAA', 'very long' => $with->(x => 'y' x 9000));
	cmp_ok(scalar(keys %bad), '>=', 60, scalar(keys %bad) . ' tokens');
	my $http = $node->http;
	is($http->request('GET', $api, token => $token)->{status}, 200, 'the right one is accepted');
	is($http->request('GET', $api, token => $with->(aud => [ 'x', 'penny' ]))->{status}, 200, 'and aud as a list with it');
	for my $name (sort keys %bad)
	{
		my $answer = $http->request('GET', $api, token => $bad{$name});
		like($answer ? $answer->{status} : 'none', qr/^(401|400|403)$/, "$name: " . ($answer ? $answer->{status} : 'none'));
		unlike($answer ? $answer->{body} : '', qr/"data"/, "$name: no data");
	}
	for my $scheme ("Basic $token", "bearer$token", $token, "Bearer  ", "Token $token")
	{
		my $answer = $node->request('GET', $api, headers => [ Authorization => $scheme ]);
		like($answer->{status}, qr/^40[01]$/, 'Authorization: ' . substr $scheme, 0, 12);
	}
	my $two = $node->request('GET', $api, headers => [ Authorization => "Bearer $token{bob}", Authorization => "Bearer $token" ]);
	like($two->{status}, qr/^40[01]$/, 'two Authorization headers');
	unlike($node->log_text, qr/\Q$s\E/, 'no token in the log');
	unlike($node->log_text, qr/\Q$secret\E/, 'no secret in the log');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
