# penny.epoch(): the same over a clean restart, another one whenever history may
# have lost its end or forked.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Penny::Cluster->prepared('epoch', init => { allows_streaming => 1, has_archiving => 1 });
$node->start;
$node->create_penny(store => 0);

my %seen;

sub epoch { my ($of) = @_; return ($of // $node)->sql('SELECT penny.epoch()') }

# Another epoch than any before, which then stays over a clean restart.
sub is_new
{
	my ($of, $name) = @_;
	my $epoch = epoch($of);
	like($epoch, qr/^[0-9a-z]{16}$/, "$name: an epoch");
	ok(!$seen{$epoch}, "$name: another one") or diag("$epoch: $seen{$epoch}");
	$seen{$epoch} = $name;
	$of->restart;
	is(epoch($of), $epoch, "$name: stays over a clean restart");
	return $epoch;
}

# A copy of a stopped server's directory, as another server.
sub cold_copy
{
	my ($of, $name) = @_;
	my $copy = Penny::Cluster->prepared($name);
	my $port = $copy->port;
	my $http = $copy->{http_port};
	system('rm', '-rf', $copy->data_dir);
	system_or_bail('cp', '-a', $of->data_dir, $copy->data_dir);
	$copy->append_conf('postgresql.conf', "port = $port\npenny.port = $http\narchive_mode = off\n");
	return $copy;
}

subtest 'a clean restart' => sub {
	my $epoch = is_new($node, 'first start');
	is(epoch(), $epoch, 'asked again');
	$node->sql('CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION penny');
	isnt($node->safe_psql('other', 'SELECT penny.epoch()'), $epoch, 'another database has another one');
	for my $mode ('fast', 'smart')
	{
		$node->stop($mode);
		$node->start;
		is(epoch(), $epoch, "$mode stop");
	}
	$node->sql('CHECKPOINT');
	$node->restart;
	is(epoch(), $epoch, 'after work');
	is(epoch(), epoch(), 'in every session');
};

subtest 'crash recovery' => sub {
	$node->stop('immediate');
	$node->start;
	is_new($node, 'immediate stop');

	my $restarts = $node->crash_restarts;
	my $before = epoch();
	my ($pid) = $node->backend_pids('walwriter');
	kill 'KILL', $pid;
	ok($node->wait_until(sub { $node->crash_restarts > $restarts }, 10), 'a process crashed');
	$node->poll_query_until('postgres', 'SELECT true') or die;
	isnt(epoch(), $before, 'crash under the same postmaster: another one');
	$seen{$before} = 'before the crash';
	is_new($node, 'after the crash');
};

subtest 'a start that fails changes nothing' => sub {
	my $epoch = epoch();
	$node->stop;
	my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
	append_to_file($node->data_dir . '/pg_hba.conf', "nonsense\n");
	ok(!$node->start(fail_ok => 1), 'does not start');
	open my $out, '>', $node->data_dir . '/pg_hba.conf' or die;
	print $out $hba;
	close $out;
	$node->start;
	is(epoch(), $epoch, 'the same');
};

subtest 'WAL written without penny' => sub {
	my $epoch = epoch();
	$node->stop;
	my $bin = $node->config_data('--bindir');
	run_log([ "$bin/postgres", '--single', '-D', $node->data_dir, 'postgres' ], '<', \"CREATE TABLE from_single (a int);\n");
	$node->start;
	isnt(epoch(), $epoch, 'a single-user session: another one');
	is_new($node, 'after a single-user session');

	$epoch = epoch();
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
	$node->start;
	$node->stop('immediate');
	$node->start;
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'penny'\n");
	$node->start;
	isnt(epoch(), $epoch, 'a crash while not preloaded: another one');
	is_new($node, 'after that');

	$epoch = epoch();
	$node->stop;
	system_or_bail("$bin/pg_resetwal", '-f', '-D', $node->data_dir);
	$node->start;
	isnt(epoch(), $epoch, 'pg_resetwal: another one');
	is_new($node, 'after pg_resetwal');
};

subtest 'the file' => sub {
	my $file = $node->data_dir . '/penny.epoch';
	my $epoch = epoch();
	$node->stop;
	is((stat $file)[2] & 0777, (stat $node->data_dir . '/PG_VERSION')[2] & 0777, 'mode as the other files');
	unlink $file;
	$node->start;
	is_new($node, 'file lost');
	$node->stop;
	open my $out, '>', $file or die;
	print $out "penny epoch 1\nid zz\n";
	close $out;
	$node->start;
	is_new($node, 'file damaged');

	$epoch = epoch();
	$node->stop;
	rename $file, "$file.kept" or die;
	system_or_bail('cp', '-a', "$file.kept", $file);
	$node->start;
	isnt(epoch(), $epoch, 'a copy of the file is not the file');
	unlink "$file.kept";
	is_new($node, 'after that');
};

subtest 'copies' => sub {
	my $epoch = epoch();
	$node->stop;
	my $copy = cold_copy($node, 'copy');
	$node->start;
	is(epoch(), $epoch, 'the original goes on');
	$copy->start;
	isnt(epoch($copy), $epoch, 'a cold copy has another one');
	is_new($copy, 'cold copy');
	$copy->stop;

	$node->backup('base');
	my $restored = Penny::Cluster->new('restored');
	$restored->{database} = 'postgres';
	$restored->init_from_backup($node, 'base');
	$restored->{http_port} = Penny::Cluster::free_port();
	$restored->append_conf('postgresql.conf', "archive_mode = off\npenny.port = $restored->{http_port}\n");
	$restored->start;
	isnt(epoch($restored), $epoch, 'a base backup has another one');
	is_new($restored, 'base backup');
	$restored->stop;
};

my $standby = Penny::Cluster->new('standby');
$standby->{database} = 'postgres';
subtest 'standby and promotion' => sub {
	my $primary = epoch();
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->{http_port} = Penny::Cluster::free_port();
	$standby->append_conf('postgresql.conf', "archive_mode = off\npenny.port = $standby->{http_port}\n");
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('write'));
	my $before = epoch($standby);
	isnt($before, $primary, 'a standby does not have that of its primary');
	is($standby->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'penny%'}), 0, 'nothing of penny runs there');
	is($standby->sql(q{SELECT ok FROM penny.doctor() WHERE "check" = 'recovery'}), 'f', 'doctor() says why');
	$standby->promote;
	ok($standby->wait_until(sub { scalar(my @pids = $standby->backend_pids('penny gateway')) }, 10), 'workers start on promotion');
	isnt(epoch($standby), $before, 'promotion: another one');
	isnt(epoch($standby), $primary, 'not that of the primary');
	is_new($standby, 'promotion');
	$standby->stop;
	is(epoch(), $primary, 'the primary keeps its own');
};

