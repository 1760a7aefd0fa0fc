# Sourced by the scripts beside it: messages, free ports, a private PostgreSQL
# with penny installed, and the unprivileged account that servers run as.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() { printf '%s\n' "$*" >&2; exit 1; }

# Servers refuse to run as root; then the account that Debian made for them is used.
if [ "$(id -u)" = 0 ]; then
	run_user=${PENNY_USER:-postgres}
else
	run_user=$(id -un)
fi

need_run_user() {
	id "$run_user" >/dev/null 2>&1 ||
		die "PostgreSQL does not run as root, and there is no user \"$run_user\"; name another in PENNY_USER"
}

# Run a command as the unprivileged user.
as_user() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$run_user" -- "$@"
	else
		"$@"
	fi
}

# own FILE...: give to the unprivileged user.
own() {
	[ "$(id -u)" != 0 ] || chown -R "$run_user" "$@"
}

# A port nobody listens at, below the range of outgoing connections.
free_port() {
	perl -MSocket -e '
		for (1 .. 1000) {
			my $port = 20000 + int(rand(12000));
			socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
			next unless bind($s, sockaddr_in($port, INADDR_ANY));
			print "$port\n"; exit;
		}
		die "no free port\n";'
}

# private_install DIR: PostgreSQL's copy in DIR with penny installed; sets
# pg_config and pg_bindir.
private_install() {
	pg_config=$("$top/test/tools/pgtree.sh" "$1") || die "could not copy PostgreSQL"
	pg_bindir=$("$pg_config" --bindir)
	make -C "$top" --no-print-directory PG_CONFIG="$pg_config" install >"$1/install.log" 2>&1 || {
		cat "$1/install.log" >&2
		die "could not install penny"
	}
}
