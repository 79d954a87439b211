#!/bin/bash
# What is left is a node that was away when the others went on: something is lost, that is
# said beforehand, Postgres is ahead and says what to do, and who comes back with the lost
# entries does not bring them in again.
. "$(dirname "$0")/lib.sh"

e2e_up
e2e_roles
survivor=$other
third=$((6 - leader - survivor))
more() { [ "$(rig_readings)" -gt "$1" ]; }
check "a command that all know" "$VAGTCTL" send a1-m001 state=ON --id known
rig_stop "n$survivor"
check "one that the survivor does not" "$VAGTCTL" send a1-m002 state=ON --id lost
before=$(rig_readings)
check "readings that it has not" rig_wait 15 "readings" more $((before + 20))
rig_stop "n$third" KILL
rig_stop "n$leader" KILL

check "what may be lost is said" \
    rig_wait 3 "it" sh -c "'$VAGTCTL' --json recover '$RIG/n$survivor/data' | grep -q '\"may_lose\":true.*\"done\":false'"
check "the better folder is preferred" \
    rig_wait 3 "it" sh -c "'$VAGTCTL' --json recover '$RIG/n$survivor/data' '$RIG/n$third/data' |
        grep -q '\"node\":$third,.*\"may_lose\":false'"
check "it is recovered all the same" \
    "$VAGTCTL" recover "$RIG/n$survivor/data" --yes-i-mean campsite
rig_node_start "$survivor"
check "it takes the watch" rig_wait 20 "a watch" eval '[ "$(rig_watch)" = "$survivor" ]'
check "what it knew it knows" eq "$(command_status known)" confirmed
check "what it did not it does not" eq "$(command_status lost)" ""
check "it switches" "$VAGTCTL" send a1-m001 state=OFF
check "Postgres is ahead, and it is said what to do" \
    rig_wait 10 "the sentence" sh -c "'$VAGTCTL' status | tr -s '\n ' ' ' | grep -q 'delete the row'"
rig_psql -c "DELETE FROM vagt_fence WHERE cluster = 'campsite'"
check "then it takes readings" rig_wait 20 "a connection" eval '[ "$(rig_status site.postgres.link)" = up ]'
before=$(rig_readings)
check "and gets them" rig_wait 15 "readings" more "$before"
check "none comes twice" eq "$(rig_psql -c 'SELECT count(*) - count(DISTINCT (meter_id, time)) FROM meter_readings')" 0

for i in "$leader" "$third"; do
    rig_node_start "$i"
    check "who has more is left behind" rig_wait 10 "its end" eval '! rig_alive "n$i"'
    check "it rejoins" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --rejoin
    rig_node_start "$i"
done
check "all are taken in" rig_wait 30 "health" rig_healthy
check "with the same state" rig_wait 5 "equal hashes" rig_hash_equal
check "what was lost stays lost" eq "$(command_status lost)" ""
