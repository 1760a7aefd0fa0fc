# Tokens that must not get in, one by one, and the few that must.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512);
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use Penny::Cluster;
use Penny::Token qw(sign_parts encode_part);
use Test::More;

my $node = Penny::Cluster->serving('tokens',
	conf => "penny.jwt_audience = 'penny'\npenny.jwt_issuer = 'https://issuer'\npenny.jwt_roles = 'penny_user, app_role, penny_secret, boss'\n");
my $ada = '0199aa00-0000-7000-8000-00000000000a';
my $secret = $node->{secret};
my $now = time;
my $http = $node->http;

$node->sql(q{
	CREATE SCHEMA app;
	CREATE ROLE app_role IN ROLE penny_user;
	GRANT app_role TO penny_authenticator;
	CREATE ROLE penny_secret;
	CREATE ROLE boss SUPERUSER;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.who(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT jsonb_build_object('user_id', r.user_id, 'role', r.role, 'current_user', current_user)$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES
		('GET', '/who', 'app.who', 'user'), ('GET', '/open', 'app.who', 'public');
});

sub claims
{
	my (%change) = @_;
	my %all = (sub => $ada, exp => $now + 3600, aud => 'penny', iss => 'https://issuer', %change);
	delete $all{$_} for grep { !defined $all{$_} } keys %all;
	return \%all;
}
my $hs256 = { alg => 'HS256', typ => 'JWT' };
sub good { return sign_parts($secret, $hs256, claims(@_)) }
# Raw JSON for header and payload, properly signed.
sub raw
{
	my ($header, $payload) = @_;
	return sign_parts($secret, $header, $payload);
}
my $header_text = '{"alg":"HS256","typ":"JWT"}';
my $payload_text = qq({"sub":"$ada","exp":@{[ $now + 3600 ]},"aud":"penny","iss":"https://issuer"});
sub payload_with { (my $text = $payload_text) =~ s/\}$/,$_[0]}/; return raw($header_text, $text) }
sub header_with { (my $text = $header_text) =~ s/\}$/,$_[0]}/; return raw($text, $payload_text) }
sub status { return $http->request('GET', '/who', token => $_[0]) }

ok($node->wait_until(sub { status(good())->{status} == 200 }, 20), 'a good token') or BAIL_OUT(status(good())->{body});

subtest 'good tokens' => sub {
	my %good = (
		'plain' => good(),
		'without typ' => sign_parts($secret, { alg => 'HS256' }, claims()),
		'with kid' => sign_parts($secret, { %$hs256, kid => 'one' }, claims()),
		'of a role' => good(role => 'penny_user'),
		'of an own role' => good(role => 'app_role'),
		'aud among others' => good(aud => [ 'other', 'penny' ]),
		'just expired, within the leeway' => good(exp => $now - 5),
		'nbf within the leeway' => good(nbf => $now + 5),
		'more claims' => good(name => "\x{e9}", nested => { list => [ 1, { a => undef } ] }),
		'fraction of a second' => payload_with('"iat":1000.5'),
		'spaces' => raw(qq( { "alg" : "HS256" } ), qq(\n$payload_text\t)),
		'upper-case UUID' => good(sub => uc $ada));
	for my $name (sort keys %good)
	{
		my $answer = status($good{$name});
		is($answer->{status}, 200, $name) or diag($answer->{body});
		is($answer->{json}{user_id}, $ada, "$name: user") if $answer->{json};
	}
	is(status(good(role => 'app_role'))->{json}{current_user}, 'app_role', 'the role is taken');
	is(status(good())->{json}{role}, 'penny_user', 'default role');
	is($http->request('GET', '/open')->{json}{user_id}, undef, 'a public route needs none');
};

