# Keys of RS256 and EdDSA: which tokens they let in, and the many that they do
# not; what another library thinks of the same tokens; files that are refused;
# rotation under load, and what becomes of WebSockets.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha384 hmac_sha512);
use IO::Handle;
use IPC::Run;
use JSON::PP;
use Math::BigInt;
use MIME::Base64 qw(decode_base64url encode_base64url);
use Penny::Cluster;
use Penny::Keys;
use Penny::Token qw(sign_parts encode_part);
use POSIX ();
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;
use Time::HiRes qw(time);

my $node = Penny::Cluster->prepared('keys',
	conf => "penny.jwt_audience = 'penny'\npenny.jwt_issuer = 'https://issuer'\npenny.jwt_secret_file = ''\npenny.executors_min = 3\npenny.jwt_leeway = 600\n");
my $dir = $node->basedir;
my $file = "$dir/keys.json";
my $ada = '0199aa00-0000-7000-8000-00000000000a';
my $now = time;

my $rsa = Penny::Keys->make($dir, kind => 'RSA', kid => 'rsa-1');
my $rsa2 = Penny::Keys->make($dir, kind => 'RSA', kid => 'rsa-2');
my $ed = Penny::Keys->make($dir, kind => 'ED25519', kid => 'ed-1');
my $ec = Penny::Keys->make($dir, kind => 'EC', kid => 'ec-1');
my $other = Penny::Keys->make($dir, kind => 'RSA', kid => 'rs512');
my $evil = Penny::Keys->make($dir, kind => 'RSA', kid => 'evil');
my $evil_ed = Penny::Keys->make($dir, kind => 'ED25519', kid => 'evil-ed');
my $secret = 'a secret for HS256 that is long enough';
my %oct = (kty => 'oct', kid => 'oct-1', k => encode_base64url($secret));
my @set = ($rsa, $rsa2, $ed, \%oct, $ec, $other->jwk(alg => 'RS512'), $evil->jwk(kid => 'enc', use => 'enc'));
Penny::Keys::write_set($file, @set);
$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$file'\n");
$node->start;
$node->create_penny;
$node->wait_ready;
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.who(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT jsonb_build_object('user_id', r.user_id, 'role', r.role)$$;
	CREATE FUNCTION app.wait(r penny.request) RETURNS jsonb LANGUAGE sql VOLATILE AS
		$$SELECT jsonb_build_object('user_id', r.user_id) FROM (SELECT pg_advisory_xact_lock_shared(77)) l$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES
		('GET', '/who', 'app.who', 'user'), ('POST', '/wait', 'app.wait', 'user');
});

my $http = $node->http;
sub status { return $http->request('GET', '/who', token => $_[0]) }
sub claims
{
	my (%change) = @_;
	my %all = (sub => $ada, exp => $now + 3600, aud => 'penny', iss => 'https://issuer', %change);
	delete $all{$_} for grep { !defined $all{$_} } keys %all;
	return \%all;
}
my $payload_text = qq({"sub":"$ada","exp":@{[ int($now) + 3600 ]},"aud":"penny","iss":"https://issuer"});
sub payload_with { return $payload_text =~ s/\}$/,$_[0]}/r }
sub head { my ($alg, $kid) = @_; return { alg => $alg, typ => 'JWT', (defined $kid ? (kid => $kid) : ()) } }
sub reload { return $node->sql('SELECT penny.reload_keys()') }

ok($node->wait_until(sub { status($rsa->sign(head('RS256', 'rsa-1'), claims()))->{status} == 200 }, 20), 'a good token')
  or BAIL_OUT(status($rsa->token(%{ claims() }))->{body});

my %good = (
	'RS256' => $rsa->sign(head('RS256', 'rsa-1'), claims()),
	'RS256, the other key' => $rsa2->sign(head('RS256', 'rsa-2'), claims()),
	'EdDSA' => $ed->sign(head('EdDSA', 'ed-1'), claims()),
	'EdDSA, the only key, without kid' => $ed->sign(head('EdDSA'), claims()),
	'HS256' => sign_parts($secret, head('HS256', 'oct-1'), claims()),
	'HS256, the only key, without kid' => sign_parts($secret, head('HS256'), claims()),
	'without typ' => $ed->sign({ alg => 'EdDSA', kid => 'ed-1' }, claims()),
	'names by escapes' => $ed->sign('{"\u0061lg":"EdDSA","kid":"\u0065d-1"}', $payload_text =~ s/"sub"/"\\u0073ub"/r),
	'aud among others' => $ed->sign(head('EdDSA'), claims(aud => [ 'other', 'penny' ])),
	'nbf and iat in the past' => $rsa->sign(head('RS256', 'rsa-1'), claims(nbf => $now - 60, iat => $now - 60.5)),
	'nbf within the leeway' => $ed->sign(head('EdDSA'), claims(nbf => $now + 300)),
	'exp within the leeway' => $ed->sign(head('EdDSA'), claims(exp => $now - 60)));

