#!/usr/bin/env bash
# client.sh: `make client`: fetch the compilers of the JavaScript client, as
# package-lock.json pins them, and build src/client/dist.
# client.sh --copy DIR: copy there what its tests need: the built client, ws, and
# a node of at least 20 as DIR/node where the one in PATH is older (Debian 12).
#
# Nothing of a package is run when it is installed.  Exit status 3: it cannot be
# built here, for want of node, npm, or a registry; the last line says so.
set -u
cd "$(dirname "$0")/../.." || exit 2
client=src/client
fetch='--ignore-scripts --no-audit --no-fund --loglevel=error'
node20=20.20.2

cannot() { echo "the client cannot be built: $*"; exit 3; }

is_new() {
	local version
	version=$("$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
	[ "${version:-0}" -ge 20 ]
}

copy() {
	local arch name
	[ -f $client/dist/penny.min.js ] && [ -d $client/node_modules/ws ] || return 0
	mkdir -p "$1/node_modules"
	cp -a $client/dist $client/package.json "$1/"
	cp -a $client/node_modules/ws "$1/node_modules/"
	! is_new node || return 0
	case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) return 0 ;; esac
	name=node-linux-$arch
	# shellcheck disable=SC2086
	is_new .build/node/node_modules/$name/bin/node ||
		npm install $fetch --no-save --prefix .build/node "$name@$node20" >/dev/null || return 0
	cp ".build/node/node_modules/$name/bin/node" "$1/node"
}

if [ "${1:-}" = --copy ]; then
	copy "$2"
	exit
fi

for program in node npm; do
	command -v $program >/dev/null || cannot "$program is not installed"
done
if ! [ $client/node_modules/.package-lock.json -nt $client/package-lock.json ]; then
	# shellcheck disable=SC2086
	(cd $client && npm ci $fetch) || cannot "npm could not fetch its compilers"
fi
cd $client && npm run --silent build
