# TLS on penny's port: who is let in, and certificates that change under load.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Test::More;

my $node = Penny::Cluster->prepared('tls', conf => "penny.header_timeout = 2s\n");
my $dir = $node->basedir;
my $port = $node->{http_port};

# Run a program; its exit code and all that it printed.
sub run_program
{
	my ($in, @command) = @_;
	my $out = '';
	my $run = IPC::Run::start(\@command, '<', \$in, '>&', \$out, IPC::Run::timeout(60));
	eval { $run->finish; 1 } or diag($@);
	return ($run->result(0) // -1, $out);
}

# A self-signed certificate; the files of it and its key.
sub make_certificate
{
	my ($name, @more) = @_;
	my @kind = grep { /:/ } @more;
	my ($code, $out) = run_program('', 'openssl', 'req', '-x509', '-newkey', ($kind[0] || 'ec:P-256') =~ /^rsa:/ ? $kind[0] : 'ec',
		$kind[0] ? () : ('-pkeyopt', 'ec_paramgen_curve:P-256'), '-nodes', '-subj', "/CN=$name",
		'-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-days', '30',
		'-out', "$dir/$name.crt", '-keyout', "$dir/$name.key");
	is($code, 0, "certificate $name") or diag($out);
	chmod 0600, "$dir/$name.key";
	return ("$dir/$name.crt", "$dir/$name.key");
}

sub put
{
	my ($to, $text, $mode) = @_;
	unlink "$to.new";
	append_to_file("$to.new", $text);
	chmod $mode // 0600, "$to.new";
	rename "$to.new", $to or die "rename: $!";
}

# Put a pair in the place that the settings name.
sub install
{
	my ($name) = @_;
	put("$dir/server.$_", slurp_file("$dir/$name.$_")) for 'crt', 'key';
}

sub fingerprint
{
	my ($file) = @_;
	my (undef, $out) = run_program('', 'openssl', 'x509', '-noout', '-fingerprint', '-sha256', '-in', $file);
	return $out =~ /Fingerprint=(\S+)/i ? $1 : "none: $out";
}

# What the port shows now.
sub shown
{
	my (undef, $out) = run_program('', 'openssl', 's_client', '-connect', "127.0.0.1:$port", '-servername', 'localhost');
	return 'none' unless $out =~ /(-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----)/s;
	put("$dir/shown.crt", "$1\n");
	return fingerprint("$dir/shown.crt");
}

sub s_client { return run_program('', 'openssl', 's_client', '-connect', "127.0.0.1:$port", @_) }
sub https { return run_program('', 'curl', '-sS', '--max-time', '20', '--cacert', "$dir/server.crt", @_) }
sub doctor { return $node->sql(q{SELECT ok, detail, remedy FROM penny.doctor() WHERE "check" = 'certificate'}) }
sub lines { return scalar(() = $node->log_text =~ /$_[0]/g) }

make_certificate('a');
make_certificate('b', 'rsa:2048');
install('a');
$node->append_conf('postgresql.conf', "penny.tls_cert_file = '$dir/server.crt'\npenny.tls_key_file = '$dir/server.key'\n");
$node->start;
$node->create_penny;
my $base = "https://localhost:$port";
ok($node->wait_until(sub { (https('-o', '/dev/null', '-w', '%{http_code}', "$base/readyz"))[1] eq '200' }, 60), 'ready over https')
  or diag(join "\n", $node->log_tail(20));
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 2);
my $token = $node->token($ada);
my ($edge) = $node->edge_pids;

