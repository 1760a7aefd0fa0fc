# Requests and routes that crash their process: refused after the second time,
# known after the server restarted, cleared by an administrator; who only ran
# beside them is not blamed.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = Penny::Cluster->serving('poison', fsync => 1, conf => "penny.executors_min = 3\nmax_parallel_workers_per_gather = 2\n");
my $file = $node->data_dir . '/penny.quarantine';
my ($ada, $bob) = map { $node->add_user($_) } 'Ada', 'Bob';
my ($token, $other) = map { $node->token($_) } $ada, $bob;

# The handlers of the owner, a superuser, may run a program: it kills its parent.
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.poison(r penny.request) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		IF coalesce(r.query ->> 'good', r.body ->> 'good') IS NOT NULL THEN RETURN '{"good":true}'; END IF;
		EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('kill -%s $PPID', coalesce(r.query ->> 'signal', 'SEGV')));
		PERFORM pg_sleep(5);
		RETURN '{}';
	END $$;
	CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN '{"slow":true}'; END$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES
		('POST', '/poison', 'app.poison', 'user'), ('POST', '/one/{id}', 'app.poison', 'user'), ('POST', '/killed', 'app.poison', 'user'),
		('POST', '/abort', 'app.poison', 'user'), ('GET', '/slow', 'app.slow', 'user');
});