subtest 'good tokens' => sub {
	for my $name (sort keys %good)
	{
		my $answer = status($good{$name});
		ok($answer->{status} == 200 && $answer->{json}{user_id} eq $ada, $name) or diag("$answer->{status} $answer->{body}");
	}
};

# ---- tokens that must not get in ------------------------------------------------

my @bad;
sub bad { push @bad, [@_] }

# Algorithm against key: every key signs by its own, and says another.
my %signer = (
	'rsa-1' => sub { $rsa->sign(@_) },
	'ed-1' => sub { $ed->sign(@_) },
	'oct-1' => sub { sign_parts($secret, @_) });
my %alg = ('rsa-1' => 'RS256', 'ed-1' => 'EdDSA', 'oct-1' => 'HS256');
for my $kid (sort keys %signer)
{
	for my $said (qw(HS256 RS256 EdDSA ES256 PS256 RS384 HS512))
	{
		bad("alg $said of key $kid", $signer{$kid}->(head($said, $kid), claims())) unless $said eq $alg{$kid};
	}
	bad("alg none of key $kid, no signature", encode_part(head('none', $kid)) . '.' . encode_part(claims()) . '.');
	bad("alg none of key $kid, signed", $signer{$kid}->(head('none', $kid), claims()));
	bad("alg in another case of key $kid", $signer{$kid}->(head($_, $kid), claims())) for lc $alg{$kid}, $alg{$kid} eq 'EdDSA' ? 'EDDSA' : ucfirst lc $alg{$kid};
	bad("alg and a blank of key $kid", $signer{$kid}->(head("$alg{$kid} ", $kid), claims()));
	bad("a blank and alg of key $kid", $signer{$kid}->(head(" $alg{$kid}", $kid), claims()));
	bad("kid of another key, $_ for $kid", $signer{$kid}->(head($alg{$kid}, $_), claims())) for grep { $_ ne $kid } (sort keys %signer), 'rsa-2';
}
bad("alg $_ without kid", encode_part({ alg => $_ }) . '.' . encode_part(claims()) . '.') for qw(none None NONE nOnE);
bad('alg Ed25519', $ed->sign(head('Ed25519', 'ed-1'), claims()));
bad('alg missing', $ed->sign({ kid => 'ed-1' }, claims()));
bad('alg null', $ed->sign('{"alg":null,"kid":"ed-1"}', $payload_text));
bad('alg a list', $ed->sign('{"alg":["EdDSA"],"kid":"ed-1"}', $payload_text));
bad('alg with a NUL', $ed->sign('{"alg":"EdDSA\u0000","kid":"ed-1"}', $payload_text));
bad('alg too long', $ed->sign(head('E' x 65, 'ed-1'), claims()));

# The public key, in all its forms, as a secret of HS256.
my %as_secret = (
	'PEM' => $rsa->pem,
	'PEM without its newline' => $rsa->pem =~ s/\n\z//r,
	'DER' => $rsa->der,
	'modulus' => $rsa->raw,
	'n of its JWK' => encode_base64url($rsa->raw),
	'JWK' => JSON::PP->new->canonical->encode($rsa->jwk),
	'Ed25519 PEM' => $ed->pem,
	'Ed25519 point' => $ed->raw,
	'file' => slurp_file($file),
	'nothing' => '');
for my $name (sort keys %as_secret)
{
	bad("HS256 by the public key as $name, kid of it", sign_parts($as_secret{$name}, head('HS256', $name =~ /Ed/ ? 'ed-1' : 'rsa-1'), claims()));
	bad("HS256 by the public key as $name, without kid", sign_parts($as_secret{$name}, head('HS256'), claims()));
	bad("HS256 by the public key as $name, kid of the secret", sign_parts($as_secret{$name}, head('HS256', 'oct-1'), claims()));
}
bad('HS256 by the secret in base64url', sign_parts($oct{k}, head('HS256', 'oct-1'), claims()));
bad('HS384 by the secret', sign_parts($secret, head('HS384', 'oct-1'), claims(), \&hmac_sha384));
bad('HS256 that is HMAC by SHA-512', sign_parts($secret, head('HS256', 'oct-1'), claims(), \&hmac_sha512));

