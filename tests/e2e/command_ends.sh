#!/bin/bash
# Each command ends once: by a newer one, by an operator, by its deadline, by its meter.
# What has ended stays so, and the same id is the same command.
. "$(dirname "$0")/lib.sh"

e2e_up "--unreachable a1-m003 --unreachable-ms 2000 --set-delay-ms 700"
send() { "$VAGTCTL" send "$1" "state=$2" --id "$3" --no-wait --timeout-ms "${4:-20000}"; }
is() { [ "$(command_status "$1")" = "$2" ]; }
cancel() { "$VAGTCTL" cancel "$1"; }
# How many commands of this id does the ledger know?
known() {
    "$VAGTCTL" --json commands --limit 500 | python3 -c '
import json, sys
print(sum(c["id"] == sys.argv[1] for c in json.load(sys.stdin)["commands"]))' "$1"
}
reached() { rig_site /log | grep -o '"dev": *"[^"]*"' | grep -c "$1"; }

# A meter that does not answer.
check "a command is accepted" send a1-m003 ON older
check "... and sent" rig_wait 5 "sent" is older sent
check "a newer one is accepted" send a1-m003 OFF newer
check "it ends the older" eq "$(command_status older)" superseded
check "... with the reason" eq "$("$VAGTCTL" --json command older | rig_json command.reason)" "superseded by newer"
check "an operator ends the newer" cancel newer
check "... as cancelled" eq "$(command_status newer)" cancelled
check "one with a short deadline" send a1-m003 ON short 1500
check "... expires" rig_wait 6 "expired" is short expired
cancel short > "$RIG/out" 2>&1
check "what has expired cannot be cancelled" eq "$(command_status short)" expired

# One that answers, given three times with one id to three nodes.
rig_site '/log?clear=1' > "$RIG/cleared"
for i in 1 2 3; do
    check "given for time $i" "$VAGTCTL" -s "ipc://$RIG/n$i/control.sock" send a2-m001 state=OFF \
        --id thrice --no-wait
done
check "it is one command" eq "$(known thrice)" 1
check "the meter confirms it" rig_wait 10 "confirmed" is thrice confirmed
check "given once more it is the same" send a2-m001 OFF thrice
cancel thrice > "$RIG/out" 2>&1
sleep 1
check "... and has ended" eq "$(command_status thrice)" confirmed
check "it is still one" eq "$(known thrice)" 1
check "it reached the meter" eq "$(reached a2-m001)" "$("$VAGTCTL" --json command thrice | rig_json command.attempts)"
check "nothing is open" eq "$(rig_status site.commands.open)" 0
ends() { for id in older newer short thrice; do command_status $id; done | tr '\n' ' '; }
check "each has its end" eq "$(ends)" "superseded cancelled expired confirmed "
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
check "somebody else takes the watch" rig_wait 5 "relief" relieved "$leader"
check "to whom they ended the same way" eq "$(ends)" "superseded cancelled expired confirmed "
