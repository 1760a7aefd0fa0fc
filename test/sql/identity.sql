-- Who is calling.
SELECT penny.user_id(), penny.claims(), current_user = session_user AS same;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SELECT penny.user_id(), penny.claims(), current_user, current_setting('request.jwt.claims');
SELECT penny.act_as('00000000-0000-7000-8000-00000000000b', 'penny_agent');
SELECT penny.user_id(), penny.claims() ->> 'role' AS role, current_user;
-- like SET, undone by a rollback
BEGIN;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SELECT penny.user_id(), current_user;
ROLLBACK;
SELECT penny.user_id(), current_user;
BEGIN;
SAVEPOINT s;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a', 'penny_admin');
SELECT penny.user_id(), current_user;
ROLLBACK TO s;
SELECT penny.user_id(), current_user;
SAVEPOINT t;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a', 'penny_user');
RELEASE t;
COMMIT;
SELECT penny.user_id(), current_user;
-- the setting is a copy: writing it changes nobody
SET request.jwt.claims = '{"sub":"00000000-0000-7000-8000-00000000000b"}';
SELECT penny.user_id(), penny.claims() ->> 'sub' AS sub;
SELECT penny.act_as(NULL);
SELECT penny.user_id(), penny.claims(), current_user = session_user AS same;
\set VERBOSITY terse
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a', 'nobody_of_that_name');
SELECT penny.user_id();
-- not for those who are no superusers by login
CREATE ROLE regress_penny_login;
GRANT penny_admin TO regress_penny_login;
SET SESSION AUTHORIZATION regress_penny_login;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a', 'penny_user');
SELECT penny.user_id();
RESET SESSION AUTHORIZATION;
DROP ROLE regress_penny_login;
