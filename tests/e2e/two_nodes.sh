#!/bin/bash
# Two nodes and the row in Postgres: either may die, and the other goes on alone; who
# comes back is taken in again unattended. Without Postgres nobody goes on, and it is said.
RIG_NODES=2
. "$(dirname "$0")/lib.sh"

both_are_well() { rig_healthy && rig_row_open; }

e2e_up
e2e_roles
two=$((3 - leader))
need "the row is open" rig_wait 10 "the row" rig_row_open
check "for these two" eq "$(rig_row members)" 1,2
check "healthy" rig_wait 10 "health" rig_healthy
check "it could be relieved" rig_wait 10 "it" "$VAGTCTL" ready

# Whoever is on watch dies.
began=$(rig_now_ms)
kill -KILL "$(rig_pid "n$leader")"
need "the other one takes the watch" rig_wait 10 "relief" eval '[ "$(rig_watch)" = "$two" ]'
took=$(($(said_at "$two" to=active) - began))
printf 'relief after kill -9: %d ms\n' "$took"
check "not before it, and within 4 s" eval 'ge "$took" 0 && le "$took" 4000'
check "the row names it" eq "$(rig_row sole)" "$two"
check "it switches" "$VAGTCTL" send a1-m001 state=ON
check "status says that it is on its own" \
    rig_wait 3 "it" sh -c "'$VAGTCTL' status | grep -q 'on its own'"
check "it could not be relieved now" eval '! "$VAGTCTL" ready'

# It comes back, with what it had, and is taken in.
rig_node_start "$leader"
need "the first one is taken in again" rig_wait 25 "both" both_are_well
check "its old log was put aside" said "n$leader" tie.archived
check "the same state" rig_wait 5 "equal hashes" rig_hash_equal

# The other way round: now the one that was alone dies.
kill -KILL "$(rig_pid "n$two")"
need "the first one takes the watch" rig_wait 10 "relief" eval '[ "$(rig_watch)" = "$leader" ]'
check "it switches, too" "$VAGTCTL" send a1-m002 state=OFF
rig_node_start "$two"
need "all is well again" rig_wait 25 "both" both_are_well

# One that stands by dies: nothing of note happens, the watch goes on.
kill -KILL "$(rig_pid "n$two")"
check "the watch goes on alone" rig_wait 10 "the row" eval '[ "$(rig_row sole)" = "$leader" ]'
check "it switches alone" rig_wait 10 "a command" "$VAGTCTL" send a1-m003 state=ON
# It is alone, and is restarted.
kill -KILL "$(rig_pid "n$leader")"
rig_node_start "$leader"
check "alone, it takes the watch again" rig_wait 10 "watch" eval '[ "$(rig_watch)" = "$leader" ]'
rig_node_start "$two"
need "all is well a third time" rig_wait 25 "both" both_are_well

# The one on watch stops in its tracks: nobody says that it is gone.
e2e_roles
two=$((3 - leader))
began=$(rig_now_ms)
kill -STOP "$(rig_pid "n$leader")"
need "the other one takes the watch from a sleeper" \
    rig_wait 10 "relief" eval '[ "$(rig_watch)" = "$two" ]'
took=$(($(said_at "$two" to=active) - began))
printf 'relief after it fell silent: %d ms\n' "$took"
check "not before it, and within 6 s" eval 'ge "$took" 0 && le "$took" 6000'
check "it switches, too, without the sleeper" "$VAGTCTL" send a1-m004 state=ON
kill -CONT "$(rig_pid "n$leader")"
need "who slept is taken in again" rig_wait 25 "both" both_are_well
check "the same state after its sleep" rig_wait 5 "equal hashes" rig_hash_equal

# Both die, one comes back.
kill -KILL "$(rig_pid n1)" "$(rig_pid n2)"
rig_node_start 2
need "the one that comes back takes the watch" rig_wait 15 "watch" eval '[ "$(rig_watch)" = 2 ]'
rig_node_start 1
need "all is well a fourth time" rig_wait 25 "both" both_are_well
e2e_roles
two=$((3 - leader))

# Postgres away and a node dead: nobody.
rig_pg_stop
check "it is said what that means" \
    rig_wait 10 "the sentence" sh -c "'$VAGTCTL' status | grep -q 'if .* dies now, nobody can decide'"
kill -KILL "$(rig_pid "n$leader")"
sleep 5
check "nobody takes the watch" eval '! "$VAGTCTL" send a1-m001 state=OFF --no-wait'
check "why says so" rig_wait 3 "it" sh -c "'$VAGTCTL' why | grep -q 'Postgres does not answer.*nobody may go on alone'"
rig_pg_start
need "Postgres is back: the other one goes on" rig_wait 15 "relief" eval '[ "$(rig_watch)" = "$two" ]'
rig_node_start "$leader"
need "all is well at the end" rig_wait 25 "both" both_are_well
check "the same state at the end" rig_wait 5 "equal hashes" rig_hash_equal
check "at most two logs are kept aside" \
    le "$(find "$RIG"/n1/data -maxdepth 1 -name 'raft.archived-*' | wc -l)" 2

# The one that stands by gets a new disk, so fast that nobody took it for gone: it is a
# voter that has lost what it acknowledged.
e2e_roles
two=$((3 - leader))
rig_stop "n$two" KILL
rm -rf "$RIG/n$two/data"
mkdir "$RIG/n$two/data"
: > "$RIG/log/n$leader.log"
check "an empty disk joins" "$VAGTD" -c "$RIG/n$two/vagt.yaml" --join
rig_node_start "$two"
check "its emptiness is noticed" rig_wait 10 "it" said "n$leader" peer.forgot
check "the one with the log goes on alone" rig_wait 15 "it" said "n$leader" "rejoin.step peer=$two to=spare"
need "and makes it a voter" rig_wait 25 "it" said "n$leader" "rejoin.step peer=$two to=voter"
need "all is well on the new disk" rig_wait 25 "both" both_are_well
check "it switches at the very end" "$VAGTCTL" send a1-m001 state=ON
check "the same state on the new disk" rig_wait 5 "equal hashes" rig_hash_equal
