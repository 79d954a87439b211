#!/bin/bash
# Two nodes and the row in Postgres become three, and two again: who decides changes each
# time, and the site goes on.
RIG_NODES=2
. "$(dirname "$0")/lib.sh"

member() { "$VAGTCTL" --json --timeout 2000 members list | python3 -c "
import json, sys
print([m['$2'] for m in json.load(sys.stdin)['members'] if m['id'] == $1][0])" 2> /dev/null; }
is_member() { [ "$(member "$1" member)" = "$2" ]; }
row() { rig_psql -c "SELECT members || ' ' || coalesce(sole::text, '-') FROM vagt_tiebreak" 2> /dev/null; }
row_is() { [ "$(row)" = "$1" ]; }

e2e_up
check "two decide, with the row" rig_wait 10 "the row" row_is "1,2 -"
check "a rolling restart of two stops the watch, and is refused" \
    sh -c "! '$VAGTCTL' rolling-restart 2> '$RIG/refused' && grep -q 'nobody would be on watch' '$RIG/refused'"
check "... but by force" "$VAGTCTL" rolling-restart --force
check "all is well after it" rig_wait 15 "health" rig_healthy
check "and nobody went on alone" row_is "1,2 -"
RIG_NODES=3 rig_config 3
"$VAGTD" -c "$RIG/n3/vagt.yaml" --join > /dev/null
rig_node_start 3
check "a third one comes in" \
    "$VAGTCTL" --timeout 30000 members add 3 office "127.0.0.1:$((PEER_PORT + 3))"
check "it votes" rig_wait 5 "it" is_member 3 voter
check "the row names three" rig_wait 10 "the row" row_is "1,2,3 -"
check "it switches" "$VAGTCTL" send a1-m001 state=ON
e2e_roles
rig_stop "n$leader" KILL
check "any of them may die" rig_wait 10 "a watch" relieved "$leader"
rig_node_start "$leader"
check "all are there" rig_wait 15 "health" rig_healthy
check "it goes again" "$VAGTCTL" --timeout 30000 members remove office
rig_stop n3
check "the row is open again" rig_wait 15 "the row" row_is "1,2 -"
e2e_roles
rig_stop "n$leader" KILL
check "either of the two may die" rig_wait 30 "a watch" relieved "$leader"
check "it switches still" "$VAGTCTL" send a1-m002 state=ON
