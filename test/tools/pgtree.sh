#!/usr/bin/env bash
# pgtree.sh DIR: copy the installed PostgreSQL to DIR, so that penny can be
# installed and tried without touching the system.  Prints the path of the
# copy's pg_config: `make install PG_CONFIG=…` installs into the copy.
#
# PostgreSQL finds its files relative to where its programs lie, as long as the
# copy keeps the shape of the original; so every directory is copied to DIR
# plus its own path.
set -eu

[ $# = 1 ] || { echo "usage: pgtree.sh DIR" >&2; exit 2; }
dir=$1
PG_CONFIG=${PG_CONFIG:-pg_config}
bin=$("$PG_CONFIG" --bindir)
# Debian's programs are in a tree of their own, copied whole; elsewhere the
# parts are scattered over a prefix.
if [ "${bin##*/}" = bin ] && [ -d "${bin%/bin}/lib/pgxs" ]; then
	parts="${bin%/bin}"
else
	parts="$bin $("$PG_CONFIG" --pkglibdir)"
fi

for part in $parts "$("$PG_CONFIG" --sharedir)"; do
	mkdir -p "$dir${part%/*}"
	cp -aL "$part" "$dir$part"
	rm -rf "$dir$part/lib/bitcode"
done
# Headers are only read: a link does.
include=$("$PG_CONFIG" --includedir-server)
case $include in
	*/postgresql/*) include=${include%%/postgresql/*}/postgresql ;;
esac
if [ ! -e "$dir$include" ]; then
	mkdir -p "$dir${include%/*}"
	ln -s "$include" "$dir$include"
fi
echo "$dir$bin/pg_config"
