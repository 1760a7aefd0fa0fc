#!/usr/bin/env bash
# import.sh FILE OWNER: load conversations, one a line in OpenAI chat form
# (gzipped or not), through penny.import_chat() over one connection, a hundred
# a transaction, with a progress line.  Connects as PGHOST … say.  A line that
# penny refuses is named and left out; the exit status says that there was one.
set -eu -o pipefail

[ $# = 2 ] || { echo "usage: import.sh FILE OWNER" >&2; exit 2; }
file=$1 owner=$2
[ -r "$file" ] || { echo "$file: cannot be read" >&2; exit 1; }

# The file is read by psql's own account.  CSV with a quote and a delimiter
# that JSON cannot hold takes a line as it is.
if [ -t 2 ]; then end='\r'; else end='\n'; fi
PENNY_IMPORT=$file psql -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=terse -v owner="$owner" -d "${PGDATABASE:-penny}" <<'SQL' 2>&1 |
SET client_min_messages = notice;
CREATE TEMPORARY TABLE penny_import (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, doc text);
\copy penny_import (doc) FROM PROGRAM 'gzip -dcf < "$PENNY_IMPORT"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
ANALYZE penny_import;
SELECT set_config('penny_import.owner', :'owner', false) \g /dev/null
DO $$
DECLARE
	owner uuid := current_setting('penny_import.owner');
	total bigint := (SELECT count(*) FROM penny_import);
	started timestamptz := clock_timestamp();
	refused bigint := 0;
	line record;
	first bigint := 1;
BEGIN
	WHILE first <= total LOOP
		FOR line IN SELECT n, doc FROM penny_import WHERE n >= first AND n < first + 100 AND doc <> '' ORDER BY n LOOP
			BEGIN
				PERFORM penny.import_chat(line.doc::jsonb, owner);
			EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception OR SQLSTATE 'PY400' OR SQLSTATE 'PY422' THEN
				refused := refused + 1;
				RAISE NOTICE 'line %: %', line.n, SQLERRM;
			END;
		END LOOP;
		COMMIT;
		first := first + 100;
		RAISE NOTICE 'imported % of % conversations, % a second', least(first - 1, total), total,
			round((least(first - 1, total) / extract(epoch FROM clock_timestamp() - started))::numeric);
	END LOOP;
	IF refused > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'data_exception',
			MESSAGE = format('%s of %s lines were refused', refused, total);
	END IF;
END
$$;
SQL
awk -v end="$end" '
	sub(/^psql:<stdin>:[0-9]+: /, "") + sub(/^NOTICE:  /, "") >= 0 && /^imported / { printf "%s%s", $0, end; fflush(); next }
	{ print; fflush() }
	END { if (end == "\r") print "" }' >&2
