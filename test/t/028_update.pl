# ALTER EXTENSION penny UPDATE: what an old version becomes is what a new one is
# made, object by object; and objects and library of two versions do not serve.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('update', extension => 0, database => 'app');
my $share = $node->config_data('--sharedir');
my $version = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'penny'});
plan skip_all => 'the old versions are not installed: make install-upgrade-test' unless -e "$share/extension/penny--0.9.sql";

# Everything that belongs to the extension, a line each.
my $members = q{
	WITH member AS (SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'penny')),
	proc AS (SELECT p.* FROM pg_proc p JOIN member ON classid = 'pg_proc'::regclass AND objid = p.oid),
	rel AS (SELECT c.* FROM pg_class c JOIN member ON classid = 'pg_class'::regclass AND objid = c.oid),
	nsp AS (SELECT n.* FROM pg_namespace n WHERE n.nspname IN ('penny', '_penny')),
	typ AS (SELECT t.* FROM pg_type t JOIN member ON classid = 'pg_type'::regclass AND objid = t.oid)
	SELECT line FROM (
		SELECT format('member %s', pg_describe_object(classid, objid, 0)) AS line FROM member
		UNION ALL SELECT format('function %s owner %s: %s', oid::regprocedure, proowner::regrole, pg_get_functiondef(oid)) FROM proc
		UNION ALL SELECT format('comment on %s: %s', oid::regprocedure, obj_description(oid, 'pg_proc')) FROM proc
		UNION ALL SELECT format('grant on %s: %s', oid::regprocedure, a) FROM proc, LATERAL (SELECT concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type, is_grantable) a FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))) x
		UNION ALL SELECT format('relation %s %s owner %s options %s rls %s persistence %s', relkind, oid::regclass, relowner::regrole, reloptions, relrowsecurity, relpersistence) FROM rel
		UNION ALL SELECT format('comment on %s: %s', oid::regclass, obj_description(oid, 'pg_class')) FROM rel
		UNION ALL SELECT format('grant on %s: %s', oid::regclass, a) FROM rel, LATERAL (SELECT concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type, is_grantable) a FROM aclexplode(coalesce(relacl, acldefault('r', relowner)))) x
		UNION ALL SELECT format('column %s %s.%s %s %s default %s comment %s acl %s', row_number() OVER (PARTITION BY attrelid ORDER BY attnum), rel.oid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum), attacl)
			FROM rel JOIN pg_attribute a ON attrelid = rel.oid AND attnum > 0 AND NOT attisdropped LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
		UNION ALL SELECT format('attribute %s %s.%s %s', attnum, typ.oid::regtype, attname, format_type(atttypid, atttypmod)) FROM typ JOIN pg_attribute a ON attrelid = typrelid AND attnum > 0 AND NOT attisdropped WHERE typtype = 'c'
		UNION ALL SELECT format('comment on type %s: %s', oid::regtype, obj_description(oid, 'pg_type')) FROM typ
		UNION ALL SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(c.oid)) FROM pg_constraint c JOIN rel ON conrelid = rel.oid
		UNION ALL SELECT format('index %s', pg_get_indexdef(indexrelid)) FROM pg_index JOIN rel ON indrelid = rel.oid
		UNION ALL SELECT format('trigger %s %s', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t JOIN rel ON tgrelid = rel.oid AND NOT tgisinternal
		UNION ALL SELECT format('view %s: %s', oid::regclass, pg_get_viewdef(oid)) FROM rel WHERE relkind IN ('v', 'm')
		UNION ALL SELECT format('policy %s on %s: %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) FROM pg_policy JOIN rel ON polrelid = rel.oid
		UNION ALL SELECT format('schema %s owner %s comment %s', nspname, nspowner::regrole, obj_description(oid, 'pg_namespace')) FROM nsp
		UNION ALL SELECT format('grant on schema %s: %s', nspname, a) FROM nsp, LATERAL (SELECT concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type, is_grantable) a FROM aclexplode(coalesce(nspacl, acldefault('n', nspowner)))) x
		UNION ALL SELECT format('dumped %s %s', c::regclass, w) FROM pg_extension, LATERAL unnest(extconfig, extcondition) x(c, w) WHERE extname = 'penny'
		UNION ALL SELECT format('version %s schema %s relocatable %s', extversion, extnamespace::regnamespace, extrelocatable) FROM pg_extension WHERE extname = 'penny'
	) l ORDER BY line COLLATE "C"};

