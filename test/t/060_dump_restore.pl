# The data are the user's: pg_dump and pg_restore lose nothing, into a database
# beside it and into another cluster that has no role of penny yet; DROP
# EXTENSION keeps every row; create_store() brings the rest back.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('first');
my $ada = $node->add_user('Ada');
my $bob = $node->add_user('Bob');
my $talk = $node->add_conversation($ada, messages => 5);
$node->act($ada, 'penny_user', "SELECT penny.add_participant('$talk', '$bob')");
my $gone = $node->sql("SELECT id FROM chat.messages WHERE conversation_id = '$talk' AND seq = 2");
$node->act($ada, 'penny_user', "SELECT penny.delete_message('$talk', '$gone')");
$node->sql(qq{SELECT penny.import_chat(\$\${"id":"x1","title":"imported","messages":[
	{"role":"user","content":"what time is it"},
	{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"clock","arguments":"{\\"zone\\":\\"UTC\\"}"}}]},
	{"role":"tool","tool_call_id":"c1","content":"[\\"noon\\"]"},
	{"role":"assistant","content":"Noon."}]}\$\$, '$ada')});
$node->sql("SELECT penny.create_session('$ada', 'penny_user', '1 day')");

# What the owner may do with own tables.
$node->sql(q{
	ALTER TABLE chat.messages ADD COLUMN mood text DEFAULT 'calm';
	UPDATE chat.messages SET mood = 'merry' WHERE seq = 3;
	CREATE INDEX messages_mood ON chat.messages (mood);
	CREATE POLICY no_spies ON chat.messages AS RESTRICTIVE FOR SELECT TO penny_user USING (mood <> 'secret');
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.hello(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"hello":true}'::jsonb$$;
	INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/hello', 'app.hello', 'public');
	CREATE FUNCTION app.room(room text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
	INSERT INTO penny.room_policies VALUES ('team', 'app.room');
});

my @tables = split /\n/, $node->sql("SELECT relname FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r' ORDER BY 1");
sub rows_of
{
	my ($on, $database) = @_;
	return { map {
		$_ => $on->safe_psql($database, "SET timezone = 'UTC'; SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM chat.$_ t")
	} @tables };
}
sub shape_of
{
	my ($on, $database) = @_;
	return $on->safe_psql($database, q{
		SELECT 'column', attrelid::regclass::text, attname, atttypid::regtype::text, attnotnull::text
			FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
		UNION ALL SELECT 'index', '', '', indexdef, '' FROM pg_indexes WHERE schemaname = 'chat'
		UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '' FROM pg_constraint WHERE connamespace = 'chat'::regnamespace
		UNION ALL SELECT 'policy', tablename, policyname, concat_ws(' ', permissive, roles::text, cmd, qual, with_check), '' FROM pg_policies WHERE schemaname = 'chat'
		UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'chat.%'
		UNION ALL SELECT 'grant', relname, x.grantee::regrole::text, x.privilege_type, '' FROM pg_class, aclexplode(relacl) x WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r'
		UNION ALL SELECT 'rls', relname, relrowsecurity::text, relforcerowsecurity::text, '' FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r'
		ORDER BY 1, 2, 3, 4, 5});
}
my $rows = rows_of($node, 'postgres');
my $shape = shape_of($node, 'postgres');
my $fetched = $node->act($ada, 'penny_user', "SELECT penny.conversation('$talk') - 'position'");
my $dump = $node->basedir . '/chat.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');

sub compare
{
	my ($on, $database, $name) = @_;
	subtest $name => sub {
		is_deeply(rows_of($on, $database), $rows, 'every row of every table');
		is(shape_of($on, $database), $shape, 'columns, indexes, constraints, policies, triggers, grants');
		local $on->{database} = $database;
		is($on->act($ada, 'penny_user', "SELECT penny.conversation('$talk') - 'position'"), $fetched, 'the eager fetch');
		is($on->sql("SELECT handler FROM penny.routes WHERE pattern = '/hello'"), 'app.hello', 'the route of the user');
		is($on->sql('SELECT * FROM penny.room_policies'), 'team|app.room', 'the policy of free rooms');
		my $version = $on->sql("SELECT version FROM chat.conversations WHERE id = '$talk'");
		$on->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'after the restore')");
		is($on->sql("SELECT version FROM chat.conversations WHERE id = '$talk'"), $version + 1, 'triggers go on where they were');
		like($on->sql('SELECT penny.create_store()'), qr/./, 'create_store() again');
		is(shape_of($on, $database), $shape, 'changes nothing');
	};
}

$node->safe_psql('postgres', 'CREATE DATABASE beside');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('beside'), $dump ], 'pg_restore beside it');
compare($node, 'beside', 'a database beside it');

my $second = Penny::Cluster->serving('second', extension => 0);
is($second->safe_psql('postgres', "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'penny%'"), 0, 'the second cluster has no roles');
$second->command_ok([ 'pg_restore', '--exit-on-error', '-d', $second->connstr('postgres'), $dump ], 'pg_restore into it');
compare($second, 'postgres', 'a cluster without roles');
$second->wait_ready;
is($second->request('GET', "/api/v1/conversations/$talk", token => $second->token($ada))->{status}, 200, 'and it serves');
is($second->request('GET', '/hello')->{status}, 200, 'the route of the user, too');

subtest 'DROP EXTENSION CASCADE' => sub {
	$node->sql('DROP EXTENSION penny CASCADE');
	is_deeply(rows_of($node, 'postgres'), $rows, 'keeps every row');
	for my $role (qw(penny_user penny_agent penny_admin))
	{
		my @seen = grep { ($node->psql('postgres', "SET ROLE $role; SELECT 1 FROM chat.$_ LIMIT 1"))[1] ne '' }
		  qw(users conversations participants messages tool_executions artifacts artifact_versions tombstones files sessions);
		is("@seen", '', "$role sees no row of anybody");
	}
	$node->sql('CREATE EXTENSION penny');
	$node->sql('SELECT penny.create_store()');
	is_deeply(rows_of($node, 'postgres'), $rows, 'create_store() keeps every row');
	is(shape_of($node, 'postgres'), $shape, 'and brings policies and triggers back');
	$node->wait_ready;
	is($node->request('GET', "/api/v1/conversations/$talk", token => $node->token($ada))->{status}, 200, 'and it serves again');
};

is($_->crash_restarts, 0, 'no crash') for $node, $second;
done_testing;
