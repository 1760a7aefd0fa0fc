#!/usr/bin/perl
# websocket.pl URL TOKEN [ROOM…]: join rooms and print every frame; lines typed
# are sent as messages to the first room, lines that start with { as they are.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../t/lib";
use IO::Select;
use JSON::PP;
use Penny::WebSocket;

my ($url, $token, @rooms) = @ARGV;
my ($host, $port, $path) = ($url // '') =~ m{^ws://([^:/]+):(\d+)(/\S*)$}
  or die "usage: websocket.pl ws://HOST:PORT/ws TOKEN [ROOM...]\n";
my $json = JSON::PP->new->canonical->utf8;
my $ws = Penny::WebSocket->open(host => $host, port => $port, path => $path, token => $token);
die "the server answered: $ws->{handshake}{start}\n$ws->{handshake}{body}\n" unless $ws->{open};

$| = 1;
@rooms = map { /:/ ? $_ : "conversation:$_" } @rooms;
$ws->send_ref({ type => 'join', room => $_ }) for @rooms;
my $select = IO::Select->new($ws->{socket}, \*STDIN);
while (1)
{
	while (my $message = $ws->recv(0)) { print $json->encode($message), "\n"; }
	die "closed: $ws->{close_code} $ws->{close_reason}\n" if defined $ws->{close_code};
	die "the connection ended\n" if $ws->{eof};
	for my $ready ($select->can_read)
	{
		next unless $ready == \*STDIN;
		my $n = sysread STDIN, my $text, 65536;
		$select->remove(\*STDIN) unless $n;
		for my $line (grep { length } split /\n/, $text // '')
		{
			if ($line =~ /^\{/) { $ws->send_text($line); }
			elsif (@rooms) { utf8::decode($line); $ws->send_ref({ type => 'message', room => $rooms[0], content => $line }); }
		}
	}
}
