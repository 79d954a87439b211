#!/bin/bash
# Who belongs to the cluster changes while it runs: a fourth node comes in, votes, is
# demoted, is removed and told so; a node whose disk died is seeded anew; what would
# lose the quorum is refused. The other nodes' configurations are never touched.
. "$(dirname "$0")/lib.sh"

member() { "$VAGTCTL" --json --timeout 2000 members list | python3 -c "
import json, sys
print([m['$2'] for m in json.load(sys.stdin)['members'] if m['id'] == $1][0])" 2> /dev/null; }
is_member() { [ "$(member "$1" member)" = "$2" ]; }
leading() { "$VAGTCTL" --json --timeout 2000 members list 2> /dev/null | python3 -c "
import json, sys
print([m['id'] for m in json.load(sys.stdin)['members'] if m['leader']][0])" 2> /dev/null; }
# Has node $1 as much as the leader?
level() { "$VAGTCTL" --json --timeout 2000 members list 2> /dev/null | python3 -c "
import json, sys
r = json.load(sys.stdin)
sys.exit(0 if [m['has'] for m in r['members'] if m['id'] == $1][0] >= r['last'] - 50 else 1)"; }
# Says no, with these words?
refused() {
    local words=$1
    shift
    if "$VAGTCTL" "$@" > "$RIG/refused" 2>&1 || ! grep -q -- "$words" "$RIG/refused"; then
        cat "$RIG/refused"
        return 1
    fi
}

e2e_up
e2e_roles
check "somebody unknown cannot be removed" refused 'no node is called' members remove barn
check "an address of somebody else is refused" refused 'already' \
    members add 4 attic "127.0.0.1:$((PEER_PORT + 2))"

# A fourth one, which only its own configuration knows of.
RIG_NODES=4 rig_config 4
check "its log is empty" "$VAGTD" -c "$RIG/n4/vagt.yaml" --join
rig_node_start 4
check "it is added, catches up and votes" \
    "$VAGTCTL" --timeout 30000 members add 4 attic "127.0.0.1:$((PEER_PORT + 4))" "ipc://$RIG/n4/control.sock"
check "it is a voter" rig_wait 5 "it" is_member 4 voter
check "all know it" eq "$(rig_status nodes.3.name)" attic
check "its state is that of the others" rig_wait 10 "equal hashes" rig_hash_equal
check "all is well" rig_wait 10 "health" rig_healthy
check "one command goes through" "$VAGTCTL" send a1-m001 state=ON
check "it cannot be added twice" refused 'member already' members add 4 attic "127.0.0.1:$((PEER_PORT + 4))"

# A node that was down, and whose configuration does not know the fourth, finds it.
rig_stop "n$other"
rig_node_start "$other"
check "the old ones come back" rig_wait 15 "health" rig_healthy
check "a handover to it" "$VAGTCTL" handover attic
check "it has the watch" rig_wait 5 "its watch" eval '[ "$(rig_watch)" = 4 ]'

# The leader is removed: it hands over first.
check "the leader is removed" "$VAGTCTL" --timeout 30000 members remove attic
check "somebody else has the watch" rig_wait 5 "a watch" eval 'w=$(rig_watch); [ -n "$w" ] && [ "$w" != 4 ]'
check "it belongs to it no more" rig_wait 5 "it" is_member 4 removed
check "and is told so" rig_wait 5 "its word" said n4 members.out
check "... and says so" rig_wait 5 "its word" sh -c "'$VAGTCTL' -s 'ipc://$RIG/n4/control.sock' status | grep -q 'no member of the cluster'"
rig_stop n4
rig_node_start 4
check "... and when it comes back" rig_wait 5 "its word" sh -c "'$VAGTCTL' -s 'ipc://$RIG/n4/control.sock' status | grep -q 'no member of the cluster'"
check "the others do not miss it" rig_wait 10 "health" rig_healthy
check "it may come in again" \
    "$VAGTCTL" --timeout 30000 members add 4 attic "127.0.0.1:$((PEER_PORT + 4))"
check "is demoted" "$VAGTCTL" --timeout 30000 members demote attic
check "... and gets everything" eval 'rig_wait 5 standby is_member 4 standby && rig_wait 5 level level 4'
check "is promoted" "$VAGTCTL" --timeout 30000 members promote attic
check "is a voter again" rig_wait 5 "it" is_member 4 voter
check "goes" "$VAGTCTL" --timeout 30000 members remove attic
rig_stop n4

# A change outlives the node that began it.
check "it is wanted again" \
    "$VAGTCTL" members add 4 attic "127.0.0.1:$((PEER_PORT + 4))" --no-wait
check "one at a time" refused 'under way' members demote "${RIG_NAMES[1]}"
check "a wish can be dropped" "$VAGTCTL" members cancel
check "... and had anew" \
    "$VAGTCTL" members add 4 attic "127.0.0.1:$((PEER_PORT + 4))" --no-wait
e2e_roles
rig_stop "n$leader" KILL
check "another node leads" rig_wait 10 "a watch" relieved "$leader"
rig_node_start 4
check "and goes on with it" rig_wait 15 "its vote" eval '[ "$(member 4 member)" = voter ]'
rig_node_start "$leader"
check "all are there" rig_wait 15 "health" rig_healthy
check "it goes for good" "$VAGTCTL" --timeout 30000 members remove attic
rig_stop n4

# A disk dies.
e2e_roles
rig_stop "n$other" KILL
rm -rf "${RIG:?}/n$other/data"
mkdir "$RIG/n$other/data"
third=$((6 - leader - other))
"$VAGTD" -c "$RIG/n$other/vagt.yaml" --join > /dev/null
rig_node_start "$other"
check "it is seeded anew" "$VAGTCTL" --timeout 30000 members replace "${RIG_NAMES[$other]}"
check "... with the same state" rig_wait 10 "equal hashes" rig_hash_equal
check "... and all is well" rig_wait 10 "health" rig_healthy

# Two of three: neither may be removed when one is away.
rig_stop "n$other"
check "what would lose the quorum is refused" refused 'nothing could be decided' \
    members remove "${RIG_NAMES[$third]}"
check "the dead one may go" "$VAGTCTL" --timeout 30000 members remove "${RIG_NAMES[$other]}"
check "two are left" rig_wait 10 "health" rig_has_watch
check "a command still goes through" "$VAGTCTL" send a1-m002 state=ON
