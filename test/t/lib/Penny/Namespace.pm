# Penny::Namespace: faults that need a file system or a network of one's own, as
# an ordinary user: the test runs itself again inside namespaces of its own.
# Where the kernel does not allow that, it goes on outside, and what needs one
# skips.
package Penny::Namespace;

use strict;
use warnings;
use File::Temp;

my $inside = $ENV{PENNY_NAMESPACE} // '';

# use Penny::Namespace qw(mount net): before all that takes hold of the output.
sub import
{
	my ($class, @kinds) = @_;
	return if $inside ne '';
	my $group = (split ' ', $()[0];
	my @unshare = ('unshare', '--user', "--map-user=$<", "--map-group=$group", '--keep-caps', map { "--$_" } @kinds);
	if (system("@unshare true 2>/dev/null") == 0)
	{
		$ENV{PENNY_NAMESPACE} = "@kinds";
		exec @unshare, $^X, (map { "-I$_" } @INC), $0, @ARGV;
	}
	$ENV{PENNY_NAMESPACE} = $inside = 'no';
}

sub has { my ($kind) = @_; return $inside =~ /\b$kind\b/ }

# A file system of so much space; its directory, or undef.
sub tmpfs
{
	my ($size) = @_;
	return undef unless has('mount');
	my $dir = File::Temp::tempdir(CLEANUP => 0);
	return system("mount -t tmpfs -o size=$size tmpfs $dir 2>/dev/null") == 0 ? $dir : undef;
}

# The loopback of this network up or down: down, every packet is lost.
sub loopback
{
	my ($state) = @_;
	return has('net') && system("ip link set lo $state 2>/dev/null") == 0;
}

1;
