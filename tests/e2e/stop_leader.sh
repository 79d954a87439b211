#!/bin/bash
# The node on watch is told to stop: it hands over first.
. "$(dirname "$0")/lib.sh"

e2e_up
for round in 1 2 3; do
    e2e_roles
    pid=$(rig_pid "n$leader")
    kill -TERM "$pid"
    check "it ends" rig_wait 5 "its end" bash -c "! kill -0 $pid"
    check "in order" said "n$leader" "ev=stopped node=$leader"
    check "somebody else has the watch" rig_wait 5 "relief" relieved "$leader"
    next=$(rig_watch)
    # When the signal came, when the other was on watch, when this one closed.
    signal=$(said_at "$leader" 'ev=signal')
    gave=$(said_at "$leader" 'ev=role from=leader')
    stopping=$(said_at "$leader" 'ev=stopping')
    active=$(said_at "$next" 'to=active')
    check "leadership is handed over before it closes" le "$gave" "$stopping"
    check "relief in less than 200 ms: $((active - signal)) ms" le $((active - signal)) 199
    check "the next one switches" "$VAGTCTL" send a1-m00$round state=OFF
    rig_node_start "$leader"
    check "it comes back" rig_wait 10 "health" rig_healthy
done
check "the same state everywhere" rig_wait 5 "equal hashes" rig_hash_equal