subtest 'https and wss on one port' => sub {
	my ($code, $out) = https('--fail', '-H', "Authorization: Bearer $token", "$base/api/v1/conversations/$talk");
	is(decode_json($out)->{conversation}{id} // decode_json($out)->{id}, $talk, 'a conversation');
	($code, $out) = https('--http2', '-o', '/dev/null', '-w', '%{http_version}', "$base/livez");
	is($out, '1.1', 'ALPN: http/1.1 for who offers h2, too');
	my $plain = $node->request('GET', '/livez');
	is($plain->{status}, 400, 'plain HTTP is answered with 400');
	is($plain->{json}{detail}, 'this port speaks TLS', 'and told why');
	like(doctor(), qr/^t\|fits its key, valid for (29|30) more days/, 'doctor');
	is($node->sql('SHOW penny.port'), $port, 'another setting');
	$node->sql('CREATE ROLE somebody');
	my (undef, undef, $error) = $node->psql('postgres', 'SET ROLE somebody; SHOW penny.tls_key_file');
	like($error, qr/must be superuser|permission denied/, 'paths are shown to superusers only');
};

subtest 'who is let in' => sub {
	for my $version ('tls1', 'tls1_1')
	{
		my ($code, $out) = s_client("-$version", '-cipher', 'ALL:@SECLEVEL=0');
		isnt($code, 0, "$version is refused");
		like($out, qr/alert (protocol version|handshake failure)|no protocols available/, 'by an alert');
	}
	for my $version ('tls1_2', 'tls1_3')
	{
		my ($code, $out) = s_client("-$version", '-alpn', 'h2,http/1.1');
		is($code, 0, "$version");
		like($out, qr/ALPN protocol: http\/1\.1/, 'ALPN');
		like($out, qr/Compression: NONE/, 'no compression') if $version eq 'tls1_2';
		like($out, qr/Cipher is \S*(GCM|CHACHA20)/, 'authenticated encryption');
	}
	my ($code, $out) = s_client('-alpn', 'h2');
	isnt($code, 0, 'who wants h2 alone is refused');
	like($out, qr/no application protocol/, 'by its alert');
	($code, $out) = s_client('-tls1_2', '-cipher', 'AES128-SHA:AES256-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0');
	isnt($code, 0, 'ciphers without forward secrecy or authentication are refused');
	($code, $out) = run_program("R\n", 'openssl', 's_client', '-connect', "127.0.0.1:$port", '-tls1_2');
	like($out, qr/no renegotiation/, 'renegotiation is refused');

	my $silent = $node->http;
	$silent->send_bytes("\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
	ok($silent->closes_within(8), 'a handshake that does not go on is ended');
	is(($node->edge_pids)[0], $edge, 'the same edge');
};

subtest 'a client that others wrote, and a large frame' => sub {
	my ($there) = run_program('', '/usr/bin/python3', '-c', 'import websockets');
	plan skip_all => 'python3-websockets is not installed' if $there != 0;
	my ($code, $out) = run_program('', '/usr/bin/python3', 'test/t/lib/tls_client.py', 'chat', $port, "$dir/server.crt", $token, "conversation:$talk");
	like($out, qr/^whole 900000$/m, 'a message of 900,000 bytes by wss, to a slow reader and its writer') or diag($out);
};

subtest 'certificates change under load' => sub {
	my $file = "$dir/load.out";
	my $stop = "$dir/load.stop";
	my $load = IPC::Run::start([ '/usr/bin/python3', 'test/t/lib/tls_client.py', 'load', $port, $token, $stop ], '<', '/dev/null', '>', $file, '2>&1', IPC::Run::timeout(120));
	ok($node->wait_until(sub { -s $file && slurp_file($file) =~ /^ready/ }, 20), 'clients are busy');
	my %is = map { $_ => fingerprint("$dir/$_.crt") } 'a', 'b';
	my $late = 0;
	for my $round (1 .. 50)
	{
		my $name = $round % 2 ? 'b' : 'a';
		install($name);
		$node->reload;
		next if $round % 10;
		$late++ unless $node->wait_until(sub { shown() eq $is{$name} }, 10);
	}
	is($late, 0, 'new connections see the new certificate');
	append_to_file($stop, 'now');
	$load->finish;
	my $result = slurp_file($file);
	my ($json) = $result =~ /^(\{.*\})$/m;
	my $seen = $json ? decode_json($json) : {};
	is($seen->{dropped}, 0, 'no connection was dropped') or diag($result);
	is($seen->{failed}, 0, 'no handshake and no request failed');
	cmp_ok($seen->{requests} // 0, '>', 100, "requests: " . ($seen->{requests} // 0) . ", new connections: " . ($seen->{connections} // 0));
	is($seen->{certificates}, 2, 'of both certificates');
	is(($node->edge_pids)[0], $edge, 'by the same edge');
};

subtest 'files that cannot be used' => sub {
	install('a');
	$node->reload;
	my $good = fingerprint("$dir/a.crt");
	ok($node->wait_until(sub { shown() eq $good }, 10), 'a good one');
	run_program('', 'openssl', 'pkey', '-in', "$dir/a.key", '-aes128', '-passout', 'pass:secret', '-out', "$dir/locked.key");
	my $key = slurp_file("$dir/a.key");
	my @bad = (
		[ 'a key that others can read', sub { chmod 0644, "$dir/server.key" }, qr/its mode must be 0640 or narrower/ ],
		[ 'no key', sub { unlink "$dir/server.key" }, qr/cannot be opened: No such file/ ],
		[ 'the key of another', sub { put("$dir/server.key", slurp_file("$dir/b.key")) }, qr/does not fit the certificate/ ],
		[ 'a key with a passphrase', sub { put("$dir/server.key", slurp_file("$dir/locked.key")) }, qr/cannot be read, or it has a passphrase/ ],
		[ 'half a key', sub { put("$dir/server.key", substr $key, 0, length($key) / 2) }, qr/the key cannot be read/ ],
		[ 'an empty certificate', sub { put("$dir/server.crt", "\n") }, qr/the certificate cannot be read/ ],
		[ 'a directory', sub { unlink "$dir/server.key"; mkdir "$dir/server.key" }, qr/not a regular file|cannot be opened/ ]);
	for my $case (@bad)
	{
		my ($name, $break, $why) = @$case;
		my $before = lines(qr/penny cannot use its certificate/);
		$break->();
		for (1 .. 3)
		{
			$node->reload;
			select undef, undef, undef, 0.05;
		}
		ok($node->wait_until(sub { lines(qr/penny cannot use its certificate/) > $before }, 10), "$name: logged");
		like((grep { /penny cannot use its certificate/ } $node->log_tail(60))[-1], $why, "$name: why");
		like(doctor(), qr/^f\|.*$why.*\|.*reload/, "$name: doctor");
		is(shown(), $good, "$name: the old certificate stays");
		rmdir "$dir/server.key";
		install('a');
		$node->reload;
		ok($node->wait_until(sub { doctor() =~ /^t/ }, 20), "$name: mended");
		is(lines(qr/penny cannot use its certificate/), $before + 1, "$name: logged once");
	}
	$node->append_conf('postgresql.conf', "penny.tls_key_file = ''\n");
	$node->reload;
	ok($node->wait_until(sub { doctor() =~ /^f\|only one of certificate and key is set/ }, 10), 'one without the other');
	is(shown(), $good, 'changes nothing');
	$node->append_conf('postgresql.conf', "penny.tls_key_file = '$dir/server.key'\n");
	$node->reload;
	unlike($node->log_text, qr/PRIVATE KEY/, 'nothing of a key is in the log');
};

subtest 'an edge that died is followed by one with the certificate' => sub {
	my ($old) = $node->edge_pids;
	unlink "$dir/server.key";
	kill 9, $old;
	ok($node->wait_until(sub { ($node->edge_pids)[0] && ($node->edge_pids)[0] != $old }, 10), 'another edge');
	ok($node->wait_until(sub { shown() eq fingerprint("$dir/a.crt") }, 10), 'which serves, though the files are gone');
};

subtest 'a start without usable files' => sub {
	$node->restart;
	ok($node->wait_until(sub { lines(qr/Nothing listens until it can/) > 0 }, 20), 'is logged');
	ok(!Penny::Http->connect_to(port => $port), 'and nothing listens, plain HTTP least of all');
	like($node->sql(q{SELECT ok, detail FROM penny.doctor() WHERE "check" = 'port'}), qr/^f\|/, 'doctor: the port');
	install('b');
	ok($node->wait_until(sub { shown() eq fingerprint("$dir/b.crt") }, 40), 'files that come later are found without a reload');
};

subtest 'TLS comes and goes by a reload' => sub {
	($edge) = $node->edge_pids;
	my $old = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
	ok($old, 'a connection that has not begun');
	$node->append_conf('postgresql.conf', "penny.tls_key_file = ''\npenny.tls_cert_file = ''\n");
	$node->reload;
	ok($node->wait_until(sub { my $answer = $node->request('GET', '/livez'); $answer && $answer->{status} == 200 }, 10), 'plain HTTP');
	my $kept = $node->http;
	is($kept->request('GET', '/livez')->{status}, 200, 'a plain connection');
	like(doctor(), qr/^t\|not set: the port speaks plain HTTP/, 'doctor');
	$node->append_conf('postgresql.conf', "penny.tls_key_file = '$dir/server.key'\npenny.tls_cert_file = '$dir/server.crt'\n");
	$node->reload;
	ok($node->wait_until(sub { shown() eq fingerprint("$dir/b.crt") }, 10), 'TLS');
	is($kept->request('GET', '/livez')->{status}, 200, 'the plain connection goes on');
	is(($node->edge_pids)[0], $edge, 'all with one edge');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
