-- Roles and schemas.  Schema penny is made by CREATE EXTENSION (penny.control);
-- it is the public API.  Schema _penny is internal.

-- CREATE EXTENSION takes a schema penny that is there already.  One that belongs
-- to somebody who is no superuser, that others may create in, or that is not
-- empty could hold what penny's own names would then find.
DO $$
DECLARE
	schema oid := (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'penny');
	fault text;
	object text;
BEGIN
	SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0) INTO object FROM pg_catalog.pg_depend d
		WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
		  AND d.refobjid OPERATOR(pg_catalog.=) schema
		  AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass
		LIMIT 1;
	fault := CASE
		WHEN (SELECT NOT r.rolsuper FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
				WHERE n.oid OPERATOR(pg_catalog.=) schema) THEN 'it belongs to somebody who is no superuser'
		WHEN EXISTS (SELECT FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
				WHERE n.oid OPERATOR(pg_catalog.=) schema AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
				  AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner) THEN 'others may create objects in it'
		WHEN object IS NOT NULL THEN 'it holds ' OPERATOR(pg_catalog.||) object
	END;
	IF fault IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'duplicate_schema', MESSAGE = 'a schema penny is there that cannot be trusted',
			DETAIL = pg_catalog.upper(pg_catalog.left(fault, 1)) OPERATOR(pg_catalog.||) pg_catalog.substr(fault, 2) OPERATOR(pg_catalog.||) '.',
			HINT = 'Drop or rename it first.';
	END IF;
END
$$;

DO $$
DECLARE
	missing text;
BEGIN
	FOR missing IN
		SELECT r FROM pg_catalog.unnest(ARRAY['penny_user', 'penny_agent', 'penny_admin']) r
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r)
	LOOP
		EXECUTE pg_catalog.format('CREATE ROLE %I', missing);
	END LOOP;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'penny_authenticator') THEN
		CREATE ROLE penny_authenticator LOGIN NOINHERIT CONNECTION LIMIT 0;
	END IF;
	-- an agent has the rights of a user, an admin those of an agent; executors
	-- log in as penny_authenticator and take one of the three
	IF NOT pg_catalog.pg_has_role('penny_agent', 'penny_user', 'USAGE') THEN
		GRANT penny_user TO penny_agent;
	END IF;
	IF NOT pg_catalog.pg_has_role('penny_admin', 'penny_agent', 'USAGE') THEN
		GRANT penny_agent TO penny_admin;
	END IF;
	FOR missing IN
		SELECT r FROM pg_catalog.unnest(ARRAY['penny_user', 'penny_agent', 'penny_admin']) r
		WHERE NOT EXISTS (
			SELECT FROM pg_catalog.pg_auth_members m
			WHERE m.roleid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = r)
			  AND m.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = 'penny_authenticator'))
	LOOP
		EXECUTE pg_catalog.format('GRANT %I TO penny_authenticator', missing);
	END LOOP;
END
$$;

CREATE SCHEMA _penny;
COMMENT ON SCHEMA _penny IS 'Internal to penny: what its functions, policies and processes use';
COMMENT ON SCHEMA penny IS 'Public functions and tables of penny';

GRANT USAGE ON SCHEMA penny TO penny_user, penny_authenticator;
GRANT USAGE ON SCHEMA _penny TO penny_user, penny_authenticator;
