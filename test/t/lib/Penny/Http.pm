# Penny::Http: an HTTP/1.1 client over one connection that can also send what
# no client should: raw bytes, halves, several requests at once.
package Penny::Http;

use strict;
use warnings;
use Carp;
use JSON::PP;
use Penny::Socket;

our @ISA = ('Penny::Socket');

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

# Penny::Http->open(port => …, token => …)
sub open
{
	my ($class, %to) = @_;
	my $self = $class->connect_to(%to) or croak "could not connect to port $to{port}: $!";
	$self->{token} = $to{token};
	$self->{to} = \%to;
	return $self;
}

# The bytes of a request.  Options: token, headers => [name => value, …], json
# => data, body => bytes, no_host.
sub format_request
{
	my ($self, $method, $path, %with) = @_;
	my $body = exists $with{json} ? $json->encode($with{json}) : $with{body};
	my $token = exists $with{token} ? $with{token} : $self->{token};
	my $text = "$method $path HTTP/1.1\r\n";
	$text .= "Host: localhost\r\n" unless $with{no_host};
	$text .= "Authorization: Bearer $token\r\n" if defined $token;
	$text .= "Content-Type: application/json\r\n"
	  if defined $body && !grep { lc eq 'content-type' } @{ $with{headers} || [] };
	my @headers = @{ $with{headers} || [] };
	while (my ($name, $value) = splice @headers, 0, 2)
	{
		$text .= "$name: $value\r\n";
	}
	$text .= 'Content-Length: ' . length($body) . "\r\n"
	  if defined $body && $text !~ /^Content-Length:/mi;
	return "$text\r\n" . (defined $body ? $body : '');
}

# Send a request and read its answer; over a new connection when the server
# said that it closes this one.
sub request
{
	my ($self, $method, $path, %with) = @_;
	if ($self->{to} && ($self->{closing} || $self->{eof}))
	{
		$self->close_now;
		my $again = ref($self)->connect_to(%{ $self->{to} }) or return undef;
		@{$self}{qw(socket in eof closing)} = ($again->{socket}, '', 0, 0);
	}
	$self->send_bytes($self->format_request($method, $path, %with));
	return $self->read_response(method => $method, timeout => $with{timeout}, raw => $with{raw});
}

# The next answer: { status, reason, header => {lower-case name => value},
# body, json (unless raw is asked for) }, or undef when none comes in time or the connection ends first.
sub read_response
{
	my ($self, %of) = @_;
	return undef unless $self->fill_until(sub { $self->{in} =~ /\r\n\r\n/ }, $of{timeout});
	$self->{in} =~ s/^(.*?)\r\n\r\n//s;
	my ($start, @lines) = split /\r\n/, $1;
	my %answer = (header => {}, header_lines => \@lines, body => '', start => $start);
	@answer{qw(version status reason)} = $start =~ m{^(HTTP/1\.[01]) (\d{3})(?: (.*))?$};
	croak "not an HTTP answer: $start" unless defined $answer{status};
	for (@lines)
	{
		my ($name, $value) = /^([^:]+):[ \t]*(.*?)[ \t]*$/ or croak "not a header line: $_";
		my $old = $answer{header}{ lc $name };
		$answer{header}{ lc $name } = defined $old ? "$old, $value" : $value;
	}
	$self->{closing} = 1 if lc($answer{header}{connection} || '') eq 'close';
	return $self->read_response(%of)
	  if $answer{status} =~ /^1/ && $answer{status} != 101 && !$of{informational};
	return \%answer if $answer{status} =~ /^1/;
	my $method = $of{method} || 'GET';
	my $empty = $method eq 'HEAD' || $answer{status} =~ /^(204|304)$/;
	my $length = $answer{header}{'content-length'};
	if ($empty) { }
	elsif (lc($answer{header}{'transfer-encoding'} || '') eq 'chunked')
	{
		$answer{body} = $self->read_chunks($of{timeout}) // return undef;
	}
	elsif (defined $length)
	{
		return undef
		  unless $self->fill_until(sub { length $self->{in} >= $length }, $of{timeout});
		$answer{body} = substr $self->{in}, 0, $length, '';
	}
	else
	{
		$self->closes_within($of{timeout} // $Penny::Socket::timeout) or return undef;
		$answer{body} = $self->{in};
		$self->{in} = '';
	}
	$answer{json} = eval { $json->decode($answer{body}) }
	  if !$of{raw} && ($answer{header}{'content-type'} || '') =~ m{^application/(?:[a-z]+\+)?json\b};
	return \%answer;
}

sub read_chunks
{
	my ($self, $limit) = @_;
	my $body = '';
	while (1)
	{
		return undef unless $self->fill_until(sub { $self->{in} =~ /^[0-9a-fA-F]+\r\n/ }, $limit);
		$self->{in} =~ s/^([0-9a-fA-F]+)\r\n//;
		my $size = hex $1;
		return undef
		  unless $self->fill_until(sub { length $self->{in} >= $size + 2 }, $limit);
		$body .= substr $self->{in}, 0, $size, '';
		substr $self->{in}, 0, 2, '';
		return $body if $size == 0;
	}
}

1;
