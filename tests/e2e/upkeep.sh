#!/bin/bash
# Working on the machines: while there is maintenance nobody relieves a node that dies, it
# ends by itself or at a word, the watch may be handed over; each node is restarted in
# turn, under load, and nothing is lost; what would leave no watch is refused.
. "$(dirname "$0")/lib.sh"

refused() {
    local words=$1
    shift
    if "$VAGTCTL" "$@" > "$RIG/refused" 2>&1 || ! grep -q -- "$words" "$RIG/refused"; then
        cat "$RIG/refused"
        return 1
    fi
}
on() { "$VAGTCTL" --json maintenance | grep -q '"on":true'; }
off() { "$VAGTCTL" --json maintenance | grep -q '"on":false'; }
uptime_of() { rig_status "nodes.$(($1 - 1)).uptime_s"; }

e2e_up
e2e_roles
check "an end is needed" refused 'needs --until' maintenance on
check "... that is still to come" refused 'at most 7 days' maintenance on --for 30d
check "maintenance begins" "$VAGTCTL" maintenance on --for 20m
for i in 1 2 3; do
    check "node $i says so" rig_wait 3 "its word" \
        sh -c "'$VAGTCTL' -s 'ipc://$RIG/n$i/control.sock' status | grep -q 'MAINTENANCE; '"
done
check "a handover is possible" "$VAGTCTL" handover
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
sleep 4
check "nobody relieves it" eval '[ -z "$(rig_watch)" ]'
check "and it is said why" rig_wait 3 "it" sh -c "'$VAGTCTL' -s 'ipc://$RIG/n$other/control.sock' why | grep -q 'There is maintenance until'"
rig_node_start "$leader"
check "the one that had it takes it again" rig_wait 10 "the watch" eval '[ "$(rig_watch)" = "$leader" ]'
kill -KILL "$(rig_pid "n$leader")"
sleep 1
check "an operator ends it, though nobody leads" "$VAGTCTL" -s "ipc://$RIG/n$other/control.sock" maintenance off
check "and it is relieved" rig_wait 10 "a watch" relieved "$leader"
rig_node_start "$leader"
check "all is well" rig_wait 15 "health" rig_healthy
check "it is over for all" rig_wait 5 "the end" off
check "a short one" "$VAGTCTL" maintenance on --for 10s
check "... is on" rig_wait 3 "it" on
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
began=$(rig_now_ms)
check "... ends by itself" rig_wait 20 "a watch" relieved "$leader"
check "... not before" ge $(($(rig_now_ms) - began)) 3000
rig_node_start "$leader"
check "all is well again" rig_wait 15 "health" rig_healthy

# Rolling.
check "each could be relieved" rig_wait 15 "readiness" "$VAGTCTL" ready
e2e_roles
pids="$(rig_pid n1) $(rig_pid n2) $(rig_pid n3)"
check "each node in turn" "$VAGTCTL" rolling-restart
check "the same processes" eq "$(rig_pid n1) $(rig_pid n2) $(rig_pid n3)" "$pids"
for i in 1 2 3; do
    check "node $i has begun anew" eq "$(grep -c 'ev=started' "$RIG/log/n$i.log" | awk '{print ($1 >= 2)}')" 1
    check "node $i by itself" said "n$i" restarting
done
check "the watch has changed hands" eval '[ "$(rig_watch)" != "$leader" ]'
check "all is well after it" rig_wait 15 "health" rig_healthy
check "the states are equal" rig_wait 5 "equal hashes" rig_hash_equal
check "it switches" "$VAGTCTL" send a1-m001 state=ON

e2e_roles
rig_stop "n$other"
check "no rolling restart when one is away" refused 'no rolling restart now' rolling-restart
third=$((6 - leader - other))
check "nor of one that is needed" refused 'nobody would be on watch' restart "${RIG_NAMES[$third]}"
check "but by force" "$VAGTCTL" restart "${RIG_NAMES[$third]}" --force
check "and the watch comes back" rig_wait 10 "a watch" rig_has_watch
