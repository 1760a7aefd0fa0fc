#!/usr/bin/env bash
# check_symbols.sh: what the built objects show and need.
#
# penny.so exports penny_*, pg_finfo_penny_*, _PG_init and Pg_magic_func, so
# that it cannot clash with another library in a backend.  penny-edge and
# penny-courier link nothing of PostgreSQL.
set -u
cd "$(dirname "$0")/../.." || exit 2
bad=0

[ -f penny.so ] && [ -f penny-edge ] && [ -f penny-courier ] || { echo "build first: make all"; exit 1; }

names=$(nm -D --defined-only penny.so | awk '{print $3}' |
	grep -vE '^(penny_[a-z0-9_]+|pg_finfo_penny_[a-z0-9_]+|_PG_init|Pg_magic_func)$')
if [ -n "$names" ]; then
	echo "penny.so exports names that are not its own:" $names
	bad=1
fi

for program in penny-edge penny-courier; do
	needed=$(ldd $program | grep -iE 'libpq|libpg|postgres')
	if [ -n "$needed" ]; then
		echo "$program needs PostgreSQL:" "$needed"
		bad=1
	fi
	names=$(nm -D --undefined-only $program | awk '{print $2}' | sed 's/@.*//' |
		grep -E '^(PQ.*|system|popen|posix_spawn.*|palloc.*|errstart.*)$')
	if [ -n "$names" ]; then
		echo "$program calls what it must not:" $names
		bad=1
	fi
done
exit $bad
