# What a job costs who enqueues it, how soon it starts, and what a queue costs
# in which nothing happens.
package Bench::JobCosts;

use strict;
use warnings;

use Bench::Hits;
use Bench::JobPeers;
use Bench::Jobs;
use Bench::Measure;
use Time::HiRes qw(time sleep);

use constant PAYLOAD => '{"conversation": "0190c42e-8f6a-7cc3-98a5-4a39b0f4ef10", "n": 1, "why": "somebody asked"}';
use constant IDLE => 30;    # seconds

# ---- one job a transaction --------------------------------------------------------------

# The row of such a job, inserted by a statement into a table with the same
# columns and index, numbered by a sequence of the same kind.  Made from a real
# row, so it is what it says whatever the columns are.
sub plain_insert
{
	my ($bench) = @_;
	my $server = $bench->{server};

	return $bench->{plain_job} if $bench->{plain_job};
	Bench::Jobs::sql($bench, "SELECT penny.pause_queue('bench')");
	my $id = Bench::Jobs::sql($bench, "SELECT penny.enqueue('bench_noop', '" . PAYLOAD . "')");
	my $segment = '_penny.job_' . ($id >> 20) % 8;
	$server->sql("CREATE SCHEMA plain_jobs; CREATE TABLE plain_jobs.job (LIKE $segment INCLUDING ALL);
		CREATE SEQUENCE plain_jobs.job_id CACHE " . $server->sql("SELECT seqcache FROM pg_sequence
			WHERE seqrelid = '_penny.job_id'::regclass"));
	# times and the id are made anew for each, the rest is as it was
	my $columns = $server->sql("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = '$segment'::regclass AND attnum > 0 AND NOT attisdropped");
	my $values = $server->sql("SELECT string_agg(CASE WHEN attname = 'id' THEN 'nextval(''plain_jobs.job_id'')'
			WHEN atttypid = 'timestamptz'::regtype THEN 'now()'
			ELSE coalesce(quote_literal(job ->> attname), 'NULL') || '::' || format_type(atttypid, atttypmod) END,
			', ' ORDER BY attnum)
		FROM pg_attribute, (SELECT to_jsonb(j) AS job FROM $segment j WHERE id = $id) row
		WHERE attrelid = '$segment'::regclass AND attnum > 0 AND NOT attisdropped");
	Bench::Jobs::sql($bench, "SELECT penny.resume_queue('bench')");
	$bench->{plain_job} = {
		table => 'plain_jobs.job',
		one => "INSERT INTO plain_jobs.job ($columns) VALUES ($values)",
		many => "INSERT INTO plain_jobs.job ($columns) SELECT $values",
	};
	return $bench->{plain_job};
}

# Added processor time of the backend, and the rate at 16 clients.
sub enqueue
{
	my ($bench) = @_;
	my $server = $bench->{server};

	Bench::Jobs::prepare($bench);
	my $plain = plain_insert($bench);
	my $enqueue = "SELECT penny.enqueue('bench_noop', '" . PAYLOAD . "')";
	my @rows;

	for my $running (1, 0)
	{
		Bench::Jobs::sql($bench, "SELECT penny.pause_queue('bench')") if !$running;
		my $result = Bench::Hits::pairs($bench, $bench->{quick} ? 100 : 500, 100,
			-s => 'SET synchronous_commit = off', -a => $plain->{one}, -b => $enqueue);
		my @added = Bench::Hits::differences($result, 'cpu');

		print STDERR '.';
		push @rows, {
			figure => $running ? 'enqueue, a transaction each, while workers run the jobs: CPU added to the backend'
				: '  into a queue that is not run meanwhile',
			measured => spread('%.1f us', @added),
			base => sprintf('%s for the same row by INSERT, of %s', spread('%.1f us', @{ $result->{a_cpu} }),
				spread('%.1f us', @{ $result->{b_cpu} })),
			ratio => spread('%.2f', Bench::Hits::ratios($result, 'cpu')),
			target => '<= 5 us',
			reached => median(@added) <= 5,
		};
	}
	print STDERR "\n";
	push @rows, map { clients($bench, $plain, $enqueue, @$_) } [ 'off', 0 ], [ 'on', 0 ], [ 'off', 1 ], [ 'on', 1 ];
	$server->sql("TRUNCATE $plain->{table}");
	return @rows;
}

sub clients
{
	my ($bench, $plain, $enqueue, $durable, $running) = @_;
	my %script = (plain => $plain->{one}, penny => $enqueue);

	for my $name (keys %script)
	{
		open(my $fh, '>', "$bench->{dir}/$name.sql") or die "could not write a script: $!\n";
		print $fh "$script{$name};\n";
		close($fh);
	}
	Bench::Jobs::durable($bench, $durable);
	Bench::Jobs::sql($bench, "SELECT penny.pause_queue('bench')") if !$running;
	my ($p, $b) = alternate($bench->{runs},
		map { my $name = $_; sub { Bench::Figures::pgbench_run($bench, 16, '-f', "$bench->{dir}/$name.sql") } } qw(penny plain));
	Bench::Jobs::sql($bench, "SELECT penny.resume_queue('bench')");
	Bench::Jobs::drain($bench, 'bench');
	Bench::Jobs::durable($bench, 'on');
	my @ratio = map { $p->{rate}[$_] / $b->{rate}[$_] } 0 .. $#{ $p->{rate} };

	return {
		figure => "  rate of 16 clients, synchronous_commit $durable" . ($running ? ', while workers run the jobs' : ''),
		measured => spread('%.0f/s', @{ $p->{rate} }),
		base => spread('%.0f/s', @{ $b->{rate} }),
		ratio => spread('%.2f', @ratio),
		# where workers run them, the processors are shared with who runs
		$running ? () : (target => '>= 0.9', reached => median(@ratio) >= 0.9),
	};
}

# ---- from the commit to the start -------------------------------------------------------------

# Nothing else to do.  The handler tells the time; the client knows when it sent COMMIT
# and when it had the answer.
sub latency
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $jobs = $bench->{quick} ? 200 : 1000;
	my $first = 1;
	my @rows;

	Bench::Jobs::prepare($bench);
	my $version = Bench::JobPeers::start($bench);
	$server->sql('TRUNCATE public.bench_started');
	for my $durable (qw(off on))
	{
		Bench::Jobs::durable($bench, $durable);
		Bench::JobPeers::persist($bench, $durable eq 'on' ? 'always' : 'no');
		my $values = in_turn($bench->{quick} ? 1 : 3,
			[ penny => sub {
				my $result = client("$bench->{bin}/jobdelay", '-d', $server->{conninfo}, '-n', $jobs, '-i', 20, '-f', $first,
					'-q', "SELECT penny.enqueue('bench_start', jsonb_build_object('n', \$1::bigint))");

				$first += $jobs;
				return $result;
			} ],
			[ graphile => sub { Bench::JobPeers::latency($bench, 'graphile', jobs => $jobs / 2, batching => JSON::PP::false()) } ],
			[ bullmq => sub { Bench::JobPeers::latency($bench, 'bullmq', jobs => $jobs / 2) } ]);
		my %ms = map {
			my $name = $_;
			map { ("${name}_$_" => median(@{ $values->{$name}{$_} }) / 1e3) } keys %{ $values->{$name} }
		} keys %$values;
		# asynchronously COMMIT itself is short and part of what is promised; durably it waits for the disk
		my ($from, $other) = $durable eq 'off' ? qw(sent answered) : qw(answered sent);

		push @rows, {
			figure => $durable eq 'off' ? 'idle queue: from sending COMMIT to the handler\'s start, synchronous_commit off'
				: '  from the answer to COMMIT, synchronous_commit on',
			measured => sprintf('p50 %.2f ms, p99 %.2f; from %s p50 %.2f, p99 %.2f', @ms{ "penny_${from}_p50_us", "penny_${from}_p99_us" },
				$durable eq 'off' ? 'its answer' : 'sending it',
				@ms{ map { "penny_${other}_$_" } qw(p50_us p99_us) }),
			base => sprintf('COMMIT answered after p50 %.2f, p99 %.2f; from its answer %s p50 %.2f, p99 %.2f, %s p50 %.2f, p99 %.2f',
				@ms{qw(penny_commit_p50_us penny_commit_p99_us)}, $version->{'graphile-worker'},
				@ms{qw(graphile_p50_us graphile_p99_us)}, $version->{bullmq}, @ms{qw(bullmq_p50_us bullmq_p99_us)}),
			target => 'p50 <= 0.25 ms, p99 <= 2 ms',
			reached => $ms{"penny_${from}_p50_us"} <= 0.25 && $ms{"penny_${from}_p99_us"} <= 2,
		};
	}
	Bench::Jobs::durable($bench, 'on');
	Bench::JobPeers::persist($bench, 'no');
	return @rows;
}

