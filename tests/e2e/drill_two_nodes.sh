#!/bin/bash
# A drill of two nodes and the row in Postgres: who coordinates it takes the watch, and
# begins anew to do so; what it has measured goes with it.
export RIG_NODES=2
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# As the one knows it that was not killed: the other comes back with nothing.
last() { "$VAGTCTL" -s "ipc://$RIG/n$two/control.sock" --json drills --limit 1 | rig_json "drills.0.$1"; }

e2e_up
check "it could be relieved" rig_wait 20 "readiness" "$VAGTCTL" ready
e2e_roles
two=$((3 - leader))
"$VAGTCTL" drill kill --yes --budget 20s > "$RIG/drill.out" 2>&1 &
drill=$!
check "the watch is killed" rig_wait 20 "its end" eval "! rig_alive n$leader"
check "the drill ends" rig_wait 25 "its report" eval "[ \"\$(last state)\" = passed ]"
rig_node_start "$leader"
check "it passes" wait "$drill"
check "the other one had begun anew" ge "$(grep -c 'ev=started' "$RIG/log/n$two.log")" 2
check "the lease was waited for" ge "$(last report.phases.acting)" 900
check "nothing is lost or doubled" eq "$(last report.lost) $(last report.doubled)" "0 0"
check "something was sent" ge "$(last report.sent)" 5
check "all is well" rig_wait 25 "health" rig_healthy
check "no file stays" eval "! ls $RIG/n$two/data/drill-run"
