# The gate of installation and ownership: what the extension leaves in the
# catalogue, that no name of its own is looked up where others may put theirs,
# and that it does not move into a schema of somebody else.
use strict;
use warnings;
use Penny::Cluster;
use JSON::PP;
use Test::More;

my $node = Penny::Cluster->prepared('gate', database => 'app');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->sql('CREATE ROLE stranger LOGIN; CREATE ROLE owner LOGIN CREATEROLE; GRANT CREATE ON DATABASE postgres TO owner');

# So that a trap tells which it was: every function and operator of pg_catalog
# once more in schema public, raising an error, and found first by everybody.
sub set_traps
{
	my ($database) = @_;
	$node->safe_psql($database, q{
		GRANT ALL ON SCHEMA public TO PUBLIC;
		DO $do$
		DECLARE
			f record;
		BEGIN
			FOR f IN SELECT p.oid, proname, pg_get_function_identity_arguments(p.oid) AS args, pg_get_function_result(p.oid) AS result
				FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a', 'w') AND provariadic = 0
			LOOP
				BEGIN
					EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.args, f.result,
						format('BEGIN RAISE EXCEPTION USING ERRCODE = %L, MESSAGE = %L; END', 'XX001', format('trap: function %s(%s)', f.proname, f.args)));
				EXCEPTION WHEN OTHERS THEN
					NULL; -- of types that no function in PL/pgSQL may have
				END;
			END LOOP;
			FOR f IN SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, oprleft, format_type(oprresult, NULL) AS result, oid
				FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprright <> 0
			LOOP
				BEGIN
					EXECUTE format('CREATE FUNCTION public.trap_%s(%s%s) RETURNS %s LANGUAGE plpgsql AS %L', f.oid,
						CASE WHEN f.oprleft <> 0 THEN f.l || ', ' ELSE '' END, f.r, f.result,
						format('BEGIN RAISE EXCEPTION USING ERRCODE = %L, MESSAGE = %L; END', 'XX001', format('trap: operator %s %s %s', f.l, f.oprname, f.r)));
					EXECUTE format('CREATE OPERATOR public.%s (%s RIGHTARG = %s, FUNCTION = public.trap_%s)', f.oprname,
						CASE WHEN f.oprleft <> 0 THEN 'LEFTARG = ' || f.l || ',' ELSE '' END, f.r, f.oid);
				EXCEPTION WHEN OTHERS THEN
					NULL;
				END;
			END LOOP;
		END
		$do$;
		CREATE DOMAIN public.text AS pg_catalog.int4; CREATE DOMAIN public.jsonb AS pg_catalog.int4; CREATE DOMAIN public.uuid AS pg_catalog.int4;
		CREATE TYPE public.hostile AS ENUM ('a');
		CREATE FUNCTION public.cast_trap(public.hostile) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap: cast'; END$$;
		CREATE CAST (public.hostile AS pg_catalog.text) WITH FUNCTION public.cast_trap(public.hostile) AS IMPLICIT;
		CREATE TABLE public.routes (method pg_catalog.int4, pattern pg_catalog.int4); CREATE TABLE public.messages (id pg_catalog.int4); CREATE TABLE public.store_step (number pg_catalog.int4);
		CREATE TABLE public.conversations (id pg_catalog.int4); CREATE TABLE public.users (id pg_catalog.int4)});
	$node->safe_psql($database, "ALTER DATABASE $database SET search_path = public, pg_catalog");
}

