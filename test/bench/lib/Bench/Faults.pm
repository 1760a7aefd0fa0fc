# The edge killed under load, again and again.
#
# Readers and writers run throughout: two load clients (fetches, messages) and
# two WebSocket writers.  What the server acknowledged to a writer must be in
# the table at the end, and a SQL session that stood open must not have noticed.
package Bench::Faults;

use strict;
use warnings;

use Bench::Measure;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use constant PAUSE => 2;      # seconds between two kills
use constant GIVE_UP => 10;   # seconds until a probe counts as never answered

sub edge_killed
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $kills = $bench->{quick} ? 8 : 50;
	my $session = $server->session;
	my $backend = $server->session_sql($session, 'SELECT pg_backend_pid()');

	$server->session_sql($session, 'CREATE TEMP TABLE standing AS SELECT 1 AS value');
	my @clients = start_clients($bench, $kills * PAUSE + 3);
	sleep(1);
	my (@quiet, @back);
	for my $round (1 .. $kills)
	{
		push @quiet, probe($bench);
		push @back, kill_and_probe($bench);
		sleep(PAUSE);
		print STDERR '.';
	}
	print STDERR "\n";
	my @results = map { finish($_) } @clients;
	my $untouched = eval {
		$server->session_sql($session, 'SELECT pg_backend_pid() FROM standing') eq $backend;
	};
	$server->session_end($session);
	my ($acknowledged, $lost) = count_lost($bench, map { $_->{file} // () } @clients);

	return ({
		figure => "edge killed under load, $kills times: serving again",
		measured => sprintf('p50 %.0f ms, max %.0f ms', median(@back), (sort { $b <=> $a } @back)[0]),
		base => sprintf('p50 %.0f ms, max %.0f ms unkilled', median(@quiet),
			(sort { $b <=> $a } @quiet)[0]),
		ratio => sprintf('%.1f', median(@back) / median(@quiet)),
		target => '<= 200 ms each',
		reached => !grep({ $_ > 200 } @back),
	}, {
		figure => '  SQL session that stood open',
		measured => $untouched ? 'untouched' : 'ended',
		target => 'untouched',
		reached => $untouched,
	}, {
		figure => '  acknowledged messages that are not in the table',
		measured => sprintf('%d of %d', $lost, $acknowledged),
		base => sprintf('%d fetches, %d broken, %d refused', map { $results[0]{$_} }
			qw(requests broken refused)),
		target => '0',
		reached => $lost == 0 && $acknowledged > 0,
	});
}

# Fetches, messages by HTTP, messages by WebSocket.
sub start_clients
{
	my ($bench, $seconds) = @_;
	my @common = ('-p', $bench->{server}{port}, '-k', $bench->{token_file}, '-t', $seconds);
	my @clients;

	push @clients, { command => [ "$bench->{bin}/load", @common, '-c', 8, '-f',
		$bench->{fetch_targets} ] };
	my $file = "$bench->{dir}/acknowledged.http";
	push @clients, { file => $file, command => [ "$bench->{bin}/load", @common, '-c', 2, '-f',
		$bench->{post_targets}, '-m', 'POST', '-a', $file ] };
	for my $i (1, 2)
	{
		$file = "$bench->{dir}/acknowledged.ws$i";
		push @clients, { file => $file, command => [ "$bench->{bin}/room", @common, '-r',
			"conversation:$bench->{write_conversation}", '-i', 20, '-a', $file ] };
	}
	for my $client (@clients)
	{
		$client->{pid} = open($client->{pipe}, '-|', @{ $client->{command} })
			or die "could not run $client->{command}[0]: $!\n";
	}
	return @clients;
}

sub finish
{
	my ($client) = @_;
	my $line = readline($client->{pipe});

	close($client->{pipe});
	die "$client->{command}[0] failed under load\n" if $? != 0 || !defined $line;
	return JSON::PP::decode_json($line);
}

# Kill every edge; ms until a fetch is answered by what comes after it.
sub kill_and_probe
{
	my ($bench) = @_;
	my @edges = @{ $bench->{server}->processes->{edge} };

	die "there is no edge to kill\n" if !@edges;
	kill 'KILL', @edges;
	return probe($bench);
}

# ms until a new connection has its fetch answered 200, over as many attempts
# as it takes.
sub probe
{
	my ($bench) = @_;
	my $begin = time();

	while (time() - $begin < GIVE_UP)
	{
		return (time() - $begin) * 1e3 if attempt($bench);
	}
	return GIVE_UP * 1e3;
}

sub attempt
{
	my ($bench) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $bench->{server}{port},
		Timeout => GIVE_UP) or return 0;

	local $SIG{PIPE} = 'IGNORE';
	print $socket "GET $bench->{fetch_path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n",
		"Authorization: Bearer $bench->{token}\r\n\r\n";
	$socket->flush;
	my $line = readline($socket);
	return defined $line && $line =~ m{^HTTP/1\.1 200};
}

# How many of the acknowledged client ids there are, and how many the table lacks.
sub count_lost
{
	my ($bench, @files) = @_;
	my $server = $bench->{server};

	$server->sql('CREATE TABLE acknowledged (client_id text)');
	$server->sql("\\copy acknowledged FROM '$_'") for @files;
	my $row = $server->sql('SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM chat.messages m
		WHERE m.client_id::text = a.client_id)) FROM acknowledged a');
	$server->sql('DROP TABLE acknowledged');
	return split /\|/, $row;
}

1;
