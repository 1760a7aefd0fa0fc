# Rules for the objects of the extension that the catalogue can show, and the
# README against the settings.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('catalogue');
my $own = "pronamespace IN ('penny'::regnamespace, '_penny'::regnamespace)";
sub none { my ($sql, $name) = @_; is($node->sql($sql), '', $name) }

none("SELECT oid::regprocedure FROM pg_proc WHERE $own AND obj_description(oid, 'pg_proc') IS NULL", 'every function has a comment');
none("SELECT oid::regprocedure FROM pg_proc p WHERE $own AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')",
	'no function may be called by PUBLIC');
none("SELECT oid::regprocedure FROM pg_proc WHERE $own AND prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) c WHERE c LIKE 'search_path=%')",
	'every definer function sets search_path');
none("SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE $own AND lanname = 'plpgsql' AND prokind <> 'p' AND NOT EXISTS (SELECT FROM unnest(proconfig) c WHERE c LIKE 'search_path=%')",
	'every function in PL/pgSQL sets search_path (one in SQL may be inlined, a procedure may commit: they qualify all)');
none("SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'penny'::regnamespace AND relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL",
	'every table and view of schema penny has a comment');
none("SELECT relname FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r' AND NOT relrowsecurity", 'row-level security on every table of the store');
none("SELECT attrelid::regclass, attname FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN ('chat'::regnamespace, 'penny'::regnamespace, '_penny'::regnamespace) AND relkind = 'r') AND atttypid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regclass'::regtype, 'regrole'::regtype, 'regtype'::regtype) AND attnum > 0",
	'no column that pg_upgrade refuses');
none("SELECT d.classid::regclass, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'penny' JOIN pg_class c ON c.oid = d.objid WHERE d.classid = 'pg_class'::regclass AND c.relnamespace = 'chat'::regnamespace",
	'no table of the store belongs to the extension');
none("SELECT rolname FROM pg_roles WHERE rolname LIKE 'penny\\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication)", 'no role of penny has a privilege of the server');
is($node->sql("SELECT rolcanlogin, rolinherit, rolconnlimit FROM pg_roles WHERE rolname = 'penny_authenticator'"), 't|f|0', 'penny_authenticator lets nobody in');

# The table of settings in the README tells the truth.
my %said;
open my $readme, '<', 'README.md' or die "README.md: $!";
while (<$readme>)
{
	next unless /^\| `(penny\.\w+)`\s*\|\s*([^|]*?)\s*\|\s*([^|]*?)\s*\|\s*([^|]*?)\s*\|/;
	my ($name, $default, $unit, $when) = ($1, $2, $3, $4);
	$default =~ s/^`(.*)`$/$1/;
	$said{$name} = join ', ', $default eq '(none)' ? '' : $default, $unit, $when;
}
my %true = map { split /\|/, $_, 2 } split /\n/,
  $node->sql("SELECT name || '|' || concat_ws(', ', boot_val, coalesce(unit, ''), CASE context WHEN 'postmaster' THEN 'restart' WHEN 'sighup' THEN 'reload' ELSE context END) FROM pg_settings WHERE name LIKE 'penny.%'");
is_deeply(\%said, \%true, 'the settings in the README are those of the server');

done_testing;
