# The figures, one function each.  A function takes the bench (server, data,
# number of runs) and returns rows of the table:
# { figure, measured, base, ratio, target, reached }.
package Bench::Figures;

use strict;
use warnings;

use Bench::Measure;
use Bench::Cached;
use Bench::Coherence;
use Bench::Hits;
use Bench::Redis;
use Bench::Crowds;
use Bench::Faults;
use Bench::Restarts;
use Bench::Storms;
use Bench::Rooms;
use Bench::RoomLog;
use Bench::JobCosts;
use Bench::JobLog;
use Bench::JobOrder;
use Bench::JobRates;
use Bench::JobWorkers;
use Time::HiRes qw(time sleep);

use constant CONNECTIONS => 16;

our %FIGURES = (
	1 => \&eager_http,
	2 => \&eager_against_n_plus_1,
	3 => \&edge_cpu,
	4 => \&commit_to_frame,
	5 => \&idle,
	6 => \&Bench::Faults::edge_killed,
	7 => \&import_sample,
	11 => \&Bench::Crowds::hostile,
	12 => \&Bench::Crowds::standing,
	13 => \&Bench::Crowds::coming_and_going,
	14 => \&Bench::Crowds::slow,
	15 => \&Bench::Restarts::killed,
	20 => \&Bench::Coherence::stale,
	21 => \&Bench::Cached::identity,
	22 => \&Bench::Cached::compressed,
	23 => \&Bench::Cached::not_modified,
	24 => \&Bench::Hits::sql,
	25 => \&Bench::Hits::in_process,
	26 => \&Bench::Hits::commits,
	27 => \&Bench::Redis::faults,
	36 => \&Bench::Storms::all_at_once,
	28 => \&Bench::Coherence::herd,
	29 => \&Bench::Hits::trace,
	31 => \&Bench::Rooms::commit_to_frame,
	32 => \&Bench::Rooms::against_ws,
	33 => \&Bench::Rooms::many_rooms,
	34 => \&Bench::Rooms::cost_of_triggers,
	35 => \&Bench::Rooms::who_does_not_read,
	37 => \&Bench::RoomLog::faults,
	40 => \&Bench::JobRates::noop,
	41 => \&Bench::JobRates::insert,
	42 => \&Bench::JobCosts::enqueue,
	43 => \&Bench::JobRates::bulk,
	44 => \&Bench::JobCosts::latency,
	45 => \&Bench::JobRates::held_snapshot,
	46 => \&Bench::JobCosts::idle,
	47 => \&Bench::JobOrder::limiter,
	48 => \&Bench::JobOrder::flood,
	49 => \&Bench::JobWorkers::external,
	50 => \&Bench::JobWorkers::restart,
	51 => \&Bench::JobLog::faults,
);

# The eager fetch over HTTP against the same call by pgbench, under the same
# role and claims, with as many connections as there are executors.
sub eager_http
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my ($executors, %cpu);

	my $http = sub {
		my $kinds = $server->processes;
		my ($load, $used) = cpu_of($kinds, sub { load($bench, $bench->{fetch_targets}, CONNECTIONS) });

		$executors = @{ $server->processes->{executor} };
		return { rate => $load->{rate}, bytes => $load->{bytes}, client => $load->{cpu_us},
			p50 => $load->{p50_us}, map { $_ => $used->{$_} / 1e3 / $load->{requests} } keys %$used };
	};
	my $pgbench = sub { pgbench($bench, $executors) };

	# the pool grows with the load: the first run is for that
	$http->();
	my ($h, $p) = alternate($bench->{runs}, $http, $pgbench);
	my @ratio = map { $h->{rate}[$_] / $p->{rate}[$_] } 0 .. $#{ $h->{rate} };
	my @cpu = map { $h->{executor}[$_] / $p->{cpu}[$_] } 0 .. $#ratio;

	return ({
		figure => 'eager fetch over HTTP, 50 messages, ' . CONNECTIONS . ' connections',
		measured => sprintf('%.0f/s (%.0f B)', median(@{ $h->{rate} }), median(@{ $h->{bytes} })),
		base => sprintf('%.0f/s by pgbench -c %d', median(@{ $p->{rate} }), $executors),
		ratio => spread('%.2f', @ratio),
		target => '>= 0.9',
		reached => median(@ratio) >= 0.9,
	}, {
		figure => '  CPU of executors per fetch against a backend',
		measured => spread('%.0f us', @{ $h->{executor} }),
		base => spread('%.0f us', @{ $p->{cpu} }),
		ratio => spread('%.2f', @cpu),
	}, {
		figure => '  CPU per fetch of edge, gateway, load client',
		measured => sprintf('%.1f, %.2f, %.1f us', map { median(@{ $h->{$_} }) } qw(edge gateway client)),
		base => sprintf('pgbench %.1f us', median(@{ $p->{client} })),
	});
}

