# A standby does nothing about jobs; promoted, it goes on where the primary was.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(usleep);

my $node = Penny::Cluster->serving('primary', store => 0, init => { allows_streaming => 1 }, conf => "max_connections = 60\nmax_worker_processes = 24\n");
$node->sql(q{
	CREATE TABLE ran (id bigint, note text);
	CREATE FUNCTION run(p jsonb) RETURNS jsonb LANGUAGE sql AS $$INSERT INTO ran VALUES (penny.job_id(), p->>'note') RETURNING NULL::jsonb$$;
	SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL);
	SELECT penny.handle('run', function => 'run', queue => 'free');
	SELECT penny.pause_queue('free');
	SELECT penny.enqueue('run', '{"note":"waits"}') FROM generate_series(1, 20);
	SELECT penny.enqueue('outside', '{"note":"claimed"}');
	SELECT count(penny.complete(id, token)) FROM penny.claim('normal', 1);});

$node->backup('base');
my $standby = Penny::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
my $port = Penny::Cluster::free_port();
$standby->append_conf('postgresql.conf', "penny.port = $port");
$standby->{database} = 'postgres';
$standby->start;
$node->sql(q{SELECT penny.enqueue('run', '{"note":"later"}') FROM generate_series(1, 5); SELECT penny.resume_queue('free'); SELECT penny.pause_queue('free')});
$node->wait_until(sub { $node->sql("SELECT count(*) FROM ran") >= 0 }, 1);
$node->wait_for_catchup($standby);
my $ran = $node->sql('SELECT count(*) FROM ran');
usleep(500_000);
is($standby->sql('SELECT count(*) FROM _penny.jobs_in_memory()'), 0, 'nothing is in the memory of a standby');
like(($standby->psql('postgres', "SELECT penny.enqueue('run')"))[2], qr/cannot execute penny.enqueue\(\) in a read-only transaction/, 'nothing can be enqueued there');
$node->stop('immediate');
$standby->promote;
$standby->sql("SELECT penny.resume_queue('free')");
ok($standby->wait_until(sub { $standby->sql('SELECT count(*) FROM ran') == 25 }, 30), 'promoted, it runs what waited');
usleep(300_000);
is($standby->sql('SELECT count(*) || count(DISTINCT id)::text FROM ran'), '2525', 'each once');
is($standby->sql("SELECT count(*) FROM penny.claim('normal', 1)"), 0, 'and not what had ended');
$standby->sql(q{SELECT penny.enqueue('run', '{"note":"new"}')});
ok($standby->wait_until(sub { $standby->sql("SELECT count(*) FROM ran WHERE note = 'new'") == 1 }, 10), 'and new jobs');
done_testing;
