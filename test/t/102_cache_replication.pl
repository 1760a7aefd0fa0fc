# The cache where changes come from elsewhere: a subscriber's workers, a
# standby, and what a promotion finds prepared.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('cachereplica', store => 0,
	init => { allows_streaming => 'logical' }, conf => "max_connections = 60\nmax_logical_replication_workers = 4\nmax_worker_processes = 24\nhot_standby_feedback = on\n");

my $schema = <<'SQL';
CREATE TABLE item (id int PRIMARY KEY, v int);
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION penny.invalidate('item', 'id');
CREATE TRIGGER emptied AFTER TRUNCATE ON item FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE item ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE item ENABLE ALWAYS TRIGGER emptied;
CREATE FUNCTION item() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM penny.cache_tag('item:1');
		RETURN (SELECT to_jsonb(i.v) FROM item i WHERE i.id = 1);
	END $$;
SQL
my $both = "SELECT concat(penny.cached('item()')), concat((SELECT v FROM item WHERE id = 1))";
my $hits = "SELECT penny.cache_stats()->>'hits'";

# ---- a subscriber in another database ------------------------------------------
$node->sql('CREATE DATABASE sub');
$node->sql($schema . 'INSERT INTO item VALUES (1, 1); CREATE PUBLICATION all_of_it FOR TABLE item');
$node->safe_psql('sub', "CREATE EXTENSION penny; $schema");
is($node->safe_psql('sub', "$both; $both"), "|\n|", 'nothing there, cached');
$node->sql("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')");
my $source = $node->connstr('postgres') =~ s/'/''/gr;
$node->safe_psql('sub', "CREATE SUBSCRIPTION sub CONNECTION '$source' PUBLICATION all_of_it WITH (create_slot = false, slot_name = sub)");

# Cached and table are asked in one statement until the table has the value.
sub follows
{
	my ($value, $name) = @_;
	my @different;
	my $came = $node->wait_until(sub {
		my ($cached, $table) = split /\|/, $node->safe_psql('sub', $both), -1;
		push @different, "$cached/$table" if $cached ne $table;
		return $table eq $value;
	});
	ok($came, "$name arrives");
	is("@different", '', "$name: the cache says what the table says");
}
follows('1', 'initial copy');
my $before = $node->safe_psql('sub', $hits);
$node->safe_psql('sub', $both);
is($node->safe_psql('sub', $hits) - $before, 1, 'cached at the subscriber');
for my $n (2 .. 4)
{
	$node->sql("UPDATE item SET v = $n");
	follows($n, "update $n");
}
$node->sql('TRUNCATE item');
follows('', 'TRUNCATE');
$node->sql('BEGIN; INSERT INTO item VALUES (1, 7); SAVEPOINT s; UPDATE item SET v = 8; ROLLBACK TO s; COMMIT');
follows('7', 'a part of a transaction');
$node->safe_psql('sub', 'DROP SUBSCRIPTION sub');

# ---- a standby -----------------------------------------------------------------
$node->backup('copy');
my $standby = Penny::Cluster->new('cachestandby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->{http_port} = Penny::Cluster::free_port();
$standby->{database} = 'postgres';
$standby->append_conf('postgresql.conf', "penny.port = $standby->{http_port}\n");
$standby->start;
$node->sql('UPDATE item SET v = 20');
$node->wait_for_catchup($standby);
is($standby->sql("$both; $both"), "20|20\n20|20", 'a standby reads the table');
is($standby->sql($hits), 0, 'and caches nothing');
is($standby->sql("SELECT (penny.cache_stats()->'refused'->>'serializable')::int > 0"), 't', 'since it is recovering');

# A session with a snapshot of the standby lives on over the promotion, and a
# transaction that the primary prepared is finished afterwards.
$node->sql("BEGIN; UPDATE item SET v = 21; PREPARE TRANSACTION 'left'");
$node->wait_for_catchup($standby);
my $old = $standby->background_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; $both; SELECT pg_sleep(0.05) FROM generate_series(1, 1200) WHERE pg_is_in_recovery(); $both; COMMIT; $both");
$standby->promote;
is($standby->sql("$both; $both"), "20|20\n20|20", 'promoted');
is($standby->sql($hits), 0, 'nothing is cached while a transaction from before is prepared');
is($standby->sql("COMMIT PREPARED 'left'; $both; $both"), "21|21\n21|21", 'when it is over');
is($standby->sql($hits), 1, 'values are cached');
like($old->finish, qr/\A20\|20\n(?:\n*)20\|20\n2[01]\|2[01]\n\z/, 'an old snapshot stays what it was');
done_testing;
