#!/bin/bash
# A leader without followers takes what it cannot commit, and then it is gone. It must not
# have acknowledged any of it: the two that come back without it do not know of it.
RIG_ELECTION=4s # For so long it believes that it leads.
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

RIG_AREAS=0
devices=10
messages=200
base=$(($(rig_now_ms) - 60000))

rig_init
rig_pg_start
rig_broker_start
rig_nodes_start
rig_wait 40 "a watch" rig_has_watch
ll_announce $devices
need "a cold start: healthy" rig_wait 20 "health" rig_healthy
e2e_roles
socket=ipc://$RIG/n$leader/control.sock
roles() { grep -c 'ev=role ' "$RIG/log/n$leader.log"; }
before=$(roles)
for i in $(seq "$RIG_NODES"); do
    [ "$i" = "$leader" ] || kill -KILL "$(rig_pid "n$i")"
done
for i in $(seq "$RIG_NODES"); do
    [ "$i" = "$leader" ] || rig_wait 2 "its end" eval "! rig_alive n$i"
done
ll_publish --devices $devices --first 0 --messages $messages --rate 2000 --base-ms "$base" \
    --acked "$RIG/acked" > "$RIG/log/load.log" 2>&1
check "the broker has all messages" grep -q "acknowledged $messages " "$RIG/log/load.log"
accepted() { "$VAGTCTL" -s "$socket" --timeout 1000 send l1-m000 state=ON --id lone --no-wait; }
need "no command is answered as accepted" eval '! accepted'
kill -KILL "$(rig_pid "n$leader")"
check "it led until its end" eq "$(roles)" "$before"
for i in $(seq "$RIG_NODES"); do
    [ "$i" = "$leader" ] || rig_node_start "$i"
done
rig_wait 30 "a watch" rig_has_watch
need "nothing was acknowledged: the rows come" rig_wait 20 "all rows" ll_complete 0 $((messages - 1))
ll_compare "$RIG/acked" 0 $((messages - 1)) $devices "$base" 1 > "$RIG/compared"
for figure in "acked $messages" "lost 0" "rows $messages" "doubled 0" "foreign 0" "wrong 0"; do
    check "acknowledged against Postgres: $figure" eq "$(grep "^${figure% *} " "$RIG/compared")" "$figure"
done
rig_node_start "$leader"
check "healthy" rig_wait 30 "health" rig_healthy
check "what it held alone is gone, the state is the same" rig_wait 20 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