# The load client on a file of targets.
sub load
{
	my ($bench, $targets, $connections) = @_;
	my $result = client("$bench->{bin}/load", '-p', $bench->{server}{port}, '-c', $connections, '-t',
		$bench->{seconds}, '-k', $bench->{token_file}, '-f', $targets);

	die "requests were refused: status $result->{refusal}\n" if $result->{refused} > 0;
	die "connections broke\n" if $result->{broken} + $result->{failed} > 0;
	return $result;
}

# pgbench with one script for each conversation.  The identity is taken once a
# connection: a variable of the client says that it was.
sub pgbench
{
	my ($bench, $connections) = @_;
	my @scripts;

	for my $i (0 .. $#{ $bench->{conversations} })
	{
		my $script = "$bench->{dir}/fetch$i.sql";
		open(my $fh, '>', $script) or die "could not write $script: $!\n";
		print $fh "\\if :acted = 0\n$bench->{act_as};\n\\set acted 1\n\\endif\n",
			"SELECT penny.conversation(:id$i);\n";
		close($fh);
		push @scripts, '-f', $script, '-D', "id$i=$bench->{conversations}[$i]";
	}
	return pgbench_run($bench, $connections, '-D', 'acted=0', @scripts);
}

# One script, over one connection, as the owner.
sub pgbench_script
{
	my ($bench, $script) = @_;

	return pgbench_run($bench, 1, '-f', $script);
}

sub pgbench_run
{
	my ($bench, $connections, @scripts) = @_;
	my $server = $bench->{server};
	my $file = "$bench->{dir}/pgbench.log";
	my $running = backends($server);
	my $before = reaped_cpu($server->{postmaster});
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid == 0)
	{
		open(STDOUT, '>', $file);
		open(STDERR, '>&', \*STDOUT);
		exec("$server->{bindir}/pgbench", '-n', '-M', 'prepared', '-c', $connections, '-j', 1, '-T',
			$bench->{seconds}, @scripts, '-h', $server->{sock}, '-p',
			$server->{pgport}, 'postgres')
			or exit(127);
	}
	my @times = (times)[ 2, 3 ];
	waitpid($pid, 0);
	my $client = (times)[2] + (times)[3] - $times[0] - $times[1];
	open(my $fh, '<', $file) or die "could not read $file: $!\n";
	my $text = do { local $/; <$fh> };
	die "pgbench failed:\n$text" if $? != 0 || $text !~ /^tps = ([\d.]+)/m;
	my $rate = $1;
	my ($count) = $text =~ /^number of transactions actually processed: (\d+)/m;

	# its backends are accounted for when the postmaster has reaped them
	sleep(0.01) while backends($server) > $running;
	return { rate => $rate, client => $client * 1e6 / $count,
		cpu => (reaped_cpu($server->{postmaster}) - $before) * 1e6 / $count };
}

# How many client backends there are, those among them that ended but were not reaped.
sub backends
{
	my ($server) = @_;

	return scalar grep { $_->{comm} eq 'postgres' && $_->{title} !~ /^postgres: (?!postgres )/ }
		map { Bench::Server::stat_of($_) } Bench::Server::children($server->{postmaster});
}

# Processor seconds of the children that a process has reaped.
sub reaped_cpu
{
	my ($pid) = @_;

	open(my $fh, '<', "/proc/$pid/stat") or die "no process $pid\n";
	my @fields = split ' ', (<$fh> =~ s/.*\) //sr);
	return ($fields[13] + $fields[14]) / 100;
}

