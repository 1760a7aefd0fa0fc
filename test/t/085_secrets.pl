# Nothing secret gets out: after requests of all kinds, good and bad, no token
# and no secret is in the log, in a view, in an answer of an error, or in a core
# dump, with logging turned up as far as an administrator may.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use Penny::Cluster;
use Penny::Keys;
use Penny::Token qw(hs256 sign_parts);
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $node = Penny::Cluster->prepared('secrets', conf => <<'CONF');
log_min_messages = debug2
log_min_error_statement = debug1
log_error_verbosity = verbose
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_connections = on
debug_print_parse = on
track_activities = on
track_activity_query_size = 16kB
penny.statement_timeout = '2s'
CONF
my $dir = $node->basedir;
my $file = "$dir/keys.json";
my $second = 'canary-of-the-second-secret-' . join '', map { ('a' .. 'z')[ rand 26 ] } 1 .. 20;
my $rsa = Penny::Keys->make($dir, kind => 'RSA', kid => 'rsa-1');
Penny::Keys::write_set($file, $rsa, { kty => 'oct', kid => 'oct-1', k => encode_base64url($second) });
$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$file'\n");
$node->start;
$node->create_penny;
$node->wait_ready;

my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada);
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.see(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(r)$$;
	CREATE FUNCTION app.fail(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'failed'; END$$;
	CREATE FUNCTION app.broken(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM 1 / 0; RETURN NULL; END$$;
	CREATE FUNCTION app.slow(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb FROM (SELECT pg_sleep(30)) s$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/see', 'app.see', 'public'), ('GET', '/fail', 'app.fail', 'public'),
		('GET', '/broken', 'app.broken', 'public'), ('GET', '/slow', 'app.slow', 'user');
});

# Session tokens are shown once, to who makes them: that statement is not logged.
my $session = $node->sql("SET log_statement = 'none'; SET log_min_duration_statement = -1; SELECT penny.create_session('$ada', 'penny_user', '1 hour')");

my %good = (
	'the second secret' => sign_parts($second, { alg => 'HS256', kid => 'oct-1' }, { sub => $ada, exp => time() + 3600 }),
	'RS256' => $rsa->token(sub => $ada),
	'session' => $session);
my %bad = (
	'HS256 that fits two keys' => $node->token($ada),
	'wrong signature' => $good{'RS256'} =~ s/..$/AA/r,
	'wrong kid' => sign_parts($second, { alg => 'HS256', kid => 'oct-2' }, { sub => $ada, exp => time() + 3600 }),
	'expired' => hs256($node->{secret}, sub => $ada, exp => time() - 3600),
	'role' => hs256($node->{secret}, sub => $ada, role => 'postgres'),
	'no token' => 'canary-that-is-no-token-at-all-0123456789',
	'unknown session' => 'pns_' . encode_base64url(join '', map { chr int rand 256 } 1 .. 32),
	'malformed session' => 'pns_canary-of-a-malformed-session-token');
my @said;    # what clients were told, but for /see
$node->wait_until(sub { $node->request('GET', '/see')->{status} == 200 }, 20) or BAIL_OUT('no route');

subtest 'requests' => sub {
	for my $name (sort(keys %good), sort keys %bad)
	{
		my $token = $good{$name} // $bad{$name};
		my $ok = exists $good{$name};
		my $see = $node->request('GET', '/see?a=1', token => $token);
		is($see->{status}, $ok ? 200 : 401, "$name: header");
		unlike($see->{body}, qr/\Q$token\E/, "$name: a handler does not see it");
		my $query = $node->request('GET', "/see?b=2&access_token=$token&c=3");
		is($query->{status}, $ok ? 200 : 401, "$name: query");
		unlike($query->{body}, qr/\Q$token\E/, "$name: nor in the query");
		for my $path ('/fail', '/broken', '/nowhere', '/api/v1/conversations', '/api/v1/conversations/x')
		{
			push @said, $node->request('GET', $path, token => $token)->{body}, $node->request('GET', "$path?access_token=$token")->{body};
		}
		push @said, $node->request('POST', '/api/v1/conversations', token => $token, body => '{"title":')->{body};
		my $ws = $node->websocket(token => $token);
		$ws->call({ type => 'join', room => "conversation:$talk" }) if $ok;
		push @said, JSON::PP->new->encode($ws->call({ type => 'message', room => "conversation:$talk", content => 'hello' })) if $ok;
		push @said, $ok ? '' : ($ws->wait_close, $ws->{close_reason})[1];
		$ws = $node->websocket(query_token => $token);
		push @said, $ok ? JSON::PP->new->encode($ws->call({ type => 'join', room => 'conversation:0199aa00-0000-7000-8000-00000000000a' })) : ($ws->wait_close, $ws->{close_reason})[1];
		$ws = $node->websocket;
		$ws->send_ref({ type => 'auth', token => $token });
		push @said, $ok ? JSON::PP->new->encode($ws->recv) : ($ws->wait_close, $ws->{close_reason})[1];
	}
	is($node->request('GET', '/slow', token => $good{$_})->{status}, 504, "$_: a request that is cancelled") for 'the second secret', 'session';
};

subtest 'while a request runs' => sub {
	my @slow = map { my $client = $node->http; $client->send_bytes($client->format_request('GET', "/slow?access_token=$_")); $client } @good{ 'RS256', 'session' };
	my $shown = '';
	ok($node->wait_until(sub { $shown = $node->sql("SELECT * FROM pg_stat_activity WHERE backend_type = 'penny executor'"); return scalar(() = $shown =~ m{GET /slow}g) >= 2 }, 20), 'they are shown');
	unlike($shown, qr/\Q$_\E/, 'without their tokens') for values %good;
	$_->read_response for @slow;
};

# A reload, a refused file, and a look by every role.
Penny::Keys::write_file("$dir/broken.json", slurp_file($file) . 'x');
$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$dir/broken.json'\n");
my ($code, $out, $error) = $node->psql('postgres', 'SELECT penny.reload_keys()');
like($error, qr/was refused/, 'a refused file');
push @said, $error;
$node->append_conf('postgresql.conf', "penny.jwt_key_file = '$file'\n");
$node->sql('SELECT penny.reload_keys()');
push @said, $node->sql('SELECT * FROM penny.doctor()'), $node->sql('SELECT penny.stats()');
$node->sql('CREATE ROLE plain LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
my %seen;
for my $role ('plain', 'watcher')
{
	for my $sql ('SELECT * FROM pg_settings', 'SHOW ALL', 'SELECT * FROM pg_stat_activity', 'SELECT * FROM pg_file_settings', 'SHOW penny.jwt_key_file', 'SHOW penny.jwt_secret_file',
		"SELECT current_setting('penny.jwt_secret_file')", 'SELECT * FROM pg_stat_statements', 'SELECT * FROM pg_shmem_allocations', 'SELECT * FROM penny.doctor()')
	{
		my ($failed, $rows, $why) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
		$seen{"$role: $sql"} = ($rows // '') . ($why // '');
	}
}
# pg_read_all_settings, which pg_monitor has, shows the paths; plain roles see neither.
unlike($seen{$_}, qr/\Q$dir\E/, "$_: no path") for grep { /^plain/ } sort keys %seen;
like($node->sql('SHOW penny.jwt_key_file'), qr/keys\.json/, 'a superuser sees the path');

my %secret = (%good, %bad, 'the secret itself' => $node->{secret}, 'the second secret itself' => $second, 'the second secret in base64' => encode_base64url($second));
$secret{"signature of $_"} = (split /\./, $good{$_})[2] for 'the second secret', 'RS256';
delete $secret{'role'};
my $log = $node->log_text;
cmp_ok(length $log, '>', 100_000, 'the log is long');
like($log, qr/failed/, 'and speaks of errors');
for my $name (sort keys %secret)
{
	is(index($log, $secret{$name}), -1, "$name: not in the log");
	is(scalar grep({ index($_, $secret{$name}) >= 0 } @said), 0, "$name: not in an answer");
	is(join(' ', grep { index($seen{$_}, $secret{$name}) >= 0 } sort keys %seen), '', "$name: not in a view");
}
unlike($log, qr/access_token=(?!\*|\.\.\.)[\w.-]{20}/, 'no token of a query is in the log');

SKIP: {
	# Of an executor: the pages of the keys are shared and not dumped ("dd").
	my ($pid) = $node->backend_pids('penny executor');
	open my $maps, '<', "/proc/$pid/smaps" or skip 'no smaps', 1;
	my $not_dumped = 0;
	while (<$maps>)
	{
		$not_dumped++ if /^VmFlags:.*\bsh\b.*\bdd\b/;
	}
	cmp_ok($not_dumped, '>=', 1, 'the pages of the keys are left out of core dumps');
}

is($node->crash_restarts, 0, 'no crash');
done_testing;
