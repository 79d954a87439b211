#!/bin/bash
# Postgres is away for longer than the outbox can hold, and the node on watch dies
# meanwhile. The policy is hold: the broker keeps what there is no room for.
RIG_EXTRA='limits: {readings: 16384}'
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

devices=10
messages=40000
base=$(($(rig_now_ms) - 3600000))

rig_init
rig_pg_start
rig_broker_start
rig_site_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
need "a cold start: healthy" rig_wait 20 "health" rig_healthy

rig_pg_stop
ll_publish --devices $devices --first 0 --messages $messages --rate 10000 --base-ms "$base" \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
# One burst (4,096) and the meters are kept free, the rest is filled.
filled() { ge "$(rig_status site.outbox.readings)" 10000; }
check "the outbox fills" rig_wait 10 "10,000 readings" filled
sleep 1
check "... and is not overrun" le "$(rig_status site.outbox.readings)" 16384
check "nothing is dropped" eq "$(rig_status site.outbox.dropped)" 0
told() { "$VAGTCTL" --json status | grep -q 'outbox'; }
check "status says so" rig_wait 5 "an issue" told
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
check "somebody else takes the watch" rig_wait 5 "relief" relieved "$leader"
check "it does not overrun it either" le "$(rig_status site.outbox.readings)" 16384
rig_node_start "$leader"
rig_pg_start
check "all of it comes in" rig_wait 60 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices "$base" 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "distinct $messages" "doubled 0" "foreign 0" "wrong 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
check "healthy again" rig_wait 20 "health" rig_healthy
check "a command is confirmed" "$VAGTCTL" send a1-m001 state=OFF
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