subtest 'a hostile public schema' => sub {
	set_traps('app');
	cmp_ok($node->safe_psql('app', q{SET search_path = pg_catalog; SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace}), '>', 2500, 'traps are set');
	my ($code, $out, $error) = $node->psql('app', q{SELECT length('x')});
	like($error, qr/trap: function length/, 'and found');
	($code, $out, $error) = $node->psql('app', 'CREATE EXTENSION penny');
	is($error, '', 'CREATE EXTENSION');
	($code, $out, $error) = $node->psql('app', 'SELECT penny.create_store()');
	is($error, '', 'create_store()');
	ok($node->wait_ready(20), 'ready');
	my $depends = q{SET search_path = pg_catalog; SELECT pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) FROM pg_depend d
		LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
		LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid LEFT JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
		WHERE 'public'::regnamespace IN (p.pronamespace, o.oprnamespace, t.typnamespace, c.relnamespace)
		  AND NOT (pg_identify_object(d.classid, d.objid, d.objsubid)).schema IS NOT DISTINCT FROM 'public'
		  AND pg_describe_object(d.classid, d.objid, d.objsubid) !~ '(public\\.|hostile|type (text|jsonb|uuid)|trap|function |operator |table (routes|messages|store_step|conversations|users))'};
	is($node->safe_psql('app', $depends), '', 'nothing depends on it');
	is($node->safe_psql('app', q{SET search_path = pg_catalog; SELECT p.oid::regprocedure FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND extname = 'penny' JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		WHERE pronamespace = 'public'::regnamespace OR 'public'::regnamespace IN (SELECT typnamespace FROM pg_type WHERE oid = prorettype OR oid = ANY (proargtypes::oid[]))}), '', 'no function has a type of it');

	# everything that there is, in a session that finds the traps first
	my ($ada, $bob) = ('0199aa00-0000-7000-8000-00000000000a', '0199aa00-0000-7000-8000-00000000000b');
	my @calls = (
		"SELECT penny.doctor(), penny.stats(), penny.epoch(), penny.uuid_v7(), penny.quarantine(), penny.quarantine_clear()",
		'SELECT penny.create_store(), penny.upgrade_store()',
		"INSERT INTO chat.users (id, name) VALUES ('$ada', 'Ada'), ('$bob', 'Bob')",
		"SELECT penny.create_session('$ada', 'penny_user', '1 day')",
		qq{SELECT penny.import_chat('{"id":"x1","title":"imported","messages":[{"role":"user","content":"what time is it"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"clock","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"noon"}]}', '$ada')});
	for my $call (@calls)
	{
		($code, $out, $error) = $node->psql('app', $call);
		is($error, '', substr $call, 0, 60);
	}
	my $act = sub {
		my ($role, $sql) = @_;
		my ($c, $o, $e) = $node->psql('app', "BEGIN; SELECT penny.act_as('$ada', '$role'); $sql; COMMIT");
		is($e, '', substr $sql, 0, 60);
		return (split /\n/, $o)[-1];
	};
	my $made = JSON::PP->new->utf8->decode($act->('penny_user', q{SELECT penny.create_conversation('a talk', '{"a":1}')}));
	my $id = $made->{id};
	my $message = JSON::PP->new->utf8->decode($act->('penny_user', "SELECT penny.add_message('$id', 'user', 'hello', client_id => 'c1')"))->{id};
	$act->('penny_user', $_) for
	  "SELECT penny.add_message('$id', 'user', 'hello', client_id => 'c1')", "SELECT penny.conversation('$id')", 'SELECT penny.conversations()',
	  "SELECT penny.conversations_by_id(ARRAY['$id']::pg_catalog.uuid[])", "SELECT penny.messages('$id')", "SELECT penny.update_message('$id', '$message', 'changed')",
	  "SELECT penny.update_conversation('$id', '{\"title\":\"b\"}')", "SELECT penny.add_participant('$id', '$bob')", "SELECT penny.remove_participant('$id', '$bob')",
	  "SELECT penny.publish('conversation:$id', '{}')", 'SELECT penny.user_id(), penny.claims()', 'SELECT * FROM chat.messages', 'SELECT id, name FROM chat.users', 'SELECT * FROM chat.participants';
	$act->('penny_agent', "SELECT penny.add_message('$id', 'assistant', 'answer')");

	# and over HTTP and WebSocket, by executors that find them first
	my $token = $node->token($ada);
	my $http = $node->http(token => $token);
	my $at = '/api/v1/conversations';
	my @requests = (
		[ GET => '/readyz' ], [ GET => $at ], [ GET => "$at?limit=1&archived=false" ], [ POST => $at, { title => 'x', messages => [ { role => 'user', content => 'y' } ] } ], [ GET => "$at/$id" ],
		[ PATCH => "$at/$id", { title => 'z' } ], [ GET => "$at/$id/messages?limit=1" ], [ POST => "$at/$id/messages", { role => 'user', content => 'm', client_id => 'q' } ],
		[ PATCH => "$at/$id/messages/$message", { content => 'n' } ], [ DELETE => "$at/$id/messages/$message" ]);
	for (@requests)
	{
		my ($method, $path, $body) = @$_;
		my $answer = $http->request($method, $path, $body ? (json => $body) : ());
		like($answer->{status}, qr/^20/, "$method $path") or diag($answer->{body});
	}
	my $session = $node->safe_psql('app', "SELECT penny.create_session('$ada', 'penny_user', '1 day')");
	is($node->request('GET', $at, token => $session)->{status}, 200, 'a session token');
	my $ws = $node->websocket(token => $token);
	is($ws->join_room("conversation:$id")->{type}, 'joined', 'a room');
	is($ws->call({ type => 'message', room => "conversation:$id", content => 'w', ref => 'r' })->{type}, 'ack', 'a message');
	is($http->request('DELETE', "$at/$id")->{status}, 204, 'DELETE');
	unlike($node->log_text, qr/ERROR:  trap: (?!function length)/, 'no trap was stepped into');
};

