# Corners of the cache: what a reader goes by without saying so (settings of
# libraries, temporary objects, errors that were caught), changes that come to a
# table by another one, and what must not be cached for want of a trigger.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('cachecorners');
$node->sql(<<'SQL');
CREATE ROLE reader LOGIN;
GRANT penny_user TO reader;
CREATE FUNCTION nothing() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT NULL::jsonb';
SQL

# Several statements of one session; the last line of what they gave.
sub said
{
	my ($sql, %with) = @_;
	my ($code, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0,
		$with{user} ? (connstr => $node->connstr('postgres') . " user=$with{user}") : ());
	return (split /\n/, $out)[-1] // "nothing: $err";
}

subtest 'settings of a library' => sub {
	$node->sql(<<'SQL');
CREATE EXTENSION pg_trgm;
CREATE FUNCTION alike() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN to_jsonb('word' % 'words'); END $$;
SQL
	is(said(q{SELECT 'a' % 'b'; SELECT penny.cached('alike()')}), 'true', 'read with a threshold');
	is(said(q{SELECT 'a' % 'b'; SET pg_trgm.similarity_threshold = 0.9; SELECT penny.cached('alike()')}),
		'false', 'and with another one');
};

subtest 'temporary objects' => sub {
	$node->sql(<<'SQL');
CREATE TABLE thing (id int);
GRANT SELECT ON thing TO reader;
CREATE FUNCTION things() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT to_jsonb(count(*)) FROM thing); END $$;
SQL
	my $mine = 'CREATE TEMP VIEW thing AS SELECT generate_series(1, 77);' . ' SELECT things();' x 8 . q{ SELECT penny.cached('things()');};
	is(said($mine, user => 'reader'), '77', 'a session sees its own view');
	is(said(q{SELECT penny.cached('things()')}, user => 'reader'), '0', 'another one of the same login the table');
	is(said($mine, user => 'reader'), '77', 'and the view is seen beside what is kept of the table');
};

subtest 'a function in a schema that the caller may not use' => sub {
	$node->sql('CREATE SCHEMA hidden');
	$node->sql(q{CREATE FUNCTION hidden.f() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT '"found"'::jsonb $$});
	my $oid = $node->sql(q{SELECT 'hidden.f()'::regprocedure::oid});
	like(said("SELECT penny.cached($oid)", user => 'reader'), qr/permission denied for schema hidden/, 'is not found by its number');
	$node->sql('GRANT USAGE ON SCHEMA hidden TO reader');
	is(said("SELECT penny.cached($oid)", user => 'reader'), '"found"', 'until the caller may');
};

subtest 'partitions' => sub {
	$node->sql(<<'SQL');
CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1) PARTITION BY LIST (id);
CREATE TABLE part11 PARTITION OF part1 FOR VALUES IN (1);
CREATE TABLE part12 PARTITION OF part1 FOR VALUES IN (2);
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON part FOR EACH ROW EXECUTE FUNCTION penny.invalidate();
ALTER TABLE part ENABLE ALWAYS TRIGGER invalidate;
CREATE FUNCTION parts() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN PERFORM penny.cache_tag('public.part'); RETURN (SELECT to_jsonb(count(*)) FROM part); END $$;
SQL
	my $get = q{SELECT penny.cached('parts()') = parts()};
	my $refused = q{SELECT penny.cache_stats() -> 'refused' ->> 'policy'};
	$node->sql($get);
	for my $change ('INSERT INTO part VALUES (1, 1)', 'INSERT INTO part1 VALUES (2, 1)', 'INSERT INTO part11 VALUES (1, 1)',
		'DELETE FROM part12')
	{
		$node->sql($change);
		is($node->sql($get), 't', $change);
	}
	$node->sql('ALTER TABLE part11 DISABLE TRIGGER invalidate');
	my $before = $node->sql($refused);
	$node->sql($get);
	cmp_ok($node->sql($refused), '>', $before, 'nothing of the whole is kept while a part does not tell');
	$node->sql('INSERT INTO part11 VALUES (1, 1)');
	is($node->sql($get), 't', 'and nothing stale is read');
};

