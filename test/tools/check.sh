#!/usr/bin/env bash
# check.sh [PART...]: everything `make check` does, or only the named parts:
#	layers messages format symbols client unit regress isolation tap
# and, for `make check-asan` (SANITIZE=1: plain C with ASan and UBSan):
#	replay (of the fuzz corpus) sanitizer (reports found in the servers' logs)
#
# Builds, installs into a private copy of PostgreSQL under a temporary
# directory, and runs the tests there as an unprivileged user on a copy of the
# tests, so that the sources may lie where only root can read.  Never touches
# the PostgreSQL of the system; ends only servers whose data directory lies in
# its own directory.  Last line: "N passed, N failed[, N skipped]".
#
#	TESTS='test/t/001_smoke.pl …'	which TAP files (default: all)
#	PENNY_EDGE_PROGRAM=FILE			the edge to test in place of the installed one
#	PENNY_COURIER_PROGRAM=FILE		the courier, likewise
#	KEEP=1							keep the directory also when all passed
set -u
. "$(dirname "$0")/common.sh"
cd "$top" || exit 2

parts=${*:-layers messages format symbols client unit regress isolation tap}
sanitize=${SANITIZE:-}
sanitized_flags='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -U_FORTIFY_SOURCE'
passed=0 failed=0 skipped=0
started=$SECONDS

# ---- results ---------------------------------------------------------------

say() { printf '[%4ds] %s\n' $((SECONDS - started)) "$*"; }

# count PART PASSED FAILED SKIPPED
count() {
	passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
	say "$1: $2 passed, $3 failed$([ "$4" = 0 ] || echo ", $4 skipped")"
}

# A part that is one script: passes or fails as one.
simple() {
	local part=$1
	shift
	if "$@" >"$work/log/$part.log" 2>&1; then
		count "$part" 1 0 0
	else
		head -n 200 "$work/log/$part.log"
		count "$part" 0 1 0
	fi
}

# The counts that tap_run.pl left; none at all is a failure.
tap_counts() {
	local p f s
	if read -r p f s 2>/dev/null <"$work/run/$1.counts"; then
		count "$1" "$p" "$f" "$s"
	else
		count "$1" 0 1 0
	fi
}

# ---- the directory ---------------------------------------------------------