sub ask
{
	my ($path, %with) = @_;
	my $http = Penny::Http->connect_to(port => $node->{http_port}) or return {};
	return $http->request('POST', $path, token => $with{token} // $token, timeout => 20, json => $with{json} // {}) || { status => 'cut off' };
}
# Ask for what crashes; true when the server restarted for it and serves again.
sub crashes
{
	my ($path, %with) = @_;
	my $before = $node->crash_restarts;
	my $answer = ask($path, %with);
	diag("answered: $answer->{status} $answer->{body}") if ($answer->{status} // '') =~ /^\d/;
	return $node->wait_until(sub { $node->crash_restarts == $before + 1 }, 10) && $node->wait_ready(20);
}
# Requests for /slow stand still; a crash of the server lets them go.
sub slow
{
	my ($n) = @_;
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @clients = map { my $c = $node->http(token => $token); $c->send_bytes($c->format_request('GET', '/slow')); $c } 1 .. $n;
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'GET /slow' AND state = 'active'") == $n }, 20), "$n of /slow run");
	return ($gate, @clients);
}
sub entries { my ($where) = @_; return $node->sql("SELECT kind, route, refused, crashes, cause FROM penny.quarantine() WHERE " . ($where // 'true') . ' ORDER BY kind, route') }
sub doctor { return $node->sql(q{SELECT ok, detail FROM penny.doctor() WHERE "check" = 'quarantine'}) }
ok($node->wait_until(sub { ask('/poison?good=1')->{status} == 200 }, 10), 'the routes are there');
is(entries(), '', 'nobody is blamed at first');
is(doctor(), 't|nothing crashed its process', 'doctor() agrees');
ok(!-e $file, 'no file');

subtest 'a request' => sub {
	# others run meanwhile, and are killed by the postmaster
	my ($gate) = my @beside = slow(2);
	ok(crashes('/one/7'), 'it crashes the server');
	eval { $gate->quit };
	is(entries(), "request|POST /one/{id}|f|1|crash: Segmentation fault\nroute|POST /one/{id}|f|1|crash: Segmentation fault", 'counted, and nobody else is');
	like($node->log_text, qr/penny request ".+", POST \/one\/\{id\}, was running in an executor that crashed/, 'the log says which');
	is(ask('/one/7?good=1')->{status}, 200, 'another request of the route runs');
	ok(crashes('/one/7'), 'once more');
	my $answer = ask('/one/7');
	is($answer->{status}, 500, 'then it is refused: 500');
	is($answer->{json}{code}, 'PY500', 'code');
	like($answer->{json}{detail}, qr/crashed the server/, 'which says why');
	is($answer->{json}{request_id}, $answer->{header}{'x-request-id'}, 'request id');
	is(ask('/one/7', json => { good => 1 })->{status}, 200, 'with another body it runs');
	is(ask('/one/8?good=1')->{status}, 200, 'the route runs');
	is(entries("kind = 'request'"), 'request|POST /one/{id}|t|2|crash: Segmentation fault', 'shown');
	is(entries("kind = 'route'"), 'route|POST /one/{id}|f|1|crash: Segmentation fault', 'one bad request is no bad route');
	is($node->sql("SELECT refusals FROM penny.quarantine() WHERE kind = 'request'"), 1, 'refusals are counted');
	like(doctor(), qr/^f\|1 requests and routes are refused, 1 are suspected/, 'doctor() says so');
};

subtest 'a route' => sub {
	ok(crashes('/one/8', token => $other), 'another request of it crashes, too');
	is(ask('/one/9?good=1')->{status}, 500, 'then the route is refused');
	is(ask('/poison?good=1')->{status}, 200, 'others are not');
	my $restarts = $node->crash_restarts;
	is(ask("/one/$_")->{status}, 500, "/one/$_ is refused") for 1 .. 5;
	is($node->crash_restarts, $restarts, 'the server goes on');
};

subtest 'it survives' => sub {
	my $stands = entries();
	is((stat $file)[2] & 0777, (stat $node->data_dir . '/PG_VERSION')[2] & 0777, 'a file, with the mode of others');
	for my $mode ('fast', 'immediate')
	{
		$node->stop($mode);
		$node->start;
		$node->wait_ready;
		is(entries(), $stands, "$mode stop and start");
	}
	is(ask('/one/7')->{status}, 500, 'still refused');
	my ($pid) = $node->backend_pids('walwriter');
	my $restarts = $node->crash_restarts;
	my ($gate) = my @beside = slow(2);
	kill 'KILL', $pid;
	ok($node->wait_until(sub { $node->crash_restarts == $restarts + 1 }, 10) && $node->wait_ready(20), 'a crash of somebody else');
	eval { $gate->quit };
	is(entries(), $stands, 'blames nobody');
};

subtest 'cleared by an administrator' => sub {
	$node->sql('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE boss LOGIN IN ROLE penny_admin');
	my ($code) = $node->psql('postgres', 'SELECT * FROM penny.quarantine()', extra_params => [ '-U', 'watcher' ]);
	is($code, 0, 'pg_monitor may look');
	my ($failed, $nothing, $error) = $node->psql('postgres', 'SELECT penny.quarantine_clear()', extra_params => [ '-U', 'watcher' ]);
	like($error, qr/permission denied/, 'and not clear');
	($failed, $nothing, $error) = $node->psql('postgres', "SELECT penny.quarantine_clear('7')");
	like($error, qr/is not the id of an entry/, 'a wrong id');
	my $id = $node->sql("SELECT id FROM penny.quarantine() WHERE kind = 'route'");
	is(($node->psql('postgres', "SELECT penny.quarantine_clear('$id')", extra_params => [ '-U', 'boss' ]))[1], 1, 'one entry, by penny_admin');
	is(ask('/one/9?good=1')->{status}, 200, 'the route runs again');
	is(ask('/one/7')->{status}, 500, 'its bad request does not');
	$node->restart;
	$node->wait_ready;
	is($node->sql('SELECT count(*) FROM penny.quarantine() WHERE kind = $$route$$'), 0, 'also after a restart');
	cmp_ok($node->sql('SELECT penny.quarantine_clear()'), '>=', 1, 'all');
	is(entries(), '', 'nothing is left');
	ok(!-e $file, 'no file');
};

subtest 'killed from outside' => sub {
	ok(crashes('/killed?signal=KILL'), 'kill -9 while a request runs');
	is(entries(), "request|POST /killed|f|1|ended from outside, or in a parallel worker\nroute|POST /killed|f|1|ended from outside, or in a parallel worker", 'a suspect');
	is(ask('/killed?good=1')->{status}, 200, 'another request of the route');
	is(entries(), 'request|POST /killed|f|1|ended from outside, or in a parallel worker', 'clears the route');
	ok(crashes('/killed?signal=KILL'), 'the same again');
	is(ask('/killed?signal=KILL')->{status}, 500, 'is refused');
	$node->sql('SELECT penny.quarantine_clear()');

	# what completes in between is not to blame
	for my $round (1 .. 3)
	{
		my ($gate) = my @killed = slow(1);
		my $restarts = $node->crash_restarts;
		kill 'KILL', $node->sql("SELECT pid FROM pg_stat_activity WHERE query = 'GET /slow' AND state = 'active'");
		ok($node->wait_until(sub { $node->crash_restarts == $restarts + 1 }, 10) && $node->wait_ready(20), "round $round: killed");
		eval { $gate->quit };
		is($node->request('GET', '/slow', token => $token)->{status}, 200, 'and completed afterwards');
		ok($node->wait_until(sub { entries() eq '' }, 20), 'forgotten');
	}
};

subtest 'abort()' => sub {
	ok(crashes('/abort?signal=ABRT'), 'an abort');
	like(entries("kind = 'request'"), qr/crash: Aborted/, 'is a crash');
	$node->sql('SELECT penny.quarantine_clear()');
};

subtest 'a parallel worker' => sub {
	$node->sql(q{
		CREATE TABLE app.wide AS SELECT g AS i FROM generate_series(1, 20000) g;
		ALTER TABLE app.wide SET (parallel_workers = 2);
		CREATE FUNCTION app.wait(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE COST 100000 AS $$BEGIN PERFORM pg_sleep(0.01); RETURN i; END$$;
		CREATE FUNCTION app.parallel(r penny.request) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
			SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0 AS $$BEGIN RETURN (SELECT to_jsonb(sum(app.wait(i))) FROM app.wide); END$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/parallel', 'app.parallel', 'user')});
	my $round = sub {
		my $c = $node->http(token => $token);
		$c->send_bytes($c->format_request('GET', '/parallel'));
		my $workers = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'parallel worker' LIMIT 1};
		ok($node->wait_until(sub { $node->sql($workers) ne '' }, 10), 'workers run');
		my $restarts = $node->crash_restarts;
		kill 'SEGV', $node->sql($workers);
		ok($node->wait_until(sub { $node->crash_restarts == $restarts + 1 }, 10) && $node->wait_ready(20), 'one crashes');
	};
	ok($node->wait_until(sub { my $a = $node->http(token => $token)->request('OPTIONS', '/parallel'); ($a->{header}{allow} // '') =~ /GET/ || $a->{status} != 404 }, 10), 'a route');
	$round->();
	like(entries("kind = 'request'"), qr/^request\|GET \/parallel\|f\|1\|/, 'its request is a suspect');
	$round->();
	is($node->request('GET', '/parallel', token => $token)->{status}, 500, 'twice: refused');
	$node->sql('SELECT penny.quarantine_clear()');
};

subtest 'a file that cannot be read' => sub {
	$node->stop;
	append_to_file($file, "penny quarantine 1\n9 9 nonsense\n1 1 2 11 00000000000000aa 00000000000000aa 1 1 - POST /left\n\x01\n");
	$node->start;
	$node->wait_ready;
	is($node->sql('SELECT id, route FROM penny.quarantine()'), '00000000000000aa|POST /left', 'what can be read counts');
	$node->stop;
	open my $out, '>', $file or die;
	print $out "\0" x 100;
	close $out;
	$node->start;
	$node->wait_ready;
	is(entries(), '', 'a damaged file is no quarantine');
};

subtest 'restart_after_crash off' => sub {
	$node->append_conf('postgresql.conf', "restart_after_crash = off\n");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW restart_after_crash') eq 'off' }, 20), 'off');
	for my $round (1, 2)
	{
		my $pid = $node->postmaster_pid;
		ask('/poison');
		ok($node->wait_until(sub { !kill 0, $pid }, 10), "round $round: the server is gone");
		$node->{_pid} = undef;
		$node->start;
		$node->wait_ready;
	}
	is(ask('/poison')->{status}, 500, 'and refuses when somebody started it again');
};

unlike($node->log_text, qr/PANIC|broken invariant/, 'no crash of our own making');
done_testing;
