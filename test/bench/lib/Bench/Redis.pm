# Redis that fails: what readers and writers notice, and how soon penny is back
# with it.
#
# Readers (fetches) and writers (messages) run together, so that bodies are
# invalidated, built and offered all the time; the fault comes after the first
# second.  The base is the same load without Redis.
package Bench::Redis;

use strict;
use warnings;

use Bench::Faults;
use Bench::Measure;
use IO::Socket::UNIX;
use Socket qw(SOMAXCONN);
use Time::HiRes qw(time sleep);

use constant COMMAND_TIMEOUT_MS => 20;
use constant BACK_SECONDS => 2;
use constant GIVE_UP => 20;

my %server;

sub faults
{
	my ($bench) = @_;
	my $seconds = $bench->{quick} ? 4 : 10;
	my (@rows, @back);

	system('command -v redis-server >/dev/null') == 0 or die "there is no redis-server\n";
	# so little room that bodies are evicted and have to come from somewhere
	$bench->{server}->restart_with('penny.cache_size' => '1MB', 'penny.cache_quotas' => 'conversation 5');
	use_redis($bench, '');
	my $base = loads($bench, $seconds);
	print STDERR '.';

	start($bench);
	push @rows, row('Redis up: fetch p99', loads($bench, $seconds), $base);
	push @rows, row('  killed', loads($bench, $seconds, sub { stop('KILL') }), $base);
	start($bench);
	push @back, back($bench);
	push @rows, row('  stopped (SIGSTOP)', loads($bench, $seconds, sub { kill 'STOP', $server{pid} }), $base);
	kill 'CONT', $server{pid};
	push @back, back($bench);
	my $hole = hole($bench);
	push @rows, row('  never answers', loads($bench, $seconds, sub { use_url($bench, "unix://$bench->{dir}/hole.sock") }), $base);
	close($hole);
	use_redis($bench, "unix://$server{path}");
	push @rows, {
		figure => '  back after it was killed, after it was stopped',
		measured => join(', ', map { sprintf('%.2f s', $_) } @back),
		target => '<= ' . BACK_SECONDS . ' s',
		reached => !grep({ $_ > BACK_SECONDS } @back),
	};
	push @rows, commits($bench);
	stop('TERM');
	$bench->{server}->restart_with;
	return @rows;
}

# ---- the server ----------------------------------------------------------------

sub start
{
	my ($bench) = @_;

	%server = (path => "$bench->{dir}/redis.sock");
	unlink $server{path};
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid == 0)
	{
		open(STDOUT, '>', "$bench->{dir}/redis.log");
		open(STDERR, '>&', \*STDOUT);
		exec('redis-server', '--port', 0, '--unixsocket', $server{path}, '--save', '', '--dir', $bench->{dir})
			or exit(127);
	}
	$server{pid} = $pid;
	my $end = time() + GIVE_UP;
	until (IO::Socket::UNIX->new(Peer => $server{path}))
	{
		die "redis-server does not start\n" if time() > $end;
		sleep(0.01);
	}
	use_redis($bench, "unix://$server{path}");
}

sub stop
{
	my ($signal) = @_;

	return unless $server{pid};
	kill $signal, $server{pid};
	waitpid($server{pid}, 0);
	$server{pid} = undef;
}

END { my $status = $?; stop('KILL'); $? = $status }

# A socket on which nobody ever answers.
sub hole
{
	my ($bench) = @_;

	unlink "$bench->{dir}/hole.sock";
	return IO::Socket::UNIX->new(Local => "$bench->{dir}/hole.sock", Listen => SOMAXCONN)
		|| die "could not listen: $!\n";
}

sub use_url
{
	my ($bench, $url) = @_;

	$bench->{server}->sql("ALTER SYSTEM SET penny.redis_url = '$url'");
	$bench->{server}->sql('SELECT pg_reload_conf()');
}

# Change the URL, and wait until it is in use.
sub use_redis
{
	my ($bench, $url) = @_;

	use_url($bench, $url);
	back($bench) if $url ne '';
	sleep(0.5) if $url eq '';
}

