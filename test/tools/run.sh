#!/usr/bin/env bash
# run.sh: `make run`.  Build and install penny, and leave a private PostgreSQL
# running that serves a sample: see the README.  Settings, by environment:
#
#	PENNY_HOME		where it lives (.penny here; as root /var/lib/penny)
#	PENNY_PORT		HTTP and WebSocket (3000)
#	PENNY_METRICS_PORT	reserved for metrics (9090)
#	PENNY_PGPORT	PostgreSQL (54330)
#	PENNY_CONF		a file of further postgresql.conf lines
#	SAMPLE			conversations to load, .jsonl or .jsonl.gz; once each file
#
# As root the server runs as user postgres.  That account owns data, sockets
# and logs; what the caller reads and sources (env, pgpass) stays the caller's,
# so the server's account cannot put anything into root's hands.
set -u
. "$(dirname "$0")/common.sh"
cd "$top" || exit 1

if [ "$(id -u)" = 0 ]; then default_home=/var/lib/penny; else default_home=$top/.penny; fi
home=${PENNY_HOME:-$default_home}
case $home in /*) ;; *) home=$top/$home ;; esac
port=${PENNY_PORT:-3000} metrics_port=${PENNY_METRICS_PORT:-9090} pg_port=${PENNY_PGPORT:-54330}
data=$home/data
if [ -t 1 ]; then red=$'\e[1;31m' bold=$'\e[1m' plain=$'\e[0m'; else red='' bold='' plain=''; fi

step() { printf '%s\n' "${bold}penny:${plain} $*"; }

for value in "$port" "$metrics_port" "$pg_port"; do
	[[ $value =~ ^[0-9]+$ ]] && [ "$value" -ge 1 ] && [ "$value" -le 65535 ] || die "not a port: $value"
done
[ -z "${PENNY_CONF:-}" ] || [ -r "$PENNY_CONF" ] || die "PENNY_CONF: cannot read $PENNY_CONF"
[ -z "${SAMPLE:-}" ] || [ -r "$SAMPLE" ] || die "SAMPLE: cannot read $SAMPLE"

# ---- build and install -----------------------------------------------------

test/tools/deps.sh install run || exit 1
need_run_user
export PG_CONFIG=${PG_CONFIG:-pg_config}
bin=$("$PG_CONFIG" --bindir) || die "no pg_config"

step "building"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
make -j2 --no-print-directory all >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "the build failed"; }

# Is what lies in the system what was built?
installed() {
	local version
	version=$(make -s print-EXTVERSION)
	cmp -s penny.so "$("$PG_CONFIG" --pkglibdir)/penny.so" &&
		cmp -s penny-edge "$bin/penny-edge" &&
		cmp -s penny-courier "$bin/penny-courier" &&
		cmp -s penny.control "$("$PG_CONFIG" --sharedir)/extension/penny.control" &&
		cmp -s "sql/penny--$version.sql" "$("$PG_CONFIG" --sharedir)/extension/penny--$version.sql"
}
changed=
if ! installed; then
	step "installing into $("$PG_CONFIG" --pkglibdir)"
	changed=1
	sudo=
	if ! [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then
		command -v sudo >/dev/null || die "installing into PostgreSQL's directories needs root or sudo"
		sudo=sudo
	fi
	$sudo make --no-print-directory PG_CONFIG="$PG_CONFIG" install >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "the installation failed"; }
fi

# ---- the cluster -----------------------------------------------------------

umask 077
random_text() { head -c 48 /dev/urandom | base64 | tr -d '/+=\n' | head -c "$1"; }

if [ ! -d "$home" ]; then
	mkdir -p "$home" || die "cannot make $home"
	chmod 755 "$home"
fi
mkdir -p "$home/log" "$home/socket" "$home/secret"
chmod 700 "$home/log" "$home/socket" "$home/secret"
own "$home/log" "$home/socket" "$home/secret"
as_user test -x "$home/socket" ||
	die "user $run_user cannot reach $home; choose another place with PENNY_HOME"
[ -f "$home/password" ] || random_text 32 >"$home/password"
[ -f "$home/user_id" ] || cat /proc/sys/kernel/random/uuid >"$home/user_id"
if [ ! -s "$home/secret/jwt" ]; then
	random_text 48 >"$home/secret/jwt"
	own "$home/secret/jwt"
fi
user_id=$(cat "$home/user_id")

if [ ! -f "$data/PG_VERSION" ]; then
	step "making a cluster in $home"
	rm -rf "$data"
	mkdir "$data"
	cp "$home/password" "$home/secret/initial"
	own "$data" "$home/secret/initial"
	as_user "$bin/initdb" -D "$data" -U postgres --pwfile="$home/secret/initial" \
		--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >"$log" 2>&1 ||
		{ cat "$log" >&2; rm -rf "$data"; die "initdb failed"; }
	rm -f "$home/secret/initial"
	as_user sh -c "echo \"include 'penny.conf'\" >>'$data/postgresql.conf'"
fi
[ "$(cat "$data/PG_VERSION")" = "$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')" ] ||
	die "$data was made by PostgreSQL $(cat "$data/PG_VERSION"), and $PG_CONFIG is of another version"

sockets=$home/socket
[ ${#sockets} -lt 90 ] || sockets=	# the kernel allows 107 bytes with the name
cat >"$log" <<CONF
# Written by make run at every start; own lines come from PENNY_CONF.
listen_addresses = '127.0.0.1'
port = $pg_port
unix_socket_directories = '$sockets'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
shared_preload_libraries = 'penny'
max_worker_processes = 34
shared_buffers = 256MB
max_wal_size = 2GB
log_line_prefix = '%m [%p] %b '
penny.database = 'penny'
penny.port = $port
penny.jwt_secret_file = '$home/secret/jwt'
penny.dev_user = '$user_id'
CONF
[ -z "${PENNY_CONF:-}" ] || cat "$PENNY_CONF" >>"$log"
if ! cmp -s "$log" "$data/penny.conf"; then
	changed=1
	as_user sh -c "cat >'$data/penny.conf'" <"$log"
fi

printf '127.0.0.1:%s:*:postgres:%s\n' "$pg_port" "$(cat "$home/password")" >"$home/pgpass"
export PGHOST=127.0.0.1 PGPORT=$pg_port PGDATABASE=penny PGUSER=postgres PGPASSFILE=$home/pgpass
unset PGOPTIONS PGSERVICE PGPASSWORD PGSSLMODE

# Not from here, where that account may not be allowed to look.
server() { (cd / && as_user "$bin/pg_ctl" -D "$data" "$@"); }
running() { server status >/dev/null 2>&1; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

if running && [ -n "$changed" ]; then
	step "something changed: restarting"
	server -m fast -w stop >/dev/null || die "the old server does not stop"
fi
if ! running; then
	! listens "$pg_port" || die "port $pg_port is taken; choose another with PENNY_PGPORT"
	! listens "$port" || die "port $port is taken; choose another with PENNY_PORT"
	step "starting PostgreSQL on port $pg_port"
	# Descriptors of make's job server must not live on in the server.
	server -l "$home/log/postgresql.log" -w -t 120 start >/dev/null 3>&- 4>&- 5>&- 6>&- ||
		{ tail -n 20 "$home/log/postgresql.log" >&2; die "PostgreSQL does not start"; }
fi

# ---- database, user, sample ------------------------------------------------

query() { "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

[ "$(query -d postgres -c "SELECT count(*) FROM pg_database WHERE datname = 'penny'")" = 1 ] ||
	query -d postgres -c 'CREATE DATABASE penny' || die "cannot make the database"
query >"$log" 2>&1 -v user_id="$user_id" <<'SQL' || { cat "$log" >&2; die "cannot lay the store"; }
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS penny;
ALTER EXTENSION penny UPDATE;
SELECT penny.create_store();
SELECT penny.upgrade_store();
INSERT INTO chat.users (id, name) VALUES (:'user_id', 'Demo user') ON CONFLICT DO NOTHING;
SQL

load() {
	local sum
	sum=$(sha256sum <"$1" | cut -c 1-64)
	! grep -qs "^$sum" "$home/loaded" || return 0
	step "loading ${2:-$1}"
	PATH="$bin:$PATH" test/tools/import.sh "$1" "$user_id" || die "the sample was not loaded whole"
	echo "$sum ${2:-$1}" >>"$home/loaded"
}
if [ -n "${SAMPLE:-}" ]; then
	load "$SAMPLE"
elif [ ! -s "$home/loaded" ]; then
	perl test/tools/sample.pl >"$log"
	load "$log" "a generated sample"
fi

# ---- what the caller gets --------------------------------------------------

token=$(perl test/tools/token.pl "$home/secret/jwt" "$user_id" penny_agent $((90 * 86400)))
url=http://127.0.0.1:$port ws_url=ws://127.0.0.1:$port/ws
cat >"$home/env.new" <<ENV
PENNY_URL=$url
PENNY_WS_URL=$ws_url
PENNY_METRICS_URL=http://127.0.0.1:$metrics_port/metrics
PENNY_TOKEN=$token
PENNY_USER_ID=$user_id
PGHOST=$PGHOST
PGPORT=$PGPORT
PGDATABASE=$PGDATABASE
PGUSER=$PGUSER
PGPASSFILE=$PGPASSFILE
ENV
mv "$home/env.new" "$home/env"

for ((tries = 0; ; tries++)); do
	status=$(curl -s -o "$log" -w '%{http_code}' --max-time 5 "$url/readyz")
	[ "$status" = 200 ] && break
	if [ $tries -ge 150 ]; then
		tail -n 30 "$home/log/postgresql.log" >&2
		cat "$log" >&2
		die "penny does not answer on port $port"
	fi
	sleep 0.2
done
one=$(query -c 'SELECT id FROM chat.conversations ORDER BY last_message_at DESC NULLS LAST LIMIT 1')
count=$(query -c 'SELECT count(*) FROM chat.conversations')

cat <<TEXT

${bold}penny serves $count conversations at $url${plain}
${red}Development mode: penny.dev_user is set. Requests from this machine without a token
act as $user_id. Never set it on a server that others can reach.${plain}

Settings for your shell (psql then connects, too):
  set -a; . $home/env; set +a
Token (role penny_agent, 90 days):
  $token

Try:
  curl -s -H "Authorization: Bearer \$PENNY_TOKEN" "\$PENNY_URL/api/v1/conversations?limit=3"
  curl -s -H "Authorization: Bearer \$PENNY_TOKEN" "\$PENNY_URL/api/v1/conversations/$one"
  perl test/tools/websocket.pl \$PENNY_WS_URL \$PENNY_TOKEN $one    # joined; type a line to send it
  psql -c 'SELECT name, waiting, active, failed FROM penny.queues'    # "Jobs" in README.md has a first one to try

Log: $home/log/postgresql.log    Stop: make stop
TEXT