# One call against conversation, messages and each user by prepared statements
# over a local socket.
sub eager_against_n_plus_1
{
	my ($bench) = @_;
	my @common = ("$bench->{bin}/sqlclient", '-d', $bench->{server}{conninfo}, '-a', $bench->{act_as},
		'-f', $bench->{conversations_file});

	client(@common, '-m', 'check');
	my $row = sub {
		my ($name, @how) = @_;
		my ($eager, $base) = alternate($bench->{runs}, map { my $mode = $_;
			sub { client(@common, '-m', $mode, '-t', $bench->{seconds}, @how) } } qw(eager nplus1));
		my @ratio = map { $base->{mean_us}[$_] / $eager->{mean_us}[$_] } 0 .. $#{ $eager->{mean_us} };

		return {
			figure => $name,
			measured => spread('%.0f us', @{ $eager->{mean_us} }),
			base => sprintf('%s, %d statements', spread('%.0f us', @{ $base->{mean_us} }),
				median(@{ $base->{statements} })),
			ratio => spread('%.1f', @ratio),
			target => '>= 10',
			reached => median(@ratio) >= 10,
		};
	};
	return ($row->('eager fetch against N+1, 50 messages, both prepared statements'),
		$row->('  both unnamed statements, parsed and planned each time', '-u'));
}

# What the edge takes for an answer of 9 kB, beside the least that such an
# answer costs a program that does nothing else.
sub edge_cpu
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $port = Bench::Server::free_port();
	my $bytes = $bench->{small_bytes};
	my $floor = fork() // die "could not fork: $!\n";

	exec("$bench->{bin}/floor", '-p', $port, '-b', $bytes) or exit(127) if $floor == 0;
	my $edge = sub {
		my ($load, $used) =
			cpu_of($server->processes, sub { load($bench, $bench->{small_targets}, CONNECTIONS) });
		return { edge => $used->{edge} / 1e3 / $load->{requests},
			gateway => $used->{gateway} / 1e3 / $load->{requests}, rate => $load->{rate} };
	};
	my $least = sub {
		my ($load, $used) = cpu_of({ floor => [$floor] }, sub {
			client("$bench->{bin}/load", '-p', $port, '-c', CONNECTIONS, '-t', $bench->{seconds} / 2,
				'-k', $bench->{token_file}, '-f', $bench->{small_targets});
		});
		return { floor => $used->{floor} / 1e3 / $load->{requests} };
	};
	my ($e, $f) = alternate($bench->{runs}, $edge, $least);
	kill 'TERM', $floor;
	waitpid($floor, 0);
	my @ratio = map { $e->{edge}[$_] / $f->{floor}[$_] } 0 .. $#{ $e->{edge} };

	return {
		figure => "edge: CPU per answered request of $bytes B",
		measured => spread('%.1f us', @{ $e->{edge} }),
		base => sprintf('%s bare send', spread('%.1f us', @{ $f->{floor} })),
		ratio => spread('%.1f', @ratio),
		target => '<= 30 us',
		reached => median(@{ $e->{edge} }) <= 30,
	};
}

