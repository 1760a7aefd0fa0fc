# Conformance to RFC 6455 and RFC 7692: every case of test/conformance/websocket.table, in one
# piece, frame by frame and byte by byte, on a socket that has signed in.
use strict;
use warnings;
use Compress::Raw::Zlib;
use Penny::Conformance;
use Penny::WebSocket;
use Test::More;

my $node = echo_server('conformance', <<'CONF');
penny.websocket_message_size = 262144
penny.websocket_compression = on
penny.websocket_messages_per_second = 100000
penny.max_connections_per_address = 10000
CONF
my $edge = join ' ', $node->edge_pids;
my $token = $node->token('0199aa00-0000-7000-8000-00000000000a');
my @cases = read_cases('test/conformance/websocket.table', raw => 1);
my %opcode = (cont => 0, text => 1, bin => 2, close => 8, ping => 9, pong => 10);
my $start = '{"type":"ping"';
my %wrong;

# ---- what is sent --------------------------------------------------------------

# Compressed as one message without context.
sub compressed
{
	my ($level, $text) = @_;
	my $deflate = Compress::Raw::Zlib::Deflate->new(-Level => $level, -WindowBits => -15, -AppendOutput => 1);
	my $out = '';
	$deflate->deflate($text, $out);
	$deflate->flush($out, Z_SYNC_FLUSH);
	return substr $out, 0, -4;
}

sub payload_of
{
	my ($opcode, $text) = @_;
	return compressed(length $1 ? $1 : 6, payload_of($opcode, $2)) if $text =~ /^z(\d?)\((.*)\)$/s;
	return "$start,\"ref\":\"" . unescape($1) . '"}' if $text =~ /^json\((.*)\)$/s;
	return "$start,\"a\":\"" . 'x' x ($1 - length($start) - 8) . '"}' if $text =~ /^size\((\d+)\)$/;
	return pack('n', $1) . unescape($2 // '') if $opcode eq 'close' && $text =~ /^(\d+)(?:,(.*))?$/s;
	return unescape($text);
}

# One frame, as bytes.
sub frame_of
{
	my ($opcode, $flags, $text) = @_;
	my %with;
	$with{fin} = 0 if $flags =~ /-/;
	$with{mask} = 0 if $flags =~ /!/;
	$with{rsv} = $1 if $flags =~ /r(\d)/;
	$with{wide} = $1 if $flags =~ /w(\d)/;
	$with{length} = $1 if $flags =~ /=(\d+)/;
	my $number = $opcode =~ /^op(\d+)$/ ? $1 : $opcode{$opcode} // die "no opcode $opcode";
	return Penny::WebSocket::format_frame($number, payload_of($opcode, $text), %with);
}

# A text in fragments of so many bytes.
sub pieces_of
{
	my ($flags, $text) = @_;
	my $rsv = $flags =~ /r(\d)/ ? $1 : 0;
	my ($payload, $size) = $text =~ /^(.*),(\d+)$/s or die "pieces($text)";
	my @pieces = unpack "(a$size)*", payload_of('text', $payload);
	return map {
		Penny::WebSocket::format_frame($_ == 0 ? 1 : 0, $pieces[$_], fin => $_ == $#pieces ? 1 : 0, rsv => $_ == 0 ? $rsv : 0)
	} 0 .. $#pieces;
}

sub frames_of
{
	my ($text) = @_;
	my @frames;
	while ($text =~ /\G\s*(op\d+|[a-z]+?)((?:r\d|w\d|=\d+|[-!])*)(\((?:[^()]++|(?-1))*+\))\s*/gc)
	{
		my ($what, $flags, $inner) = ($1, $2, substr $3, 1, -1);
		push @frames, $what eq 'raw' ? unescape($inner)
		  : $what eq 'pieces' ? pieces_of($2, $inner)
		  : frame_of($what, $flags, $inner);
	}
	die 'not frames: ' . substr $text, pos($text) // 0 if (pos($text) // 0) < length $text;
	return @frames;
}

# ---- what comes ------------------------------------------------------------------

sub hex_of { return $_[0] =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger }

# Wait for the close frame with that code, and the end of the connection.
sub try_close
{
	my ($socket, $code) = @_;
	my $frame = $socket->read_frame(5) or return "no close frame, wanted $code";
	my $got = $frame->{opcode} == 8 ? length $frame->{payload} ? unpack 'n', $frame->{payload} : 1005 : '';
	return "opcode $frame->{opcode} " . hex_of($frame->{payload}) . ", wanted close $code" if $got ne $code;
	return 'the connection stays open' unless $socket->closes_within(5);
	return length $socket->{in} ? 'bytes after the close frame' : undef;
}

# Wait for one frame that is expected.
sub try_frame
{
	my ($socket, $expected) = @_;
	my ($opcode, $payload) =
	    $expected eq 'ok' ? (1, '{"type":"pong"}')
	  : $expected =~ /^ref\((.*)\)$/s ? (1, '{"type":"pong","ref":"' . unescape($1) . '"}')
	  : $expected =~ /^pong\((.*)\)$/s ? (10, unescape($1))
	  : die "not known: $expected";
	my $frame = $socket->read_frame(5) or return "nothing came, wanted $expected";
	return undef if $frame->{fin} && !$frame->{rsv} && $frame->{opcode} == $opcode && $frame->{payload} eq $payload;
	return "opcode $frame->{opcode} " . hex_of($frame->{payload}) . ", wanted $expected";
}

sub try_case
{
	my ($case, @pieces) = @_;
	my @headers = $case->{id} =~ /^7692/ ? ('Sec-WebSocket-Extensions' => 'permessage-deflate; client_max_window_bits') : ();
	my $socket = Penny::WebSocket->open(port => $node->{http_port}, token => $token, headers => \@headers);
	return 'no handshake' unless $socket->{open};
	$socket->send_text("$start,\"ref\":\"in\"}");
	my $wrong = try_frame($socket, 'ref(in)');
	return "signing in: $wrong" if defined $wrong;
	for (@pieces) { $socket->send_bytes($_) or last; }
	for my $expected (split /,/, $case->{expected})
	{
		next if $expected eq '-';
		return try_close($socket, $expected) if $expected =~ /^\d+$/;
		$wrong = try_frame($socket, $expected);
		return $wrong if defined $wrong;
	}
	$socket->send_text("$start,\"ref\":\"still\"}");
	$wrong = try_frame($socket, 'ref(still)') // ($socket->send_frame(8, pack 'n', 1000), try_close($socket, 1000))[1];
	$socket->close_now;
	return $wrong;
}

for my $case (@cases)
{
	my @frames = frames_of($case->{text});
	my $bytes = join '', @frames;
	my $small = length $bytes > 3000 ? 997 : 1;
	my %ways = (whole => [$bytes], frames => \@frames, bytes => [ unpack "(a$small)*", $bytes ]);
	for my $way (sort keys %ways)
	{
		my $wrong = try_case($case, @{ $ways{$way} });
		push @{ $wrong{ $case->{id} } }, "$way: $wrong" if defined $wrong;
	}
	my $wrong = $wrong{ $case->{id} };
	ok(!$wrong, $case->{id}) or diag(map { "\t$_\n" } @$wrong);
}
is($node->crash_restarts, 0, 'nothing crashed');
is(join(' ', $node->edge_pids), $edge, 'it is the same edge');
$node->stop;
done_testing();