subtest 'a blank-padded value' => sub {
	$node->sql(<<'SQL');
CREATE TABLE coded (code char(6), n int);
INSERT INTO coded VALUES ('ab', 1);
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON coded FOR EACH ROW EXECUTE FUNCTION penny.invalidate('code', 'code');
ALTER TABLE coded ENABLE ALWAYS TRIGGER invalidate;
CREATE FUNCTION coded() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN PERFORM penny.cache_tag('code:' || code) FROM coded; RETURN (SELECT to_jsonb(n) FROM coded); END $$;
SQL
	is($node->sql(q{SELECT penny.cached('coded()')}), '1', 'read');
	$node->sql('UPDATE coded SET n = 2');
	is($node->sql(q{SELECT penny.cached('coded()')}), '2', 'and read again after a change');
};

subtest 'an error that was caught' => sub {
	$node->sql(<<'SQL');
CREATE TABLE project (id int PRIMARY KEY);
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON project FOR EACH ROW EXECUTE FUNCTION penny.invalidate('project', 'id');
ALTER TABLE project ENABLE ALWAYS TRIGGER invalidate;
CREATE FUNCTION project() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM penny.cache_tag('project:1');
		IF NOT EXISTS (SELECT FROM project WHERE id = 1) THEN RAISE no_data_found; END IF;
		RETURN '"there"';
	END $$;
CREATE FUNCTION page() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN RETURN penny.cached('project()'); EXCEPTION WHEN no_data_found THEN RETURN '"missing"'; END $$;
SQL
	is($node->sql(q{SELECT penny.cached('page()')}), '"missing"', 'is an answer');
	$node->sql('INSERT INTO project VALUES (1)');
	is($node->sql(q{SELECT penny.cached('page()')}), '"there"', 'that depends on what led to it');
};

subtest 'while a definition is being changed' => sub {
	$node->sql(<<'SQL');
CREATE FUNCTION tagged() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN FOR i IN 1 .. 50 LOOP PERFORM penny.cache_tag('tag:' || i); END LOOP; RETURN '1'; END $$;
BEGIN; CREATE TABLE another (id int); PREPARE TRANSACTION 'definition';
SQL
	my $scans = sub { $node->sql(q{SELECT pg_stat_force_next_flush(); SELECT seq_scan FROM pg_stat_sys_tables WHERE relname = 'pg_trigger'}) =~ /(\d+)$/; $1 };
	my $before = $scans->();
	is($node->sql(q{SELECT pg_stat_force_next_flush(); SELECT penny.cached('tagged()')}) =~ /1$/, 1, 'is read');
	cmp_ok($scans->() - $before, '<', 10, 'without looking at the triggers for each tag');
	$node->sql(q{ROLLBACK PREPARED 'definition'});
};

subtest 'sessions without their trigger' => sub {
	my $user = $node->add_user('Ada');
	my $root = $node->add_user('Root');
	my $status = sub { $node->request('GET', '/api/v1/models', token => $_[0])->{status} };
	my $begin = sub { $node->act($root, 'penny_admin', "SELECT penny.create_session('$user', 'penny_user', '1 hour')") };
	for my $without ('nothing', 'DROP TRIGGER penny_invalidate ON chat.sessions',
		q{CREATE TRIGGER penny_invalidate AFTER UPDATE ON chat.sessions FOR EACH ROW EXECUTE FUNCTION penny.invalidate('session', 'token_hash');
		  ALTER TABLE chat.sessions ENABLE ALWAYS TRIGGER penny_invalidate})
	{
		$node->sql($without) if $without ne 'nothing';
		my $token = $begin->();
		is(join(' ', map { $status->($token) } 1 .. 3), '200 200 200', "a session lives: $without");
		$node->sql('DELETE FROM chat.sessions');
		is($status->($token), 401, 'and has ended for the next request');
	}
};
subtest 'settings that a library takes over' => sub {
	my @made_up = map { "SET plpgsql.$_" } "variable_conflict = 'error'", "print_strict_params = 'off'",
	  "check_asserts = 'on'", "extra_warnings = 'none'", "extra_errors = 'none'";
	my $session = join ";\n", @made_up, q{SELECT penny.cached('nothing()')},
	  'DO $$ BEGIN END $$', q{SELECT penny.cached('nothing()') IS NULL};
	is(said($session), 't', 'read before and after the library is loaded');
	is($node->crash_restarts, 0, 'by a process that lives');
};
done_testing;