stop_servers() {
	local pid_file data
	find "$work/run" -name postmaster.pid 2>/dev/null | while read -r pid_file; do
		data=${pid_file%/*}
		say "ending the server left in $data"
		as_user "$pg_bindir/pg_ctl" -D "$data" -m immediate -w -t 20 stop >/dev/null 2>&1
	done
}

finish() {
	[ $? = 0 ] || [ $failed != 0 ] || failed=1
	trap - EXIT INT TERM
	[ -z "${pg_bindir:-}" ] || stop_servers
	if [ $failed -gt 0 ] || [ -n "${KEEP:-}" ]; then
		echo "logs and data are in $work"
	else
		rm -rf "$work"
	fi
	printf '%d passed, %d failed' $passed $failed
	[ $skipped = 0 ] || printf ', %d skipped' $skipped
	echo
	# by number: without one, exit in a trap gives the status from before the trap
	if [ $failed = 0 ] && [ $passed -gt 0 ]; then exit 0; fi
	exit 1
}

# Copies for the unprivileged user; no top-level sql/, where pg_regress would
# look for its inputs first.
prepare() {
	mkdir -p "$work/run/results"
	cp -a test expected README.md "$work/run/" 2>/dev/null
	mkdir "$work/run/unit"
	[ -z "$unit_programs" ] || cp $unit_programs "$work/run/unit/"
	[ -z "$sanitize" ] || cp .build/asan/penny-edge .build/asan/penny-courier "$work/run/"
	mkdir -p "$work/run/data"
	! [ -r ../shared/data/sgd-dev.jsonl.gz ] || cp ../shared/data/sgd-dev.jsonl.gz "$work/run/data/"
	test/tools/client.sh --copy "$work/run/client"
	own "$work/run"
}

# ---- parts -----------------------------------------------------------------

run_env() {
	as_user env -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER -u PGPASSFILE -u PGOPTIONS -u MAKEFLAGS \
		-C "$work/run" HOME="$work/run" PATH="$pg_bindir:$PATH" LC_ALL=C.UTF-8 LANG=C.UTF-8 \
		PERL5LIB="$work/run/test/t/lib:$pgxs/src/test/perl" \
		PG_REGRESS="$pgxs/src/test/regress/pg_regress" TESTDIR="$work/run" \
		PENNY_EDGE_PROGRAM="${sanitize:+$work/run/penny-edge}${PENNY_EDGE_PROGRAM:-}" \
		PENNY_COURIER_PROGRAM="${sanitize:+$work/run/penny-courier}${PENNY_COURIER_PROGRAM:-}" \
		PENNY_SAMPLE="$work/run/data/sgd-dev.jsonl.gz" PENNY_CLIENT="$work/run/client" "$@"
}

# The JavaScript client, built anew; its tests are TAP files. Where there is no
# node, or nothing to fetch its compilers from, it is skipped.
part_client() {
	local log=$work/log/client.log
	"$top/test/tools/deps.sh" install client >"$log" 2>&1 || tail -n 3 "$log"
	test/tools/client.sh >"$log" 2>&1
	case $? in
		0) count client 1 0 0; test/tools/client.sh --copy "$work/run/client"; own "$work/run/client" ;;
		3) tail -n 1 "$log"; count client 0 0 1 ;;
		*) cat "$log"; count client 0 1 0 ;;
	esac
}

part_unit() {
	local tests
	mapfile -t tests < <(cd "$work/run" && find unit -type f | sort)
	if [ ${#tests[@]} = 0 ]; then count unit 0 1 0; return; fi
	run_env timeout -k 10 1200 perl test/tools/tap_run.pl --seconds=300 --counts=unit.counts "${tests[@]}"
	tap_counts unit
}

# regress_like PART PROGRAM TESTS...
regress_like() {
	local part=$1 program=$2 log=$work/log/$1.log ok bad
	shift 2
	if [ $# = 0 ]; then count "$part" 0 1 0; return; fi
	{ cat test/penny.conf; echo "penny.port = $(free_port)"; } >"$work/run/$part.conf"
	own "$work/run/$part.conf"
	run_env timeout -k 20 600 "$program" --bindir="$pg_bindir" --inputdir=test --outputdir=. \
		--temp-instance="$work/run/$part.instance" --temp-config="$part.conf" \
		--dbname="contrib_regression" "$@" >"$log" 2>&1
	# 15: "test x ... ok", from 16 on: "ok 1 - x"
	ok=$(grep -cE '(\.\.\. +ok\b|^ok [0-9]+)' "$log")
	bad=$(grep -cE '(\.\.\. +FAILED\b|^not ok [0-9]+)' "$log")
	[ $((ok + bad)) -gt 0 ] || bad=1
	if [ "$bad" != 0 ]; then
		cat "$log"
		head -n 400 "$work/run/regression.diffs" 2>/dev/null
		tail -n 40 "$work/run/log/postmaster.log" 2>/dev/null
	fi
	count "$part" "$ok" "$bad" 0
}

part_regress() {
	regress_like regress "$pgxs/src/test/regress/pg_regress" $(make -s print-REGRESS)
}

part_isolation() {
	regress_like isolation "$pgxs/src/test/isolation/pg_isolation_regress" $(make -s print-ISOLATION)
}

part_tap() {
	local tests file
	mapfile -t tests < <(cd "$work/run" && ls ${TESTS:-test/t/*.pl} 2>/dev/null)
	if [ ${#tests[@]} = 0 ]; then count tap 0 1 0; return; fi
	run_env timeout -k 30 1800 perl test/tools/tap_run.pl --seconds="${TEST_SECONDS:-300}" \
		--counts=tap.counts "${tests[@]}" 2>&1 | tee "$work/log/tap.log"
	tap_counts tap
	if [ $failed != 0 ]; then
		for file in $(sed -n -e 's/^\(test\/t\/[^ ]*\.pl\) .*\(Wstat\|Failed\).*/\1/p' -e 's/^\(test\/t\/[^ ]*\.pl\): FAILED.*/\1/p' "$work/log/tap.log" | sort -u); do
			file=$work/run/tmp_check/log/regress_log_$(basename "$file" .pl)
			echo "--- end of $file"
			tail -n 60 "$file" 2>/dev/null
		done
	fi
}

part_replay() {
	simple replay make --no-print-directory fuzz-corpus
}

# A report that no test noticed is a failure, too.
part_sanitizer() {
	simple sanitizer sh -c "! grep -rE 'AddressSanitizer|runtime error:' '$work/run/tmp_check/log'"
}

# ---- run -------------------------------------------------------------------

case " $parts " in
	*" unit "* | *" regress "* | *" isolation "* | *" tap "*) servers=1 ;;
	*) servers= ;;
esac
"$top/test/tools/deps.sh" install check || exit 1
need_run_user
work=$(mktemp -d "${TMPDIR:-/tmp}/penny-check.XXXXXX") || exit 2
chmod 755 "$work"
mkdir "$work/log"
trap finish EXIT
trap 'failed=$((failed + 1)); exit 1' INT TERM

say "build"
build() {
	make -j2 --no-print-directory all $unit_programs || return 1
	[ -z "$sanitize" ] ||
		make -j2 --no-print-directory EDGE_BUILD=.build/asan EDGE_SANITIZE="$sanitized_flags" \
			.build/asan/penny-edge .build/asan/penny-courier
}
unit_programs=
case " $parts " in *" unit "*) unit_programs=$(make -s print-UNIT_${sanitize:+ASAN_}PROGRAMS) ;; esac
if ! build >"$work/log/build.log" 2>&1; then
	tail -n 60 "$work/log/build.log"
	count build 0 1 0
	exit 1
fi
if [ -n "$servers" ]; then
	say "install into a private copy of PostgreSQL"
	private_install "$work/pg"
	make --no-print-directory PG_CONFIG="$pg_config" install-upgrade-test >>"$work/log/build.log" 2>&1 || exit 1
	pgxs=$("$pg_config" --pgxs)
	pgxs=${pgxs%/src/makefiles/pgxs.mk}
	prepare
fi
for part in $parts; do
	say "$part ..."
	case $part in
		replay | sanitizer) "part_$part" ;;
		layers | messages | format | symbols) simple "$part" "test/tools/check_$part.sh" ;;
		client | unit | regress | isolation | tap) "part_$part" ;;
		*) echo "unknown part: $part"; count "$part" 0 1 0 ;;
	esac
done
