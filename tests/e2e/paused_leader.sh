#!/bin/bash
# The node on watch sleeps for three seconds and wakes up as if nothing had happened.
. "$(dirname "$0")/lib.sh"

e2e_up
e2e_roles
check "a switch before" "$VAGTCTL" send a1-m001 state=OFF
rig_site '/log?clear=1' > "$RIG/log/cleared"
kill -STOP "$(rig_pid "n$leader")"
check "somebody else takes the watch" rig_wait 5 "relief" relieved "$leader"
socket=ipc://$RIG/n$(($(rig_watch)))/control.sock
for i in 0 1 2 3 4; do
    check "it switches meanwhile" "$VAGTCTL" -s "$socket" send a1-m00$i state=ON --id "asleep-$i"
done
sleep 2
kill -CONT "$(rig_pid "n$leader")"
for i in 0 1 2 3 4; do
    check "and afterwards" "$VAGTCTL" send a2-m00$i state=ON --id "awake-$i"
done
one() { eq "$(active_nodes)" 1; }
check "exactly one node is on watch" rig_wait 5 "one watch" one
check "it is not the one that slept" relieved "$leader"
check "three nodes hold the same" rig_wait 10 "equal hashes" rig_hash_equal
# Each command reached its meter, at most as often as the ledger says it was sent.
attempts=0
for id in asleep-0 asleep-1 asleep-2 asleep-3 asleep-4 awake-0 awake-1 awake-2 awake-3 awake-4; do
    check "$id is confirmed" eq "$(command_status $id)" confirmed
    attempts=$((attempts + $("$VAGTCTL" --json command $id | rig_json command.attempts)))
done
check "all ten were carried out" ge "$(rig_site /log | grep -c '"dev"')" 10
check "and none behind the ledger's back" le "$(rig_site /log | grep -c '"dev"')" "$attempts"
