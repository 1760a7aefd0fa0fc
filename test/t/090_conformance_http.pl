# Conformance to HTTP/1.1: every case of test/conformance/http.table, whole, in
# halves and byte by byte, against a server whose handler says what it got.
use strict;
use warnings;
use JSON::PP;
use Penny::Conformance;
use Test::More;

my $json = JSON::PP->new->canonical->utf8->allow_nonref;
my $node = echo_server('conformance', <<'CONF');
penny.header_size = 4096
penny.target_size = 1024
penny.max_body_size = 8192
penny.header_timeout = 2000
penny.body_timeout = 2000
penny.max_connections_per_address = 10000
CONF
my $edge = join ' ', $node->edge_pids;
my @cases = read_cases('test/conformance/http.table');
my %wrong;

# What an answer lacks that every answer must have; undef when nothing.
sub lack_of
{
	my ($answer, $head, $last) = @_;
	my ($status, $header) = @{$answer}{qw(status header)};
	return undef if $status =~ /^1/;
	return 'Date' unless $header->{date};
	return 'Content-Length' unless defined $header->{'content-length'} || $status =~ /^(204|304)$/;
	return 'X-Request-Id' unless $header->{'x-request-id'};
	return 'Allow' if $status == 405 && !$header->{allow};
	return 'Connection: close' if $last && ($header->{connection} || '') !~ /\bclose\b/;
	return 'a problem document'
	  if $status >= 400 && !$head && ($answer->{json}{status} || 0) != $status;
	return undef;
}

# Further conditions, by their names in the table.
my %holds = (
	empty => sub { $_[0]{body} eq '' && $_[0]{header}{'content-length'} > 0 },
	allow => sub { ($_[0]{header}{allow} || '') =~ /\bGET\b/ },
	accept => sub { $_[0]{header}{'sec-websocket-accept'} eq 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' },
	upgrade => sub {
		my $header = $_[0]{header};
		return $header->{upgrade} eq 'websocket' && $header->{connection} =~ /\bUpgrade\b/
		  && $header->{'sec-websocket-version'} eq '13';
	},
	protocol => sub { ($_[0]{header}{'sec-websocket-protocol'} // '') eq $_[1] },
	extensions => sub { !exists $_[0]{header}{'sec-websocket-extensions'} },
	target => sub { $_[0]{json}{target} eq $_[1] },
	method => sub { $_[0]{json}{method} eq $_[1] },
	param => sub { $json->encode($_[0]{json}{params}{id}) eq qq("$_[1]") },
	query => sub { $json->encode($_[0]{json}{query}) eq $_[1] },
	body => sub { $json->encode($_[0]{json}{body}) eq $_[1] },
	'x-a' => sub { $json->encode($_[0]{json}{headers}{'x-a'}) eq qq("$_[1]") });

# Read one answer; what is wrong with it, or undef.
sub try_answer
{
	my ($http, $expected, $last) = @_;
	my ($status, @conditions) = split /;/, $expected;
	my $head = grep { $_ eq 'empty' } @conditions;
	my $answer = $http->read_response(method => $head ? 'HEAD' : 'GET', informational => 1)
	  or return "no answer, wanted $status";
	# Sent in pieces, a body that was not waited for is asked for.
	return try_answer(@_) if $answer->{status} == 100 && $status != 100;
	return "$answer->{status} $answer->{body}, wanted $status" if $answer->{status} != $status;
	my $lack = lack_of($answer, $head, $last);
	return "$status lacks $lack" if defined $lack;
	for (@conditions)
	{
		my ($name, $value) = split /=/, $_, 2;
		return "$status: $_ does not hold: $answer->{body}"
		  unless $holds{$name}->($answer, unescape($value // ''));
	}
	return undef;
}

# Read what comes of a case; what is wrong with it, or undef.
sub try_case
{
	my ($http, $case) = @_;
	my @expected = split /,/, $case->{expected};
	$expected[0] =~ s/^whole://;
	my $close = $expected[-1] eq 'close' && pop @expected;
	while (defined(my $expected = shift @expected))
	{
		my $wrong = try_answer($http, $expected, $close && !@expected);
		return $wrong if defined $wrong;
		return undef if $expected =~ /^101/;
	}
	if ($close)
	{
		return 'the connection stays open' unless $http->closes_within(5);
	}
	else
	{
		$http->send_bytes("GET /echo?probe HTTP/1.1\r\nHost: localhost\r\n\r\n");
		my $wrong = try_answer($http, '200;query={"probe":""}');
		return "the next request: $wrong" if defined $wrong;
	}
	return length $http->{in} ? "and then comes $http->{in}" : undef;
}

sub judge
{
	my ($case, $way, $http) = @_;
	my $wrong = try_case($http, $case);
	push @{ $wrong{ $case->{id} } }, "$way: $wrong" if defined $wrong;
	$http->close_now;
}

# What ends by a timeout is sent first and looked at last.
my @waiting;
for my $case (sort { $b->{expected} =~ /408/ <=> $a->{expected} =~ /408/ } @cases)
{
	my %ways = ways($case->{text});
	%ways = (whole => $ways{whole}) if $case->{expected} =~ /^whole:/;
	for my $way (sort keys %ways)
	{
		my $http = $node->http;
		for (@{ $ways{$way} }) { $http->send_bytes($_) or last; }
		if ($case->{expected} =~ /408/) { push @waiting, [ $case, $way, $http ]; }
		else { judge($case, $way, $http); }
	}
}
judge(@$_) for @waiting;

for my $case (@cases)
{
	my $wrong = $wrong{ $case->{id} };
	ok(!$wrong, $case->{id}) or diag(map { "\t$_\n" } @$wrong);
}
is($node->crash_restarts, 0, 'nothing crashed');
is(join(' ', $node->edge_pids), $edge, 'it is the same edge');
$node->stop;
done_testing();
