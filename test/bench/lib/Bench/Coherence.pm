# Figures of what the cache promises: nothing stale while others write, and one
# rebuild for many who ask at once.
package Bench::Coherence;

use strict;
use warnings;

use Bench::Measure;
use Bench::Redis;
use JSON::PP ();
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time sleep);

use constant KEYS => 32;
use constant CHECKS => 50_000_000;
use constant QUICK_CHECKS => 1_000_000;
use constant ROUND => 10;          # seconds
use constant READERS => 1000;
use constant SESSIONS => 80;
use constant BUILDS => 5, 100;     # ms that a rebuild takes

# ---- stale reads --------------------------------------------------------------------

# Hits compared with the table in the server, while it is written in every way.
sub stale
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $wanted = $ENV{PENNY_CACHE_CHECKS} || ($bench->{quick} ? QUICK_CHECKS : CHECKS);

	$server->restart_with(max_prepared_transactions => 10, synchronous_commit => 'off');
	Bench::Redis::start($bench);
	$server->sql('CREATE TABLE public.bench_counted (id int PRIMARY KEY, version bigint NOT NULL)
		WITH (fillfactor = 50)');
	$server->sql('INSERT INTO public.bench_counted SELECT g, 1 FROM generate_series(1, ' . KEYS . ') g;
		CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON public.bench_counted
		FOR EACH ROW EXECUTE FUNCTION penny.invalidate(\'check\', \'id\');
		ALTER TABLE public.bench_counted ENABLE ALWAYS TRIGGER invalidate');
	my ($before, $now, $begun) = (counters($server), undef, time());
	do
	{
		one_round($bench);
		$now = counters($server);
		print STDERR '.';
	} while ($now->{checked} - $before->{checked} < $wanted);
	print STDERR "\n";
	my $took = time() - $begun;
	my $verified = JSON::PP::decode_json($server->sql('SELECT penny.cache_verify(100)'));
	my $told = counters($server)->{redis}{changes_told};
	Bench::Redis::stop('TERM');
	$server->sql('DROP TABLE public.bench_counted');
	$server->restart_with;
	my ($checked, $stale, $written, $refused) = map { $now->{$_} - $before->{$_} }
		qw(checked violations invalidations fenced);

	return {
		figure => 'hits that were stale or early, plain, savepoint, two-phase, catalog writers, Redis on',
		measured => sprintf('%d of %.3g in %.0f s', $stale + @{ $verified->{different} }, $checked, $took),
		base => sprintf('%d invalidations, %d fills refused by the fence, %d changes told to Redis', $written,
			$refused, $told),
		target => '0',
		reached => $stale == 0 && !@{ $verified->{different} } && $written > 0 && $refused > 0 && $told > 0,
	};
}

sub counters
{
	my ($server) = @_;
	my $stats = JSON::PP::decode_json($server->sql('SELECT penny.cache_stats()'));

	$stats->{fenced} = $stats->{refused}{fence};
	return $stats;
}

# Writers and checkers together.  Checkers without a pause find many hits, those
# with one lie in the windows.
sub one_round
{
	my ($bench) = @_;
	my $dir = $bench->{dir};
	my @writers = (
		[ "\\set k random(1, 32)\nUPDATE public.bench_counted SET version = version + 1 WHERE id = :k;\n", 10 ],
		[ <<'SQL', 10 ],
\set k random(1, 16)
\set l random(17, 32)
BEGIN;
SAVEPOINT a;
UPDATE public.bench_counted SET version = version + 1 WHERE id = :k;
SAVEPOINT b;
UPDATE public.bench_counted SET version = version + 1 WHERE id = :l;
ROLLBACK TO b;
COMMIT;
SQL
		map([ <<"SQL", 10 ], qw(COMMIT ROLLBACK)),
\\set k random(1, 32)
BEGIN;
UPDATE public.bench_counted SET version = version + 1 WHERE id = :k;
PREPARE TRANSACTION 'w:client_id';
$_ PREPARED 'w:client_id';
SQL
		[ "BEGIN;\nSELECT pg_advisory_xact_lock(5);\nGRANT SELECT ON public.bench_counted TO pg_monitor;\nCOMMIT;\n", 1 ],
		# and something that Redis has to be told
		[ "UPDATE chat.conversations SET title = title WHERE id = '$bench->{conversations}[0]';\n", 3 ]);
	my @checkers = (
		[ "SELECT _penny.cache_check('public.bench_counted', 100000, 32, 0);\n", 1 ],
		[ "SELECT _penny.cache_check('public.bench_counted', 500, 32, 50);\n", 4 ]);
	my @running = (
		pgbench($bench, 'writers', [ '-c', 3, '-R', 800 ], @writers),
		pgbench($bench, 'quick', [ '-c', 1 ], $checkers[0]),
		pgbench($bench, 'slow', [ '-c', 2 ], $checkers[1]));

	for my $one (@running)
	{
		waitpid($one->{pid}, 0);
		next if $? == 0;
		system('cat', $one->{log});
		die "pgbench failed\n";
	}
}

# Start pgbench with some scripts and their weights.
sub pgbench
{
	my ($bench, $name, $options, @scripts) = @_;
	my $server = $bench->{server};
	my $log = "$bench->{dir}/pgbench.$name";
	my @files;

	for my $i (0 .. $#scripts)
	{
		open(my $fh, '>', "$log.$i.sql") or die "could not write $log.$i.sql: $!\n";
		print $fh $scripts[$i][0];
		close($fh);
		push @files, '-f', "$log.$i.sql\@$scripts[$i][1]";
	}
	my $pid = fork() // die "could not fork: $!\n";
	return { pid => $pid, log => $log } if $pid;
	open(STDOUT, '>', $log);
	open(STDERR, '>&', \*STDOUT);
	exec("$server->{bindir}/pgbench", '-n', '-h', $server->{sock}, '-p', $server->{pgport}, '-T', ROUND,
		@$options, @files, 'postgres')
		or exit(127);
}

# ---- many who ask at once ------------------------------------------------------------

# A key that was invalidated, and everybody wants it.  The rebuild takes a few
# milliseconds and says in the server's log that it ran.
sub herd
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $rounds = $bench->{quick} ? 5 : 25;

	$server->restart_with(max_connections => 150);
	$server->sql('CREATE TABLE public.bench_herd (id int PRIMARY KEY, version bigint NOT NULL);
		INSERT INTO public.bench_herd VALUES (1, 0);
		CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON public.bench_herd
		FOR EACH ROW EXECUTE FUNCTION penny.invalidate(\'herd\', \'id\');
		ALTER TABLE public.bench_herd ENABLE ALWAYS TRIGGER invalidate;
		GRANT SELECT ON public.bench_herd TO penny_user');
	$server->sql('CREATE FUNCTION public.bench_built(args jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
		DECLARE end_at timestamptz := clock_timestamp() + make_interval(secs => (args->>\'ms\')::float8 / 1000); made jsonb;
		BEGIN
			PERFORM penny.cache_tag(\'herd:1\');
			LOOP
				made := jsonb_build_object(\'text\', repeat(\'x\', 10000),
					\'version\', (SELECT version FROM public.bench_herd WHERE id = 1));
				EXIT WHEN clock_timestamp() >= end_at;
			END LOOP;
			RAISE LOG \'bench: built\';
			RETURN made;
		END $$;
		CREATE FUNCTION public.bench_route(request penny.request) RETURNS jsonb LANGUAGE sql STABLE AS
		$$ SELECT public.bench_built(request.params) $$;
		GRANT EXECUTE ON FUNCTION public.bench_route(penny.request), public.bench_built(jsonb) TO penny_user;
		INSERT INTO penny.routes (method, pattern, handler, access, cache_ttl, cache_scope)
		VALUES (\'GET\', \'/bench/herd/{ms}\', \'public.bench_route\', \'user\', \'1 hour\', \'public\')');
	my @rows = (map({ http_herd($bench, $rounds, $_) } BUILDS), map({ sql_herd($bench, $rounds, $_) } BUILDS));
	$server->sql('DELETE FROM penny.routes WHERE pattern = \'/bench/herd/{ms}\';
		DROP TABLE public.bench_herd; DROP FUNCTION public.bench_route(penny.request), public.bench_built(jsonb)');
	$server->restart_with;
	return @rows;
}

sub row
{
	my ($name, $ms, $built, $took) = @_;
	my @sorted = sort { $a <=> $b } @$built;

	return {
		figure => $name,
		measured => sprintf('%g rebuilds, at most %d in %d rounds', median(@sorted), $sorted[-1], scalar @sorted),
		base => sprintf('all answered in %s; a rebuild takes %d ms', spread('%.0f ms', @$took), $ms),
		target => '<= 2 each',
		reached => $sorted[-1] <= 2,
	};
}

# So many connections to the edge, a request on each, written before any answer
# is read.
sub http_herd
{
	my ($bench, $rounds, $ms) = @_;
	my $server = $bench->{server};
	my $request = "GET /bench/herd/$ms HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer $bench->{token}\r\n\r\n";
	my ($version) = $server->sql('SELECT version FROM public.bench_herd') =~ /(\d+)/;
	my (@built, @took);
	my @sockets = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{port})
		|| die "could not connect: $!\n" } 1 .. READERS;

	ask(\@sockets, $request);
	for my $round (1 .. $rounds)
	{
		my $before = built($server);

		$server->sql('UPDATE public.bench_herd SET version = version + 1');
		my $begun = time();
		my $answers = ask(\@sockets, $request);
		push @took, (time() - $begun) * 1e3;
		push @built, built($server) - $before;
		$version++;
		check($_, $version) for @$answers;
		print STDERR '.';
	}
	print STDERR "\n";
	return row(($ms == (BUILDS)[0] ? '' : '  ') . READERS . ' readers of one key after an invalidation, by HTTP', $ms, \@built, \@took);
}

# Send on all, then read an answer from each.
sub ask
{
	my ($sockets, $request) = @_;
	my $select = IO::Select->new(@$sockets);
	my (%got, @answers);

	syswrite($_, $request) == length($request) or die "could not send: $!\n" for @$sockets;
	while ($select->count)
	{
		my @ready = $select->can_read(10) or die "not every request was answered\n";

		for my $socket (@ready)
		{
			my $n = fileno($socket);

			sysread($socket, $got{$n}, 65536, length($got{$n} // '')) or die "a connection ended\n";
			my ($head, $body) = split /\r\n\r\n/, $got{$n}, 2;
			next if !defined $body || length($body) < ($head =~ /^Content-Length: (\d+)/mi)[0];
			die "refused: $head\n" if $head !~ m{^HTTP/1.1 200};
			push @answers, $body;
			$select->remove($socket);
		}
	}
	return \@answers;
}

# Every answer is of after the invalidation.
sub check
{
	my ($body, $version) = @_;

	die "a reader got something stale: version $1 instead of $version\n"
		if $body !~ /"version": ?(\d+)/ || $1 != $version;
}

# Sessions that all wait for a lock, and read when it is let go.
sub sql_herd
{
	my ($bench, $rounds, $ms) = @_;
	my $server = $bench->{server};
	my @sessions = map { $server->session } 1 .. SESSIONS;
	my $gate = $server->session;
	my ($version) = $server->sql('SELECT version FROM public.bench_herd') =~ /(\d+)/;
	my $read = qq{SELECT penny.cached('public.bench_built(jsonb)', '{"ms": $ms}') ->> 'version'};
	my (@built, @took);

	$server->session_sql($_, "$bench->{act_as}; $read") for @sessions;
	for my $round (1 .. $rounds)
	{
		my $before = built($server);

		$server->session_sql($gate, 'SELECT pg_advisory_lock(77)');
		for my $session (@sessions)
		{
			print { $session->{in} } "SELECT pg_advisory_lock_shared(77), pg_advisory_unlock_shared(77);\n$read;\n\\echo ::done\n";
			$session->{in}->flush;
		}
		sleep(0.01) while $server->session_sql($gate,
			'SELECT count(*) FROM pg_locks WHERE locktype = \'advisory\' AND NOT granted') < SESSIONS;
		$server->session_sql($gate, 'UPDATE public.bench_herd SET version = version + 1');
		$version++;
		my $begun = time();
		$server->session_sql($gate, 'SELECT pg_advisory_unlock(77)');
		for my $session (@sessions)
		{
			my @lines;

			while (defined(my $line = readline($session->{out})))
			{
				last if $line eq "::done\n";
				push @lines, $line;
			}
			die "a session read something stale: $lines[-1]" if !@lines || $lines[-1] != $version;
		}
		push @took, (time() - $begun) * 1e3;
		push @built, built($server) - $before;
		print STDERR '.';
	}
	print STDERR "\n";
	$server->session_end($_) for @sessions, $gate;
	return row('  ' . SESSIONS . ' sessions of SQL', $ms, \@built, \@took);
}

# How often the function said that it ran.
sub built
{
	my ($server) = @_;

	open(my $log, '<', "$server->{dir}/server.log") or die "could not read the log: $!\n";
	return scalar(grep { /bench: built$/ } <$log>);
}

1;
