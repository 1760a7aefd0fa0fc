# Penny::Keys: key pairs for tests, made and used by the openssl program, and
# the tokens that they sign, good ones and bad ones.
package Penny::Keys;

use strict;
use warnings;
use Carp;
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use Penny::Token qw(encode_part);
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);

my $json = JSON::PP->new->canonical->utf8;
my %made;    # file => count, for files of bytes to sign
my %alg_of = (RSA => 'RS256', ED25519 => 'EdDSA', EC => 'ES256');

# Penny::Keys->make($dir, kind => 'RSA', bits => 2048, kid => 'a')
sub make
{
	my ($class, $dir, %with) = @_;
	my $self = bless { dir => $dir, kid => $with{kid}, kind => $with{kind}, number => ++$made{$dir} }, $class;
	my $file = $self->{file} = "$dir/key$self->{number}.pem";
	my @options =
	    $with{kind} eq 'RSA' ? ('-pkeyopt', 'rsa_keygen_bits:' . ($with{bits} || 2048))
	  : $with{kind} eq 'EC' ? ('-pkeyopt', 'ec_paramgen_curve:P-256')
	  : ();
	run('genpkey', '-algorithm', $with{kind}, @options, '-out', $file);
	run('pkey', '-in', $file, '-pubout', '-out', "$file.pub");
	run('pkey', '-in', $file, '-pubout', '-outform', 'DER', '-out', "$file.der");
	return $self;
}

sub run
{
	my (@command) = @_;
	open my $null, '>', '/dev/null' or die;
	open my $old, '>&', \*STDERR or die;
	open STDERR, '>&', $null or die;
	my $status = system 'openssl', @command;
	open STDERR, '>&', $old or die;
	croak "openssl @command failed" if $status;
}

sub pem { return slurp_file("$_[0]{file}.pub") }

sub der { return slurp_file("$_[0]{file}.der") }

sub alg { return $alg_of{ $_[0]{kind} } }

# The bytes of an Ed25519 point, or of an RSA modulus.
sub raw
{
	my ($self) = @_;
	return substr $self->der, -32 if $self->{kind} ne 'RSA';
	my ($hex) = qx(openssl rsa -pubin -in '$self->{file}.pub' -noout -modulus) =~ /^Modulus=(\w+)/;
	return pack 'H*', $hex;
}

# The public half as a JWK; options are further members.
sub jwk
{
	my ($self, %more) = @_;
	my %key = $self->{kind} eq 'RSA'
	  ? (kty => 'RSA', n => encode_base64url($self->raw), e => 'AQAB')
	  : $self->{kind} eq 'EC' ? (kty => 'EC', crv => 'P-256', x => encode_base64url(substr $self->der, -64, 32), y => encode_base64url($self->raw))
	  : (kty => 'OKP', crv => 'Ed25519', x => encode_base64url($self->raw));
	$key{kid} = $self->{kid} if defined $self->{kid};
	return { %key, %more };
}

# The signature of some bytes; options: digest, pss.
sub signature
{
	my ($self, $text, %with) = @_;
	my $in = "$self->{dir}/sign$self->{number}";
	unlink $in, "$in.sig";
	append_to_file($in, $text);
	if ($self->{kind} eq 'ED25519')
	{
		run('pkeyutl', '-sign', '-rawin', '-inkey', $self->{file}, '-in', $in, '-out', "$in.sig");
	}
	else
	{
		run('dgst', '-' . ($with{digest} || 'sha256'),
			($with{pss} ? ('-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:-1') : ()),
			'-sign', $self->{file}, '-out', "$in.sig", $in);
	}
	return slurp_file("$in.sig");
}

# A token of header and payload, each a hash or raw text.
sub sign
{
	my ($self, $header, $payload, %with) = @_;
	my $text = encode_part($header) . '.' . encode_part($payload);
	return $text . '.' . encode_base64url($self->signature($text, %with));
}

# A token with these claims, for an hour unless exp says otherwise.
sub token
{
	my ($self, %claims) = @_;
	$claims{exp} //= time() + 3600;
	my %header = (alg => $self->alg, typ => 'JWT');
	$header{kid} = $self->{kid} if defined $self->{kid};
	return $self->sign(\%header, \%claims);
}

# Put keys, objects or hashes, into a file as a JWK Set.
sub write_set
{
	my ($file, @keys) = @_;
	write_file($file, $json->encode({ keys => [ map { ref $_ eq 'HASH' ? $_ : $_->jwk } @keys ] }));
}

# Replace a file at once, as one should; mode 0600 unless told.
sub write_file
{
	my ($file, $text, $mode) = @_;
	unlink "$file.new";
	append_to_file("$file.new", $text);
	chmod $mode // 0600, "$file.new" or die;
	rename "$file.new", $file or die;
}

1;
