-- Roles and schemas.  Schema penny is made by CREATE EXTENSION (penny.control);
-- it is the public API.  Schema _penny is internal.

-- An owner of schema penny who is no superuser could put functions beside
-- penny's and drop penny's.
DO $$
DECLARE
	owner pg_catalog.regrole := (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'penny');
BEGIN
	IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) owner) THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = pg_catalog.format('schema penny belongs to %s, who is no superuser', owner),
			HINT = 'Drop the schema, or give it to a superuser.';
	END IF;
END
$$;

-- So could others in a schema that was there before CREATE EXTENSION and that they
-- may create in, or have filled.
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