# Keys that are not there, or are for something else.
bad('a strange key with a kid that is there', $evil->sign(head('RS256', 'rsa-1'), claims()));
bad('a strange key with its own kid', $evil->sign(head('RS256', 'evil'), claims()));
bad('a strange key without kid', $evil->sign(head('RS256'), claims()));
bad('a strange Ed25519 key', $evil_ed->sign(head('EdDSA', 'ed-1'), claims()));
bad('a strange Ed25519 key without kid', $evil_ed->sign(head('EdDSA'), claims()));
bad('several keys fit, and no kid', $_->sign(head('RS256'), claims())) for $rsa, $rsa2;
bad('a key for RS512, by RS256', $other->sign(head('RS256', 'rs512'), claims()));
bad('a key for RS512, by RS512', $other->sign(head('RS512', 'rs512'), claims(), digest => 'sha512'));
bad('a key for encryption', $evil->sign(head('RS256', 'enc'), claims()));
bad('a key of a curve that is not known', $ec->sign(head('ES256', 'ec-1'), claims()));
bad('RS384, well signed', $rsa->sign(head('RS384', 'rsa-1'), claims(), digest => 'sha384'));
bad('RS512, well signed', $rsa->sign(head('RS512', 'rsa-1'), claims(), digest => 'sha512'));
bad('PS256, well signed', $rsa->sign(head('PS256', 'rsa-1'), claims(), pss => 1));
bad('RS256 with a signature of PS256', $rsa->sign(head('RS256', 'rsa-1'), claims(), pss => 1));
bad("RS256 with a signature by $_", $rsa->sign(head('RS256', 'rsa-1'), claims(), digest => $_)) for qw(sha1 sha384 sha512 md5);

# What a kid could be taken for, where its key would be the only one of its alg.
bad("kid \"$_\"", $ed->sign(head('EdDSA', $_), claims()))
  for '../../../../etc/passwd', '/dev/null', "' OR 1=1 --", 'ed-1;rsa-1', 'ED-1', ' ed-1', 'ed-1 ', "ed-1\t", 'ed', 'ed-11', '*', '%', 'ed-_',
  'http://127.0.0.1/keys', 'file:///dev/null', '$(id)', '`id`', '0', '-1', "ed\x{2010}1", 'r' x 65, 'r' x 4000;
bad('kid empty', $ed->sign(head('EdDSA', ''), claims()));
bad("kid $_", $ed->sign(qq({"alg":"EdDSA","kid":$_}), $payload_text)) for 'null', '1', 'true', '["ed-1"]', '{"kid":"ed-1"}', '"ed-1\u0000"', '"ed-1\ud800"';
bad('kid twice', $ed->sign('{"alg":"EdDSA","kid":"rsa-1","kid":"ed-1"}', $payload_text));
bad('kid twice, escaped', $ed->sign('{"alg":"EdDSA","kid":"ed-1","\u006bid":"ed-1"}', $payload_text));
bad('alg twice, escaped', $ed->sign('{"alg":"EdDSA","kid":"ed-1","a\u006cg":"none"}', $payload_text));
bad("unknown kid of the secret, $_", sign_parts($secret, head('HS256', $_), claims())) for 'oct-2', 'OCT-1', 'none', "$secret";

# Members of the header that would bring a key along, or change the meaning.
my %member = (
	jku => '"https://evil/keys"', x5u => '"https://evil/cert"', x5c => '["AA"]', x5t => '"AA"', 'x5t#S256' => '"AA"', crit => '["exp"]',
	b64 => 'false', zip => '"DEF"', enc => '"A128GCM"', jwk => JSON::PP->new->encode($evil->jwk));
for my $name (sort keys %member)
{
	bad("header with $name", $rsa->sign(qq({"alg":"RS256","kid":"rsa-1","$name":$member{$name}}), $payload_text));
}
bad('header with jku, escaped', $rsa->sign('{"alg":"RS256","kid":"rsa-1","\u006aku":"https://evil"}', $payload_text));
bad('header with an empty crit', $rsa->sign('{"alg":"RS256","kid":"rsa-1","crit":[]}', $payload_text));
bad('signed by the key that jwk brings', $evil->sign({ alg => 'RS256', jwk => $evil->jwk }, claims()));
bad('signed by the key that jwk brings, with a kid that is there', $evil->sign({ alg => 'RS256', kid => 'rsa-1', jwk => $evil->jwk }, claims()));

