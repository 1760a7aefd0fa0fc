#!/usr/bin/env bash
# check_asan.sh: `make check-asan`: the plain-C parts and the edge under
# AddressSanitizer and UBSan: unit tests, a replay of the fuzz corpus, and the
# TAP suite against that edge.  The same as `make check` with other objects.
set -u
export SANITIZE=1
# An instrumented edge is three times as slow on a machine that is slow already.
export TEST_SECONDS=${TEST_SECONDS:-600}
exec "$(dirname "$0")/check.sh" ${PARTS:-unit replay tap sanitizer}
