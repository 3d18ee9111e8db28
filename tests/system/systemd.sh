#!/bin/bash
# netd as a service: installed as deploy/README.md says, under a real systemd of
# two generations, one throwaway machine each.
#
#   tests/system/systemd.sh [TREE]...      default: trixie bookworm
#
# NETD_BIN_DIR: where the built netd and netctl are, default target/release.
# WITH_SYSTEMD: the program that boots a systemd and runs a command under it.
cd "$(dirname "$0")/../.." || exit
. tests/system/lib.sh

with_systemd=${WITH_SYSTEMD:-../shared/bin/with-systemd}
export NETD_BIN_DIR=${NETD_BIN_DIR:-target/release}
[ $# -gt 0 ] || set -- trixie bookworm

for tree; do
  echo "== systemd of $tree"
  log=$(mktemp)
  "$with_systemd" --tree "$tree" --timeout 900 -- bash tests/system/systemd/inside.sh </dev/null 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  counts=$(sed -n 's/^systemd-[^:]*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log")
  rm -f "$log"
  read -r more_passed more_failed <<<"${counts:-0 0}"
  passed=$((passed + more_passed))
  failed=$((failed + more_failed))
  # It ended before it could count.
  if [ "$status" -ne 0 ] && [ "$more_failed" -eq 0 ]; then
    echo "FAIL  the run under the systemd of $tree ended with status $status"
    failed=$((failed + 1))
  fi
done
finish systemd
