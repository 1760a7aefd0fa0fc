# Many connections: hostile, idle, coming and going, slow.
#
# What must come back afterwards is asked of the kernel (descriptors, memory of
# the edge) and of penny.stats() (connections, WebSockets, rooms, calls).
package Bench::Crowds;

use strict;
use warnings;

use Bench::Measure;
use Bench::Server;
use IPC::Open2;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use constant ADDRESSES => 64;    # 127.0.0.2 and on, each with its own limit and ports
use constant SETTLE => 40;       # seconds in which what was taken must come back

# Client ends of the connections that the edge and its gateway hold, and what
# penny.stats() counts as open now.
sub held
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $gateway = $server->stats->{gateways}[0];
	my %held = map { $_ => $gateway->{edge}{$_} } qw(connections websockets rooms members waiting);

	$held{backlog} = $server->stats->{executors}{backlog};
	$held{busy} = $server->stats->{executors}{busy};
	$held{$_} = $server->descriptors($gateway->{$_ eq 'gateway' ? 'pid' : 'edge_pid'})
		for qw(edge gateway);
	return \%held;
}

# What differs from before as text, '' for nothing; waits for it to come back.
sub left_over
{
	my ($bench, $before) = @_;
	my $end = time() + SETTLE;
	my @left;

	do
	{
		sleep(0.25) if @left;
		my $now = held($bench);
		@left = map { "$_ $before->{$_} -> $now->{$_}" }
			grep { defined $before->{$_} && $before->{$_} != $now->{$_} } sort keys %$before;
	} while (@left && time() < $end);
	return join(', ', @left);
}

