#!/bin/bash
# Drills: a handover, a killed watch, one that vanishes, a Postgres that seems away. Each
# is measured by a standby, nothing is lost or doubled, and the report is on all nodes.
. "$(dirname "$0")/lib.sh"

refused() {
    local words=$1
    shift
    if "$VAGTCTL" "$@" > "$RIG/refused" 2>&1 || ! grep -q -- "$words" "$RIG/refused"; then
        cat "$RIG/refused"
        return 1
    fi
}
# Something of the newest drill, as any node knows it.
last() { "$VAGTCTL" --json drills --limit 1 | rig_json "drills.0.$1"; }
running() { [ "$(last state)" = running ]; }
# A drill in the background; what is to be done meanwhile is done by the caller.
begin() {
    "$VAGTCTL" drill "$@" --yes > "$RIG/drill.out" 2>&1 &
    drill=$!
}
end() { wait "$drill" || { cat "$RIG/drill.out"; return 1; }; }
nothing_lost() {
    local sent
    sent=$(last report.sent)
    ge "${sent:-0}" 5 && eq "$(last report.lost) $(last report.doubled)" "0 0"
}
within() { local ms; ms=$(last "report.phases.$1"); le "${ms:-999999}" "$2"; }

e2e_up
check "it could be relieved" rig_wait 20 "readiness" "$VAGTCTL" ready
check "none was run" sh -c "'$VAGTCTL' drills | grep -q 'No drill was run yet'"
check "a kind is needed" refused 'handover, kill' drill nonsense --yes
check "nobody is there to be asked" refused 'say --yes' drill kill
check "a bridge that is not ours" refused 'did not start' drill bridge --yes
check "a canary is looked for" refused "no device is called 'gone'" drill kill --dry-run --canary area1=gone
check "what it would do" sh -c "'$VAGTCTL' drill kill --dry-run | grep -q SIGKILL"
check "... and no more" eq "$("$VAGTCTL" --json drills | rig_json drills)" "[]"

e2e_roles
begin handover --budget 20s --canary "area1=$(rig_meter 1 1)"
check "a handover passes" end
check "the watch is another" eval '[ "$(rig_watch)" != "$leader" ]'
check "no reading is lost or doubled" nothing_lost
check "commands are confirmed soon" within areas 10000
check "a real canary was asked for the state it had" \
    sh -c "'$VAGTCTL' --json commands --limit 50 | grep -q '\"source\":\"drill\"'"

e2e_roles
begin kill --budget 20s
check "the watch is killed" rig_wait 20 "its end" eval '! rig_alive "n$leader"'
rig_node_start "$leader"
check "a killed watch passes" end
check "... with nothing lost" nothing_lost
check "a row was there again" within row 15000
check "all is well" rig_wait 15 "health" rig_healthy

check "ready again" rig_wait 20 "readiness" "$VAGTCTL" ready
e2e_roles
pid=$(rig_pid "n$leader")
begin vanish --budget 30s
check "it begins" rig_wait 10 "its beginning" running
check "a second one has to wait" refused 'is running' drill kill --yes
check "a watch that vanishes passes" end
check "... with nothing lost" nothing_lost
check "it was another's then" eval '[ "$(last before)" != "$(last after)" ]'
check "it is heard again" rig_wait 15 "health" rig_healthy
check "the same process" eq "$(rig_pid "n$leader")" "$pid"

check "ready once more" rig_wait 20 "readiness" "$VAGTCTL" ready
begin postgres --budget 20s
check "Postgres away passes" end
check "... with nothing lost" nothing_lost
check "nobody else took the watch" eq "$(last before)" "$(last after)"

check "ready after it" rig_wait 20 "readiness" "$VAGTCTL" ready
begin broker --budget 12s
check "a broker away passes" end
check "... with nothing lost or doubled" nothing_lost

check "ready still" rig_wait 20 "readiness" "$VAGTCTL" ready
e2e_roles
begin postgres --budget 60s
check "one that runs" rig_wait 5 "it" running
check "... is ended by an operator" "$VAGTCTL" drill abort
check "... and says so" rig_wait 5 "it" sh -c "'$VAGTCTL' drill show 6 | grep -q 'postgres: aborted'"
check "there is a table" sh -c "'$VAGTCTL' drills | grep -q 'kill .*passed'"
check "and one in full" sh -c "'$VAGTCTL' drill show 2 | grep -q 'first reading in Postgres .*|'"
check "all is well after it" rig_wait 15 "health" rig_healthy
check "canaries are no meters" eq "$(rig_psql -c "SELECT count(*) FROM power_meters")" 10
check "... nor anybody else's" eq "$(rig_psql -c "SELECT count(*) FROM meter_identity")" 10
check "... and not listed" rig_wait 5 "their end" eval \
    '! "$VAGTCTL" devices | grep -q vagt-canary'

# Nobody could relieve it, and it is done all the same.
e2e_roles
third=$((6 - leader - other))
rig_stop "n$third"
check "it is not ready" refused 'not ready for it' drill kill --yes
begin kill --budget 5s --yes --force
check "the watch is killed by force" rig_wait 20 "its end" eval '! rig_alive "n$leader"'
check "its coordinator gives up" rig_wait 60 "the end" said "n$other" 'drill.gives_up'
rig_node_start "$leader"
rig_node_start "$third"
check "a drill that failed" eval '! end > /dev/null'
check "... says what was missing" eq "$(last report.why)" "given up after 5 s: no node took the watch"
check "all is well at last" rig_wait 15 "health" rig_healthy
check "the states are equal" rig_wait 10 "equal hashes" rig_hash_equal
for i in 1 2 3; do
    check "node $i knows them all" eq \
        "$("$VAGTCTL" -s "ipc://$RIG/n$i/control.sock" --json drills | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["drills"]))')" 7
done
