# Every process of penny killed under load, again and again.
#
# The edge is no process of PostgreSQL; the others are attached to its shared
# memory, so PostgreSQL starts all over when one of them dies.  Then the time
# counts from the moment at which PostgreSQL accepts connections again.
package Bench::Restarts;

use strict;
use warnings;

use Bench::Faults;
use Bench::Measure;
use IO::Socket::UNIX;
use Time::HiRes qw(time sleep);

use constant KINDS => qw(edge gateway executor supervisor);
use constant PAUSE => 0.25;    # seconds between two kills, up to twice that
use constant GIVE_UP => 30;    # seconds until something counts as never happened

sub killed
{
	my ($bench) = @_;
	my $kills = $bench->{quick} ? 5 : 100;
	my $server = $bench->{server};
	my @clients = Bench::Faults::start_clients($bench, 7200);
	my $restarts = $server->crash_restarts;
	my (%behind, %took);

	for my $kind (KINDS)
	{
		for my $round (1 .. $kills)
		{
			sleep(PAUSE + rand(PAUSE));
			my ($behind, $took) = kill_one($bench, $kind);
			push @{ $behind{$kind} }, $behind;
			push @{ $took{$kind} }, $took;
			print STDERR '.';
		}
	}
	kill 'TERM', map { $_->{pid} } @clients;
	my @results = map { Bench::Faults::finish($_) } @clients;
	print STDERR "\n";
	my ($acknowledged, $lost) = Bench::Faults::count_lost($bench, map { $_->{file} // () } @clients);
	my @rows = map { row($_, $kills, $behind{$_}, $took{$_}) } KINDS;

	return ({
		figure => "$kills kills each of " . join(', ', KINDS) . ': acknowledged messages lost',
		measured => sprintf('%d of %d', $lost, $acknowledged),
		base => sprintf('%d restarts of PostgreSQL, %d fetches', $server->crash_restarts - $restarts,
			$results[0]{requests}),
		target => '0',
		reached => $lost == 0 && $acknowledged > 0,
	}, @rows);
}

sub row
{
	my ($kind, $kills, $behind, $took) = @_;
	my @sorted = sort { $a <=> $b } @$behind;
	my $within = grep { $_ <= 500 } @sorted;

	return {
		figure => "  $kind killed: serving " . ($kind eq 'edge' ? 'again' : 'after PostgreSQL accepts connections'),
		measured => sprintf('p50 %.0f ms, p95 %.0f ms, max %.0f ms', median(@sorted),
			$sorted[ int(0.95 * $#sorted) ], $sorted[-1]),
		base => sprintf('p50 %.0f ms after the kill', median(@$took)),
		target => '<= 500 ms each',
		reached => $within == $kills,
	};
}

# Kill one process of a kind.  ms from PostgreSQL's accepting connections (for
# an edge: from the kill) until a fetch is answered; ms from the kill.
sub kill_one
{
	my ($bench, $kind) = @_;
	my $server = $bench->{server};
	my @pids = @{ $server->processes->{$kind} };
	my $standing = sql_socket($server) // die "PostgreSQL does not accept connections\n";

	die "there is no $kind to kill\n" if !@pids;
	my $begin = time();
	kill 'KILL', $pids[ rand @pids ];
	my $accepts = $begin;
	if ($kind ne 'edge')
	{
		# until it has ended every session, the old processes may still answer
		1 while sysread($standing, my $bytes, 8192);
		sleep(0.002) while !sql_socket($server) && time() - $begin < GIVE_UP;
		$accepts = time();
	}
	sleep(0.002) while !Bench::Faults::attempt($bench) && time() - $begin < GIVE_UP;
	my $end = time();
	return (($end - $accepts) * 1e3, ($end - $begin) * 1e3);
}

# A session of the least that makes one; undef when the server refuses it.
sub sql_socket
{
	my ($server) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => "$server->{sock}/.s.PGSQL.$server->{pgport}")
		or return undef;
	my $user = getpwuid($>);
	my $body = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";

	local $SIG{PIPE} = 'IGNORE';
	syswrite($socket, pack('N', 4 + length($body)) . $body);
	my $kind = '';
	return undef if !sysread($socket, $kind, 1) || $kind ne 'R';
	return $socket;
}

1;
