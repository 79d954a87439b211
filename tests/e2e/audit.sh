#!/bin/bash
# Who changed what: each change has its record on all nodes, through a kill and a restart;
# the chain holds, an export can be checked elsewhere, and one that was touched is refused.
. "$(dirname "$0")/lib.sh"

has() { "$VAGTCTL" --json audit --limit 500 > "$RIG/audit" && grep -q -- "$1" "$RIG/audit"; }
on_node() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" --json audit --limit 500 | grep -q -- "$2"; }
touched() { # SED: the export, changed so, is refused
    sed "$1" "$RIG/export" > "$RIG/touched"
    ! "$VAGTCTL" audit verify "$RIG/touched" > "$RIG/out" 2>&1
}

e2e_up
e2e_roles
for name in "${RIG_NAMES[@]:1:3}"; do
    check "the start of $name" rig_wait 10 "it" has "\"what\":\"configuration\",\"about\":\"$name "
done
check "a command" "$VAGTCTL" send "$(rig_meter 1 1)" state=ON
check "... has its record" rig_wait 5 "it" has '"what":"send","about":"[^"]*state'
check "an area goes off" "$VAGTCTL" area off area2
check "... has its record" rig_wait 5 "it" has '"what":"area","about":"[^"]*area2[^"]*","result":"done"'
check "... and on" "$VAGTCTL" area on area2
check "maintenance" "$VAGTCTL" maintenance on --for 20m
check "... over" "$VAGTCTL" maintenance off
check "... has its record" rig_wait 5 "it" has '"what":"maintenance"'
check "a handover" "$VAGTCTL" handover
check "... has its record, by the one that had the watch" rig_wait 10 "it" has '"what":"handover","about":"[^"]*","result":"done"'
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
check "the watch is relieved" rig_wait 10 "a watch" relieved "$leader"
check "no record is lost" has '"what":"area"'
printf '# another\n' >> "$RIG/n$leader/vagt.yaml"
rig_node_start "$leader"
check "another configuration has its record" rig_wait 15 "two" eval \
    '"$VAGTCTL" audit | grep -c "configuration *${RIG_NAMES[$leader]} " | grep -qx 2'
for i in 1 2 3; do
    check "node $i has them all" rig_wait 10 "it" on_node "$i" '"what":"handover"'
done
check "all nodes hold the same" rig_wait 10 "it" rig_hash_equal
check "the chain holds" "$VAGTCTL" audit verify
check "export" "$VAGTCTL" audit export "$RIG/export"
check "nothing is overwritten" eval '! "$VAGTCTL" audit export "$RIG/export" 2> /dev/null'
check "it is whole" "$VAGTCTL" audit verify "$RIG/export"
check "another name is seen" touched '3s/"who":"[a-z]/"who":"X/'
check "a line that is gone is seen" touched 3d
check "two that changed places are seen" touched '3{h;d};4G'
check "another hash is seen" touched '4s/"hash":"./"hash":"z/'
