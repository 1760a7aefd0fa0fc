#!/usr/bin/env bash
# check_format.sh [--write]: src/ and the C of test/ against src/.clang-format.
# Formatting differs between releases of clang-format; 14 is the one meant.
set -u
cd "$(dirname "$0")/../.." || exit 2

for tool in clang-format-14 clang-format; do
	"$tool" --version 2>/dev/null | grep -q 'version 14\.' && break
	tool=
done
[ -n "${tool:-}" ] || { echo "clang-format 14 is not installed"; exit 1; }

mapfile -t files < <(find src test -name '*.[ch]' | sort)
if [ "${1:-}" = --write ]; then
	exec "$tool" --style=file:src/.clang-format -i "${files[@]}"
fi
exec "$tool" --style=file:src/.clang-format --dry-run -Werror "${files[@]}"