# Signatures, at each class of positions.
sub with_signature { my ($token, $bytes) = @_; return $token =~ s/[^.]*$/encode_base64url($bytes)/er }
sub flipped { my ($bytes, $at, $bit) = @_; substr($bytes, $at, 1) ^= chr(1 << ($bit // 0)); return $bytes }
sub number { return Math::BigInt->from_bytes($_[0]) }
sub bytes { my ($n, $len) = @_; my $b = $n->to_bytes; return ("\0" x ($len - length $b)) . $b }
my $rs = $good{'RS256'};
my $rs_sig = decode_base64url((split /\./, $rs)[2]);
my $modulus = number($rsa->raw);
bad("RS256, bit flipped in byte $_", with_signature($rs, flipped($rs_sig, $_))) for 0, 1, 127, 254, 255;
bad('RS256, highest bit flipped', with_signature($rs, flipped($rs_sig, 0, 7)));
bad('RS256, last byte cut', with_signature($rs, substr $rs_sig, 0, -1));
bad('RS256, first byte cut', with_signature($rs, substr $rs_sig, 1));
bad('RS256, half', with_signature($rs, substr $rs_sig, 0, 128));
bad('RS256, a zero before', with_signature($rs, "\0$rs_sig"));
bad('RS256, a zero after', with_signature($rs, "$rs_sig\0"));
bad('RS256, twice', with_signature($rs, $rs_sig x 2));
bad('RS256, reversed', with_signature($rs, scalar reverse $rs_sig));
bad('RS256, all zeros', with_signature($rs, "\0" x 256));
bad('RS256, all ones', with_signature($rs, "\xff" x 256));
bad('RS256, one', with_signature($rs, ("\0" x 255) . "\1"));
bad('RS256, the modulus', with_signature($rs, $rsa->raw));
bad('RS256, negated', with_signature($rs, bytes($modulus - number($rs_sig), 256)));
bad('RS256, the modulus added', with_signature($rs, bytes($modulus + number($rs_sig), 257)));
bad('RS256, the padded hash itself',
	with_signature($rs, "\0\1" . ("\xff" x 202) . "\0" . pack('H*', '3031300d060960864801650304020105000420') . Digest::SHA::sha256($rs =~ s/\.[^.]*$//r)));
bad('RS256, of another payload', with_signature($rsa->sign(head('RS256', 'rsa-1'), claims(role => 'penny_admin')), $rs_sig));
bad('RS256, none', with_signature($rs, ''));
my $es = $good{'EdDSA'};
my $es_sig = decode_base64url((split /\./, $es)[2]);
my $order = Math::BigInt->from_hex('1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed');
bad("EdDSA, bit flipped in byte $_", with_signature($es, flipped($es_sig, $_))) for 0, 15, 31, 32, 47, 63;
bad('EdDSA, sign of R', with_signature($es, flipped($es_sig, 31, 7)));
bad('EdDSA, the order added to S', with_signature($es, substr($es_sig, 0, 32) . reverse bytes($order + number(scalar reverse substr $es_sig, 32), 32)));
bad('EdDSA, S negated', with_signature($es, substr($es_sig, 0, 32) . reverse bytes($order - number(scalar reverse substr $es_sig, 32), 32)));
bad('EdDSA, 63 bytes', with_signature($es, substr $es_sig, 0, 63));
bad('EdDSA, 65 bytes', with_signature($es, "$es_sig\0"));
bad('EdDSA, halves exchanged', with_signature($es, substr($es_sig, 32) . substr $es_sig, 0, 32));
bad('EdDSA, all zeros', with_signature($es, "\0" x 64));
bad('EdDSA, R the neutral point, S zero', with_signature($es, "\1" . ("\0" x 63)));
bad('EdDSA, none', with_signature($es, ''));
bad('EdDSA, of another payload', with_signature($ed->sign(head('EdDSA', 'ed-1'), claims(role => 'penny_admin')), $es_sig));

# Base64url in one way only, and three parts.
for my $token ($rs, $es)
{
	my $what = $token eq $rs ? 'RS256' : 'EdDSA';
	my ($h, $p, $s) = split /\./, $token;
	my $digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
	bad("$what, last bits of the signature", "$h.$p." . ($s =~ s/(.)$/substr $digits, index($digits, $1) + 1, 1/er));
	bad("$what, padding", "$h.$p.$s==");
	bad("$what, padding of the payload", "$h.$p=.$s");
	bad("$what, standard base64", "$h.$p." . ($s =~ tr{-_}{+/}r)) if $s =~ /[-_]/;
	bad("$what, percent-encoded", "$h.$p." . ($s =~ s/(.)$/sprintf '%%%02X', ord $1/er));
	bad("$what, a blank inside", "$h.$p. $s");
	bad("$what, a dot at its end", "$token.");
	bad("$what, a dot before it", ".$token");
	bad("$what, four parts", "$h.$p.$p.$s");
	bad("$what, header and payload exchanged", "$p.$h.$s");
	bad("$what, a character cut off the payload", "$h." . substr($p, 0, -1) . ".$s");
}

# Payloads, well signed.
sub ed_bad { my ($name, $payload) = @_; bad($name, $ed->sign(head('EdDSA', 'ed-1'), $payload)) }
for my $date (qw(exp nbf iat))
{
	my $base = $payload_text =~ s/"exp":\d+,//r;
	$base = $payload_text if $date ne 'exp';
	for my $value ('"' . (int($now) + 3600) . '"', '""', 'null', 'true', '[]', '{}', '-1', '-1.5', '1e10', '9.9e99', '99999999999999999999', '281474976710656')
	{
		ed_bad("$date $value", $base =~ s/\}$/,"$date":$value}/r);
	}
	ed_bad("$date $_, not JSON", $base =~ s/\}$/,"$date":$_}/r) for '01', '+1', '0x7fffffff', 'NaN', 'Infinity', '1.', '.5', '1_000', "\xd9\xa1";
}
ed_bad('exp missing', claims(exp => undef));
ed_bad('exp 0', claims(exp => 0));
ed_bad('expired', claims(exp => int($now) - 1000));
ed_bad('nbf tomorrow', claims(nbf => int($now) + 86400));
ed_bad('iat tomorrow', claims(iat => int($now) + 86400));
ed_bad("sub $_", claims(sub => $_)) for 'ada', '', '{' . $ada . '}', "urn:uuid:$ada", $ada =~ tr/-//dr, "$ada ", " $ada", $ada =~ s/a$/g/r, $ada =~ s/-/_/gr, substr($ada, 0, 35), "$ada\n";
ed_bad('sub missing', claims(sub => undef));
ed_bad('sub a list', claims(sub => [$ada]));
ed_bad('sub with a NUL', $payload_text =~ s/$ada/$ada\\u0000/r);
ed_bad('sub twice', payload_with(qq("sub":"$ada")));
ed_bad('sub twice, escaped', payload_with(qq("s\\u0075b":"$ada")));
ed_bad('exp twice, escaped', payload_with('"\u0065xp":9999999999'));
ed_bad('aud missing', claims(aud => undef));
ed_bad('aud of another', claims(aud => 'penny2'));
ed_bad('aud empty', claims(aud => ''));
ed_bad('aud null', payload_with('"x":1') =~ s/"aud":"penny"/"aud":null/r);
ed_bad('aud an empty list', claims(aud => []));
ed_bad('aud a list in a list', claims(aud => [ ['penny'] ]));
ed_bad('aud with a number beside it', claims(aud => [ 'penny', 7 ]));
ed_bad('aud an object', claims(aud => { penny => 'penny' }));
ed_bad('aud with a blank', claims(aud => 'penny '));
ed_bad('iss missing', claims(iss => undef));
ed_bad('iss of another', claims(iss => 'https://issuer.evil'));
ed_bad('iss a list', claims(iss => ['https://issuer']));
ed_bad('iss in capitals', claims(iss => 'HTTPS://issuer'));
ed_bad("role $_", claims(role => $_)) for 'postgres', 'penny_authenticator', 'PENNY_USER', 'penny_user,penny_admin', 'pg_read_all_data', '', ' penny_user', 'none', 'r' x 65;
ed_bad('role a list', claims(role => ['penny_user']));
ed_bad('role twice', payload_with('"role":"penny_user","role":"penny_admin"'));
ed_bad("payload $_->[0]", $_->[1]) for [ 'a list', "[$payload_text]" ], [ 'a string', "\"$ada\"" ], [ 'a number', '1' ], [ 'null', 'null' ], [ 'empty', '' ], [ 'of blanks', '  ' ],
  [ 'cut', substr $payload_text, 0, -1 ], [ 'twice', $payload_text x 2 ], [ 'with rubbish after it', "$payload_text." ], [ 'with a comma too many', $payload_text =~ s/\}$/,}/r ],
  [ 'with a comment', "/**/$payload_text" ], [ 'with single quotes', $payload_text =~ tr/"/'/r ], [ 'with a byte order mark', "\xef\xbb\xbf$payload_text" ],
  [ 'with a NUL after it', "$payload_text\0" ], [ 'in UTF-16', join '', map { "$_\0" } split //, $payload_text ], [ 'with an overlong character', payload_with("\"x\":\"\xc0\xaf\"") ],
  [ 'with half a surrogate', payload_with('"x":"\udc00"') ], [ 'with a raw newline in a string', payload_with("\"x\":\"\n\"") ], [ 'with an unknown escape', payload_with('"x":"\q"') ],
  [ 'too deep', payload_with('"x":' . ('[' x 40) . (']' x 40)) ], [ 'with a vertical tab', payload_with("\x0b\"x\":1") ];
bad('oversized', $ed->sign(head('EdDSA', 'ed-1'), claims(fill => 'x' x 8192)));

my $n = @bad;
cmp_ok($n, '>=', 150, "$n bad tokens");
my %verdict;
for my $row (@bad)
{
	my ($name, $token) = @$row;
	my $answer = status($token);
	my $problem = $answer->{json} || {};
	ok($answer->{status} == 401 && ($problem->{code} // '') eq 'PY401' && ($answer->{header}{'www-authenticate'} // '') =~ /^Bearer\b/, $name)
	  or diag("$answer->{status} $answer->{body}\n$token");
	$http = $node->http if $answer->{header}{connection};
}
is(status($good{$_})->{status}, 200, "$_ still gets in") for 'RS256', 'EdDSA', 'HS256';

# ---- another library -------------------------------------------------------------

sub run_python
{
	my ($program, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $ok = eval { IPC::Run::run([ '/usr/bin/python3', '-c', $program, @arguments ], '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(120)) };
	diag($err) if !$ok && $err ne '';
	return ($ok, $out);
}

SKIP: {
	my ($there) = run_python('import jwt, cryptography');
	skip 'python3-jwt or python3-cryptography is not installed', 4 unless $there;

	# What it signs gets in.
	my ($ok, $out) = run_python(<<'PYTHON', $rsa->{file}, $ed->{file}, $secret, JSON::PP->new->encode(claims(exp => int($now) + 3600)));
import json, sys, jwt
rsa, ed, secret, claims = open(sys.argv[1]).read(), open(sys.argv[2]).read(), sys.argv[3], json.loads(sys.argv[4])
for key, alg, kid in ((rsa, "RS256", "rsa-1"), (ed, "EdDSA", "ed-1"), (secret, "HS256", "oct-1")):
    print(jwt.encode(claims, key, algorithm=alg, headers={"kid": kid}))
PYTHON
	my @signed = split /\n/, $out;
	is(join(' ', map { status($_)->{status} } @signed), '200 200 200', 'tokens that python3-jwt signed get in');

	# The same tokens, and damaged ones, judged by both.
	my @tokens = (values %good, map { $_->[1] } @bad);
	my @whole = grep { length $_ } @good{ 'RS256', 'EdDSA', 'HS256' };
	srand(7);
	for my $i (1 .. 300)
	{
		my $token = $whole[ $i % 3 ];
		my $at = int rand length $token;
		my $how = int rand 3;
		if ($how == 0) { substr($token, $at, 1) = substr 'ABCxyz059-_.', rand 12, 1 }
		elsif ($how == 1) { substr($token, $at, 1) = '' }
		else { substr($token, $at, 0) = substr 'ABCxyz059-_.', rand 12, 1 }
		push @tokens, $token;
	}
	my $list = "$dir/tokens";
	append_to_file($list, JSON::PP->new->ascii->encode(\@tokens));
	($ok, $out) = run_python(<<'PYTHON', $file, $list);
import json, sys, jwt
keys = {}
for key in json.load(open(sys.argv[1]))["keys"]:
    alg = {"RSA": "RS256", "OKP": "EdDSA", "oct": "HS256"}.get(key["kty"])
    if alg and key.get("alg", alg) == alg and key.get("use", "sig") == "sig":
        keys[key["kid"]] = (jwt.PyJWK(key, algorithm=alg).key, alg)
def judge(token):
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        for key, alg in ([keys[kid]] if kid in keys else [] if kid is not None else keys.values()):
            try:
                jwt.decode(token, key, algorithms=[alg], audience="penny", issuer="https://issuer", leeway=600)
                return 1
            except jwt.InvalidTokenError:
                pass
    except Exception:
        pass
    return 0
print("".join(str(judge(token)) for token in json.load(open(sys.argv[2]))))
PYTHON
	chomp $out;
	is(length $out, scalar @tokens, 'python3-jwt has judged them all');
	my (@only_we, @refused_good);
	my @names = keys %good;
	for my $i (0 .. $#tokens)
	{
		my $theirs = substr $out, $i, 1;
		push @refused_good, $names[$i] if $i < @names && !$theirs;
		next if $i >= keys %good && $i < keys(%good) + @bad;    # asked above: we refused
		$http = $node->http if $i % 20 == 0;
		push @only_we, $tokens[$i] if status($tokens[$i])->{status} == 200 && !$theirs;
	}
	is("@refused_good", '', 'it accepts all the good ones');
	is("@only_we", '', 'nothing gets in here that it refuses');
	my $theirs = substr($out, scalar keys %good, scalar @bad) =~ tr/1//;
	note("$theirs of the $n bad tokens would get in there");
}

# ---- files ---------------------------------------------------------------------------

sub refusals { return scalar(() = $node->log_text =~ /key file ".*" was refused/g) }
sub doctor { return $node->sql(q{SELECT ok, detail FROM penny.doctor() WHERE "check" = 'token keys'}) }

subtest 'a bad file leaves the keys that were there' => sub {
	like(doctor(), qr/^t\|4 keys in force, 3 left out, read at /, 'doctor: keys');
	is(reload(), 4, 'the number of keys');
	for my $row ([ 'empty', '' ], [ 'half', substr slurp_file($file), 0, 300 ], [ 'a private key', slurp_file($rsa->{file}) ],
		[ 'a secret in it, and anybody may read', slurp_file($file), 0644 ], [ 'anybody may write', slurp_file($file), 0666 ], [ 'the group may write', slurp_file($file), 0620 ],
		[ 'a weak key', Penny::Keys->make($dir, kind => 'RSA', bits => 1024)->pem ])
	{
		my ($name, $text, $mode) = @$row;
		my $before = refusals();
		Penny::Keys::write_file($file, $text, $mode);
		my ($code, $out, $error) = $node->psql('postgres', 'SELECT penny.reload_keys()');
		like($error, qr/ERROR:  file of setting "penny.jwt_key_file" was refused\nDETAIL:  \S.*\.\nHINT:  Keys that were taken/, "$name: reload_keys() says so");
		is(status($good{'RS256'})->{status}, 200, "$name: the keys that were there hold");
		is(refusals(), $before + 1, "$name: one line in the log");
		like(doctor(), qr/^f\|refused when the file was read last: /, "$name: doctor says so");
		# An executor that starts now has the same keys.
		my ($pid) = $node->backend_pids('penny executor');
		$node->sql("SELECT pg_terminate_backend($pid)");
		$node->wait_until(sub { my @pids = $node->backend_pids('penny executor'); @pids >= 3 && !grep { $_ == $pid } @pids }, 20);
		is(join(' ', map { $http = $node->http; status($good{'EdDSA'})->{status} } 1 .. 12), '200' . (' 200' x 11), "$name: also in new executors") if $name =~ /half|anybody/;
		Penny::Keys::write_set($file, @set);
		is(reload(), 4, "$name: back again");
	}
	unlink "$file.away";
	rename $file, "$file.away" or die;
	my ($code, $out, $error) = $node->psql('postgres', 'SELECT penny.reload_keys()');
	like($error, qr/DETAIL:  It cannot be read: No such file/, 'a file that is gone');
	is(status($good{'RS256'})->{status}, 200, 'the keys that were there hold');
	mkdir $file or die;
	($code, $out, $error) = $node->psql('postgres', 'SELECT penny.reload_keys()');
	like($error, qr/DETAIL:  It is not a regular file/, 'a directory');
	rmdir $file or die;
	rename "$file.away", $file or die;
	is(reload(), 4, 'back again');
	$node->sql('CREATE ROLE somebody LOGIN');
	($code, $out, $error) = $node->psql('postgres', 'SELECT penny.reload_keys()', extra_params => [ '-U', 'somebody' ]);
	like($error, qr/permission denied/, 'not everybody may reload keys');
};

subtest 'PEM, beside a secret' => sub {
	my $pem = "$dir/keys.pem";
	my $secret_file = "$dir/hs256.secret";
	Penny::Keys::write_file($pem, "# two keys\n" . $rsa->pem . "\n" . $ed->pem, 0644);
	Penny::Keys::write_file($secret_file, "$secret\n");
	$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$pem'\npenny.jwt_secret_file = '$secret_file'\n");
	is(reload(), 3, 'three keys; the new settings are read');
	is(status($_->[1])->{status}, $_->[2], $_->[0])
	  for [ 'RS256', $rsa->sign(head('RS256'), claims()), 200 ], [ 'EdDSA', $ed->sign(head('EdDSA'), claims()), 200 ],
	  [ 'HS256', sign_parts($secret, head('HS256'), claims()), 200 ], [ 'a kid, where no key has one', $rsa->sign(head('RS256', 'any'), claims()), 200 ],
	  [ 'another RSA key', $rsa2->sign(head('RS256', 'any'), claims()), 401 ], [ 'HS256 by the PEM', sign_parts($rsa->pem, head('HS256'), claims()), 401 ],
	  [ 'HS256 by the file', sign_parts(slurp_file($pem), head('HS256'), claims()), 401 ], [ 'alg none', encode_part(head('none')) . '.' . encode_part(claims()) . '.', 401 ];
	$node->append_conf('postgresql.conf', "penny.jwt_key_file = ''\n");
	is(reload(), 1, 'the key file taken out');
	is(status($rsa->sign(head('RS256'), claims()))->{status}, 401, 'and its keys');
	$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$file'\n");
	is(reload(), 5, 'a JWK Set with a secret, beside a secret');
	is(doctor(), 'f|several keys are for HS256, and not all have a kid', 'doctor: tokens without kid fit two keys');
	is(status(sign_parts($secret, head('HS256'), claims()))->{status}, 401, 'so they are refused');
	is(status($good{'HS256'})->{status}, 200, 'with kid they are not');
	$node->append_conf('postgresql.conf', "penny.jwt_secret_file = ''\n");
	is(reload(), 4, 'as at first');
};

subtest 'reloading by pg_reload_conf()' => sub {
	Penny::Keys::write_set($file, $rsa2, $ed, \%oct);
	$node->reload;
	ok($node->wait_until(sub { status($good{'RS256'})->{status} == 401 }, 20), 'the key is gone');
	is(status($good{'EdDSA'})->{status}, 200, 'others are not');
	Penny::Keys::write_set($file, @set);
	reload();
};

# ---- rotation under load ----------------------------------------------------------------

subtest 'no token of a removed key after reload_keys()' => sub {
	my %token = (a => $rsa->sign(head('RS256', 'rsa-1'), claims()), b => $rsa2->sign(head('RS256', 'rsa-2'), claims()));
	my %keys = (a => [ $rsa, $ed ], b => [ $rsa2, $ed ]);
	Penny::Keys::write_set($file, @{ $keys{a} });
	reload();
	my $stop = "$dir/stop";
	my @children;
	for my $number (1 .. 4)
	{
		my $pid = fork // die;
		push @children, $pid and next if $pid;
		open my $log, '>', "$dir/load$number" or POSIX::_exit(1);
		$log->autoflush(1);
		my $client = $node->http;
		until (-e $stop)
		{
			for my $key ('a', 'b')
			{
				my $from = time;
				my $answer = $client->request('GET', '/who', token => $token{$key});
				printf $log "%s %.6f %.6f %d\n", $key, $from, time, $answer ? $answer->{status} : 0;
			}
		}
		close $log;
		POSIX::_exit(0);    # the node belongs to the parent
	}
	my @periods;
	for my $round (1 .. 12)
	{
		my $key = $round % 2 ? 'b' : 'a';
		$periods[-1]{to} = time if @periods;
		Penny::Keys::write_set($file, @{ $keys{$key} });
		reload();
		push @periods, { key => $key, from => time };
		# a period lasts until every client has asked in it, some times
		my @sizes = map { -s "$dir/load$_" // 0 } 1 .. 4;
		$node->wait_until(sub { !grep { (-s "$dir/load$_" // 0) < $sizes[ $_ - 1 ] + 400 } 1 .. 4 }, 30);
	}
	$periods[-1]{to} = time;
	append_to_file($stop, '');
	waitpid $_, 0 for @children;
	my %count = (accepted_old => 0, refused_new => 0, judged => 0, other => 0);
	for my $line (map { split /\n/, slurp_file("$dir/load$_") } 1 .. 4)
	{
		my ($key, $from, $to, $got) = split / /, $line;
		$count{other}++ unless $got == 200 || $got == 401;
		for my $period (grep { $from >= $_->{from} && $to <= $_->{to} } @periods)
		{
			$count{judged}++;
			$count{accepted_old}++ if $got == 200 && $key ne $period->{key};
			$count{refused_new}++ if $got == 401 && $key eq $period->{key};
		}
	}
	is($count{accepted_old}, 0, 'tokens of the removed key that were accepted');
	is($count{refused_new}, 0, 'tokens of the new key that were refused');
	is($count{other}, 0, 'other answers');
	cmp_ok($count{judged}, '>=', 100, "$count{judged} requests inside of the periods");
	Penny::Keys::write_set($file, @set);
	reload();
};

subtest 'a long request does not hold up a reload' => sub {
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(77)');
	my $slow = $node->http;
	$slow->send_bytes($slow->format_request('POST', '/wait', token => $good{'RS256'}, json => {}));
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1 }, 20), 'a request waits');
	Penny::Keys::write_set($file, $rsa2, $ed);
	is(reload(), 2, 'keys are exchanged meanwhile');
	is(status($good{'RS256'})->{status}, 401, 'and hold');
	$holder->quit;
	is($slow->read_response->{status}, 200, 'the request that was let in before ends well');
	Penny::Keys::write_set($file, @set);
	reload();
};

# ---- WebSockets ----------------------------------------------------------------------------

subtest 'sockets of a removed key end' => sub {
	my $user = $node->add_user('Ada');
	my $talk = $node->add_conversation($user);
	my $open = sub {
		my ($token) = @_;
		my $ws = $node->websocket(token => $token);
		is($ws->call({ type => 'ping' })->{type}, 'pong', 'signed in');
		return $ws;
	};
	my @gone = map { $open->($rsa->sign(head('RS256', 'rsa-1'), claims(sub => $user))) } 1 .. 30;
	my @stay = ((map { $open->($ed->sign(head('EdDSA', 'ed-1'), claims(sub => $user))) } 1 .. 3),
		$open->($node->sql("SELECT penny.create_session('$user', 'penny_user', '1 hour')")));
	my $renewed = $open->($rsa->sign(head('RS256', 'rsa-1'), claims(sub => $user)));
	is($renewed->call({ type => 'auth', token => $ed->sign(head('EdDSA', 'ed-1'), claims(sub => $user)) })->{type}, 'ack', 'one signs in anew by the other key');
	push @stay, $renewed;
	$_->join_room("conversation:$talk") for @gone[ 0, 1 ], @stay;
	is($gone[0]->call({ type => 'message', room => "conversation:$talk", content => 'before' })->{type}, 'ack', 'a message before');

	Penny::Keys::write_set($file, $rsa2, $ed);
	reload();
	my $deadline = time + 20;
	is(join(' ', map { my $left = $deadline - time; $_->wait_close($left > 0.1 ? $left : 0.1) // 'open' } @gone), '4401' . (' 4401' x 29), 'all of that key are closed with 4401');
	is($_->call({ type => 'message', room => "conversation:$talk", content => 'after' })->{type}, 'ack', 'others stay') for @stay;
	my $late = $node->websocket(token => $rsa->sign(head('RS256', 'rsa-1'), claims(sub => $user)));
	is($late->wait_close(20), 4401, 'and none comes in');

	# A reload that changes nothing ends nothing.
	$node->reload;
	is(reload(), 2, 'the same keys again');
	is($_->call({ type => 'ping' })->{type}, 'pong', 'still there') for @stay;
	Penny::Keys::write_set($file, @set);
	reload();
};

subtest 'a socket ends with its token' => sub {
	my $end = int(time) + 6;
	my $ws = $node->websocket(token => $ed->sign(head('EdDSA', 'ed-1'), claims(exp => $end)));
	is($ws->call({ type => 'ping' })->{type}, 'pong', 'signed in');
	is($ws->wait_close(20), 4401, 'closed with 4401');
	cmp_ok(time, '>=', $end, 'not before');
	cmp_ok(time, '<', $end + 15, 'and soon after');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
