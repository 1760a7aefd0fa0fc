# Penny::Socket: a TCP connection with deadlines, for clients that must be able
# to send anything and wait for an answer no longer than told.
package Penny::Socket;

use strict;
use warnings;
use Carp;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

our $timeout = 10;    # seconds; a slow machine under load needs some

sub connect_to
{
	my ($class, %to) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => $to{host} || '127.0.0.1',
		PeerPort => $to{port},
		($to{local_address} ? (LocalAddr => $to{local_address}) : ()),
		Proto => 'tcp',
		Timeout => $timeout) or return undef;
	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	$socket->blocking(0);
	return bless { socket => $socket, in => '', eof => 0 }, $class;
}

# Send all of it; false when the other side is gone or does not take it.
sub send_bytes
{
	my ($self, $bytes, $limit) = @_;
	my $deadline = time() + ($limit || $timeout);
	local $SIG{PIPE} = 'IGNORE';
	my $at = 0;
	while ($at < length $bytes)
	{
		my $n = syswrite($self->{socket}, $bytes, length($bytes) - $at, $at);
		if (defined $n) { $at += $n; next; }
		return 0 unless $!{EAGAIN} || $!{EINTR};
		my $left = $deadline - time();
		return 0 if $left <= 0;
		my $set = '';
		vec($set, fileno($self->{socket}), 1) = 1;
		select(undef, $set, undef, $left);
	}
	return 1;
}

# Read once what comes until the deadline; false at its end or that of the stream.
sub fill
{
	my ($self, $deadline) = @_;
	return 0 if $self->{eof};
	while (1)
	{
		my $n = sysread($self->{socket}, $self->{in}, 65536, length $self->{in});
		return 1 if $n;
		if (defined $n || !($!{EAGAIN} || $!{EINTR}))
		{
			$self->{eof} = 1;
			$self->{reset} = 1 if !defined $n && $!{ECONNRESET};
			return 0;
		}
		my $left = $deadline - time();
		return 0 if $left <= 0;
		my $set = '';
		vec($set, fileno($self->{socket}), 1) = 1;
		select($set, undef, undef, $left);
	}
}

# Wait until $enough->() is true of what was read; false at deadline or end.
sub fill_until
{
	my ($self, $enough, $limit) = @_;
	my $deadline = time() + ($limit // $timeout);
	until ($enough->())
	{
		return 0 unless $self->fill($deadline);
	}
	return 1;
}

# Does the other side close within so many seconds?  What it still says is kept.
sub closes_within
{
	my ($self, $limit) = @_;
	my $deadline = time() + $limit;
	1 while $self->fill($deadline);
	return $self->{eof};
}

# Close with a reset, as a client that crashed does.
sub reset_now
{
	my ($self) = @_;
	setsockopt($self->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
	$self->close_now;
}

sub half_close { shutdown($_[0]{socket}, 1) }

sub close_now
{
	my ($self) = @_;
	close $self->{socket} if $self->{socket};
	$self->{socket} = undef;
	$self->{eof} = 1;
}

1;
