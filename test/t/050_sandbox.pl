# The sandboxes of penny-edge and penny-courier: what their own tests try, and
# what can be seen from outside of an edge that serves.
use strict;
use warnings;
use IPC::Run;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('sandbox');
my %program = (
	'penny-edge' => $ENV{PENNY_EDGE_PROGRAM} || $node->config_data('--bindir') . '/penny-edge',
	'penny-courier' => $ENV{PENNY_COURIER_PROGRAM} || $node->config_data('--bindir') . '/penny-courier');

for my $name (sort keys %program)
{
	subtest "each forbidden thing, $name" => sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ $program{$name}, '--sandbox-test' ], '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(60));
		my $n = 0;
		for (split /\n/, $out)
		{
			next unless /^(not )?ok \d+(?: - )?\s*(.*)/;
			$n++;
			ok(!$1, $2);
		}
		cmp_ok($n, '>=', 10, "$n things tried") or diag($out . $err);
		like($out, qr/^1\.\.$n$/m, 'all of the plan');
	};
}

subtest 'seen from outside' => sub {
	my ($edge) = $node->edge_pids;
	ok($edge, 'an edge runs') or return;
	my $status = PostgreSQL::Test::Utils::slurp_file("/proc/$edge/status");
	like($status, qr/^Seccomp:\s*2$/m, 'seccomp filter');
	like($status, qr/^NoNewPrivs:\s*1$/m, 'no new privileges');
	is(PostgreSQL::Test::Utils::slurp_file("/proc/$edge/environ"), '', 'no environment') if -r "/proc/$edge/environ";
	# A process that cannot be dumped shows its files and memory to root alone.
	ok(!opendir(my $fds, "/proc/$edge/fd"), 'descriptors are not shown to others of its account');
	ok(!open(my $maps, '<', "/proc/$edge/maps"), 'nor its memory');
};

done_testing;
