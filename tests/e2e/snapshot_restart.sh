#!/bin/bash
# All nodes are killed and start from their snapshots: readings that Postgres does not
# have yet are still there, and how each command ended.
RIG_RAFT='snapshot_entries: 60'
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

devices=10
messages=600
base=$(($(rig_now_ms) - 60000))

rig_init
rig_pg_start
rig_broker_start
rig_site_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
need "a cold start: healthy" rig_wait 20 "health" rig_healthy
check "a command is confirmed" "$VAGTCTL" send a1-m001 state=OFF --id before
rig_pg_stop
ll_publish --devices $devices --first 0 --messages $messages --rate 2000 --base-ms "$base" \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
held() { [ "$(rig_status site.outbox.readings)" -ge $messages ]; }
check "the outbox holds them" rig_wait 20 "the outbox" held
# A snapshot that was begun after that, on each node.
snapshots() { grep -c 'ev=snapshot.taken.*ok=yes' "$RIG/log/n$1.log"; }
for i in $(seq "$RIG_NODES"); do
    was=$(($(snapshots "$i") + 2))
    more() { [ "$(snapshots "$i")" -ge $was ]; }
    check "node $i takes snapshots" rig_wait 40 "a snapshot" more
done
for i in $(seq "$RIG_NODES"); do kill -KILL "$(rig_pid "n$i")"; done
for i in $(seq "$RIG_NODES"); do
    rig_wait 2 "its end" eval "! rig_alive n$i"
    rig_node_start "$i"
done
rig_wait 20 "a watch" rig_has_watch
check "the command is known" eq "$(command_status before)" confirmed
need "the readings are, too" held
rig_pg_start
check "the rows come" rig_wait 30 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices "$base" 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "doubled 0" "foreign 0" "wrong 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
check "healthy" rig_wait 30 "health" rig_healthy
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
