# A right that was taken away is gone for readers who come after, however many
# read meanwhile.  Other processes are told of a change in catalogs a moment after
# it can be seen; a value that is built in between is not kept.  Without that, a
# few in a thousand rounds find it (measured: 3 in 1,100 and in 1,700).
use strict;
use warnings;
use IPC::Run;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{PENNY_CACHE_SECONDS} || 10;
my $node = Penny::Cluster->serving('cacherights', store => 0);
$node->sql(<<'SQL');
CREATE ROLE reader LOGIN;
GRANT penny_user TO reader;
CREATE TABLE secret (id int PRIMARY KEY, v text);
INSERT INTO secret VALUES (1, 'secret');
CREATE FUNCTION secret() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN PERFORM penny.cache_tag('secret:1'); RETURN (SELECT to_jsonb(v) FROM secret WHERE id = 1); END $$;
GRANT SELECT ON secret TO reader;
SQL

my $script = $node->basedir . '/read.sql';
append_to_file($script, <<'SQL');
DO $$ BEGIN FOR i IN 1 .. 20 LOOP BEGIN PERFORM penny.cached('secret()'); EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$;
SQL
my $bench = $node->basedir . '/read.out';
my $readers = IPC::Run::start([ 'pgbench', '-n', '-c', 3, '-T', $seconds, '-f', $script, $node->connstr('postgres') . ' user=reader' ],
	'<', '/dev/null', '>', $bench, '2>&1');

# One session, so that a round is short: it takes the right, reads as the other, and gives it back.
my $rounds = $node->sql(<<SQL);
CREATE PROCEDURE rounds(INOUT n bigint, OUT seen bigint, limit_s int) LANGUAGE plpgsql AS \$\$
DECLARE until timestamptz := clock_timestamp() + make_interval(secs => limit_s);
BEGIN
	n := 0; seen := 0;
	WHILE clock_timestamp() < until LOOP
		REVOKE SELECT ON secret FROM reader;
		COMMIT;
		FOR i IN 1 .. 3 LOOP
			BEGIN
				SET LOCAL ROLE reader;
				PERFORM penny.cached('secret()');
				seen := seen + 1;
			EXCEPTION WHEN insufficient_privilege THEN NULL;
			END;
			COMMIT;
		END LOOP;
		GRANT SELECT ON secret TO reader;
		COMMIT;
		n := n + 1;
	END LOOP;
END \$\$;
CALL rounds(0, NULL, $seconds - 1);
SQL
$readers->finish;
my ($n, $seen) = split /\|/, $rounds;
cmp_ok($n, '>', 0, "$n rounds");
is($seen, 0, 'nothing was read after the right was gone');
unlike(slurp_file($bench), qr/ERROR|aborted/, 'the others read all the time');
cmp_ok($node->sql("SELECT (penny.cache_stats()->>'hits')::bigint"), '>', 0, 'and had hits');
done_testing;
