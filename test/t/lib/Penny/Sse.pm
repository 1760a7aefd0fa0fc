# Penny::Sse: a reader of event streams that takes nothing but what is promised:
# chunks, fields in their order, ids, one line of data.
package Penny::Sse;

use strict;
use warnings;
use Carp;
use JSON::PP;
use Penny::Http;
use Time::HiRes qw(time);

our @ISA = ('Penny::Http');

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

# Penny::Sse->listen(port => …, token => …, method => …, path => …, headers,
# json, body as for a request).  {problem} is the answer when it is no stream.
sub listen
{
	my ($class, %with) = @_;
	my $self = $class->open(port => $with{port}, token => $with{token});
	$self->send_bytes($self->format_request($with{method} || 'GET', $with{path}, %with));
	return undef unless $self->fill_until(sub { $self->{in} =~ /\r\n\r\n/ });
	if ($self->{in} !~ /\r\ncontent-type: text\/event-stream\r\n/i)
	{
		$self->{problem} = $self->read_response(method => $with{method});
		return $self;
	}
	$self->{in} =~ s/^HTTP\/1\.1 (\d+) .*?\r\n(.*?)\r\n\r\n//s or croak "not an answer: $self->{in}";
	$self->{status} = $1;
	$self->{header} = { map { /^(.*?): (.*)$/ ? (lc $1, $2) : () } split /\r\n/, $2 };
	@{$self}{qw(text comments retry)} = ('', [], []);
	return $self;
}

# Bytes of the next chunk; undef when none comes in time, or at the end.
sub _chunk
{
	my ($self, $limit) = @_;
	return undef if $self->{whole};
	return undef unless $self->fill_until(sub { $self->{in} =~ /\r\n/ }, $limit);
	$self->{in} =~ /^([0-9a-f]+)\r\n/ or croak 'not a chunk: ' . substr $self->{in}, 0, 80;
	my ($size, $at) = (hex $1, $+[0]);
	return undef unless $self->fill_until(sub { length $self->{in} >= $at + $size + 2 }, $limit);
	my $data = substr $self->{in}, $at, $size;
	substr($self->{in}, $at + $size, 2) eq "\r\n" or croak 'a chunk without its end';
	substr $self->{in}, 0, $at + $size + 2, '';
	$self->{whole} = 1 if $size == 0;
	return $size == 0 ? undef : $data;
}

# The next event: { type, id, data }; undef when none comes in time, or at the end.
sub event
{
	my ($self, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while (1)
	{
		while ($self->{text} !~ /\n\n/)
		{
			my $left = $deadline - time();
			my $chunk = $self->_chunk($left > 0 ? $left : 0) // return undef;
			$self->{text} .= $chunk;
		}
		$self->{text} =~ s/^(.*?)\n\n//s;
		my $block = $1;
		if ($block =~ /^: ?(.*)\z/ && $block !~ /\n/) { push @{ $self->{comments} }, $1; next }
		if ($block =~ /^retry: (\d+)\z/) { push @{ $self->{retry} }, $1; next }
		$block =~ /^(?:id: ([\w.-]+:\d+)\n)?event: ([\w.-]+)\ndata: ([^\r\n]*)\z/ or croak "not an event: $block";
		my %event = (id => $1, type => $2, text => $3, data => $json->decode($3));
		$event{data}{type} eq $event{type} or croak "event $event{type}: $event{text}";
		$self->{last_id} = $event{id} if defined $event{id};
		($event{version}) = $event{id} =~ /:(\d+)$/ if defined $event{id};
		return \%event;
	}
}

# Events until one is like that; it is the last of them.
sub wait_for
{
	my ($self, $is, $limit) = @_;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while (time() < $deadline)
	{
		my $event = $self->event($deadline - time()) // return undef;
		return $event if $is->($event);
	}
	return undef;
}

sub wait_type
{
	my ($self, $type, $limit) = @_;
	return $self->wait_for(sub { $_[0]{type} eq $type }, $limit);
}

# All that still comes; {whole} tells whether the answer has come to its end.
sub rest
{
	my ($self, $limit) = @_;
	my @events;
	my $deadline = time() + ($limit // $Penny::Socket::timeout);
	while (my $event = $self->event($deadline - time() > 0 ? $deadline - time() : 0))
	{
		push @events, $event;
	}
	return @events;
}

1;
