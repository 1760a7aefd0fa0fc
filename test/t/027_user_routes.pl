# Routes of the user: added, changed and dropped while requests run, each seen by
# the first request after its commit; and handlers that are broken in every way,
# which cost their own request and nobody else anything.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('routes', conf => "penny.executors_min = 2\npenny.executors_max = 2\nmax_stack_depth = '1MB'\npenny.executor_memory = '150MB'\n");
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
my $token = $node->token($ada);
my $http = $node->http(token => $token);
sub get { my ($path) = @_; return $http->request('GET', $path, timeout => 20) }
sub executors { return join ' ', $node->backend_pids('penny executor') }
$node->sql('CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user');

subtest 'while requests run' => sub {
	# two clients ask all the time for what stays, and note everything but 200
	my @load = map {
		my $pid = fork // die;
		if (!$pid)
		{
			my ($client, $bad, $n) = ($node->http(token => $token), 0, 0);
			my $stop = 0;
			local $SIG{TERM} = sub { $stop = 1 };
			while (!$stop)
			{
				my $answer = $client->request('GET', $n++ % 2 ? '/stays' : "/api/v1/conversations/$talk");
				append_to_file($node->basedir . '/bad', ($answer ? "$answer->{status} $answer->{body}" : 'cut off') . "\n") if !$answer || $answer->{status} != 200;
			}
			append_to_file($node->basedir . '/counts', "$n\n");
			require POSIX;
			POSIX::_exit(0);
		}
		$pid
	} (1, 2) if $node->sql(q{
		CREATE FUNCTION app.stays(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"stays":true}'::jsonb$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/stays', 'app.stays', 'user')}) eq '';
	my $starts = $node->sql('SELECT pg_postmaster_start_time()');
	my ($edge) = $node->edge_pids;
	my $before = executors();
	my (@late, $session);
	$session = $node->background_psql('postgres');
	for my $i (1 .. 60)
	{
		$session->query_safe(qq{
			BEGIN;
			CREATE FUNCTION app.new_$i(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb($i)';
			INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/new/$i/{x}', 'app.new_$i', 'user');
			COMMIT});
		my $answer = get("/new/$i/7");
		push @late, "added $i: $answer->{status}" unless $answer->{status} == 200 && $answer->{json} == $i;

		$session->query_safe("CREATE OR REPLACE FUNCTION app.new_$i(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(-$i)'");
		$answer = get("/new/$i/7");
		push @late, "replaced $i: $answer->{status} $answer->{body}" unless $answer->{status} == 200 && $answer->{json} == -$i;

		$session->query_safe("UPDATE penny.routes SET pattern = '/moved/$i/{x}', access = 'public' WHERE pattern = '/new/$i/{x}'");
		push @late, "moved from $i" unless get("/new/$i/7")->{status} == 404;
		push @late, "moved to $i" unless $node->request('GET', "/moved/$i/7")->{status} == 200;

		$session->query_safe("BEGIN; DELETE FROM penny.routes WHERE pattern LIKE '/moved/%'; INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/never/$i', 'app.stays', 'public'); ROLLBACK");
		push @late, "rolled back $i" unless get("/never/$i")->{status} == 404 && get("/moved/$i/7")->{status} == 200;

		$session->query_safe("DELETE FROM penny.routes WHERE pattern = '/moved/$i/{x}'; DROP FUNCTION app.new_$i(penny.request)");
		push @late, "dropped $i" unless get("/moved/$i/7")->{status} == 404;
	}
	$session->quit;
	kill 'TERM', @load;
	waitpid $_, 0 for @load;
	my ($bad, $counts) = map { -e "$_" ? slurp_file($_) : '' } map { $node->basedir . "/$_" } 'bad', 'counts';
	is("@late", '', 'each change is seen by the next request');
	is($bad, '', 'no request of others failed');
	cmp_ok(eval(join '+', split /\n/, $counts), '>=', 200, 'and there were many');
	is($node->sql('SELECT pg_postmaster_start_time()'), $starts, 'no restart');
	is(($node->edge_pids)[0], $edge, 'the same edge');
	is(executors(), $before, 'the same executors');
};

