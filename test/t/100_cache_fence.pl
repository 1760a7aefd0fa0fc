# No hit is stale: a checker inside the server compares hits with the table while
# others write, plainly, with savepoints, by prepared transactions, without
# waiting for the disk.  With the fence weakened the same checker must complain.
#
# PENNY_CACHE_CHECKS sets how many hits to compare (10^6; the figure is 10^8).
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes qw(time);

my $wanted = $ENV{PENNY_CACHE_CHECKS} || 1_000_000;
my $node = Penny::Cluster->serving('cachefence', store => 0, conf => "synchronous_commit = off\nautovacuum_naptime = 2s\n");
my $dir = $node->basedir;

$node->sql(<<'SQL');
CREATE TABLE counted (id int PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO counted SELECT n, 1 FROM generate_series(1, 32) n;
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON counted FOR EACH ROW EXECUTE FUNCTION penny.invalidate('check', 'id');
ALTER TABLE counted ENABLE ALWAYS TRIGGER invalidate;
SQL

sub script
{
	my ($name, $text) = @_;
	open my $file, '>', "$dir/$name.sql" or die "$name: $!";
	print $file $text;
	close $file;
	return "$dir/$name.sql";
}
my @writers = (
	script('plain', "\\set k random(1, 32)\nUPDATE counted SET version = version + 1 WHERE id = :k;\n"),
	script('savepoints', <<'SQL'),
\set k random(1, 16)
\set l random(17, 32)
BEGIN;
SAVEPOINT a;
UPDATE counted SET version = version + 1 WHERE id = :k;
SAVEPOINT b;
UPDATE counted SET version = version + 1 WHERE id = :l;
ROLLBACK TO b;
COMMIT;
SQL
	script('prepared', <<'SQL'),
\set k random(1, 32)
BEGIN;
UPDATE counted SET version = version + 1 WHERE id = :k;
PREPARE TRANSACTION 'w:client_id';
COMMIT PREPARED 'w:client_id';
SQL
	script('rolled_back', <<'SQL'),
\set k random(1, 32)
BEGIN;
UPDATE counted SET version = version + 1 WHERE id = :k;
PREPARE TRANSACTION 'w:client_id';
ROLLBACK PREPARED 'w:client_id';
SQL
	script('catalog', "BEGIN;\nSELECT pg_advisory_xact_lock(5);\nGRANT SELECT ON counted TO pg_monitor;\nCOMMIT;\n"));

# Rounds without a pause find many hits, those with one lie in the windows.
my @checkers = (
	[ script('quick', "SELECT _penny.cache_check('counted', 20000, 32, 0);\n"), 1 ],
	[ script('slow', "SELECT _penny.cache_check('counted', 500, 32, 50);\n"), 4 ]);

my $run = 0;

sub pgbench
{
	my ($seconds, @arguments) = @_;
	my $log = "$dir/pgbench" . ++$run;
	my $pid = fork // die "fork: $!";
	return [ $pid, $log ] if $pid;
	open STDOUT, '>', $log;
	open STDERR, '>&', \*STDOUT;
	exec $node->config_data('--bindir') . '/pgbench', '-n', '-h', $node->host, '-p', $node->port,
	  '-T', $seconds, @arguments, $node->{database};
	die "pgbench: $!";
}

# Check until there are so many comparisons, or as many rounds of three seconds.
sub check
{
	my ($comparisons, $rounds) = @_;
	my $before = $node->sql_json('SELECT penny.cache_stats()');
	my $now = $before;
	my ($failed, $n) = ('', 0);
	while ($n++ < $rounds && $now->{checked} - $before->{checked} < $comparisons)
	{
		my @running = (
			pgbench(3, '-c', 3, '-R', 800, map({ ('-f', "$_\@10") } @writers[ 0 .. 3 ]), '-f', "$writers[4]\@1"),
			pgbench(3, '-c', 3, map({ ('-f', "$_->[0]\@$_->[1]") } @checkers)));
		for (@running)
		{
			waitpid $_->[0], 0;
			$failed .= slurp_file($_->[1]) if $? != 0;
		}
		$now = $node->sql_json('SELECT penny.cache_stats()');
	}
	is($failed, '', 'everybody came to his end');
	note("refused: @{[ map { \"$_ \" . ($now->{refused}{$_} - $before->{refused}{$_}) } sort keys %{ $now->{refused} } ]}");
	return ($now->{checked} - $before->{checked}, $now->{violations} - $before->{violations},
		$now->{refused}{fence} - $before->{refused}{fence});
}

my $started = time;
my ($checked, $violations, $refused) = check($wanted, 8 * $wanted / 1_000_000);
note(sprintf '%d hits compared in %.0f s', $checked, time - $started);
cmp_ok($checked, '>=', $wanted, "$wanted hits were compared");
is($violations, 0, 'none was stale, none early');
cmp_ok($refused, '>', 0, 'and the fence had something to refuse');

for my $weak (qw(generation delete))
{
	$node->sql("ALTER SYSTEM SET penny.debug_cache_fence = $weak");
	$node->reload;
	ok($node->wait_until(sub { $node->sql('SHOW penny.debug_cache_fence') eq $weak }), "fence: $weak");
	($checked, $violations) = check(100_000, 2);
	cmp_ok($violations, '>', 0, "the checker complains ($violations of $checked)");
}
is($node->sql('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left prepared');
done_testing;
