#!/bin/bash
# Numbered messages while the node on watch is killed again and again, and Postgres
# with them: the small brother of `./prove lossless`.
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

RIG_AREAS=0 # Nobody but the load: each number that a reading got is counted.
devices=10 # of each area of the load
messages=2000
kills=6
base=$(rig_now_ms)

rig_init
rig_pg_start
rig_broker_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
need "a cold start: healthy" rig_wait 20 "health" rig_healthy

touch "$RIG/go-on"
ll_kill $kills "$RIG/go-on" 300 4 > "$RIG/log/kills.log" 2>&1 &
killer=$!
ll_kill_postgres 1 1 > "$RIG/log/pg-kills.log" 2>&1 &
pg_killer=$!
ll_publish --devices $devices --first 0 --messages $messages --rate 500 --base-ms "$base" \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
check "Postgres was killed" wait $pg_killer
rm "$RIG/go-on"
check "the kills and restarts" wait $killer
check "nodes on watch were killed" ge "$(grep -c ' killed node ' "$RIG/log/kills.log")" $kills
check "the rows come" rig_wait 30 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices "$base" 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "distinct $messages" "doubled 0" "foreign 0" "wrong 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
check "no message was taken for two readings" eq "$(rig_psql -c 'SELECT shipped FROM vagt_fence')" $messages
check "healthy" rig_wait 20 "health" rig_healthy
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
