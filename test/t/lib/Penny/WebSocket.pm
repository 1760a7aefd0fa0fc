# Penny::WebSocket: a WebSocket client for tests.  Frames are masked and well
# formed unless asked otherwise; send_frame() and send_bytes() can break every
# rule.  Pings are answered while waiting for something else.
package Penny::WebSocket;

use strict;
use warnings;
use Carp;
use Digest::SHA qw(sha1);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use Penny::Http;
use Time::HiRes qw(time);

our @ISA = ('Penny::Http');

my $json = JSON::PP->new->canonical->utf8->allow_nonref;
my $guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

# Connect and upgrade.  Options: port, path, token (Authorization), query_token,
# origin, protocol (undef: none), headers, key.  The answer to the handshake is
# in {handshake}; {open} says whether it is a WebSocket now.
sub open
{
	my ($class, %with) = @_;
	my $self = $class->connect_to(%with) or croak "could not connect to port $with{port}: $!";
	my $key = $with{key} // encode_base64(join('', map { chr int rand 256 } 1 .. 16), '');
	my $path = $with{path} || '/ws';
	$path .= "?access_token=$with{query_token}" if defined $with{query_token};
	my $protocol = exists $with{protocol} ? $with{protocol} : 'penny.v1';
	my $text = "GET $path HTTP/1.1\r\nHost: localhost:$with{port}\r\n"
	  . "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	  . "Sec-WebSocket-Key: $key\r\nSec-WebSocket-Version: " . ($with{version} // 13) . "\r\n";
	$text .= "Sec-WebSocket-Protocol: $protocol\r\n" if defined $protocol;
	$text .= "Authorization: Bearer $with{token}\r\n" if defined $with{token};
	$text .= "Origin: $with{origin}\r\n" if defined $with{origin};
	my @headers = @{ $with{headers} || [] };
	while (my ($name, $value) = splice @headers, 0, 2)
	{
		$text .= "$name: $value\r\n";
	}
	$self->{inbox} = [];
	$self->{ref} = 0;
	$self->send_bytes("$text\r\n");
	my $answer = $self->{handshake} = $self->read_response(timeout => $with{timeout});
	$self->{open} = $answer && $answer->{status} == 101 ? 1 : 0;
	if ($self->{open})
	{
		my $accept = encode_base64(sha1($key . $guid), '');
		croak 'wrong Sec-WebSocket-Accept'
		  unless ($answer->{header}{'sec-websocket-accept'} || '') eq $accept;
	}
	return $self;
}

# ---- sending -----------------------------------------------------------------

