#!/bin/bash
# A bridge as Zigbee2MQTT is by default, without last_seen: its messages wait at the
# broker while no node is there, and are taken all at once. Each is a reading.
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

devices=10
messages=2000

rig_init
rig_pg_start
rig_broker_start
rig_site_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
rig_nodes_stop
ll_publish --devices $devices --first 0 --messages $messages --rate 500 --blind --running \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
for i in $(seq "$RIG_NODES"); do rig_node_start "$i"; done
check "the rows come" rig_wait 15 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices 0 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "distinct $messages" "doubled 0" "foreign 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
