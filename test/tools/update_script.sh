#!/bin/sh
# update_script.sh FROM STEP... -- API...: the script that brings extension penny
# from version FROM to the present one, on standard output.
#
# A STEP is a file <from>--<to>.sql with what is done once between two versions:
# tables, columns, what is dropped.  All steps from FROM on are taken, then the
# re-runnable files of sql/api.  So there is one script for each old version, and
# none in between that would need an API of its time.
set -eu
from=$1
shift
taken=
cat <<'END'
\echo Use "ALTER EXTENSION penny UPDATE" to load this file. \quit

-- penny: put together from the steps in sql/updates and from sql/api.
END
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	step=${1##*/}
	[ "${step%%--*}" != "$from" ] || taken=1
	[ -z "$taken" ] || cat "$1"
	shift
done
[ -n "$taken" ] || { echo "no step begins at version $from" >&2; exit 1; }
shift
cat "$@"
