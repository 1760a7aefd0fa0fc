# penny.doctor(): nothing to say about a healthy server, and what it says about
# faults; a server that did not preload penny.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub doctor { my ($node, $check) = @_; return $node->sql(qq{SELECT ok, detail, remedy FROM penny.doctor() WHERE "check" = '$check'}) }

subtest 'a healthy server' => sub {
	my $node = Penny::Cluster->serving('healthy');
	is($node->sql('SELECT string_agg("check" || \': \' || detail, \'; \') FROM penny.doctor() WHERE ok IS NOT TRUE'), '', 'all is well');
	is($node->sql('SELECT count(*) FROM penny.doctor() WHERE remedy IS NOT NULL'), 0, 'nothing to do');
	for my $check ('preload', 'server version', 'extension version', 'database', 'encoding', 'worker slots', 'executors', 'service',
		'port', 'edge', 'roles', 'token roles', 'token secret', 'token keys', 'development user', 'quarantine', 'job workers', 'jobs', 'waiting jobs', 'memory of jobs', 'courier', 'prepared transactions', 'redis', 'store')
	{
		is($node->sql(qq{SELECT count(*) FROM penny.doctor() WHERE "check" = '$check'}), 1, $check);
	}

	$node->sql(q{SELECT penny.enqueue('dig')});
	ok($node->wait_until(sub { doctor($node, 'waiting jobs') =~ /^t\|one of queue "normal" has been ready for \d+ s/ }, 20), 'a job that waits');
	like(doctor($node, 'memory of jobs'), qr/^t\|1 jobs, room for \d+\|$/, 'in memory');
	like(doctor($node, 'job workers'), qr/^t\|[1-9]\d* running, \d+ busy; at most \d+ are wanted\|$/, 'workers');
	is($node->sql(q{SELECT s -> 'jobs' ->> 'waiting', (s -> 'workers' ->> 'running')::int > 0 FROM penny.stats() s}), '1|t', 'and stats() counts both');
	$node->sql(q{INSERT INTO _penny.jobs_restored VALUES (now())});
	like(doctor($node, 'jobs'), qr/^f\|restored jobs wait.*penny\.load_jobs/, 'jobs of a restore');
	$node->sql(q{SELECT penny.load_jobs()});
	like(doctor($node, 'jobs'), qr/^t\|/, 'may run');

	my $secret = $node->sql('SHOW penny.jwt_secret_file');
	$node->sql('CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
	$node->sql('CREATE ROLE stranger LOGIN');
	my ($code, $out) = $node->psql('postgres', 'SELECT * FROM penny.doctor()', extra_params => [ '-U', 'watcher' ]);
	is($code, 0, 'pg_monitor may ask');
	unlike($out, qr/\Q$secret\E/, 'and does not see the path of the secret');
	($code) = $node->psql('postgres', 'SELECT penny.stats()', extra_params => [ '-U', 'watcher' ]);
	is($code, 0, 'also for stats()');
	for my $call ('penny.doctor()', 'penny.stats()')
	{
		my ($failed, $nothing, $error) = $node->psql('postgres', "SELECT $call", extra_params => [ '-U', 'stranger' ]);
		like($error, qr/permission denied/, "$call is not for everybody");
	}

	chmod 0644, $secret;
	like(doctor($node, 'token secret'), qr/^f\|48 bytes, mode 0644\|.*chmod/, 'a secret that others may read');
	chmod 0640, $secret;
	like(doctor($node, 'token secret'), qr/^t\|/, 'a group may');
	$node->append_conf('postgresql.conf', "penny.jwt_secret_file = '$secret.missing'\n");
	$node->append_conf('postgresql.conf', "penny.dev_user = '01890a5d-ac96-774b-bcce-b302099a8057'\n");
	$node->append_conf('postgresql.conf', "penny.jwt_roles = 'penny_user, nobody_here'\n");
	$node->append_conf('postgresql.conf', "penny.jwt_default_role = 'penny_agent'\n");
	$node->reload;
	ok($node->wait_until(sub { doctor($node, 'token secret') =~ /^f\|the server cannot read the file: No such file/ }, 20), 'a secret that is not there');
	like(doctor($node, 'development user'), qr/^f\|.*01890a5d/, 'dev_user');
	like(doctor($node, 'token roles'), qr/^f\|penny_authenticator is no member of nobody_here\|/, 'a role that is not there');
	$node->append_conf('postgresql.conf', "penny.jwt_roles = 'penny_user'\n");
	append_to_file("$secret.short", 'too short');
	chmod 0600, "$secret.short";
	$node->append_conf('postgresql.conf', "penny.jwt_secret_file = '$secret.short'\n");
	$node->reload;
	ok($node->wait_until(sub { doctor($node, 'token secret') =~ /^f\|9 bytes/ }, 20), 'a secret that is too short');
	append_to_file("$secret.short", 'x' x 22 . "\n");
	like(doctor($node, 'token secret'), qr/^f\|32 bytes/, 'a newline at the end does not count');
	append_to_file("$secret.short", 'x' x 5000);
	like(doctor($node, 'token secret'), qr/^f\|5032 bytes/, 'a secret that is too long');
	like(doctor($node, 'token roles'), qr/^f\|penny_agent, the default, is not one of the roles\|/, 'the default is not one of them');

	$node->sql('ALTER ROLE penny_authenticator BYPASSRLS CONNECTION LIMIT 5');
	like(doctor($node, 'roles'), qr/^f\|.*rights it must not have; .*lets clients log in\|/, 'a role that was given too much');

	for my $bad ("penny.dev_user = 'me'", "penny.event_ring_size = '9MB'", "penny.allowed_origins = '" . ('x' x 3000) . "'",
		"penny.jwt_roles = 'a,,b'", "penny.gateways = 9", "penny.no_such_setting = 1")
	{
		my ($name) = $bad =~ /^(\S+)/;
		my ($failed, $nothing, $error) = $node->psql('postgres', "ALTER SYSTEM SET $bad");
		like($error, qr/\Q$name\E/, "refused: $name");
	}
	my $order = $node->sql(q{SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings WHERE name LIKE 'penny.%' AND (short_desc !~ '\.$' OR extra_desc !~ '\.$')});
	is($order, '', 'settings are described by sentences');
};

subtest 'not preloaded' => sub {
	my $node = Penny::Cluster->prepared('bare', preload => 0);
	$node->start;
	$node->sql('CREATE EXTENSION penny');
	pass('CREATE EXTENSION works');
	for my $call ('penny.epoch()', 'penny.stats()')
	{
		my ($code, $out, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call");
		like($error, qr/ERROR:  55000: penny is not preloaded/, "$call: 55000");
		like($error, qr/shared_preload_libraries = 'penny'/, 'names the missing line');
	}
	like(doctor($node, 'preload'), qr/^f\|penny is not preloaded\|.*shared_preload_libraries = 'penny'/, 'doctor() works and says so');
	is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'penny%'}), 0, 'no worker');
};

subtest 'another encoding' => sub {
	my $node = Penny::Cluster->prepared('latin', database => 'latin');
	$node->start;
	$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
	my ($code, $out, $error) = $node->psql('latin', 'CREATE EXTENSION penny');
	like($error, qr/penny needs a database of encoding UTF8, this one is of LATIN1/, 'is refused');
};

done_testing;
