#!/usr/bin/env bash
# What penny needs from the system, by purpose.
#
#	deps.sh missing build|run|check|client|bench|fuzz	print the Debian packages that are missing
#	deps.sh install build|run|check|client|bench|fuzz	install them: as root or by sudo, else say how
#
# A thing is looked for where it is used (a header by the compiler, a program
# in PATH), so that a self-built library counts.  Nothing is done when nothing
# is missing.  PG_CONFIG selects the PostgreSQL.
set -u

PG_CONFIG=${PG_CONFIG:-pg_config}

# The major version to install when there is no PostgreSQL yet.
pg_major() {
	local v
	v=$("$PG_CONFIG" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	[ -n "$v" ] || v=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	echo "${v:-15}"
}

have_header() { echo "#include <$1>" | cc -E - >/dev/null 2>&1; }

have_headers() {
	printf '#include <%s>\n' "$@" | cc -E - >/dev/null 2>&1
}

missing_build() {
	command -v make >/dev/null || echo make
	if ! command -v cc >/dev/null; then
		echo gcc libc6-dev libwebsockets-dev libev-dev libseccomp-dev libssl-dev \
			zlib1g-dev libbrotli-dev libhiredis-dev libcurl4-openssl-dev libc-ares-dev
	elif ! have_headers libwebsockets.h ev.h seccomp.h openssl/evp.h zlib.h brotli/encode.h \
		hiredis/hiredis.h curl/curl.h ares.h; then
		have_header stdio.h || echo libc6-dev
		have_header libwebsockets.h || echo libwebsockets-dev
		have_header ev.h || echo libev-dev
		have_header seccomp.h || echo libseccomp-dev
		have_header openssl/evp.h || echo libssl-dev
		have_header zlib.h || echo zlib1g-dev
		have_header brotli/encode.h || echo libbrotli-dev
		have_header hiredis/hiredis.h || echo libhiredis-dev
		have_header curl/curl.h || echo libcurl4-openssl-dev
		have_header ares.h || echo libc-ares-dev
	fi
	[ -f "$("$PG_CONFIG" --pgxs 2>/dev/null)" ] || echo "postgresql-server-dev-$(pg_major)"
}

missing_run() {
	missing_build
	[ -x "$("$PG_CONFIG" --bindir 2>/dev/null)/postgres" ] || echo "postgresql-$(pg_major)"
	command -v openssl >/dev/null || echo openssl
	command -v curl >/dev/null || echo curl
}

missing_check() {
	missing_run
	perl -MTAP::Harness -MDigest::SHA -e1 2>/dev/null || echo perl
	perl -MIPC::Run -e1 2>/dev/null || echo libipc-run-perl
	command -v clang-format-14 >/dev/null || echo clang-format-14
	command -v nm >/dev/null || echo binutils
	command -v redis-server >/dev/null || echo redis-server
	/usr/bin/python3 -c 'import websockets' 2>/dev/null || echo python3-websockets
	/usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null || echo python3-jwt python3-cryptography
}

# What penny is measured against.
missing_bench() {
	missing_check
	[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || echo nginx-light
	command -v npm >/dev/null || echo nodejs npm
}

# For the JavaScript client: Debian 12 has node 18, which builds it; its tests
# want 20, which test/tools/client.sh fetches then.
missing_client() {
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
	command -v chromium >/dev/null || echo chromium
}

# A clang that links libFuzzer.
missing_fuzz() {
	command -v make >/dev/null || echo make
	[ -f "$(clang -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-$(uname -m).a" ] ||
		echo clang libclang-rt-14-dev
}

# Install without making or touching a cluster: postgresql-common would make
# "main" when the server package comes in.
apt_install() {
	local sudo=$1 drop=/etc/postgresql-common/createcluster.d/penny-install.conf status
	shift
	echo "installing: $*" >&2
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y update || return 1
	case " $* " in
		*" postgresql"*)
			$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends \
				postgresql-common || return 1
			$sudo mkdir -p "${drop%/*}"
			echo 'create_main_cluster = false' | $sudo tee "$drop" >/dev/null
			;;
	esac
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"
	status=$?
	$sudo rm -f "$drop"
	return $status
}

purpose=${2:-build}
case $purpose in
	build | run | check | client | bench | fuzz) ;;
	*) echo "usage: deps.sh missing|install build|run|check|client|bench|fuzz" >&2; exit 2 ;;
esac
packages=$("missing_$purpose" | tr '\n' ' ' | sed 's/ *$//')

case ${1:-} in
	missing)
		echo "$packages"
		;;
	install)
		[ -n "$packages" ] || exit 0
		# shellcheck disable=SC2086
		if ! command -v apt-get >/dev/null; then
			echo "penny needs what Debian calls: $packages" >&2
			exit 1
		elif [ "$(id -u)" = 0 ]; then
			apt_install "" $packages >&2
		elif command -v sudo >/dev/null && sudo -v; then
			apt_install sudo $packages >&2
		else
			echo "penny needs packages that are not installed; as root: apt-get install $packages" >&2
			exit 1
		fi
		;;
	*)
		echo "usage: deps.sh missing|install build|run|check|client|bench|fuzz" >&2
		exit 2
		;;
esac
