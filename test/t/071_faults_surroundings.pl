# penny as a good citizen of its server: its writes are counted, it holds nobody
# up, it serves when no connection is left, and sockets learn of its end.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

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

subtest 'a barrier' => sub {
	my $space = $node->basedir . '/space';
	mkdir $space;
	$node->safe_psql('postgres', "CREATE TABLESPACE s LOCATION '$space'");
	cmp_ok(timed(sub { $node->safe_psql('postgres', 'DROP TABLESPACE s') }), '<', 15, 'DROP TABLESPACE is not held up');
	is($get->(), 200, 'penny serves');
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
	$node->sql('CREATE EXTENSION penny');
	$node->sql('SELECT penny.create_store()');
	ok($node->wait_until(sub { $get->() == 200 }, 15), 'created again: serves');
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
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
