# pg_upgrade: penny's workers stay away while it works, and everything is there
# afterwards. Into the newest PostgreSQL that is installed beside, with penny; or
# else into another cluster of the same version.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('old');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
$node->sql(q{CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO penny_user; CREATE FUNCTION app.hello(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"hello":true}'::jsonb$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/hello', 'app.hello', 'public')});
my $rows = $node->sql('SELECT md5(string_agg(m::text, chr(10) ORDER BY seq)) FROM chat.messages m');
my $epoch = $node->sql('SELECT penny.epoch()');
my $own = $node->config_data('--bindir');
my ($version) = $own =~ m{/(\d+)/bin$};
my @newer = grep { m{/(\d+)/bin/} && $1 > ($version // 99) && -e "/usr/lib/postgresql/$1/lib/penny.so" } glob '/usr/lib/postgresql/*/bin/pg_upgrade';
note @newer ? "into $newer[-1]" : 'no newer PostgreSQL with penny is installed: into the same version';
my ($bin) = @newer ? $newer[-1] =~ m{^(.*)/pg_upgrade$} : ($own);
my $new = Penny::Cluster->prepared('new', @newer ? (install_path => $bin =~ s{/bin$}{}r) : ());
$node->stop;
my $work = $new->basedir . '/upgrade';
mkdir $work;
chdir $work;
$new->command_ok(
	[ "$bin/pg_upgrade", '--no-sync', '--retain', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $own, '-B', $bin, '-s', $new->host, '-p', $node->port, '-P', $new->port,
		'-o', "-c penny.port=$node->{http_port}", '-O', "-c penny.port=$new->{http_port}" ], 'pg_upgrade');
chdir '/';
my @logs = glob $new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log';
my $said = join '', map { PostgreSQL::Test::Utils::slurp_file($_) } @logs;
like($said, qr/database system is ready/, 'its servers left a log');
unlike($said, qr/penny listens|penny serves|penny waits/, 'no worker of penny ran meanwhile');

subtest 'afterwards' => sub {
	$new->start;
	ok($new->wait_ready(20), 'serves');
	is($new->sql('SELECT md5(string_agg(m::text, chr(10) ORDER BY seq)) FROM chat.messages m'), $rows, 'every message');
	is($new->request('GET', "/api/v1/conversations/$talk", token => $new->token($ada))->{status}, 200, 'by HTTP');
	is($new->request('GET', '/hello')->{status}, 200, 'the route of the user');
	is($new->request('POST', "/api/v1/conversations/$talk/messages", token => $new->token($ada), json => { role => 'user', content => 'x' })->{json}{seq}, 4, 'numbers go on');
	isnt($new->sql('SELECT penny.epoch()'), $epoch, 'another epoch');
	is($new->sql(q{SELECT string_agg("check", ' ') FROM penny.doctor() WHERE ok IS NOT TRUE}), '', 'doctor() has nothing to say');
	is($new->crash_restarts, 0, 'no crash');
};

done_testing;