my ($h, $p, $s) = split /\./, good();
my $flip = sub { my ($text, $at) = @_; substr($text, $at, 1) = substr($text, $at, 1) eq 'A' ? 'B' : 'A'; return $text };
my $deep = ('[' x 20) . (']' x 20);
my @bad = (
	# shape
	'one part' => 'abc',
	'two parts' => "$h.$p",
	'four parts' => "$h.$p.$s.$s",
	'no signature' => "$h.$p.",
	'no payload' => "$h..$s",
	'no header' => ".$p.$s",
	'only dots' => '..',
	'five parts, as if encrypted' => "$h.$p.$s.$p.$s",
	'a space inside' => "$h.$p .$s",
	'too long' => good(fill => 'x' x 9000),
	# base64url
	'padding' => "$h.$p.$s=",
	'padding in the header' => "$h=.$p.$s",
	'base64 characters' => "$h.$p." . ($s =~ s/./+/r),
	'signature cut' => "$h.$p." . substr($s, 0, -1),
	'signature longer' => "$h.$p.${s}A",
	'last bits not zero' => "$h.$p." . ($s =~ s/(.)$/chr(ord($1) + 1)/re),
	# signature
	'signature of zeros' => "$h.$p." . encode_base64url("\0" x 32),
	'signature changed at its start' => "$h.$p." . $flip->($s, 0),
	'signature changed at its end' => "$h.$p." . $flip->($s, 40),
	'payload changed' => "$h." . encode_part(claims(sub => '0199aa00-0000-7000-8000-00000000000b')) . ".$s",
	'header changed' => encode_part({ alg => 'HS256' }) . ".$p.$s",
	'parts swapped' => "$p.$h.$s",
	'another secret' => sign_parts('x' x 48, $hs256, claims()),
	'empty secret' => sign_parts('', $hs256, claims()),
	'secret with its newline' => sign_parts("$secret\n", $hs256, claims()),
	'signed with SHA-384 as HS256' => sign_parts($secret, $hs256, claims(), \&hmac_sha384),
	# algorithm
	'alg none, no signature' => encode_part({ alg => 'none', typ => 'JWT' }) . ".$p.",
	'alg none, signed' => sign_parts($secret, { alg => 'none' }, claims()),
	'alg None' => sign_parts($secret, { alg => 'None' }, claims()),
	'alg NONE' => encode_part({ alg => 'NONE' }) . ".$p.",
	'alg hs256' => sign_parts($secret, { alg => 'hs256' }, claims()),
	'alg HS384' => sign_parts($secret, { alg => 'HS384' }, claims(), \&hmac_sha384),
	'alg HS512' => sign_parts($secret, { alg => 'HS512' }, claims(), \&hmac_sha512),
	'alg RS256' => sign_parts($secret, { alg => 'RS256' }, claims()),
	'alg EdDSA' => sign_parts($secret, { alg => 'EdDSA' }, claims()),
	'alg missing' => sign_parts($secret, { typ => 'JWT' }, claims()),
	'alg null' => raw('{"alg":null}', $payload_text),
	'alg a list' => raw('{"alg":["HS256"]}', $payload_text),
	'alg with a space' => sign_parts($secret, { alg => 'HS256 ' }, claims()),
	'alg in capitals' => raw('{"ALG":"HS256"}', $payload_text),
	# header
	'alg twice' => header_with('"alg":"none"'),
	'alg twice, escaped' => header_with('"\u0061lg":"none"'),
	'crit' => header_with('"crit":["exp"]'),
	'jku' => header_with('"jku":"https://evil/keys"'),
	'x5u' => header_with('"x5u":"https://evil/cert"'),
	'jwk' => header_with('"jwk":{"kty":"oct","k":"AA"}'),
	'x5c' => header_with('"x5c":["AA"]'),
	'b64' => header_with('"b64":false'),
	'kid a number' => header_with('"kid":1'),
	'kid of 65 bytes' => header_with('"kid":"' . ('k' x 65) . '"'),
	'typ of another kind' => raw('{"alg":"HS256","typ":"at+jwt"}', $payload_text),
	'typ null' => raw('{"alg":"HS256","typ":null}', $payload_text),
	'header a list' => raw('["HS256"]', $payload_text),
	'header empty' => raw('', $payload_text),
	'header too deep' => header_with(qq("x":$deep)),
	'header with rubbish after it' => raw("$header_text}", $payload_text),
	'header with a byte order mark' => raw("\xef\xbb\xbf$header_text", $payload_text),
	# payload
	'payload not JSON' => raw($header_text, 'sub=' . $ada),
	'payload a list' => raw($header_text, "[$payload_text]"),
	'payload empty' => raw($header_text, ''),
	'payload twice' => raw($header_text, $payload_text x 2),
	'payload with a comma too many' => raw($header_text, $payload_text =~ s/\}$/,}/r),
	'payload with a comment' => raw($header_text, "$payload_text/**/"),
	'payload not UTF-8' => payload_with("\"x\":\"\xff\""),
	'payload with a NUL' => payload_with('"x":"\u0000"'),
	'payload with half a surrogate' => payload_with('"x":"\ud800"'),
	'payload with a control character' => payload_with("\"x\":\"\x01\""),
	'payload too deep' => payload_with(qq("x":$deep)),
	'payload with too many members' => payload_with(join ',', map { "\"$_\":1" } 1 .. 400),
	'sub twice' => payload_with(qq("sub":"$ada")),
	'a member twice, deep inside' => payload_with('"x":[{"a":1,"a":2}]'),
	# time
	'expired' => good(exp => $now - 3600),
	'exp missing' => good(exp => undef),
	'exp a string' => raw($header_text, $payload_text =~ s/"exp":(\d+)/"exp":"$1"/r),
	'exp null' => raw($header_text, $payload_text =~ s/"exp":\d+/"exp":null/r),
	'exp with an exponent' => raw($header_text, $payload_text =~ s/"exp":\d+/"exp":9e9/r),
	'exp negative' => good(exp => -1),
	'exp out of range' => raw($header_text, $payload_text =~ s/"exp":\d+/"exp":99999999999999999999/r),
	'exp true' => raw($header_text, $payload_text =~ s/"exp":\d+/"exp":true/r),
	'exp inside another member' => raw($header_text, qq({"sub":"$ada","aud":"penny","iss":"https://issuer","x":{"exp":9999999999}})),
	'not before tomorrow' => good(nbf => $now + 86400),
	'nbf a string' => good(nbf => 'now'),
	'issued tomorrow' => good(iat => $now + 86400),
	# whose, from whom, for whom, as what
	'sub missing' => good(sub => undef),
	'sub a name' => good(sub => 'ada'),
	'sub a number' => good(sub => 42),
	'sub empty' => good(sub => ''),
	'sub a UUID and more' => good(sub => "$ada "),
	'aud missing' => good(aud => undef),
	'aud of another' => good(aud => 'other'),
	'aud an empty list' => good(aud => []),
	'aud with a number' => good(aud => [ 'penny', 1 ]),
	'aud in capitals' => good(aud => 'Penny'),
	'iss missing' => good(iss => undef),
	'iss of another' => good(iss => 'https://issuer/'),
	'iss a list' => good(iss => ['https://issuer']),
	'role not in the list' => good(role => 'penny_admin'),
	'role of the login' => good(role => 'penny_authenticator'),
	'role that does not exist' => good(role => 'nobody_at_all'),
	'role that is no role of the login' => good(role => 'penny_secret'),
	'role of a superuser' => good(role => 'boss'),
	'role in capitals' => good(role => 'PENNY_USER'),
	'role with a comma' => good(role => 'penny_user, app_role'),
	'role empty' => good(role => ''),
	'role null' => payload_with('"role":null'),
	'role a list' => good(role => ['penny_user']),
	'role too long' => good(role => 'r' x 65),
	# session tokens
	'session token, unknown' => 'pns_' . ('A' x 43),
	'session token, too short' => 'pns_' . ('A' x 42),
	'session token, too long' => 'pns_' . ('A' x 44),
	'session token, last bits not zero' => 'pns_' . ('A' x 42) . 'B',
	'session token, other characters' => "pns_';DROP TABLE chat.sessions;--",
	'a JWT behind pns_' => 'pns_' . good());

my $n = @bad / 2;
cmp_ok($n, '>=', 60, "$n bad tokens");
while (my ($name, $token) = splice @bad, 0, 2)
{
	$http = $node->http;
	my $answer = status($token);
	my $problem = $answer->{json} || {};
	ok($answer->{status} == 401 && $problem->{code} eq 'PY401' && length $problem->{detail}
		  && $answer->{header}{'www-authenticate'} =~ /^Bearer\b/, $name)
	  or diag("$answer->{status} $answer->{body}");
	my $public = $node->http->request('GET', '/open', token => $token);
	is($public->{status}, 401, "$name: nor to a public route") unless $public->{status} == 401;
}
$http = $node->http;
is(status(good())->{status}, 200, 'a good token still gets in');
unlike($node->log_text, qr/\Q$s\E/, 'no token is in the log');
is($node->crash_restarts, 0, 'no crash');
done_testing;