sub compare
{
	my ($database, $fresh, $name) = @_;
	my @old = split /\n/, $node->safe_psql($database, $members);
	my @new = split /\n/, $fresh;
	my (%old, %new);
	$old{$_}++ for @old;
	$new{$_}++ for @new;
	my @more = grep { !$new{$_} } @old;
	my @less = grep { !$old{$_} } @new;
	is(join("\n", @more), '', "$name: nothing more");
	is(join("\n", @less), '', "$name: nothing less");
	is(scalar @old, scalar @new, "$name: as many lines");
}
sub readyz { my $h = Penny::Http->connect_to(port => $node->{http_port}) or return {}; return $h->request('GET', '/readyz', timeout => 5) || {} }

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION penny');
my $fresh = $node->safe_psql('fresh', $members);
my $rows = 'SELECT string_agg(r::text, chr(10) ORDER BY r::text) FROM penny.routes r UNION ALL SELECT string_agg(s::text, chr(10) ORDER BY number) FROM _penny.store_step s';
my $fresh_rows = $node->safe_psql('fresh', $rows);

subtest 'an old version' => sub {
	$node->sql(q{CREATE EXTENSION penny VERSION '0.9'});
	$node->sql(q{CREATE SCHEMA mine; CREATE FUNCTION mine.hello(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(1)';
		GRANT USAGE ON SCHEMA mine TO penny_user;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/hello', 'mine.hello', 'public')});
	ok($node->wait_until(sub { (readyz()->{body} // '') =~ /another version/ }, 10), 'does not serve, and says why: 503');
	is(readyz()->{status}, 503, 'status');
	like($node->log_text, qr/penny waits for database "app": the extension penny in the database is of another version/, 'so does the log');
	my $size = length $node->log_text;
	usleep(1_500_000);
	is(length $node->log_text, $size, 'once');
	isnt($node->sql($members), $fresh, 'its objects are not those of a new one');
};

subtest 'updated under load' => sub {
	my @load = map {
		my $pid = fork // die;
		if (!$pid)
		{
			my $stop = 0;
			local $SIG{TERM} = sub { $stop = 1 };
			while (!$stop)
			{
				my $http = Penny::Http->connect_to(port => $node->{http_port});
				my $answer = $http && $http->request('GET', '/hello', timeout => 10);
				append_to_file($node->basedir . '/load', ($answer ? $answer->{status} : 'none') . "\n");
			}
			require POSIX;
			POSIX::_exit(0);
		}
		$pid
	} 1 .. 3;
	my ($edge) = $node->edge_pids;
	$node->wait_until(sub { -e $node->basedir . '/load' }, 10);
	my $script = $node->background_sql("BEGIN; ALTER EXTENSION penny UPDATE; SELECT pg_sleep(1); COMMIT;");
	like($script->finish, qr/^\s*$/, 'the update');
	my $start = time;
	ok($node->wait_until(sub { my $h = $node->http; $h->request('GET', '/hello')->{status} == 200 }, 10), 'serves');
	cmp_ok(time - $start, '<', 10, 'at once');
	kill 'TERM', @load;
	waitpid $_, 0 for @load;
	my %status;
	$status{$_}++ for split /\n/, slurp_file($node->basedir . '/load');
	is_deeply([ grep { !/^(200|503)$/ } keys %status ], [], 'everybody was answered: 503 before, 200 after') or diag(join ' ', %status);
	is(($node->edge_pids)[0], $edge, 'by the same edge');
	compare('app', $fresh, 'updated');
	is($node->sql("DELETE FROM penny.routes WHERE handler = 'mine.hello' RETURNING handler"), 'mine.hello', 'the route of the user was kept');
	is($node->sql($rows), $fresh_rows, 'routes and steps of the store are the new ones');
	$node->sql('SELECT penny.create_store()');
	ok($node->wait_ready(10), 'with a store: ready');
	is($node->sql(q{SELECT string_agg("check", ' ') FROM penny.doctor() WHERE ok IS NOT TRUE}), '', 'doctor() has nothing to say');
};

subtest 'an update that is rolled back' => sub {
	$node->sql(q{BEGIN; ALTER EXTENSION penny UPDATE TO '} . $version . q{'; ROLLBACK});
	is(readyz()->{status}, 200, 'changes nothing');
};

subtest 'objects newer than the library' => sub {
	my $ada = $node->add_user('Ada');
	my $talk = $node->add_conversation($ada, messages => 1);
	my ($code, $out, $error) = $node->psql('app', q{ALTER EXTENSION penny UPDATE TO '9.9'});
	like($error, qr/the SQL objects are of version 9\.9, the library penny is of version \Q$version\E/, 'the update is refused');
	like($error, qr/HINT:  Install the library of that version and restart the server first/, 'with what to do');
	compare('app', $fresh, 'nothing changed');
	is($node->request('GET', "/api/v1/conversations/$talk", token => $node->token($ada))->{status}, 200, 'and it serves');
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	($code, $out, $error) = $node->psql('other', q{CREATE EXTENSION penny VERSION '9.9'});
	like($error, qr/the SQL objects are of version 9\.9/, 'so is an installation');
	is($node->safe_psql('other', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%penny'}), 0, 'which leaves nothing');
};

subtest 'dropped and made again' => sub {
	$node->sql('DROP EXTENSION penny CASCADE; CREATE EXTENSION penny');
	compare('app', $fresh, 'the same');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