# A frame of any kind.  Options: fin (1), mask (1), rsv (0), length (claimed
# length in place of the real one), wide (8: use the 64-bit form).
sub format_frame
{
	my ($opcode, $payload, %with) = @_;
	my $length = $with{length} // length $payload;
	my $mask_bit = ($with{mask} // 1) ? 0x80 : 0;
	my $first = (($with{fin} // 1) ? 0x80 : 0) | (($with{rsv} || 0) << 4) | $opcode;
	my $head =
	    ($with{wide} || 0) == 8 || $length > 65535 ? pack('CCQ>', $first, $mask_bit | 127, $length)
	  : ($with{wide} || 0) == 2 || $length > 125 ? pack('CCn', $first, $mask_bit | 126, $length)
	  : pack('CC', $first, $mask_bit | $length);
	return $head . $payload unless $mask_bit;
	my $mask = pack 'N', int rand 2**32;
	my $repeated = $mask x (1 + length($payload) / 4);
	return $head . $mask . ($payload ^ substr $repeated, 0, length $payload);
}

sub send_frame
{
	my ($self, $opcode, $payload, %with) = @_;
	return $self->send_bytes(format_frame($opcode, $payload, %with));
}

sub send_text { return $_[0]->send_frame(1, $_[1]) }

sub send_json { return $_[0]->send_text($json->encode($_[1])) }

# Send with a fresh ref and return the ref.
sub send_ref
{
	my ($self, $message) = @_;
	my $ref = 'r' . ++$self->{ref};
	$self->send_json({ %$message, ref => $ref });
	return $ref;
}

# ---- receiving ---------------------------------------------------------------

# The next frame as { fin, opcode, payload }, or undef in time.
sub read_frame
{
	my ($self, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	my $need = sub {
		my ($n) = @_;
		until (length $self->{in} >= $n)
		{
			return 0 unless $self->fill($deadline);
		}
		return 1;
	};
	$need->(2) or return undef;
	my ($first, $second) = unpack 'CC', $self->{in};
	croak 'a masked frame from the server' if $second & 0x80;
	my ($at, $length) = (2, $second & 0x7f);
	if ($length == 126) { $need->(4) or return undef; $length = unpack 'x2n', $self->{in}; $at = 4; }
	elsif ($length == 127)
	{
		$need->(10) or return undef;
		$length = unpack 'x2Q>', $self->{in};
		$at = 10;
	}
	$need->($at + $length) or return undef;
	my $payload = substr $self->{in}, $at, $length;
	substr $self->{in}, 0, $at + $length, '';
	return { fin => $first >> 7, rsv => ($first >> 4) & 7, opcode => $first & 15, payload => $payload };
}

# The next message as data, "batch" taken apart; undef in time, or when the
# server closed: then {close_code} and {close_reason} are set.
sub recv
{
	my ($self, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while (!@{ $self->{inbox} })
	{
		return undef if defined $self->{close_code};
		my $left = $deadline - time();
		my $frame = $self->read_frame($left > 0 ? $left : 0) or return undef;
		if ($frame->{opcode} == 9) { $self->send_frame(10, $frame->{payload}); }
		elsif ($frame->{opcode} == 8)
		{
			($self->{close_code}, $self->{close_reason}) =
			  length $frame->{payload} >= 2 ? unpack('na*', $frame->{payload}) : (1005, '');
		}
		elsif ($frame->{opcode} == 10) { push @{ $self->{pongs} }, $frame->{payload}; }
		else
		{
			croak "unexpected frame, opcode $frame->{opcode}" unless $frame->{opcode} == 1 && $frame->{fin};
			my $message = $json->decode($frame->{payload});
			push @{ $self->{inbox} },
			  $message->{type} eq 'batch' ? @{ $message->{messages} } : $message;
		}
	}
	return shift @{ $self->{inbox} };
}

# Wait for a message that $wanted->($message) likes; others go to {others} in
# their order.
sub wait_for
{
	my ($self, $wanted, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while ((my $left = $deadline - time()) > 0)
	{
		my $message = $self->recv($left) or return undef;
		return $message if $wanted->($message);
		push @{ $self->{others} }, $message;
	}
	return undef;
}

sub wait_type
{
	my ($self, $type, $limit) = @_;
	return $self->wait_for(sub { $_[0]{type} eq $type }, $limit);
}

sub wait_ref
{
	my ($self, $ref, $limit) = @_;
	return $self->wait_for(sub { ($_[0]{ref} // '') eq $ref }, $limit);
}

# Send and wait for the answer that repeats the ref.
sub call
{
	my ($self, $message, $limit) = @_;
	return $self->wait_ref($self->send_ref($message), $limit);
}

sub join_room
{
	my ($self, $room, $since, $limit) = @_;
	return $self->call({ type => 'join', room => $room, ($since ? (since => $since) : ()) }, $limit);
}

# The code with which the server closes, or undef when it does not in time.
sub wait_close
{
	my ($self, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while (!defined $self->{close_code})
	{
		my $left = $deadline - time();
		last if $left <= 0;
		push @{ $self->{others} }, $self->recv($left) // last;
	}
	return $self->{close_code};
}

# Close as a client should.
sub close_code_sent
{
	my ($self, $code) = @_;
	$self->send_frame(8, pack 'n', $code // 1000);
	return $self->wait_close;
}

1;