# From sending COMMIT to the frame in the hands of a joined client, beside the
# answer to the same COMMIT.
sub commit_to_frame
{
	my ($bench) = @_;
	my $run = sub {
		my ($durable) = @_;
		return client("$bench->{bin}/room", '-p', $bench->{server}{port}, '-k', $bench->{token_file},
			'-r', "conversation:$bench->{write_conversation}", '-q', $bench->{write}, '-n',
			$bench->{quick} ? 30 : 100, '-i', 20, '-d',
			"$bench->{server}{conninfo} options='-c synchronous_commit=$durable'");
	};
	my ($on, $off) = alternate($bench->{quick} ? 2 : 5, sub { $run->('on') }, sub { $run->('off') });
	my $row = sub {
		my ($name, $values) = @_;
		my @ms = map { $_ / 1e3 } @{ $values->{frame_p50_us} };
		my @base = map { $_ / 1e3 } @{ $values->{commit_p50_us} };

		return {
			figure => "commit to frame, idle machine, p50, $name",
			measured => sprintf('%s, p99 %.2f', spread('%.2f ms', @ms),
				median(@{ $values->{frame_p99_us} }) / 1e3),
			base => sprintf('%s COMMIT answered; frame %.2f ms behind', spread('%.2f ms', @base),
				median(@{ $values->{behind_p50_us} }) / 1e3),
			ratio => spread('%.1f', map { $ms[$_] / $base[$_] } 0 .. $#ms),
			target => '<= 1.5 ms',
			reached => median(@ms) <= 1.5,
		};
	};
	return ($row->('durable', $on), $row->('synchronous_commit off', $off));
}

# Statements and processor time of penny when nobody calls.
sub idle
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $seconds = $bench->{quick} ? 20 : 60;

	$server->stop;
	$server->start;
	$server->wait_ready;
	$server->sql("ALTER SYSTEM SET pg_stat_statements.track = 'all'");
	$server->sql('SELECT pg_reload_conf()');
	sleep(2);
	$server->sql('SELECT pg_stat_statements_reset()');
	my $penny = $server->processes;
	my %penny = map { $_ => 1 } map { @$_ } values %$penny;
	my @others = grep { !$penny{$_} } $server->{postmaster}, Bench::Server::children($server->{postmaster});
	my $begin = time();
	my (undef, $used) = cpu_of({ %$penny, others => \@others }, sub { sleep($seconds) });
	my $took = time() - $begin;
	my $statements = $server->sql("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
		WHERE query NOT LIKE '%pg_stat_statements%' AND query NOT LIKE '%pg_stat_activity%'");
	$server->sql('ALTER SYSTEM RESET pg_stat_statements.track');
	$server->sql('SELECT pg_reload_conf()');
	my $others = delete($used->{others}) / 1e7 / $took;
	my $all = 0;
	$all += $_ / 1e7 / $took for values %$used;

	return ({
		figure => sprintf('idle penny over %.0f s: statements a minute', $took),
		measured => sprintf('%.1f', $statements * 60 / $took),
		target => '0',
		reached => $statements == 0,
	}, {
		figure => '  CPU of all its processes',
		measured => sprintf('%.3f %%', $all),
		base => sprintf('%.3f %% PostgreSQL\'s own', $others),
		ratio => $others > 0 ? sprintf('%.2f', $all / $others) : '',
		target => '<= 0.5 %',
		reached => $all <= 0.5,
	});
}

# What a client returns, with the CPU of its backend for each of its {count}.
sub with_backend_cpu
{
	my ($server, $function) = @_;
	my $running = backends($server);
	my $before = reaped_cpu($server->{postmaster});
	my $result = $function->();

	sleep(0.01) while backends($server) > $running;
	$result->{cpu} = (reaped_cpu($server->{postmaster}) - $before) * 1e6 / $result->{count};
	return $result;
}

# The sample by one connection, a durable transaction for each conversation;
# base: its lines into a table with one column, also one transaction each.
# Beside it a hundred conversations a transaction, as make run loads them.
sub import_sample
{
	my ($bench) = @_;
	my @common = ("$bench->{bin}/sqlclient", '-d', $bench->{server}{conninfo}, '-m', 'import', '-f',
		$bench->{sample});
	my $round = 0;

	$bench->{server}->sql('CREATE TABLE lines (line jsonb)');
	my $penny = sub {
		my (@batch) = @_;
		$round++;
		return with_backend_cpu($bench->{server}, sub {
			client(@common, @batch, '-q', "SELECT penny.import_chat(jsonb_set(\$1::jsonb, '{id}',
				to_jsonb((\$1::jsonb->>'id') || '-$round')), '$bench->{importer}')");
		});
	};
	my $lines = sub {
		my (@batch) = @_;
		return with_backend_cpu($bench->{server},
			sub { client(@common, @batch, '-q', 'INSERT INTO lines VALUES ($1::jsonb)') });
	};
	my $row = sub {
		my ($name, @batch) = @_;
		my ($p, $l) = alternate($bench->{quick} ? 1 : 3, sub { $penny->(@batch) },
			sub { $lines->(@batch) });

		return {
			figure => "$name, $p->{count}[0] conversations",
			measured => sprintf('%s/s, CPU %.0f us', spread('%.0f', @{ $p->{rate} }),
				median(@{ $p->{cpu} })),
			base => sprintf('%s/s, CPU %.0f us lines stored', spread('%.0f', @{ $l->{rate} }),
				median(@{ $l->{cpu} })),
			ratio => spread('%.2f', map { $p->{rate}[$_] / $l->{rate}[$_] } 0 .. $#{ $p->{rate} }),
			target => '>= 500/s',
			reached => median(@{ $p->{rate} }) >= 500,
		};
	};
	my $each = $row->('import by one connection, durable');
	my $hundred = $row->('  a hundred a transaction', '-n', 100);

	delete $hundred->{target};
	return ($each, $hundred);
}

1;
