# Compression from end to end: codings that a real client asks for, the same
# bytes behind each, tags of variants, reload of the settings.
use strict;
use warnings;
use Compress::Zlib qw(memGunzip uncompress);
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('compression');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 60);
my $token = $node->token($ada);
my $base = "http://127.0.0.1:$node->{http_port}";
my $path = "/api/v1/conversations/$talk";

# What curl gets: (headers, body).
sub curl
{
	my ($target, @options) = @_;
	my @command = ('curl', '-sS', '-D', '-', '-H', "Authorization: Bearer $token", @options, "$base$target");
	open(my $pipe, '-|', @command) or die "curl: $!";
	binmode $pipe;
	my $text = do { local $/; <$pipe> };
	close $pipe;
	die "curl failed: $?" if $?;
	my ($head, $body) = split /\r\n\r\n/, $text, 2;
	my %headers = map { /^([^:]+): (.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $head;
	($headers{status}) = $head =~ m{^HTTP/1.1 (\d+)};
	$headers{vary} = join ', ', $head =~ /^vary: (.*?)\r?$/gim;
	return (\%headers, $body);
}

sub accept_encoding { return ('-H', "Accept-Encoding: $_[0]") }

my ($plain_headers, $plain) = curl($path);
is($plain_headers->{status}, 200, 'a conversation');
cmp_ok(length $plain, '>', 5000, 'of some size');

subtest 'codings' => sub {
	for my $round ('first', 'again')
	{
		for my $coding (qw(gzip deflate br))
		{
			my ($headers, $body) = curl($path, accept_encoding($coding));
			is($headers->{'content-encoding'}, $coding, "$coding, $round");
			is($headers->{'content-length'}, length $body, "$coding: its length");
			cmp_ok(length $body, '<', length($plain) / 2, "$coding is smaller");
			is($headers->{vary}, 'Accept-Encoding', "$coding: Vary");
			is($headers->{etag}, $plain_headers->{etag} =~ s/"$/-$coding"/r, "$coding: its tag");
			is(memGunzip($body), $plain, 'gzip: the same bytes') if $coding eq 'gzip';
			is(uncompress($body), $plain, 'deflate: the same bytes') if $coding eq 'deflate';

			# curl expands what it asked for
			(undef, $body) = curl($path, '--compressed', accept_encoding($coding));
			is($body, $plain, "$coding: curl reads the same bytes");
		}
	}
	my ($headers, $body) = curl($path, accept_encoding('gzip;q=0.5, br;q=0'));
	is($headers->{'content-encoding'}, 'gzip', 'qualities are looked at');
	($headers, $body) = curl($path, accept_encoding('gzip;q=2'));
	is($headers->{'content-encoding'}, undef, 'what is malformed asks for nothing');
	is($body, $plain, 'and gets the plain bytes');
	is($headers->{vary}, 'Accept-Encoding', 'plain: Vary');
};

subtest 'HEAD is like GET' => sub {
	my ($get) = curl($path, accept_encoding('br'));
	my ($head) = curl($path, accept_encoding('br'), '--head', '-o', '/dev/null');
	is($head->{$_}, $get->{$_}, $_) for qw(status content-length content-encoding etag vary content-type cache-control);
};

subtest 'who has it already' => sub {
	for my $coding ('', qw(gzip br))
	{
		my $tag = $coding eq '' ? $plain_headers->{etag} : $plain_headers->{etag} =~ s/"$/-$coding"/r;
		for my $now ('identity', 'gzip', 'br')
		{
			my ($headers, $body) = curl($path, accept_encoding($now), '-H', "If-None-Match: \"x\", $tag");
			is("$headers->{status} $headers->{etag}", "304 $tag", "tag of '$coding', asking for $now");
			is($body // '', '', 'no body');
			is($headers->{vary}, 'Accept-Encoding', 'Vary');
		}
	}
	my ($headers) = curl($path, accept_encoding('gzip'), '-H', 'If-None-Match: "x"');
	is($headers->{status}, 200, 'another tag');
};

subtest 'a change is seen in every coding' => sub {
	my $text = 'what was said just now';
	curl("$path/messages", '-H', 'Content-Type: application/json', '-d',
		qq({"role":"user","content":"$text"}));
	for my $coding (qw(identity gzip br deflate))
	{
		my ($headers, $body) = curl($path, '--compressed', accept_encoding($coding));
		like($body, qr/\Q$text\E/, $coding);
		isnt($headers->{etag}, $plain_headers->{etag}, "$coding: another tag");
	}
};

subtest 'settings' => sub {
	my $set = sub {
		my ($setting, $check) = @_;
		$node->sql("ALTER SYSTEM SET $setting");
		$node->sql('SELECT pg_reload_conf()');
		ok($node->wait_until($check), $setting);
	};
	my $coding = sub { my ($headers) = curl($path, accept_encoding('br, gzip')); return $headers->{'content-encoding'} // '' };
	is($coding->(), 'br', 'the server prefers br');
	$set->("penny.compression = 'gzip, br'", sub { $coding->() eq 'gzip' });
	$set->("penny.compression_min_size = '1MB'", sub { $coding->() eq '' });
	$set->('penny.compression_min_size = 1024', sub { $coding->() eq 'gzip' });
	$set->("penny.compression = 'off'", sub { $coding->() eq '' });
	my ($headers) = curl($path, accept_encoding('gzip'));
	is($headers->{vary}, '', 'off: no Vary');
	for my $bad ('zstd', 'gzip, gzip', 'off, gzip', 'gzip, off')
	{
		my ($code, undef, $error) = $node->psql('postgres', "ALTER SYSTEM SET penny.compression = '$bad'");
		isnt($code, 0, "'$bad' is refused");
		like($error, qr/invalid value for parameter "penny.compression"/, 'and told why');
	}
};

subtest 'it is counted' => sub {
	my $edge = $node->sql_json('SELECT penny.stats()')->{gateways}[0]{edge};
	cmp_ok($edge->{$_}, '>', 0, $_) for qw(not_modified compressed_bytes);
};

is($node->crash_restarts, 0, 'no crash');
done_testing();
