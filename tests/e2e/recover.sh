#!/bin/bash
# Two of three data folders are gone: nobody acts, until an operator lets the third go on
# alone. Nothing that was acknowledged is lost. A node that comes back with its old log is
# told that it was left behind, stops, rejoins with one command; so does an empty one.
. "$(dirname "$0")/lib.sh"

e2e_up
e2e_roles
survivor=$other
third=$((6 - leader - survivor))
conf() { echo "$RIG/n$1/vagt.yaml"; }
log_of() { echo "$RIG/n$1/data"; }
ctl() { "$VAGTCTL" -s "ipc://$RIG/n$survivor/control.sock" "$@"; }

for i in 1 2 3; do check "some history" "$VAGTCTL" send a1-m00$i state=ON --id before$i; done
check "all hold the same" rig_wait 5 "equal hashes" rig_hash_equal
readings=$(rig_readings)
more_readings() { [ "$(rig_readings)" -gt "$readings" ]; }
check "with a watch it is refused" eval '! "$VAGTCTL" recover "$(log_of $survivor)" --yes-i-mean campsite'
rig_stop "n$third" KILL
check "something that it lacks" "$VAGTCTL" send a1-m004 state=ON
rig_stop "n$leader" KILL
"$VAGTCTL" recover "$(log_of "$third")" "$(log_of "$leader")" --yes-i-mean nobody > "$RIG/recover.out" 2>&1
check "a majority is told from less" grep -q "2 of 3 voters were looked at, a majority" "$RIG/recover.out"
check "and the better one named" grep -q "The most is in $(log_of "$leader")" "$RIG/recover.out"
mv "$(log_of "$third")" "$RIG/kept$third"
mv "$(log_of "$leader")" "$RIG/kept$leader"
mkdir "$(log_of "$leader")" "$(log_of "$third")"
check "nobody is on watch" rig_wait 10 "no watch" eval '! rig_has_watch'
check "the folder of a node that runs is refused" \
    eval '! ctl recover "$(log_of $survivor)" --yes-i-mean campsite 2> "$RIG/err"'
rig_stop "n$survivor"

check "another name is no confirmation" \
    eval '! ctl recover "$(log_of $survivor)" --yes-i-mean elsewhere'
check "neither is an empty line" eval '! echo | ctl recover "$(log_of $survivor)"'
check "it is confirmed by typing" \
    eval 'echo campsite | ctl recover "$(log_of $survivor)" "$(log_of $leader)" > "$RIG/recover.out"'
check "it says what could be lost" grep -q "Only 1 of 3 voters could be looked at" "$RIG/recover.out"
check "and what is no log" grep -q "there is no log" "$RIG/recover.out"
began=$(rig_now_ms)
rig_node_start "$survivor"
check "it takes the watch" rig_wait 20 "a watch" eval '[ "$(rig_watch)" = "$survivor" ]'
printf 'watch %d ms after the start\n' $(($(rig_now_ms) - began))
for i in 1 2 3; do check "command $i is known" eq "$(command_status before$i)" confirmed; done
check "it switches" "$VAGTCTL" send a1-m001 state=OFF
check "readings go on" rig_wait 15 "more readings" more_readings
check "it says who was left behind" rig_wait 3 "it" sh -c "'$VAGTCTL' status | grep -q 'vagtd --rejoin'"
check "and asks for no majority of three" sh -c "! '$VAGTCTL' status | grep -q 'are needed'"

# The old logs come back, both at once: a majority of the old cluster.
for i in "$third" "$leader"; do
    rm -rf "$(log_of "$i")" && mv "$RIG/kept$i" "$(log_of "$i")"
    : > "$RIG/log/n$i.log"
done
rig_node_start "$third"
rig_node_start "$leader"
for i in "$third" "$leader"; do
    check "it is told and stops" rig_wait 10 "its end" eval '! rig_alive "n$i"'
    check "and says so" said "n$i" recover.left_behind
    check "it never was on watch" eval '! said "n$i" "to=ramping"'
done
check "the watch stays where it is" eq "$(rig_watch)" "$survivor"
timeout 10 "$VAGTD" -c "$(conf "$third")" > "$RIG/again.out" 2>&1
check "it does not start again" eq $? 5
check "and says what to do" grep -q -- "--rejoin" "$RIG/again.out"
check "it rejoins" "$VAGTD" -c "$(conf "$third")" --rejoin
check "its log is kept" test -s "$(log_of "$third")/raft.archived-1/identity"
rig_node_start "$third"
check "it is added" rig_wait 10 "a spare" said "n$survivor" "rejoin.step peer=$third to=spare"
rig_stop "n$third" KILL
rm -rf "$(log_of "$third")"
mkdir "$(log_of "$third")"
check "it begins anew on the way" "$VAGTD" -c "$(conf "$third")" --join
rig_node_start "$third"
check "it is taken in" rig_wait 30 "a voter" said "n$survivor" "recover.rejoined peer=$third"

# The other one has lost its disk meanwhile.
rm -rf "$(log_of "$leader")"
mkdir "$(log_of "$leader")"
check "the empty one rejoins" "$VAGTD" -c "$(conf "$leader")" --rejoin
rig_node_start "$leader"
check "it is taken in, too" rig_wait 30 "a voter" said "n$survivor" "recover.rejoined peer=$leader"
check "all is well" rig_wait 15 "health" rig_healthy
check "all hold the same again" rig_wait 5 "equal hashes" rig_hash_equal

# They count again: the survivor may die.
rig_stop "n$survivor" KILL
check "another one takes the watch" rig_wait 10 "relief" relieved "$survivor"
check "and knows the past" eq "$(command_status before1)" confirmed
check "it switches, too" "$VAGTCTL" send a1-m002 state=OFF
