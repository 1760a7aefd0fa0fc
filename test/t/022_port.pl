# The port is taken, by another program or another cluster; addresses that are
# not there; several addresses.
use strict;
use warnings;
use IO::Socket::INET;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $port = Penny::Cluster::free_port();

sub listen_on
{
	return IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1)
	  // die "could not listen on $port: $!";
}

sub lines { my ($node, $pattern) = @_; return scalar(() = $node->log_text =~ /$pattern/g) }
sub doctor { my ($node, $check) = @_; return $node->sql(qq{SELECT ok, detail, remedy FROM penny.doctor() WHERE "check" = '$check'}) }

my $node = Penny::Cluster->prepared('first', http_port => $port, conf => "wal_level = minimal\nmax_wal_senders = 0\n");

subtest 'the port is taken by another program' => sub {
	my $other = listen_on();
	$node->start;
	$node->create_penny;
	is($node->sql('SELECT 1'), 1, 'the database starts and serves SQL');
	ok($node->wait_until(sub { lines($node, qr/could not bind the address for 127\.0\.0\.1:$port: Address already in use/) == 1 }, 20),
		'the log says which port');
	like(doctor($node, 'port'), qr/^f\|port $port: 0 of 1 .*Address already in use\|.*penny\.port/, 'doctor() says so');
	is(scalar(my @none = $node->edge_pids), 0, 'no edge without a socket');
	usleep(3_500_000);
	is(lines($node, qr/could not bind/), 1, 'said once, though tried again');
	my ($gateway) = $node->backend_pids('penny gateway');
	close $other;
	ok($node->wait_ready(10), 'serves when the port is free');
	is(($node->backend_pids('penny gateway'))[0], $gateway, 'by the same gateway');
	is(lines($node, qr/penny listens on 127\.0\.0\.1:$port/), 1, 'the log says so');
	like(doctor($node, 'port'), qr/^t\|/, 'and doctor()');
};

subtest 'a second cluster on the same port' => sub {
	my $second = Penny::Cluster->prepared('second', http_port => $port);
	$second->start;
	$second->create_penny;
	ok($second->wait_until(sub { lines($second, qr/Address already in use/) == 1 }, 20), 'says that the port is taken');
	is($second->sql('SELECT 1'), 1, 'and serves SQL');
	for (1 .. 20)
	{
		ok($node->is_ready, 'the first one has all requests') or last;
	}
	is($second->sql_json('SELECT penny.stats()')->{gateways}[0]{edge}{accepted}, 0, 'the second one has none');
	$node->stop;
	ok($second->wait_ready(20), 'takes over when the first one stops');
	$node->start;
	ok($node->wait_until(sub { lines($node, qr/Address already in use/) == 2 }, 20), 'and the first one waits');
	$second->stop;
	ok($node->wait_ready(20), 'until it is free again');
};

subtest 'several addresses' => sub {
	my $has_v6 = -e '/proc/net/if_inet6' && slurp('/proc/net/if_inet6') =~ /^0{31}1 /m;
	my $v6 = $has_v6 ? ', ::1' : '';
	$node->append_conf('postgresql.conf', "penny.listen_addresses = 'localhost, 127.0.0.1, 127.0.0.2, 192.0.2.1$v6'\n");
	$node->reload;
	ok($node->wait_until(sub { lines($node, qr/could not bind the address for 192\.0\.2\.1:$port: Cannot assign requested address/) == 1 }, 20),
		'an address that is not there is said once');
	ok($node->wait_ready(10), 'the others serve');
	for my $address ('127.0.0.1', '127.0.0.2', $has_v6 ? '::1' : ())
	{
		ok($node->wait_until(sub { request_to($address) == 200 }, 20), "$address serves");
	}
	my $wanted = 3 + ($has_v6 ? 1 : 0);
	like(doctor($node, 'port'), qr/^f\|port $port: ${\($wanted - 1)} of $wanted sockets/, 'each socket once');

	$node->append_conf('postgresql.conf', "penny.listen_addresses = 'no.such.host.invalid'\n");
	$node->reload;
	ok($node->wait_until(sub { lines($node, qr/could not resolve the address for no\.such\.host\.invalid/) == 1 }, 10),
		'a name that means nothing is said once');
	$node->append_conf('postgresql.conf', "penny.listen_addresses = '*'\n");
	$node->reload;
	ok($node->wait_ready(10), '* serves');
	is(request_to('127.0.0.3'), 200, 'on any address');
	$node->append_conf('postgresql.conf', "penny.listen_addresses = ''\n");
	$node->reload;
	ok($node->wait_until(sub { $node->log_text =~ /The list must name at least one address/ }, 20), 'no address is refused');
	ok($node->is_ready, 'and the present ones stay');
	$node->append_conf('postgresql.conf', "penny.listen_addresses = '127.0.0.1 127.0.0.2'\n");
	$node->reload;
	ok($node->wait_until(sub { $node->log_text =~ /List syntax is invalid/ }, 20), 'a list that is none is refused');
	ok($node->is_ready, 'and the present ones stay, too');
};

sub slurp { my ($file) = @_; open my $in, '<', $file or return ''; local $/; return <$in> // '' }

sub request_to
{
	my ($address) = @_;
	require IO::Socket::IP;
	my $socket = IO::Socket::IP->new(PeerHost => $address, PeerPort => $port, Timeout => 5) or return 0;
	print $socket "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	my $line = <$socket> // '';
	return $line =~ m{^HTTP/1\.1 (\d+)} ? $1 : 0;
}

is($node->crash_restarts, 0, 'no crash');
done_testing;
