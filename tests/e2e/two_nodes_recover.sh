#!/bin/bash
# Two nodes, Postgres away and one of them dead: nobody goes on; the operator decides that
# the other one does, and needs no Postgres for it. When all is back, both are in again.
RIG_NODES=2
. "$(dirname "$0")/lib.sh"

both_are_well() { rig_healthy && rig_row_open; }

e2e_up
e2e_roles
two=$((3 - leader))
need "the row is open" rig_wait 10 "the row" rig_row_open
rig_pg_stop
kill -KILL "$(rig_pid "n$leader")"
sleep 4
check "nobody takes the watch" eval '! "$VAGTCTL" send a1-m001 state=ON --no-wait'
rig_stop "n$two"
check "the operator decides" \
    eval 'echo campsite | "$VAGTCTL" recover "$RIG/n$two/data" > "$RIG/recover.out" 2>&1'
rig_node_start "$two"
need "it takes the watch without Postgres" \
    rig_wait 20 "watch" eval '[ "$(rig_watch)" = "$two" ]'
check "it switches" "$VAGTCTL" send a1-m001 state=ON
rig_pg_start
check "Postgres hears of it" rig_wait 15 "the row" eval '[ "$(rig_row sole)" = "$two" ]'

# The one left behind is told, and its log put aside by one command.
rig_node_start "$leader"
check "it ends" rig_wait 10 "its end" eval '! rig_alive "n$leader"'
check "its log is put aside" "$VAGTD" -c "$RIG/n$leader/vagt.yaml" --rejoin
rig_node_start "$leader"
need "it is taken in, and the row is open" rig_wait 25 "both" both_are_well
check "the same state" rig_wait 5 "equal hashes" rig_hash_equal
