#!/bin/bash
# Two nodes and a witness: can the watch be relieved right now? It is said before anything
# dies, with the condition that does not hold, by exit code, metric, issue and event; and
# why the watch came to where it is.
RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"

rig_init
coordinator=$((MQTT_PORT + 2)) # of both areas: a port that is open, or not
RIG_AREA="coordinator: \"tcp://127.0.0.1:$coordinator\""
coordinator_start() {
    rig_spawn coordinator python3 -m http.server "$coordinator" --bind 127.0.0.1
}

ready() { "$VAGTCTL" --timeout 2000 ready > "$RIG/ready.out" 2>&1; }
not_ready() {
    ready
    [ $? = 1 ] && grep -q -- "$1" "$RIG/ready.out"
}
tells() { "$@" | tr '\n' ' ' | tr -s ' ' > "$RIG/tells.out"; grep -q -- "$expected" "$RIG/tells.out"; }
# says WHAT CMD...: the output, as one line, has WHAT in it
says() {
    expected=$1
    shift
    tells "$@" || { cat "$RIG/tells.out"; return 1; }
}
metric() { "$VAGTCTL" metrics | grep -F "$1" | sed 's/.* //'; }

coordinator_start
e2e_up
e2e_roles
two=$((3 - leader))
name=${RIG_NAMES[$leader]} other_name=${RIG_NAMES[$two]}
check "it could be relieved" rig_wait 10 "readiness" ready
check "and says by whom" says "READY $other_name could relieve $name right now" "$VAGTCTL" ready
check "a metric, too" eq "$(metric 'ready ')" 1
check "and one of each condition" eq "$(metric "ready{node=\"$other_name\",condition=\"postgres\"")" 1
check "why of the other node" says "It could take the watch right now: all 8 conditions hold" \
    "$VAGTCTL" -s "ipc://$RIG/n$leader/control.sock" why "$other_name"
check "why of the witness" says "It is a witness" \
    "$VAGTCTL" -s "ipc://$RIG/n$leader/control.sock" why "${RIG_NAMES[3]}"
check "the event of it" rig_wait 5 "an event" said "n$leader" "ev=ready.back"

# What only the one that stands by can see.
rig_stop coordinator
check "a coordinator that is gone is noticed" \
    rig_wait 15 "it" not_ready "coordinator area1: 127.0.0.1:$coordinator cannot be reached"
check "as an issue" says "$other_name could not take the watch just now: coordinator" "$VAGTCTL" status
check "as an event" rig_wait 8 "an event" said "n$leader" "ev=ready.lost"
check "as a metric" eq "$(metric 'ready ')" 0
coordinator_start
check "and when it is back" rig_wait 10 "readiness" ready

# A broker that is gone, and back.
rig_stop broker
check "a broker that is gone is noticed" rig_wait 8 "it" not_ready "broker main: 127.0.0.1:$MQTT_PORT"
rig_broker_start
check "and when it is back" rig_wait 10 "readiness" ready

# Too few would be left.
rig_stop n3
check "without the witness nobody could" not_ready "quorum: without $name 1 of 3 nodes would be left"
rig_node_start 3
check "with it, again" rig_wait 10 "readiness" ready

# Why it is where it is.
"$VAGTCTL" handover > /dev/null
check "a handover changes hands" rig_wait 5 "relief" eval '[ "$(rig_watch)" = "$two" ]'
check "it is said that an operator wanted it" \
    rig_wait 3 "the words" says "$name handed over: an operator asked for it" "$VAGTCTL" why
check "it could be given back" rig_wait 10 "readiness" ready
kill -KILL "$(rig_pid "n$two")"
check "a death changes hands" rig_wait 5 "relief" eval '[ "$(rig_watch)" = "$leader" ]'
check "it is said that the connection broke" \
    rig_wait 3 "the words" says "the connection to $other_name broke" "$VAGTCTL" why
check "and that nobody could relieve it now" not_ready "$other_name"

# The witness looks at nothing but the log.
check "the witness tries no broker" eval '! grep -q "vagt-campsite-ready3" "$RIG/log/broker.log"'
check "as the others do" grep -q "vagt-campsite-ready$two" "$RIG/log/broker.log"
