# What penny does when its extension, its database or its role come and go, and
# that it never stands in the way of commands on databases.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->prepared('database', database => 'app', conf => "autovacuum = off\n");    # its transactions would be counted
$node->start;

sub lines { my ($pattern) = @_; return scalar(() = $node->log_text =~ /$pattern/g) }
sub waits_for { my ($what) = @_; return $node->wait_until(sub { $node->sql_in('postgres', 'SELECT query FROM pg_stat_activity WHERE backend_type = \'penny supervisor\'') =~ $what }, 10) }
sub Penny::Cluster::sql_in { my ($self, $database, $sql) = @_; return $self->safe_psql($database, $sql) }

# Seconds that SQL takes.
sub seconds
{
	my ($database, $sql) = @_;
	my $start = time();
	$node->safe_psql($database, $sql);
	return time() - $start;
}

# An answer came, and it says that penny cannot serve.
sub refused
{
	my $http = Penny::Http->connect_to(port => $node->{http_port}) or return 0;
	my $answer = $http->request('GET', '/readyz', timeout => 5);
	return $answer && $answer->{status} == 503;
}

subtest 'waits quietly for database, role and extension' => sub {
	ok(waits_for(qr/does not exist or takes no connections/), 'no database');
	ok($node->wait_until(\&refused, 10), 'requests are refused, not left hanging');
	my $exits = lines(qr/exited with exit code/);
	my $size = length $node->log_text;
	usleep(2_500_000);
	is(lines(qr/exited with exit code/), $exits, 'no worker restarts in a loop');
	is(length $node->log_text, $size, 'the log is quiet');
	is(scalar(my @none = $node->backend_pids('penny executor')), 0, 'no executor is connected anywhere');

	$node->sql_in('postgres', 'CREATE DATABASE app');
	ok(waits_for(qr/role penny_authenticator/), 'no role');
	$node->sql_in('app', 'BEGIN; CREATE EXTENSION penny; ROLLBACK');
	ok($node->wait_until(\&refused, 10), 'a rollback changes nothing');
	$node->sql_in('app', 'CREATE EXTENSION penny');
	$node->sql_in('app', 'SELECT penny.create_store()');
	my $start = time();
	ok($node->wait_ready(20), 'serves after CREATE EXTENSION');
	cmp_ok(time() - $start, '<', 5, 'at once');
	is(lines(qr/penny serves database "app"/), 1, 'the log says so once');
};

subtest 'DROP EXTENSION' => sub {
	$node->sql_in('app', 'BEGIN; DROP EXTENSION penny CASCADE; ROLLBACK');
	ok($node->is_ready, 'a rollback changes nothing');
	$node->sql_in('app', 'DROP EXTENSION penny CASCADE');
	ok($node->wait_until(\&refused, 5), 'requests are refused');
	my $exits = lines(qr/exited with exit code/);
	$node->sql_in('app', 'CREATE SCHEMA IF NOT EXISTS penny');
	usleep(1_500_000);
	ok(refused(), 'a schema of the same name is not the extension');
	is(lines(qr/exited with exit code/), $exits, 'no loop');
	$node->sql_in('app', 'CREATE EXTENSION penny');
	ok($node->wait_ready(20), 'serves again');
};

subtest 'CREATE EXTENSION in a prepared transaction' => sub {
	$node->sql_in('app', 'DROP EXTENSION penny CASCADE');
	ok($node->wait_until(\&refused, 5), 'gone');
	$node->sql_in('app', q{BEGIN; CREATE EXTENSION penny; PREPARE TRANSACTION 'extension'});
	ok(refused(), 'prepared is not committed');
	$node->sql_in('app', q{COMMIT PREPARED 'extension'});
	ok($node->wait_ready(20), 'committed by another session: serves');
};

subtest 'commands on other databases do not wait for penny' => sub {
	for my $round (1 .. 3)
	{
		$node->sql_in('postgres', 'CREATE DATABASE other');
		cmp_ok(seconds('postgres', 'DROP DATABASE other'), '<=', 10, 'DROP DATABASE');
	}
	$node->sql_in('postgres', 'CREATE DATABASE copy TEMPLATE template0');
	cmp_ok(seconds('postgres', 'ALTER DATABASE copy RENAME TO copied'), '<=', 10, 'RENAME');
	ok($node->is_ready, 'penny serves on');
};