subtest 'broken handlers' => sub {
	$node->sql(q{
		SET check_function_bodies = off;
		CREATE FUNCTION app.syntax(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN THIS IS NO SQL; END';
		CREATE FUNCTION app.syntax_sql(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELEKT 1';
		CREATE FUNCTION app.type(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.no_table(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT to_jsonb(x) FROM app.not_there x); END';
		CREATE FUNCTION app.nothing(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN END';
		CREATE FUNCTION app.raises(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE division_by_zero; END$$;
		CREATE FUNCTION app.internal(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'the secret is 42'; END$$;
		CREATE FUNCTION app.deep(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RETURN app.deep(r); END$$;
		CREATE FUNCTION app.regex(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(repeat('(', 100000) || 'a' || repeat(')', 100000) ~ (repeat('(', 100000) || 'a' || repeat(')', 100000)))$$;
		CREATE FUNCTION app.nested(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT (repeat('[', 1000000) || repeat(']', 1000000))::jsonb$$;
		CREATE FUNCTION app.loops(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN LOOP END LOOP; END$$;
		CREATE FUNCTION app.loops_sql(r penny.request) RETURNS jsonb LANGUAGE sql AS $$WITH RECURSIVE x AS (SELECT 1 AS i UNION ALL SELECT i FROM x) SELECT to_jsonb(count(*)) FROM x$$;
		CREATE FUNCTION app.hog(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$DECLARE a text[]; BEGIN LOOP a := a || repeat('x', 10000000); END LOOP; END$$;
		CREATE FUNCTION app.huge(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(repeat('x', 2000000000))$$;
		CREATE FUNCTION app.ends(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN COMMIT; RETURN '{}'; END$$;
		CREATE FUNCTION app.status(r penny.request) RETURNS penny.response LANGUAGE sql AS $$SELECT (99999, '{"a\nb": "c"}', '{}')::penny.response$$;
		CREATE FUNCTION app.role(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RESET ROLE; SET ROLE penny_admin; RETURN '{}'; END$$;
		CREATE FUNCTION app.notices(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN FOR i IN 1 .. 1000 LOOP RAISE NOTICE 'x'; END LOOP; RETURN '{}'; END$$;
		CREATE FUNCTION app.gone(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(1)';
		CREATE FUNCTION app.changed(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(1)';
		INSERT INTO penny.routes (method, pattern, handler, access, statement_timeout)
			SELECT 'GET', '/' || proname, 'app.' || proname, 'user', CASE WHEN proname LIKE 'loops%' THEN interval '300 ms' END FROM pg_proc WHERE pronamespace = 'app'::regnamespace AND proname NOT LIKE 'stays';
	});
	is(get('/gone')->{status}, 200, 'a handler that is there');
	is(get('/changed')->{status}, 200, 'another one');
	$node->sql(q{
		DROP FUNCTION app.gone(penny.request); DROP FUNCTION app.changed(penny.request);
		CREATE FUNCTION app.changed(r penny.request) RETURNS int LANGUAGE sql AS 'SELECT 1'});
	my %expected = (syntax => 500, syntax_sql => 500, type => 500, no_table => 500, nothing => 500, raises => 400, internal => 500, deep => 500, regex => 400,
		nested => 500, loops => 504, loops_sql => 504, hog => 503, huge => 500, ends => 500, status => 500, role => 403, notices => 200, gone => 500, changed => 500);
	my $before = executors();
	for my $round (1, 2)
	{
		for my $name (sort keys %expected)
		{
			my $answer = get("/$name") || { status => 'cut off', header => {}, body => '' };
			is($answer->{status}, $expected{$name}, "$name: $expected{$name}") or diag($answer->{body});
			next if $expected{$name} < 500 || $answer->{status} !~ /^5/;
			is($answer->{header}{'content-type'}, 'application/problem+json', "$name: a problem");
			is($answer->{json}{request_id}, $answer->{header}{'x-request-id'}, "$name: with its request id");
			like($node->log_text, qr/penny request "\Q$answer->{json}{request_id}\E"/, "$name: and the log says what it was") if $round == 1;
			unlike($answer->{body}, qr/secret|app\.|SELEKT|NO SQL/, "$name: nothing of the inside is told");
		}
		is(get("/api/v1/conversations/$talk")->{status}, 200, 'the next request is served');
	}
	is(executors(), $before, 'by the same executors');
	cmp_ok($node->sql(q{SELECT max(x) FROM (SELECT count(*) AS x FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny executor')) l}), '<=', 0, 'no lock is left');
	my ($pid) = $node->backend_pids('penny executor');
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmData:\s+(\d+)/m;
	cmp_ok($kb, '<', 100_000, 'nor memory');
	is($node->sql('SELECT count(*) FROM penny.quarantine()'), 0, 'nobody is suspected');
};

subtest 'ends its process' => sub {
	# with a FATAL: answered, and the executor comes back
	$node->sql(q{
		CREATE FUNCTION app.dies(r penny.request) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN '{}'; END$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/dies', 'app.dies', 'user')});
	for my $round (1 .. 4)
	{
		is(get('/dies')->{status}, 503, "round $round: 503");
		is(get('/stays')->{status}, 200, 'and on');
	}
	is($node->sql('SELECT count(*) FROM penny.quarantine()'), 0, 'no crash, no quarantine');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
