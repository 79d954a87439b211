#!/bin/bash
# A witness whose disk takes 400 ms for each sync (an SD card that is worn): the other two
# commit as fast as before, nobody is lost, and the witness comes after when it is well.
# The disk is chaos-tests/frailfs.
export RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"

FRAILFS=$RIG_BUILD/chaos-tests/frailfs/frailfs
skip() { passed=1; printf 'skipped: %s\n' "$1"; rm -rf "$RIG"; trap - EXIT; exit 77; }
[ -x "$FRAILFS" ] || skip "frailfs is not built (libfuse3-dev)"
[ "$(id -u)" = 0 ] || skip "mounting needs root"
[ -w /dev/fuse ] || skip "no /dev/fuse"

SYNC_MS=400
RIG_INTERVAL_MS=200
disk() { "$FRAILFS" ctl "$RIG/n3/disk.sock" "$@"; }
slow_end() {
    local status=$?
    rig_nodes_stop
    rig_stop disk3
    umount -l "$RIG/n3/data" 2> /dev/null
    (exit "$status")
    e2e_end
}
trap slow_end EXIT

# How long a command takes until it is committed, in ms: the median and the longest of 40.
accept_ms() {
    local i began
    for i in $(seq 40); do
        began=$(rig_now_ms)
        "$VAGTCTL" send a1-m001 "state=$([ $((i % 2)) = 0 ] && echo ON || echo OFF)" \
            --no-wait > /dev/null || echo 99999
        echo $(($(rig_now_ms) - began))
    done | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)], v[NR]}'
}
stored() { rig_status "nodes.$(($1 - 1)).stored"; }

rig_init
mkdir -p "$RIG/n3/data" "$RIG/n3/below"
rig_spawn disk3 "$FRAILFS" mount "$RIG/n3/below" "$RIG/n3/data" "$RIG/n3/disk.sock"
rig_wait 10 "the disk of the witness" disk status
e2e_up
e2e_roles
[ "$leader" != 3 ] || exit 1

read -r before _ <<< "$(accept_ms)"
disk slow "$SYNC_MS" > /dev/null
sleep 1
read -r median longest <<< "$(accept_ms)"
printf 'accepted after: median %s ms, before %s ms; longest %s ms\n' "$median" "$before" "$longest"
check "a command is committed as fast as before" le "$median" $((before + 60))
check "none waits for the witness" le "$longest" $((SYNC_MS - 1))
sleep 5
check "the slow one is still there" eq "$(rig_status nodes.2.raft)" follower
check "the watch did not change hands" eq "$(rig_watch)" "$leader"
check "no message to it was dropped" eq \
    "$("$VAGTCTL" -s "ipc://$RIG/n$leader/control.sock" metrics | awk '$1 == "peer_frames_dropped" {print $2}')" 0
printf 'the witness has stored up to %s, the watch up to %s\n' "$(stored 3)" "$(stored "$leader")"
disk heal > /dev/null
check "healthy" rig_wait 15 "health" rig_healthy
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
