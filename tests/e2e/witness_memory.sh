#!/bin/bash
# A witness of a site of 300 meters fits into a Raspberry Pi: resident memory after 10,000
# entries. With sanitizers nobody can say.
#
#   WITNESS_ENTRIES   how many (10,000)
export RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"
if sanitized; then
    passed=1
    rm -rf "$RIG"
    trap - EXIT
    echo "skipped: built with sanitizers"
    exit 77
fi

RIG_AREAS=6
RIG_DEVICES=50
RIG_INTERVAL_MS=300
memory_kib() { awk '/VmRSS/ {print $2}' "/proc/$(rig_pid "n$1")/status"; }
entries() { [ "$(rig_status nodes.2.applied)" -ge "${WITNESS_ENTRIES:-10000}" ]; }

e2e_up
need "so many entries" rig_wait 80 "entries" entries
printf 'after %s entries: the witness has %s kB, the others %s and %s kB\n' \
    "$(rig_status nodes.2.applied)" "$(memory_kib 3)" "$(memory_kib 1)" "$(memory_kib 2)"
check "the witness has less than 16 MiB" le "$(memory_kib 3)" 16383
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
