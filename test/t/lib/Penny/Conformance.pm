# Penny::Conformance: tables of protocol cases in test/conformance, and a server
# that they are tried on.
#
# A line of a table is an id, what is expected, and what is sent; "#" begins a
# comment, "= name text" a definition.  In texts \r \n \t \0 \\ \xHH are bytes,
# {name} is a definition, {text*9} nine times the text, {{} and {}} are braces.
package Penny::Conformance;

use strict;
use warnings;
use Carp;
use Exporter 'import';
use Penny::Cluster;

our @EXPORT = qw(read_cases unescape echo_server ways);

my %escape = (r => "\r", n => "\n", t => "\t", 0 => "\0", '\\' => '\\');

sub unescape
{
	my ($text) = @_;
	$text =~ s{\\(?:x([0-9a-fA-F]{2})|(.))}{defined $1 ? chr hex $1 : $escape{$2} // croak "\\$2 in a table"}ge;
	return $text;
}

# Definitions and repetitions; a brace in the text stands for one.
sub expand
{
	my ($text, $define) = @_;
	$text =~ s/\{(\{|\}|[a-z][a-z0-9]*|[^{}]+\*\d+)\}/_expand_one($1, $define)/ge;
	return $text;
}

sub _expand_one
{
	my ($what, $define) = @_;
	return $what if $what eq '{' || $what eq '}';
	return $1 x $2 if $what =~ /^(.+)\*(\d+)$/s;
	return $define->{$what} // croak "{$what} is not defined";
}

# The cases of a table, in its order: { id, expected, text }, text unescaped
# unless "raw" is asked for.
sub read_cases
{
	my ($file, %with) = @_;
	my (@cases, %define, %seen);
	open my $in, '<', $file or croak "$file: $!";
	while (my $line = <$in>)
	{
		chomp $line;
		next if $line =~ /^(#|$)/;
		if ($line =~ /^= (\w+) +(.*)$/) { $define{$1} = $2; next; }
		my ($id, $expected, $text) = $line =~ /^(\S+)\s+(\S+)\s(.*)$/ or croak "not a case: $line";
		croak "$id is there twice" if $seen{$id}++;
		$text =~ s/^ +//;
		$text = expand($text, \%define);
		$expected = expand($expected, {}) if $expected !~ /query=/;
		push @cases, { id => $id, expected => $expected, text => $with{raw} ? $text : unescape($text) };
	}
	return @cases;
}

# The ways in which the same bytes may arrive: lists of pieces.
sub ways
{
	my ($bytes) = @_;
	my $half = int(length($bytes) / 2);
	my $small = length $bytes > 1500 ? 997 : 1;
	return (
		whole => [$bytes],
		halves => [ grep { length } substr($bytes, 0, $half), substr $bytes, $half ],
		bytes => [ unpack "(a$small)*", $bytes ]);
}

# A server whose routes /echo and /echo/{id} say what a handler gets.
sub echo_server
{
	my ($name, $conf) = @_;
	my $node = Penny::Cluster->serving($name, store => 0, conf => $conf);
	$node->sql(q{
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA app TO penny_authenticator, penny_user;
		CREATE FUNCTION app.echo(r penny.request) RETURNS jsonb LANGUAGE sql AS $$
			SELECT jsonb_build_object('method', r.method, 'target', r.path, 'params', r.params,
				'query', r.query, 'headers', r.headers, 'body', r.body)
		$$;
		INSERT INTO penny.routes (method, pattern, handler, access)
			SELECT method, '/echo', 'app.echo', 'public'
			FROM unnest(ARRAY['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) AS method
			UNION ALL VALUES ('GET', '/echo/{id}', 'app.echo', 'public'),
				('GET', '/only-get', 'app.echo', 'public');
	});
	$node->wait_until(sub { $node->request('GET', '/only-get')->{status} == 200 }) or croak 'no routes';
	return $node;
}

1;
