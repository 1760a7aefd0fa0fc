# The queues that penny's is measured against: graphile-worker on the same
# PostgreSQL, BullMQ on a Redis of its own (test/bench/peer/queues).
#
# Each in the arrangement in which it is quickest on two cores, found by trying:
# graphile-worker with the settings that its documentation gives for throughput,
# in 2 processes of 24 (1 where the handler asks the database), BullMQ in 2
# processes of 50 (1 likewise).  Redis without persistence stands beside
# synchronous_commit off, appendonly with fsync at every write beside on.
package Bench::JobPeers;

use strict;
use warnings;

use Bench::Measure;
use IO::Socket::UNIX;
use IPC::Open2;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use constant GIVE_UP => 20;
use constant CONCURRENCY => 50;    # of a process of BullMQ

my $redis;

# Install what package-lock.json names; start Redis.  Versions: {name => text}.
sub start
{
	my ($bench) = @_;
	my $dir = "$bench->{dir}/peer/queues";

	if (!-d "$dir/node_modules")
	{
		system("cd '$dir' && HOME='$dir' npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1") == 0
			or die "could not install the peers; see $dir/npm.log\n";
	}
	if (!$redis)
	{
		my $path = "$bench->{dir}/queues.sock";

		$redis = fork() // die "could not fork: $!\n";
		if ($redis == 0)
		{
			open(STDOUT, '>', "$bench->{dir}/queues.log");
			open(STDERR, '>&', \*STDOUT);
			exec('redis-server', '--port', 0, '--unixsocket', $path, '--save', '', '--appendonly', 'no', '--dir',
				$bench->{dir}) or exit(127);
		}
		my $end = time() + GIVE_UP;
		until (IO::Socket::UNIX->new(Peer => $path))
		{
			die "redis-server does not start\n" if time() > $end;
			sleep(0.01);
		}
	}
	return { map { $_ => version($dir, $_) } qw(graphile-worker bullmq) };
}

sub version
{
	my ($dir, $package) = @_;

	open(my $fh, '<', "$dir/node_modules/$package/package.json") or die "no $package: $!\n";
	return "$package " . JSON::PP::decode_json(do { local $/; <$fh> })->{version};
}

sub stop
{
	return if !$redis;
	kill 'TERM', $redis;
	waitpid($redis, 0);
	$redis = undef;
}

END { my $status = $?; stop(); $? = $status }

# The persistence of Redis: no, everysec, always.
sub persist
{
	my ($bench, $how) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => "$bench->{dir}/queues.sock") or die "no redis: $!\n";

	for my $line ('CONFIG SET appendfsync ' . ($how eq 'no' ? 'everysec' : $how),
		'CONFIG SET appendonly ' . ($how eq 'no' ? 'no' : 'yes'))
	{
		print $socket "$line\r\n";
		my $answer = readline($socket);
		die "redis: $answer" if $answer !~ /^\+OK/;
	}
}

sub command
{
	my ($bench, $peer, $mode, %options) = @_;
	my $server = $bench->{server};

	return ('node', "$bench->{dir}/peer/queues/$peer.mjs", $mode, JSON::PP::encode_json({
		host => $server->{sock}, port => $server->{pgport} + 0, user => scalar getpwuid($>), database => 'postgres',
		socket => "$bench->{dir}/queues.sock", concurrency => CONCURRENCY, %options }));
}

# Jobs in, then run by so many processes; a second, from the word until the last has ended.
sub run_down
{
	my ($bench, $peer, $processes, %options) = @_;
	my $filled = client(command($bench, $peer, 'fill', %options));
	my @workers = map {
		my $pid = open2(my $out, my $in, command($bench, $peer, 'work', %options));

		{ pid => $pid, in => $in, out => $out };
	} 1 .. $processes;

	for my $worker (@workers)
	{
		(readline($worker->{out}) // '') eq "ready\n" or die "$peer does not start\n";
	}
	for my $worker (@workers)
	{
		print { $worker->{in} } "go\n";
		close($worker->{in});
	}
	my ($begin, $end);
	for my $worker (@workers)
	{
		my $line = readline($worker->{out}) // die "$peer failed\n";
		my $times = JSON::PP::decode_json($line);

		waitpid($worker->{pid}, 0);
		$begin = $times->{begin} if !defined $begin || $times->{begin} < $begin;
		$end = $times->{end} if !defined $end || $times->{end} > $end;
	}
	return { rate => $options{jobs} * 1e3 / ($end - $begin), filled => $filled->{jobs} / $filled->{seconds} };
}

# From the answer to an enqueue until the handler's start: {p50_us, p99_us}.
sub latency
{
	my ($bench, $peer, %options) = @_;

	return client(command($bench, $peer, 'latency', %options));
}

1;