sub left_over_row
{
	my ($bench, $before) = @_;
	my $left = left_over($bench, $before);

	return {
		figure => '  descriptors of edge and gateway, connections, rooms, calls afterwards',
		measured => $left eq '' ? 'as before' : $left,
		base => join(', ', map { "$_ " . ($before->{$_} // 'not visible') } qw(edge gateway)),
		target => 'as before',
		reached => $left eq '',
	};
}

# A pipe from a client that runs meanwhile; finish() reads its line.
sub start
{
	my (@command) = @_;
	my $pid = open(my $pipe, '-|', @command) // die "could not run $command[0]: $!\n";

	return { pid => $pid, pipe => $pipe, name => $command[0] };
}

sub finish
{
	my ($client) = @_;
	my $line = readline($client->{pipe});

	close($client->{pipe});
	die "$client->{name} failed\n" if $? != 0 || !defined $line;
	return JSON::PP::decode_json($line);
}

sub common
{
	my ($bench) = @_;
	return ('-p', $bench->{server}{port}, '-k', $bench->{token_file}, '-a', ADDRESSES);
}

# The healthy client: fetches over some connections.
sub healthy
{
	my ($bench, $connections, $seconds) = @_;
	return ("$bench->{bin}/load", '-p', $bench->{server}{port}, '-k', $bench->{token_file}, '-c',
		$connections, '-t', $seconds, '-f', $bench->{fetch_targets});
}

# Hostile connections of all families beside a healthy client.
sub hostile
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $count = $bench->{quick} ? 10_000 : 100_000;
	my $sum = { requests => 0, bad => 0 };

	$server->restart_with;
	client(healthy($bench, 2, 1));
	my $before = held($bench);
	my $gateway = $server->stats->{gateways}[0];
	my $restarts = $server->crash_restarts;
	my $attack = start("$bench->{bin}/hostile", common($bench), '-f', $bench->{fetch_path}, '-n',
		$count, '-c', 600, '-s', 1);
	while (!defined readable($attack->{pipe}))
	{
		my $load = client(healthy($bench, 2, 2));
		$sum->{requests} += $load->{requests};
		$sum->{bad} += $load->{refused} + $load->{broken} + $load->{failed};
		print STDERR '.';
	}
	print STDERR "\n";
	my $result = finish($attack);
	my $crashes = $server->stats->{gateways}[0]{edge_crashes} - $gateway->{edge_crashes};
	my $failed = 100 * $sum->{bad} / ($sum->{requests} + $sum->{bad});

	return ({
		figure => "$result->{opened} hostile connections of 8 families: database restarts",
		measured => $server->crash_restarts - $restarts,
		base => sprintf('%.0f/s, %d refused, %d turned away', $result->{opened} / $result->{seconds},
			$result->{refused}, $result->{turned_away}),
		target => '0',
		reached => $server->crash_restarts == $restarts,
	}, {
		figure => '  crashes of the edge',
		measured => $crashes,
		target => '<= 5',
		reached => $crashes <= 5,
	}, {
		figure => '  requests of a healthy client that failed meanwhile',
		measured => sprintf('%.3f %%, %d of %d', $failed, $sum->{bad}, $sum->{requests} + $sum->{bad}),
		target => '<= 0.1 %',
		reached => $failed <= 0.1,
	}, left_over_row($bench, $before));
}

# Has a pipe something to read, or ended?  undef: not yet.
sub readable
{
	my ($pipe) = @_;
	my $set = '';

	vec($set, fileno($pipe), 1) = 1;
	return select($set, undef, undef, 0) > 0 ? 1 : undef;
}

# Idle WebSockets: memory of the edge for each, and what they cost a request.
sub standing
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $count = $bench->{quick} ? 2_000 : 10_000;
	my $rounds = $bench->{quick} ? 1 : 4;
	my (@alone, @beside, @ratio, @idle, @joined, $ended);

	for my $round (0 .. $rounds)
	{
		# a new edge each time: memory that was freed is taken again
		$server->restart_with('penny.max_client_connections' => $count + 100);
		client(healthy($bench, 2, 1));
		my $edge = $server->stats->{gateways}[0]{edge_pid};
		my $before = Bench::Server::memory($edge);
		push @alone, client(healthy($bench, 2, $bench->{seconds}))->{p50_us};
		my $crowd = gather($bench, $count, $round % 2 ? () : ('-r', "conversation:$bench->{conversations}[0]"));
		push @{ $round % 2 ? \@idle : \@joined }, (Bench::Server::memory($edge) - $before) / $count;
		push @beside, client(healthy($bench, 2, $bench->{seconds}))->{p50_us};
		$ended += dismiss($bench, $crowd);
		die "the edge crashed\n" if $server->stats->{gateways}[0]{edge_pid} != $edge;
		print STDERR '.';
	}
	print STDERR "\n";
	$server->restart_with;
	@ratio = map { $beside[$_] / $alone[$_] } 0 .. $#alone;

	return ({
		figure => "$count idle WebSockets: memory of the edge for each",
		measured => sprintf('%.0f B, joined to a room %.0f B', median(@idle), median(@joined)),
		base => "$ended of them ended by the server",
		target => '<= 4096 B, 0 ended',
		reached => median(@idle) <= 4096 && $ended == 0,
	}, {
		figure => '  p50 of a request beside them',
		measured => spread('%.0f us', @beside),
		base => sprintf('%s with none open', spread('%.0f us', @alone)),
		ratio => spread('%.2f', @ratio),
		target => '<= 2',
		reached => median(@ratio) <= 2,
	});
}

# Open so many WebSockets, by four clients at once, and wait until they stand.
sub gather
{
	my ($bench, $count, @room) = @_;
	my @clients = map {
		my $pid = open2(my $out, my $in, "$bench->{bin}/crowd", common($bench), '-n', $count / 4, @room);
		{ pid => $pid, out => $out, in => $in };
	} 1 .. 4;

	readline($_->{out}) // die "the WebSockets could not be opened\n" for @clients;
	return \@clients;
}

# Close them; how many the server had ended.
sub dismiss
{
	my ($bench, $clients) = @_;
	my $ended = 0;

	for my $client (@$clients)
	{
		close($client->{in});
		my $line = readline($client->{out}) // die "the WebSockets were lost\n";
		waitpid($client->{pid}, 0);
		$ended += JSON::PP::decode_json($line)->{ended};
	}
	my $end = time() + SETTLE;
	sleep(0.1) while $bench->{server}->stats->{gateways}[0]{edge}{websockets} > 0 && time() < $end;
	return $ended;
}

# Connect, request, join and disconnect, again and again.
sub coming_and_going
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $count = $bench->{quick} ? 10_000 : 100_000;
	my $round = sub {
		my $result = client("$bench->{bin}/crowd", common($bench), '-n', $_[0], '-c', 8, '-f',
			"$bench->{fetch_path}?messages=1", '-r', "conversation:$bench->{conversations}[0]");
		print STDERR '.';
		return $result;
	};

	$server->restart_with;
	my $edge = $server->stats->{gateways}[0]{edge_pid};
	my $idle = held($bench);
	$round->($count / 10);
	left_over($bench, $idle);
	my $memory = Bench::Server::memory($edge);
	my $result = $round->($count);
	my $row = left_over_row($bench, $idle);
	my $growth = (Bench::Server::memory($edge) - $memory) / 1e6;
	print STDERR "\n";
	die "the edge crashed\n" if $server->stats->{gateways}[0]{edge_pid} != $edge;

	return ({
		figure => "$count connects, requests, joins, disconnects: memory of the edge grows by",
		measured => sprintf('%.2f MB', $growth),
		base => sprintf('from %.2f MB; %.0f rounds/s, %d failed', $memory / 1e6,
			$count / $result->{seconds}, $result->{failed}),
		target => '<= 1 MB, 0 failed',
		reached => $growth <= 1 && $result->{failed} == 0,
	}, $row);
}