subtest 'what the catalogue shows' => sub {
	my $none = sub { my ($sql, $name) = @_; is($node->safe_psql('app', "SET search_path = pg_catalog; WITH member AS (SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'penny')) $sql"), '', $name) };
	$none->(q{SELECT objid::regprocedure FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid WHERE prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)}, 'definer functions look up in pg_catalog');
	$none->(q{SELECT objid::regprocedure FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid JOIN pg_language l ON l.oid = prolang WHERE lanname <> 'c' AND prokind <> 'p' AND prosqlbody IS NULL AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)}, 'so do all that have a text, but a procedure that commits');
	$none->(q{SELECT objid::regprocedure FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid WHERE prosrc ~* '(set_config\s*\(\s*''search_path|set\s+(local\s+)?search_path)'}, 'and none changes that inside');
	$none->(q{SELECT objid::regprocedure FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid WHERE has_function_privilege('public', p.oid, 'EXECUTE')}, 'nothing for PUBLIC to execute');
	$none->(q{SELECT objid::regclass FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid, aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) a WHERE relkind IN ('r', 'v', 'm', 'S', 'p') AND a.grantee = 0}, 'nothing for PUBLIC to read or write');
	$none->(q{SELECT objid::regclass FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid WHERE relkind = 'v' AND has_table_privilege('penny_user', c.oid, 'SELECT') AND NOT coalesce(reloptions && '{security_invoker=true,security_barrier=true}', false)}, 'views for users run as their caller, or show through a barrier what is theirs');
	$none->(q{SELECT nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname IN ('penny', '_penny', 'chat') AND a.privilege_type = 'CREATE' AND a.grantee <> nspowner}, 'nobody may create in its schemas');
	$none->(q{SELECT nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname IN ('penny', '_penny', 'chat') AND a.grantee = 0}, 'nor PUBLIC look into them');
	$none->(q{SELECT pg_describe_object(classid, objid, 0) FROM member WHERE classid IN ('pg_cast'::regclass, 'pg_operator'::regclass, 'pg_event_trigger'::regclass)}, 'no cast, operator or event trigger for everybody');
	is($node->safe_psql('app', q{SET search_path = pg_catalog; SELECT superuser, trusted, relocatable, schema FROM pg_available_extension_versions WHERE name = 'penny' AND installed}), 't|f|f|penny', 'the control file');
	my ($code, $out, $error) = $node->psql('postgres', 'CREATE EXTENSION penny', extra_params => [ '-U', 'owner' ]);
	like($error, qr/permission denied to create extension/, 'a superuser makes it');
};

subtest 'a schema that is there already' => sub {
	my %before = (
		'of somebody else' => [ 'CREATE SCHEMA penny AUTHORIZATION stranger', qr/schema penny belongs to stranger, who is no superuser/ ],
		'with rights for others' => [ 'CREATE SCHEMA penny; GRANT CREATE ON SCHEMA penny TO stranger', qr/cannot be trusted.*[Oo]thers may create/s ],
		'with rights for all' => [ 'CREATE SCHEMA penny; GRANT CREATE ON SCHEMA penny TO PUBLIC', qr/cannot be trusted.*[Oo]thers may create/s ],
		'with a function' => [ 'CREATE SCHEMA penny; CREATE FUNCTION penny.user_id(x int) RETURNS int LANGUAGE sql AS $$SELECT 1$$', qr/cannot be trusted.*holds function user_id\(integer\)/s ],
		'with a table' => [ 'CREATE SCHEMA penny; CREATE TABLE penny.routes (i int)', qr/cannot be trusted.*holds table routes/s ],
		'_penny' => [ 'CREATE SCHEMA _penny AUTHORIZATION stranger', qr/schema "_penny" already exists/ ]);
	for my $name (sort keys %before)
	{
		my ($sql, $error) = @{ $before{$name} };
		$node->safe_psql('postgres', 'CREATE DATABASE taken');
		$node->safe_psql('taken', $sql);
		my ($code, $out, $said) = $node->psql('taken', 'CREATE EXTENSION penny');
		like($said, $error, "$name: refused");
		is($node->safe_psql('taken', q{SELECT count(*) FROM pg_extension WHERE extname = 'penny'}), 0, "$name: nothing was made");
		$node->safe_psql('postgres', 'DROP DATABASE taken');
	}
	$node->safe_psql('postgres', 'CREATE DATABASE taken');
	$node->safe_psql('taken', 'CREATE SCHEMA penny; CREATE EXTENSION penny; DROP EXTENSION penny; CREATE EXTENSION penny');
	pass('an empty one of a superuser will do, such as one that was left');
};

is($node->crash_restarts, 0, 'no crash');
done_testing;
