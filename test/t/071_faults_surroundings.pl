# What penny stands on is missing, taken, full or dropped: the database starts
# and serves SQL whatever happens, and penny says once what it lacks.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

sub timed { my ($run) = @_; my $began = time; $run->(); return time - $began; }

my $node = Penny::Cluster->serving('surroundings', database => 'app');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 1);
my $token = $node->token($ada);
my $get = sub { my $a = eval { $node->request('GET', "/api/v1/conversations/$talk", token => $token) }; $a ? $a->{status} : 0 };

subtest 'writes are counted' => sub {
	my $count = sub { $node->sql("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'chat.messages'::regclass") };
	my $before = $count->();
	$node->request('POST', "/api/v1/conversations/$talk/messages", token => $token, json => { role => 'user', content => "x$_" }) for 1 .. 10;
	ok($node->wait_until(sub { $count->() >= $before + 10 }, 15), 'inserts of the executors are in pg_stat_user_tables');
};

subtest 'barriers' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	cmp_ok(timed(sub { $node->safe_psql('postgres', 'DROP DATABASE other') }), '<', 3, 'DROP DATABASE of another is not held up');
	my $space = $node->basedir . '/space';
	mkdir $space;
	$node->safe_psql('postgres', "CREATE TABLESPACE s LOCATION '$space'");
	cmp_ok(timed(sub { $node->safe_psql('postgres', 'DROP TABLESPACE s') }), '<', 3, 'nor DROP TABLESPACE');
	is($get->(), 200, 'penny serves');
};

subtest 'its own database' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
	pass('CREATE DATABASE … TEMPLATE');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'serves afterwards');
	$node->safe_psql('postgres', 'ALTER DATABASE app RENAME TO elsewhere');
	pass('RENAME');
	ok($node->wait_until(sub { $get->() == 503 }, 15), 'without its database: 503');
	$node->safe_psql('postgres', 'ALTER DATABASE elsewhere RENAME TO app');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'renamed back: serves');
	$node->safe_psql('postgres', 'DROP DATABASE app');
	pass('DROP DATABASE');
	$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO app');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'the copy in its place: serves');
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
	$node->safe_psql('postgres', 'DROP DATABASE app WITH (FORCE)');
	pass('DROP DATABASE WITH (FORCE)');
	$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO app');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'serves again');
};

subtest 'DROP EXTENSION' => sub {
	my $ws = $node->websocket(token => $token);
	is($ws->join_room("conversation:$talk")->{type}, 'joined', 'a live socket');
	$node->sql('BEGIN; DROP EXTENSION penny CASCADE; ROLLBACK');
	is($ws->call({ type => 'ping' })->{type}, 'pong', 'a DROP that is rolled back changes nothing');
	is($get->(), 200, 'still serves');
	$node->sql('DROP EXTENSION penny CASCADE');
	is($ws->wait_close(15), 1012, 'sockets are closed: 1012');
	ok($node->wait_until(sub { $get->() == 503 }, 10), 'and requests refused: 503');
	my $readyz = $node->request('GET', '/readyz');
	is($readyz->{status}, 503, '/readyz: 503');
	like($readyz->{body}, qr/extension/i, 'and says why');
	$node->sql('CREATE SCHEMA IF NOT EXISTS penny; CREATE TABLE penny.routes (x int)');
	my $size = -s $node->logfile;
	usleep(1_500_000);
	cmp_ok((-s $node->logfile) - $size, '<', 4096, 'no loop with a schema of that name');
	$node->sql('DROP SCHEMA penny CASCADE');
	$node->sql('CREATE EXTENSION penny');
	$node->sql('SELECT penny.create_store()');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'created again: serves');
};

subtest 'the port is taken' => sub {
	my $second = Penny::Cluster->serving('second', http_port => $node->{http_port}, extension => 0);
	is($second->safe_psql('postgres', 'SELECT 1'), 1, 'the database starts');
	my $port = $node->{http_port};
	ok($second->wait_until(sub { $second->log_text =~ /could not (?:bind|listen)\N*\b$port\b/i }, 10), 'the log says it');
	usleep(1_500_000);
	my $lines = () = $second->log_text =~ /could not (?:bind|listen)/gi;
	is($lines, 1, 'once');
	$second->safe_psql('postgres', 'CREATE EXTENSION penny');
	like($second->safe_psql('postgres', "SELECT string_agg(d::text, ' ') FROM penny.doctor() d WHERE status <> 'ok'"), qr/port/i, 'doctor() says it');
	$second->safe_psql('postgres', 'SELECT penny.create_store()');
	is($get->(), 200, 'the first serves');
	$node->stop;
	ok($second->wait_until(sub { $second->is_ready }, 60), 'and when it stops, the second takes the port');
	$second->stop;
	$node->start;
	$node->wait_ready;
};

subtest 'nothing left to connect with' => sub {
	my $full = Penny::Cluster->serving('full', conf => "max_connections = 10\nsuperuser_reserved_connections = 3\nmax_worker_processes = 8\nmax_parallel_workers = 2\n");
	my $user = $full->add_user('Ada');
	my $id = $full->add_conversation($user);
	my @held = map { my $h = $full->background_psql('postgres'); $h->query_safe('SELECT 1'); $h } 1 .. 10;
	my ($status, $out, $err) = $full->psql('postgres', 'SELECT 1');
	isnt($status, 0, 'no connection is left');
	is($full->request('GET', "/api/v1/conversations/$id", token => $full->token($user))->{status}, 200, 'penny serves');
	$_->quit for @held;
	$full->stop;

	my $short = Penny::Cluster->serving('short', conf => "max_worker_processes = 2\n", store => 0);
	is($short->safe_psql('postgres', 'SELECT 1'), 1, 'with 2 worker slots the database starts');
	my $advice = $short->safe_psql('postgres', "SELECT string_agg(d::text, ' ') FROM penny.doctor() d WHERE status <> 'ok'");
	like($advice, qr/max_worker_processes/, 'doctor() names the setting');
	usleep(1_500_000);
	my $lines = () = $short->log_text =~ /worker slots|background workers|max_worker_processes/g;
	cmp_ok($lines, '<=', 6, 'the log says it and does not repeat it') or diag(join "\n", $short->log_tail(20));
};

subtest 'not preloaded' => sub {
	my $plain = Penny::Cluster->new('plain');
	$plain->init;
	$plain->start;
	my ($status, $out, $err) = $plain->psql('postgres', 'CREATE EXTENSION penny; SELECT * FROM penny.doctor();');
	like("$out$err", qr/shared_preload_libraries\W+penny/, 'the missing line is named');
	$plain->stop;
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
