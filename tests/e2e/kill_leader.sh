#!/bin/bash
# The node on watch is killed with commands under way: to a meter that answers and
# to one that does not. Both end under whoever relieves it, each in its own way.
. "$(dirname "$0")/lib.sh"

# The living one is on, and goes off late enough to be under way, too.
e2e_up "--unreachable a1-m003 --unreachable-ms 2000 --set-delay-ms 3000"
e2e_roles
check "a command to the silent meter is accepted" \
    "$VAGTCTL" send a1-m003 state=ON --no-wait --id silent --timeout-ms 8000
check "one to a living meter, too" \
    "$VAGTCTL" send a2-m001 state=OFF --no-wait --id living --timeout-ms 20000
sent() { [ "$(command_status silent)" = sent ] && [ "$(command_status living)" = sent ]; }
check "both are under way" rig_wait 6 "sent" sent
began=$(rig_now_ms)
kill -KILL "$(rig_pid "n$leader")"
check "somebody else takes the watch" rig_wait 5 "relief" relieved "$leader"
check "relief within a second" le $(($(said_at "$(rig_watch)" to=active) - began)) 1000
check "the living one is confirmed" rig_wait 10 "an end" eval '[ "$(command_status living)" = confirmed ]'
check "the silent one ends" rig_wait 15 "an end" command_ended silent
check "... as expired" eq "$(command_status silent)" expired
check "it was reached" ge "$(rig_site /log | grep -c a2-m001)" 1
check "... not more often than the ledger says" le "$(rig_site /log | grep -c a2-m001)" \
    "$("$VAGTCTL" --json command living | rig_json command.attempts)"
rig_node_start "$leader"
check "who was killed comes back" rig_wait 10 "health" rig_healthy
check "with the same state" rig_wait 5 "equal hashes" rig_hash_equal