# Seconds until penny reads from it again.
sub back
{
	my ($bench) = @_;
	my $begun = time();

	while (time() < $begun + GIVE_UP)
	{
		my $state = $bench->{server}->stats->{redis};

		return time() - $begun
			if $state->{commands_up} && $state->{messages_up} && $state->{breaker} eq 'closed';
		sleep(0.02);
	}
	die "penny has no connection to Redis\n";
}

# ---- load -----------------------------------------------------------------------

sub loads
{
	my ($bench, $seconds, $fault) = @_;
	my @common = ('-p', $bench->{server}{port}, '-k', $bench->{token_file}, '-t', $seconds);
	my @clients = (
		{ command => [ "$bench->{bin}/load", @common, '-c', 8, '-f', $bench->{fetch_targets} ] },
		{ command => [ "$bench->{bin}/load", @common, '-c', 2, '-f', $bench->{post_targets}, '-m', 'POST',
			'-a', "$bench->{dir}/acknowledged.redis" ] });

	for my $client (@clients)
	{
		$client->{pid} = open($client->{pipe}, '-|', @{ $client->{command} })
			or die "could not run $client->{command}[0]: $!\n";
	}
	my $gets = $bench->{server}->stats->{redis}{gets};
	sleep(1);
	$fault->() if $fault;
	my ($reads, $writes) = map { Bench::Faults::finish($_) } @clients;
	print STDERR '.';
	my $bad = 0;
	$bad += $_->{refused} + $_->{broken} + $_->{failed} for $reads, $writes;
	return { reads => $reads, writes => $writes, bad => $bad,
		gets => $bench->{server}->stats->{redis}{gets} - $gets };
}

sub row
{
	my ($name, $load, $base) = @_;
	my ($p99, $base_p99) = map { $_->{reads}{p99_us} / 1e3 } $load, $base;

	return {
		figure => $name,
		measured => sprintf('%.1f ms, %d failed, %d of %d asked Redis, writes p99 %.1f ms', $p99, $load->{bad},
			$load->{gets}, $load->{reads}{requests}, $load->{writes}{p99_us} / 1e3),
		base => sprintf('%.1f ms, writes p99 %.1f ms without Redis', $base_p99, $base->{writes}{p99_us} / 1e3),
		ratio => sprintf('%.2f', $p99 / $base_p99),
		target => sprintf('<= base + %d ms, 0 failed', COMMAND_TIMEOUT_MS),
		reached => $p99 <= $base_p99 + COMMAND_TIMEOUT_MS && $load->{bad} == 0,
	};
}

# ---- commits ----------------------------------------------------------------------

# A commit that changes a conversation: without Redis, and with one that is stopped.
sub commits
{
	my ($bench) = @_;
	my $script = "$bench->{dir}/commit.sql";

	open(my $fh, '>', $script) or die "could not write $script: $!\n";
	print $fh "UPDATE chat.conversations SET title = title WHERE id = '$bench->{conversations}[0]';\n";
	close($fh);
	my $run = sub {
		my ($url, $signal) = @_;

		use_redis($bench, $url);
		kill $signal, $server{pid};
		my $result = Bench::Figures::pgbench_script($bench, $script);
		kill 'CONT', $server{pid};
		return $result;
	};
	my ($stopped, $base) = alternate($bench->{runs}, sub { $run->("unix://$server{path}", 'STOP') },
		sub { $run->('', 'CONT') });
	my @cpu = map { $stopped->{cpu}[$_] / $base->{cpu}[$_] } 0 .. $#{ $base->{cpu} };
	my @time = map { $base->{rate}[$_] / $stopped->{rate}[$_] } 0 .. $#{ $base->{rate} };

	return ({
		figure => '  commit that changes a conversation, Redis stopped: processor time',
		measured => spread('%.1f us', @{ $stopped->{cpu} }),
		base => spread('%.1f us', @{ $base->{cpu} }) . ' without Redis',
		ratio => spread('%.2f', @cpu),
		target => '<= 1.05',
		reached => (interval(@cpu))[0] <= 1.05,
	}, {
		figure => '  and time',
		measured => spread('%.0f us', map { 1e6 / $_ } @{ $stopped->{rate} }),
		base => spread('%.0f us', map { 1e6 / $_ } @{ $base->{rate} }),
		ratio => spread('%.2f', @time),
		target => '<= 1.05',
		reached => (interval(@time))[0] <= 1.05,
	});
}

1;