subtest 'point-in-time recovery' => sub {
	my $primary = epoch();
	$node->sql('CREATE TABLE before_target (a int)');
	$node->sql(q{SELECT pg_create_restore_point('target')});
	$node->sql('CREATE TABLE after_target (a int)');
	my $segment = $node->sql('SELECT pg_walfile_name(pg_switch_wal())');
	$node->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die;
	my $restored = Penny::Cluster->new('pitr');
	$restored->{database} = 'postgres';
	$restored->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$restored->{http_port} = Penny::Cluster::free_port();
	$restored->append_conf('postgresql.conf', "recovery_target_name = 'target'\nrecovery_target_action = 'promote'\n"
		  . "archive_mode = off\npenny.port = $restored->{http_port}\n");
	$restored->start;
	$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
	is($restored->sql(q{SELECT to_regclass('before_target') IS NOT NULL, to_regclass('after_target') IS NULL}), 't|t', 'recovered to the point');
	isnt(epoch($restored), $primary, 'another epoch');
	is_new($restored, 'point-in-time recovery');
	$restored->stop;

	# In place, from a cold copy, so that the state says "shut down" as after a clean stop.
	$node->stop;
	my $again = cold_copy($node, 'again');
	$node->start;
	$again->append_conf('postgresql.conf', "restore_command = 'false'\nrecovery_target_action = 'promote'\n");
	$again->start;
	my $epoch = is_new($again, 'a copy to recover in place');
	$again->stop;
	append_to_file($again->data_dir . '/recovery.signal', '');
	$again->start;
	$again->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
	isnt(epoch($again), $epoch, 'recovery in place: another one');
	$again->stop;
};

is(epoch(), epoch(), 'the same in two sessions');
done_testing;
