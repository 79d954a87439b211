#!/bin/bash
# The control plane over TCP asks for a key: who has none, a wrong one, or one that does
# not allow it, is refused and named in the log; an operator works; a key that is
# revoked is cut off at once, at every node.
RIG_NODES=3
. "$(dirname "$0")/lib.sh"

tcp() { echo "tcp://127.0.0.1:$((CONTROL_PORT + $1))"; }
# as NAME NODE ARGS...: by the key of NAME, over TCP
as() { "$VAGTCTL" -i "$RIG/keys/$1" --known "$RIG/keys/known" -s "$(tcp "$2")" --timeout 3000 "${@:3}"; }
refused() { ! "$@" > "$RIG/refused.out" 2>&1; }
refused_for() { refused "${@:2}" && grep -q -- "$1" "$RIG/refused.out"; }
metric() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" --json metrics | rig_json "$2"; }
# revoked NAME NODE: no answer there for it any more
shut_out() { refused as "$1" "$2" ping; }

rig_init
rig_keys
export RIG_SECRET_KEYS=1
for name in viewer operator admin stranger; do
    "$VAGTCTL" keys new "$RIG/keys/$name" > "$RIG/keys/$name.pub" 2> /dev/null
done
check "a key is never written over" refused_for "never written over" "$VAGTCTL" keys new "$RIG/keys/admin"
e2e_up

# Enrolled at a node, over its socket.
check "the first key is enrolled at a node" "$VAGTCTL" keys add ada admin "$(cat "$RIG/keys/admin.pub")"
check "an admin enrols from afar" rig_wait 5 "it" as admin 1 keys add opal operator "$(cat "$RIG/keys/operator.pub")"
check "... and a viewer" as admin 1 keys add vera viewer "$(cat "$RIG/keys/viewer.pub")"
check "a viewer looks" as viewer 1 status
check "... also at the bridges" as viewer 1 bridges
check "... but mends nothing there" refused_for "needs the role admin" as viewer 1 bridges write
check "an operator switches" as operator 1 send a1-m001 state=ON
check "the nodes' own socket is as ever" "$VAGTCTL" send a1-m001 state=OFF

# Who may not.
check "no key" refused "$VAGTCTL" -s "$(tcp 1)" --timeout 2000 ping
check "... is in the log" rig_wait 5 "its word" said n1 'control.strangers'
check "a key that is not enrolled" refused_for "is your key enrolled" as stranger 1 ping
check "... is in the log" rig_wait 5 "its word" said n1 'control.refused who=.* what=connect'
sed -i "s|.*|127.0.0.1 $(cat "$RIG/keys/stranger.pub")|" "$RIG/keys/known"
check "the key of another server" refused as admin 1 ping
echo "127.0.0.1 $(cat "$RIG/n1/curve.pub")" > "$RIG/keys/known"
check "a viewer does not switch" refused_for "needs the role operator" as viewer 1 send a1-m001 state=ON
check "... and is named" rig_wait 5 "its word" said n1 'control.refused who=vera.*what=send'
check "an operator gives no keys" refused_for "needs the role admin" as operator 1 keys add eve admin "$(cat "$RIG/keys/stranger.pub")"
check "... nor removes nodes" refused_for "needs the role admin" as operator 1 members remove hut
check "bytes that are no ZeroMQ" python3 "$here/stranger.py" "$((CONTROL_PORT + 1))" "" http plain-1GB

# Revoked, while it listens.
"$VAGTCTL" -i "$RIG/keys/viewer" --known "$RIG/keys/known" events --events "tcp://127.0.0.1:$((CONTROL_PORT + 6))" > "$RIG/events" 2> "$RIG/events.err" &
listener=$!
hears() { "$VAGTCTL" send a1-m004 state=ON; [ -s "$RIG/events" ]; }
check "a viewer hears events" rig_wait 15 "an event" hears
check "it is revoked" "$VAGTCTL" keys revoke vera
check "and gets no answer any more" rig_wait 5 "that" shut_out viewer 1
sleep 1
heard=$(wc -c < "$RIG/events")
"$VAGTCTL" send a1-m003 state=ON > /dev/null
check "nor hears anything" eq "$(wc -c < "$RIG/events")" "$heard"
kill "$listener" 2> /dev/null
check "the operator still works" rig_wait 10 "it" as operator 1 send a1-m003 state=OFF
e2e_roles
rig_stop "n$leader" KILL
check "after a relief the keys are the same" rig_wait 10 "relief" relieved "$leader"
rig_node_start "$leader"
check "... also at who comes back" rig_wait 10 "it" as operator 1 status
check "all is well" rig_wait 15 "health" rig_healthy
