#!/bin/bash
# From nothing to a site at work, and a switch that switches.
. "$(dirname "$0")/lib.sh"

e2e_up
check "three nodes hold the same" rig_wait 5 "equal hashes" rig_hash_equal
check "one node on watch" eq "$(active_nodes)" 1
e2e_roles
check "send to a meter by name, through any node" "$VAGTCTL" send "$(rig_meter 1 2)" state=ON
check "and back, through one that is not on watch" \
    "$VAGTCTL" -s "ipc://$RIG/n$other/control.sock" send "$(rig_meter 1 2)" state=OFF
check "through the one on watch" \
    "$VAGTCTL" -s "ipc://$RIG/n$leader/control.sock" send "$(rig_meter 2 4)" state=ON --id first
check "asked again with the same id: the same answer" \
    "$VAGTCTL" send "$(rig_meter 2 4)" state=ON --id first
check "which is confirmed" eq "$(command_status first)" confirmed
check "no device of that name: refused" bash -c "! '$VAGTCTL' send nobody state=ON"
rows() { ge "$(rig_readings)" 20; }
check "rows arrive in Postgres" rig_wait 10 "20 rows" rows
check "a handover" "$VAGTCTL" handover
check "somebody else has the watch" rig_wait 5 "relief" relieved "$leader"
check "and switches" "$VAGTCTL" send "$(rig_meter 2 1)" state=ON
check "the same state everywhere" rig_wait 5 "equal hashes" rig_hash_equal