# ---- nothing to do ------------------------------------------------------------------------------

# Statements, transactions and wakes of a queue that has worked and is empty now.
sub idle
{
	my ($bench) = @_;
	my $server = $bench->{server};

	Bench::Jobs::prepare($bench);
	Bench::Jobs::fill($bench, 'bench_noop', 1000);
	Bench::Jobs::drain($bench, 'bench');
	$server->session_end(delete $bench->{job_session});
	$server->sql("ALTER SYSTEM SET pg_stat_statements.track = 'all'");
	$server->sql('SELECT pg_reload_conf()');
	sleep($bench->{quick} ? 5 : 40);    # who is there only for load goes
	$server->sql('SELECT pg_stat_statements_reset()');
	my $processes = $server->processes;
	my $session = $server->session;
	my $transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'";
	# what this session did before is counted before
	$server->session_sql($session, 'SELECT pg_stat_force_next_flush()');
	my $before = $server->session_sql($session, $transactions);
	my %wakes = map { $_ => -wakes(@{ $processes->{$_} }) } keys %$processes;
	my $begin = time();
	sleep(IDLE);
	my $took = time() - $begin;
	$wakes{$_} += wakes(@{ $processes->{$_} }) for keys %$processes;
	my $after = $server->session_sql($session, $transactions) - $before;
	$server->session_end($session);
	my $statements = $server->sql("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
		WHERE query NOT LIKE '%pg_stat_%'");
	$server->sql('ALTER SYSTEM RESET pg_stat_statements.track');
	$server->sql('SELECT pg_reload_conf()');
	my $workers = @{ $processes->{worker} };
	my $queue = $wakes{worker} + ($wakes{courier} // 0);
	my $others = 0;
	$others += $wakes{$_} for grep { !/^(worker|courier)$/ } keys %wakes;
	$bench->{job_session} = $server->session;

	return ({
		figure => sprintf('idle queue over %.0f s: statements', $took),
		measured => "$statements",
		base => "$after transactions in the database, those of autovacuum and of who asks (2) among them",
		target => '0',
		reached => $statements == 0,
	}, {
		figure => sprintf('  wakes a second of %d workers and the courier', $workers),
		measured => sprintf('%.2f', $queue / $took),
		base => sprintf('%.2f of penny\'s other processes', $others / $took),
		target => '<= 1',
		reached => $queue / $took <= 1,
	});
}

# How often processes have gone to sleep by themselves, and so were woken.
sub wakes
{
	my $sum = 0;

	for my $pid (@_)
	{
		for my $file (glob "/proc/$pid/task/*/status")
		{
			open(my $fh, '<', $file) or next;
			my ($count) = join('', <$fh>) =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
			$sum += $count // 0;
		}
	}
	return $sum;
}

1;