# Slow sockets beside healthy clients and SQL clients, pair by pair.
sub slow
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $runs = $bench->{quick} ? 3 : 9;
	my $seconds = $bench->{seconds} * 2;

	$server->restart_with;
	$server->command('pgbench', '-i', '-q', '-s', 5, '-h', $server->{sock}, '-p', $server->{pgport},
		'postgres');
	my $run = sub {
		my $load = client(healthy($bench, 4, $seconds));
		my $begin = time();
		my ($rate, $cpu) = cpu_of({ %{ $server->processes }, attack => [@_] },
			sub { select_rate($bench, $seconds) });
		my $took = time() - $begin;
		my %share = map { $_ => $cpu->{$_} / 1e7 / $took } keys %$cpu;
		return { p99 => $load->{p99_us}, bad => $load->{refused} + $load->{broken} + $load->{failed},
			sql => $rate, open => $server->stats->{gateways}[0]{edge}{connections}, %share };
	};
	my $beside = sub {
		my $attack = start("$bench->{bin}/hostile", common($bench), '-f', $bench->{fetch_path}, '-t',
			3600, '-c', 2000, '-r', 400, '-F', 'slowhead,slowbody,slowread');
		my $end = time() + SETTLE;

		# what the readers asked for at first is over when they stand
		sleep(0.1) while !standing_still($server, 1900) && time() < $end;
		my $result = $run->($attack->{pid});
		kill 'TERM', $attack->{pid};
		finish($attack);
		sleep(0.1) while $server->stats->{gateways}[0]{edge}{connections} > 0 && time() < $end;
		return $result;
	};
	my ($s, $n) = alternate($runs, $beside, $run);
	my @p99 = map { $s->{p99}[$_] / $n->{p99}[$_] } 0 .. $#{ $s->{p99} };
	my @sql = map { $s->{sql}[$_] / $n->{sql}[$_] } 0 .. $#p99;
	my $bad = 0;
	$bad += $_ for @{ $s->{bad} };

	return ({
		figure => sprintf('%d slow sockets (headers, bodies, readers): p99 of healthy clients',
			median(@{ $s->{open} })),
		measured => sprintf('%s, %d failed', spread('%.0f us', @{ $s->{p99} }), $bad),
		base => sprintf('%s without', spread('%.0f us', @{ $n->{p99} })),
		ratio => spread('%.2f', @p99),
		target => '<= 1.5',
		reached => median(@p99) <= 1.5 && $bad == 0,
	}, {
		figure => '  rate of SQL clients (pgbench -S)',
		measured => spread('%.0f/s', @{ $s->{sql} }),
		base => sprintf('%s without', spread('%.0f/s', @{ $n->{sql} })),
		ratio => spread('%.2f', @sql),
		target => '>= 0.9',
		reached => median(@sql) >= 0.9,
	}, {
		figure => '  processor meanwhile: edge, executors, and the attack itself',
		measured => sprintf('%.1f %%, %.1f %%, %.1f %%', map { median(@{ $s->{$_} }) }
			qw(edge executor attack)),
		base => sprintf('edge %.1f %%, executors %.1f %%', median(@{ $n->{edge} }),
			median(@{ $n->{executor} })),
	});
}

# So many connections, and no call for any of them?
sub standing_still
{
	my ($server, $count) = @_;
	my $stats = $server->stats;

	return $stats->{gateways}[0]{edge}{connections} >= $count
		&& $stats->{gateways}[0]{edge}{waiting} + $stats->{executors}{busy} == 0;
}

sub select_rate
{
	my ($bench, $seconds) = @_;
	my $server = $bench->{server};
	my @command = ("$server->{bindir}/pgbench", '-n', '-S', '-M', 'prepared', '-c', 4, '-T', $seconds,
		'-h', $server->{sock}, '-p', $server->{pgport}, 'postgres');

	open(my $pipe, '-|', "@command 2>&1") or die "could not run pgbench: $!\n";
	my $text = join('', <$pipe>);
	die "pgbench failed:\n$text" if !close($pipe) || $text !~ /^tps = ([\d.]+)/m;
	return $1;
}

1;
