# Penny::Token: JSON Web Tokens for tests, good ones and bad ones.
package Penny::Token;

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512);
use Exporter 'import';
use JSON::PP;
use MIME::Base64 qw(encode_base64url);

our @EXPORT_OK = qw(hs256 sign_parts encode_part);

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

# One dot-separated part: of a hash or list as JSON, of a plain string as it is.
sub encode_part
{
	my ($part) = @_;
	return encode_base64url(ref $part ? $json->encode($part) : $part);
}

# Sign header and payload, each a hash or raw text, with HMAC.
sub sign_parts
{
	my ($secret, $header, $payload, $hmac) = @_;
	my $text = encode_part($header) . '.' . encode_part($payload);
	return $text . '.' . encode_base64url(($hmac || \&hmac_sha256)->($text, $secret));
}

# A token with these claims that holds for an hour unless exp says otherwise;
# exp => undef leaves it out.
sub hs256
{
	my ($secret, %claims) = @_;
	$claims{exp} = time() + 3600 unless exists $claims{exp};
	delete $claims{exp} unless defined $claims{exp};
	return sign_parts($secret, { alg => 'HS256', typ => 'JWT' }, \%claims);
}

1;
