#!/bin/bash
# Numbered messages while the nodes lose their power, again and again, each time with
# what their disks had not yet: one node, the one on watch, or all at once. The disks
# are chaos-tests/frailfs. No log may be refused afterwards, nothing be lost.
#
#   POWER_CUTS, POWER_MESSAGES, POWER_RATE, POWER_SEED   cuts at least, messages, each second
#   POWER_LYING=1   the disks lie about their syncs: then the test has to fail
RIG_LOAD_AREAS=2
RIG_RAFT=${RIG_RAFT:-"snapshot_entries: 50"} # Names come and go.
RIG_EXTRA=${RIG_EXTRA:-"wal: {segment: 1MiB}"}
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

FRAILFS=$RIG_BUILD/chaos-tests/frailfs/frailfs
skip() { passed=1; printf 'skipped: %s\n' "$1"; rm -rf "$RIG"; trap - EXIT; exit 77; }
[ -x "$FRAILFS" ] || skip "frailfs is not built (libfuse3-dev)"
[ "$(id -u)" = 0 ] || skip "mounting needs root"
[ -w /dev/fuse ] || skip "no /dev/fuse"

RIG_AREAS=0
devices=10
messages=${POWER_MESSAGES:-30000}
cuts=${POWER_CUTS:-12}
seed=${POWER_SEED:-$(rig_now_ms)}
base=$(rig_now_ms)

disk() { "$FRAILFS" ctl "$RIG/n$1/disk.sock" "${@:2}"; }
disk_mount() {
    mkdir -p "$RIG/n$1/data" "$RIG/n$1/below"
    rig_spawn "disk$1" "$FRAILFS" mount "$RIG/n$1/below" "$RIG/n$1/data" "$RIG/n$1/disk.sock"
    rig_wait 10 "a disk" disk "$1" status
}
all_disks() { for i in $(seq "$RIG_NODES"); do disk "$i" status; done | grep -q "$1"; }
disks_unmount() {
    local i
    for i in $(seq "$RIG_NODES"); do
        rig_stop "disk$i"
        umount -l "$RIG/n$i/data" 2> /dev/null
    done
}
power_end() {
    local status=$?
    rig_nodes_stop
    disks_unmount
    (exit "$status")
    e2e_end
}
trap power_end EXIT

# Power off when this node next syncs its folder, or anyhow after a while.
power_arm() { # power_arm SEED NODE FATE
    disk "$2" arm folder "$1" "$3" > /dev/null
    for _ in $(seq 100); do
        disk "$2" status | grep -q power=off && return
        sleep 0.02
    done
    return 0
}

# power_cut SEED NODE...: all of them lose their power, and come back.
power_cut() {
    local seed=$1 i
    shift
    for i; do
        if disk "$i" status | grep -q power=off; then
            printf '%s node %s seed %s: as its folder was synced\n' "$(rig_now_ms)" "$i" "$seed"
            continue
        fi
        printf '%s node %s seed %s: %s\n' "$(rig_now_ms)" "$i" "$seed" "$(disk "$i" cut "$seed")"
    done
    for i; do
        kill -KILL "$(rig_pid "n$i")"
        rig_wait 10 "node $i to be gone" gone "$i" || return 1
        rm -f "$RIG/pid/n$i"
    done
    for i; do
        disk "$i" on > /dev/null || return 1
        rig_node_start "$i"
    done
}
gone() { ! rig_alive "n$1"; }

# Until FILE is gone, and at least N cuts: who is on watch, another, all, or one as it
# renames or removes files of its log.
power_cuts() {
    local n=0 watch victim
    while [ $n -lt "$1" ] || [ -e "$2" ]; do
        rig_wait 30 "a watch" rig_has_watch || return 1
        watch=$(rig_watch)
        sleep "0.$((RANDOM % 9))"
        victim=$(((${watch:-1} + n) % RIG_NODES + 1))
        case $((n % 4)) in
            0) power_cut $((seed + n)) "${watch:-1}" ;;
            2) power_cut $((seed + n)) 1 2 3 ;;
            1) power_arm $((seed + n)) "$victim" lost &&
                power_cut $((seed + n)) "$victim" ;;
            *) power_arm $((seed + n)) "$victim" mixed && power_cut $((seed + n)) "$victim" ;;
        esac || return 1
        n=$((n + 1))
    done
}

rig_init
rig_pg_start
rig_broker_start
for i in $(seq "$RIG_NODES"); do disk_mount "$i"; done
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
for i in $(seq "$RIG_NODES"); do
    disk "$i" slow 8 > /dev/null
    [ -z "${POWER_LYING:-}" ] || disk "$i" lying > /dev/null
done
need "a cold start: healthy" rig_wait 20 "health" rig_healthy

printf 'seed %s\n' "$seed"
touch "$RIG/go-on"
power_cuts "$cuts" "$RIG/go-on" > "$RIG/log/cuts.log" 2>&1 &
cutter=$!
ll_publish --devices $devices --first 0 --messages "$messages" --rate "${POWER_RATE:-1000}" --base-ms "$base" \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
rm "$RIG/go-on"
check "the cuts and restarts" wait $cutter
check "power was cut" ge "$(grep -c ' seed ' "$RIG/log/cuts.log")" "$cuts"
check "unsynced data was lost" all_disks 'sectors_undone=[1-9]'
check "unsynced names were lost" all_disks 'names_undone=[1-9]'
check "the rows come" rig_wait 30 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices "$base" 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "distinct $messages" "doubled 0" "foreign 0" "wrong 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
check "healthy" rig_wait 30 "health" rig_healthy
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
# A node whose disk is off may well end with a fatal error; but no log is refused.
check "no log was refused" eq "$(cat "$RIG"/log/n*.log | grep -c 'start.failed\|damaged\|state.diverged\|ssertion\|ERROR: ')" 0
for i in $(seq "$RIG_NODES"); do
    printf 'disk %s: %s\n' "$i" "$(disk "$i" status | grep -o 'syncs=.*')"
done
