#!/bin/bash
# A broker that dies forgets the acknowledgements since it last saved: it delivers again
# what is long in Postgres. None of it is a reading a second time.
RIG_LOAD_AREAS=2
RIG_AUTOSAVE=3600 # It saves when it is told to.
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

RIG_AREAS=0
devices=10
messages=80 # Four of each meter.
base=$(($(rig_now_ms) - 60000))
signal_nodes() { local i; for i in $(seq "$RIG_NODES"); do kill "-$1" "$(rig_pid "n$i")"; done; }
shipped() { rig_psql -c 'SELECT shipped FROM vagt_fence'; }
duplicates() { # counted by whoever has the watch
    "$VAGTCTL" -s "ipc://$RIG/n$(rig_watch)/control.sock" --json metrics | grep -o 'state_duplicates[^0-9]*[0-9]*' | grep -o '[0-9]*$'
}
publish() { # publish FIRST COUNT
    ll_publish --devices $devices --first "$1" --messages "$2" --rate 2000 \
        --base-ms $((base + $1)) --acked "$RIG/acked-$1" > "$RIG/log/load.log" 2>&1
}

rig_init
rig_pg_start
rig_broker_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $devices
need "a cold start: healthy" rig_wait 20 "health" rig_healthy

signal_nodes STOP # So that the broker saves the messages as not acknowledged.
check "the broker takes them" publish 0 $messages
sleep 0.3
saved() { [ "$(grep -c 'Saving in-memory' "$RIG/log/broker.log")" -gt "$saves" ]; }
saves=$(grep -c 'Saving in-memory' "$RIG/log/broker.log")
kill -USR1 "$(rig_pid broker)"
check "and saves them" rig_wait 5 "saved" saved
signal_nodes CONT
check "the rows come" rig_wait 20 "all rows" ll_complete 0 $((messages - 1))
check "each was a reading" rig_wait 5 "shipped" eval '[ "$(shipped)" = $messages ]'
rig_stop broker KILL # Before it saves by itself that they are acknowledged.
check "it had not saved again" eq "$(grep -c 'Saving in-memory' "$RIG/log/broker.log")" $((saves + 1))
rig_broker_start
# What comes in this session afterwards comes behind all that is delivered again.
check "more messages" publish $messages $((2 * devices))
check "the rows of these come" rig_wait 30 "all rows" ll_complete $messages $((messages + 2 * devices - 1))
rig_wait 5 "shipped" eval '[ "$(shipped)" -ge $((messages + 2 * devices)) ]'
check "what came again was no reading" eq "$(shipped)" $((messages + 2 * devices))
check "... although it came" ge "$(duplicates)" $messages
check "healthy" rig_wait 20 "health" rig_healthy
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
