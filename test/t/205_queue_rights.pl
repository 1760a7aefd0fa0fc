# Who may do what with jobs, and what a caller who means harm, or a client that
# does nothing for long, cannot do to others.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('rights', conf => "penny.job_workers = 2\n");
my ($ada, $eve) = map { $node->add_user($_) } qw(Ada Eve);

$node->sql(q{
	CREATE ROLE app_user LOGIN IN ROLE penny_user;
	CREATE ROLE app_agent LOGIN IN ROLE penny_agent;
	CREATE ROLE app_admin LOGIN IN ROLE penny_admin;
	CREATE SCHEMA app;
	GRANT USAGE, CREATE ON SCHEMA app TO PUBLIC;
	SELECT penny.create_queue('free', concurrency => NULL, rate_limit => NULL, backoff => '10 ms');
	CREATE FUNCTION app.echo(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j';
	SELECT penny.handle('echo', 'app.echo', queue => 'free', access => 'user');
	SELECT penny.handle('outside', queue => 'free', access => 'user');
	SELECT penny.handle('secret', queue => 'free', access => 'admin');
});

# Statements as a role that logged in; what comes out, errors too.
sub as
{
	my ($role, $sql) = @_;
	my ($out, $error);
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$error, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	return join "\n", grep { $_ ne '' } $out, $error =~ /ERROR:  (.*)/;
}
# Likewise as a user of penny.
sub act
{
	my ($user, $sql) = @_;
	my ($out, $error);
	$node->psql('postgres', "SELECT penny.act_as('$user') \\g /dev/null\n$sql", stdout => \$out, stderr => \$error, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return join "\n", grep { $_ ne '' } $out, $error =~ /ERROR:  (.*)/;
}
sub state_of { my ($id) = @_; return $node->sql("SELECT penny.job($id) ->> 'state'") }

subtest 'arguments that make no sense' => sub {
	my $crashes = $node->crash_restarts;
	like(as('app_user', $_), qr/^22004: /, $_)
		for 'CALL _penny.await_job(1, NULL, NULL)', q{CALL _penny.await_job(NULL, '1 s', NULL)}, q{CALL penny.enqueue_and_wait('echo', wait => NULL)};
	is(as('app_user', 'CALL _penny.check_alone(NULL)'), '', 'CALL _penny.check_alone(NULL)');
	for my $id (-1, -9_000_000, '-9223372036854775808', 0, '9223372036854775807')
	{
		is(as('app_user', "SELECT penny.cancel($id), penny.job($id), _penny.job_errors($id)"), 'f||', "a user asks for job $id");
		is(as('app_agent', "SELECT penny.cancel($id), penny.redrive($id), penny.job($id), _penny.job_errors($id)"), 'f|||', "an agent, too");
		like(as('app_agent', "SELECT penny.complete($id, 1)"), qr/^PY409: /, 'nobody holds it');
	}
	is($node->crash_restarts, $crashes, 'nothing crashes');
};

done_testing();
