#!/usr/bin/env bash
# stop.sh: `make stop`.  Stop the server of `make run`; its data stay.
set -u
. "$(dirname "$0")/common.sh"

if [ "$(id -u)" = 0 ]; then default_home=/var/lib/penny; else default_home=$top/.penny; fi
home=${PENNY_HOME:-$default_home}
case $home in /*) ;; *) home=$top/$home ;; esac

[ -f "$home/data/postmaster.pid" ] || { echo "penny is not running in $home"; exit 0; }
need_run_user
bin=$("${PG_CONFIG:-pg_config}" --bindir) || die "no pg_config"
cd / && as_user "$bin/pg_ctl" -D "$home/data" -m fast -w -t 60 stop || die "it does not stop; see $home/log/postgresql.log"
