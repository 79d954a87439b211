#!/bin/bash
# Two nodes and a witness: either node may die, the witness never acts, and a witness
# that is elected since only it has the newest entry hands over at once.
RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"

e2e_up
e2e_roles
two=$((3 - leader))
check "the witness says what it is" eq "$(rig_status nodes.2.role)" witness
began=$(rig_now_ms)
kill -KILL "$(rig_pid "n$leader")"
check "the other node takes the watch" rig_wait 5 "relief" eval '[ "$(rig_watch)" = "$two" ]'
check "relief within a second and a half" le $(($(said_at $two to=active) - began)) 1500
check "it switches" "$VAGTCTL" send a1-m001 state=ON
check "it is said that nobody could relieve it" \
    sh -c "'$VAGTCTL' status | grep -q 'nobody could relieve it'"
rig_node_start "$leader"
check "the first one comes back" rig_wait 15 "health" rig_healthy

# Only the witness and a sleeper have the newest entry: the witness has to lead first.
kill -STOP "$(rig_pid "n$leader")"
check "a command that the sleeper has not got" \
    "$VAGTCTL" send a1-m002 state=OFF --no-wait --id lone
kill -KILL "$(rig_pid "n$two")"
kill -CONT "$(rig_pid "n$leader")"
check "the sleeper takes the watch" rig_wait 10 "relief" eval '[ "$(rig_watch)" = "$leader" ]'
check "... with what it had not got" rig_wait 10 "an end" command_ended lone
check "... confirmed" eq "$(command_status lone)" confirmed
rig_node_start "$two"
check "all is well again" rig_wait 15 "health" rig_healthy
check "with the same state" rig_wait 5 "equal hashes" rig_hash_equal
check "the witness was never on watch" eval '! said n3 "to=ramping"'
sanitized || check "and is small" le "$(awk '/VmRSS/ {print $2}' "/proc/$(rig_pid n3)/status")" 16384
