# The windows in which a cache goes stale, each held open: with the fence no read
# that begins after a commit was acknowledged is older than it; with the fence
# weakened the same steps find the old value, so they do reach the window.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file);
use Test::More;

my $node = Penny::Cluster->serving('cachewindows', store => 0, init => { allows_streaming => 1 }, conf => "max_connections = 100\n");
my $value = 0;

$node->sql(<<'SQL');
CREATE TABLE item (id int PRIMARY KEY, v int);
INSERT INTO item VALUES (1, 0), (2, 0);
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION penny.invalidate('item', 'id');
ALTER TABLE item ENABLE ALWAYS TRIGGER invalidate;
CREATE TABLE opened (gate int);
CREATE FUNCTION item(j jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	DECLARE r jsonb;
	BEGIN
		PERFORM penny.cache_tag('item:' || (j->>'id'));
		SELECT to_jsonb(i.v) INTO r FROM item i WHERE i.id = (j->>'id')::int;
		PERFORM pg_advisory_lock_shared(77); PERFORM pg_advisory_unlock_shared(77);
		RETURN r;
	END $$;
CREATE PROCEDURE hold_gate() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_lock(77);
		WHILE NOT EXISTS (SELECT FROM opened) LOOP PERFORM pg_sleep(0.01); END LOOP;
		PERFORM pg_advisory_unlock(77);
	END $$;
SQL

my $get = "SELECT penny.cached('item(jsonb)', '{\"id\":1}')";
sub get { return $node->sql($get) }
sub hits { return $node->sql("SELECT penny.cache_stats()->>'hits'") }
sub write_item { $value++; return "UPDATE item SET v = $value WHERE id = 1" }

sub waits
{
	my ($sql, $on) = @_;
	return $node->wait_until(sub {
		$node->sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '$sql%' AND wait_event = '$on'") eq '1' });
}

# A gate before the return of item(); released by opening it.
sub close_gate
{
	$node->sql('DELETE FROM opened');
	my $gate = $node->background_sql('CALL hold_gate()');
	$node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted") eq '1' })
	  or die 'the gate does not close';
	return $gate;
}
sub open_gate { my ($gate) = @_; $node->sql('INSERT INTO opened VALUES (1)'); $gate->finish; }

my %window = (
	'read before, kept after the commit' => sub {
		$node->sql('SELECT penny.cache_clear()');
		my $gate = close_gate();
		my $fill = $node->background_sql($get);
		waits('SELECT penny.cached', 'advisory') or die 'no fill waits';
		$node->sql(write_item());
		open_gate($gate);
		$fill->finish;
	},
	'a synchronous standby that does not answer' => sub {
		$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
		$node->reload;
		$node->wait_until(sub { $node->sql('SHOW synchronous_standby_names') eq 'nobody' });
		my $commit = $node->background_sql(write_item());
		waits('UPDATE item', 'SyncRep') or die 'no commit waits';
		get();
		get();
		# a reload would end what is cached; a cancel only ends the wait
		$node->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
		$commit->finish;
	},
	'a prepared transaction' => sub {
		$node->sql('BEGIN; ' . write_item() . "; PREPARE TRANSACTION 'one'");
		get();
		get();
		$node->sql("COMMIT PREPARED 'one'");
	},
	'a transaction that was prepared before the server started' => sub {
		$node->sql('BEGIN; ' . write_item() . "; PREPARE TRANSACTION 'two'");
		$node->restart;
		get();
		get();
		$node->sql("COMMIT PREPARED 'two'");
	},
	'a transaction that was prepared before a crash' => sub {
		$node->sql('BEGIN; ' . write_item() . "; PREPARE TRANSACTION 'three'; CHECKPOINT");
		$node->stop('immediate');
		$node->start;
		get();
		get();
		$node->sql("COMMIT PREPARED 'three'");
	});

# Which of them a weak fence does not get right.
my %stale = (
	on => {},
	generation => { map { $_ => 1 } grep { !/^read before/ } keys %window },
	delete => { map { $_ => 1 } keys %window });

for my $mode (qw(on generation delete))
{
	$node->sql("ALTER SYSTEM SET penny.debug_cache_fence = $mode");
	$node->restart;
	for my $name (sort keys %window)
	{
		get() for 1 .. 2;
		$window{$name}->();
		my $fresh = get() eq $value;
		$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
		$node->reload;
		$node->wait_until(sub { $node->sql('SHOW synchronous_standby_names') eq '' });
		is($fresh ? 'fresh' : 'stale', $stale{$mode}{$name} ? 'stale' : 'fresh', "$mode: $name");
		$node->sql('SELECT penny.cache_clear()');
	}
}
$node->sql('ALTER SYSTEM RESET penny.debug_cache_fence');
$node->restart;

# After such a transaction is over, and with it all others, hits come back.
get();
my $before = hits();
get();
is(hits() - $before, 1, 'hits after the last of them');

# More pushers at a time than a stamp names: each of them holds what is kept; when
# they are over, an older transaction does not.
$node->sql("CREATE TABLE side (item int);
	CREATE TRIGGER invalidate AFTER INSERT ON side FOR EACH ROW EXECUTE FUNCTION penny.invalidate('item', 'item');
	ALTER TABLE side ENABLE ALWAYS TRIGGER invalidate");
sub is_kept { get(); my $before = hits(); get(); return hits() - $before }
$node->sql("BEGIN; INSERT INTO side VALUES (1); PREPARE TRANSACTION 'side$_'") for 1 .. 4;
for (1 .. 4)
{
	is(is_kept(), 0, "not kept while $_ of 4 hold");
	$node->sql("COMMIT PREPARED 'side$_'");
}
is(is_kept(), 1, 'kept when they are over');
$node->sql("BEGIN; INSERT INTO opened VALUES (0); PREPARE TRANSACTION 'older'");
$node->sql(write_item());
is(is_kept(), 1, 'kept beside a transaction that is older than the change');
$node->sql("ROLLBACK PREPARED 'older'");

# A crash of a backend takes the cache with it, and no more.
my $pid = $node->background_sql('SELECT pg_sleep(600)');
waits('SELECT pg_sleep', 'PgSleep');
kill 'KILL', $node->sql("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'");
$node->wait_until(sub { $node->crash_restarts > 0 });
$node->wait_until(sub { eval { $node->sql('SELECT 1'); 1 } });
$node->sql(write_item());
is(get(), $value, 'after a crash restart');
is(get(), $value, 'from memory');

# What was written without waiting for the disk is lost in a crash, in the cache too.
$node->sql("CREATE UNLOGGED TABLE quick (id int PRIMARY KEY, v int); INSERT INTO quick VALUES (1, 1);
	CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON quick FOR EACH ROW EXECUTE FUNCTION penny.invalidate('quick', 'id');
	ALTER TABLE quick ENABLE ALWAYS TRIGGER invalidate;
	CREATE FUNCTION quick() RETURNS jsonb LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM penny.cache_tag(''quick:1''); RETURN (SELECT to_jsonb(count(*)) FROM quick); END'");
is($node->sql("SELECT penny.cached('quick()')") . $node->sql("SELECT penny.cached('quick()')"), '11', 'an unlogged table');
$node->stop('immediate');
$node->start;
is($node->sql("SELECT penny.cached('quick()')"), '0', 'is empty after a crash');

# A reload ends what was cached.
get() for 1 .. 2;
$before = hits();
$node->append_conf('postgresql.conf', "work_mem = '5MB'");
my $pushes = $node->sql("SELECT penny.cache_stats()->>'invalidations_of_all'");
$node->reload;
ok($node->wait_until(sub { $node->sql("SELECT penny.cache_stats()->>'invalidations_of_all'") > $pushes }), 'a reload is noticed');
get();
is(hits(), $before, 'and ends what was cached under the old settings');

# Two databases with the same names and ids.
$node->sql('CREATE DATABASE other');
$node->safe_psql('other', "CREATE EXTENSION penny; CREATE FUNCTION item(j jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM penny.cache_tag(''item:1''); RETURN ''-1''; END'");
get();
is($node->safe_psql('other', "$get; $get"), "-1\n-1", 'another database has its own values');
is(get(), $value, 'and does not disturb these');

# The extension goes and comes back.
get();
$node->sql('ALTER TABLE item DISABLE TRIGGER USER; DROP EXTENSION penny CASCADE; UPDATE item SET v = -5; CREATE EXTENSION penny');
is(get(), -5, 'DROP EXTENSION ends what was cached');

# Many readers after one change: one builds.
$node->sql("CREATE FUNCTION slow() RETURNS jsonb LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM penny.cache_tag(''slow''); PERFORM pg_sleep(0.005); RETURN ''1''; END'");
my $script = $node->basedir . '/slow.sql';
append_to_file($script, "SELECT penny.cached('slow()');\n");
my ($rounds, $readers) = (10, 60);
my $built = 0;
for (1 .. $rounds)
{
	$node->sql('SELECT penny.cache_clear()');
	my $misses = $node->sql("SELECT penny.cache_stats()->'kinds'->'function'->>'misses'");
	$node->run_log([ 'pgbench', '-n', '-c', $readers, '-t', 1, '-f', $script, $node->connstr('postgres') ]) or die 'pgbench';
	$built += $node->sql("SELECT penny.cache_stats()->'kinds'->'function'->>'misses'") - $misses;
}
cmp_ok($built, '<=', 2 * $rounds, "$readers readers at once, after each of $rounds changes: built $built times");
done_testing;