subtest 'commands that need the database of penny alone' => sub {
	my %command = (
		'CREATE DATABASE TEMPLATE' => 'CREATE DATABASE app2 TEMPLATE app',
		'RENAME'                   => 'ALTER DATABASE app RENAME TO app3',
		'DROP DATABASE'            => 'DROP DATABASE app',
		'DROP DATABASE WITH FORCE' => 'DROP DATABASE app WITH (FORCE)');
	my %back = (
		'CREATE DATABASE TEMPLATE' => 'SELECT 1',
		'RENAME'                   => 'ALTER DATABASE app3 RENAME TO app',
		'DROP DATABASE'            => 'CREATE DATABASE app TEMPLATE app2',
		'DROP DATABASE WITH FORCE' => 'CREATE DATABASE app TEMPLATE app2');
	for my $name ('CREATE DATABASE TEMPLATE', 'RENAME', 'DROP DATABASE', 'DROP DATABASE WITH FORCE')
	{
		# after 5 seconds of others in the database it would fail
		cmp_ok(seconds('postgres', $command{$name}), '<=', 20, "$name: works while penny serves");
		if ($back{$name} ne 'SELECT 1')
		{
			ok($node->wait_until(\&refused, 5), 'requests are refused');
			my $fatal = lines(qr/FATAL:  database "app" does not exist/);
			usleep(1_500_000);
			is(lines(qr/FATAL:  database "app" does not exist/), $fatal, 'nobody tries to connect');
		}
		$node->sql_in('postgres', $back{$name});
		ok($node->wait_ready(10), 'serves again');
	}

	my $other = $node->background_psql('app');
	my ($code, $out, $error) = $node->psql('postgres', 'DROP DATABASE app');
	like($error, qr/is being accessed by other users/, 'refused for other sessions, as ever');
	$other->quit;
	ok($node->wait_ready(10), 'and penny comes back');
};

subtest 'who may not command the database does not disturb penny' => sub {
	$node->sql_in('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
	my %before = map { $_ => 1 } $node->backend_pids('penny executor');
	for my $sql ('DROP DATABASE app', 'CREATE DATABASE app4 TEMPLATE app', 'ALTER DATABASE app RENAME TO app5')
	{
		my ($code, $out, $error) = $node->psql('postgres', $sql, extra_params => [ '-U', 'stranger' ]);
		like($error, qr/permission denied|must be owner/, "$sql: refused");
	}
	my %now = map { $_ => 1 } $node->backend_pids('penny executor');
	is_deeply([ grep { !$now{$_} } keys %before ], [], 'no executor left');
};

subtest 'the role is locked and let in again' => sub {
	$node->sql_in('postgres', 'ALTER ROLE penny_authenticator NOLOGIN');
	ok($node->wait_until(\&refused, 5), 'requests are refused');
	$node->sql_in('postgres', 'ALTER ROLE penny_authenticator LOGIN');
	ok($node->wait_ready(10), 'serves again');
	$node->sql_in('postgres', 'ALTER DATABASE app ALLOW_CONNECTIONS false');
	ok($node->wait_until(\&refused, 5), 'the database takes no connections');
	$node->sql_in('postgres', 'ALTER DATABASE app ALLOW_CONNECTIONS true');
	ok($node->wait_ready(10), 'serves again');
};

subtest 'idle' => sub {
	usleep(500_000);
	my $work = q{SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = 'app'};
	my @pids = (map { $node->backend_pids($_) } 'penny supervisor', 'penny gateway', 'penny executor');
	my $ticks = sub {
		my $sum = 0;
		for my $pid (@pids, $node->edge_pids)
		{
			my ($user, $system) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/stat") =~ /^\d+ \(.*\) (?:\S+ ){11}(\d+) (\d+)/;
			$sum += $user + $system;
		}
		return $sum;
	};
	$node->sql_in('postgres', 'SELECT pg_stat_clear_snapshot()');
	my ($transactions, $before) = ($node->sql_in('postgres', $work), $ticks->());
	usleep(5_000_000);
	is($node->sql_in('postgres', $work), $transactions, 'no transaction in the database of penny');
	cmp_ok($ticks->() - $before, '<=', 10, 'at most 2 % of one CPU');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
