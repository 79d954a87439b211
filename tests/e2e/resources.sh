#!/bin/bash
# What moves with the watch: started in order by whoever has it, stopped in reverse before
# another one has it; by a keeper that survives vagtd, and by vagtd that survives its
# keeper. Never two holders at a time.
. "$(dirname "$0")/lib.sh"

# A daemon for each resource and node; starting one while that of another node lives is a
# clash.
cat > "$RIG/daemon" << 'SCRIPT'
#!/bin/bash
rig=$(dirname "$0")
me=${VAGT_RESOURCE#"$rig"/}
node=${me%%/*}
name=${VAGT_RESOURCE##*/}
pid() { cat "$rig/run.$name.$1" 2> /dev/null; }
lives() { local p; p=$(pid "$1"); [ -n "$p" ] && grep -q '^State:.[^Z]' "/proc/$p/status" 2> /dev/null; }
case $1 in
    start)
        for other in n1 n2 n3; do
            [ "$other" != "$node" ] && lives "$other" && echo "clash $name $node $other" >> "$rig/said"
        done
        [ -e "$rig/broken.$node" ] && exit 1
        lives "$node" || { setsid sleep 1000 > /dev/null 2>&1 & echo $! > "$rig/run.$name.$node"; }
        echo "start $name $node" >> "$rig/said"
        ;;
    stop)
        [ -e "$rig/refuse" ] && exit 1
        if lives "$node"; then
            kill "$(pid "$node")"
            while lives "$node"; do sleep 0.01; done
            echo "stop $name $node" >> "$rig/said"
        fi
        ;;
    monitor) lives "$node" ;;
esac
SCRIPT
chmod +x "$RIG/daemon"
RIG_EXTRA="watch: {takeover_wait: 4s}
resources:
  - {name: first, exec: {script: $RIG/daemon}, monitor: 300ms}
  - {name: second, exec: {script: $RIG/daemon}, after: [first], monitor: 300ms}
  - {name: bridge-one, command: [/bin/sleep, '1000'], after: [second]}"

state() { rig_status "site.resources.$1.state"; }
all_run() { [ "$(state 0) $(state 1) $(state 2)" = "running running running" ]; }
no_clash() { ! grep clash "$RIG/said"; }
lives() { grep -q '^State:.[^Z]' "/proc/$(cat "$RIG/run.$1.n$2")/status" 2> /dev/null; }
dead() { ! lives "$1" "$2"; }

e2e_up
e2e_roles
check "they run" rig_wait 10 "all running" all_run
check "in order" eq "$(tr '\n' ';' < "$RIG/said")" "start first n$leader;start second n$leader;"

# Handed over: the outage is stop and start.
: > "$RIG/said"
check "a handover" "$VAGTCTL" --timeout 20000 handover
check "they run again" rig_wait 10 "all running" all_run
old=$leader
e2e_roles
check "elsewhere" eval '[ "$leader" != "$old" ]'
check "stopped in reverse, started in order" eq "$(tr '\n' ';' < "$RIG/said")" \
    "stop second n$old;stop first n$old;start first n$leader;start second n$leader;"

# It dies: its keeper stops them.
: > "$RIG/said"
old=$leader
kill -KILL "$(rig_pid "n$old")"
check "the keeper stops them" rig_wait 4 "the end" grep -q "stop first n$old" "$RIG/said"
check "in reverse" eq "$(head -n 2 "$RIG/said" | tr '\n' ';')" "stop second n$old;stop first n$old;"
check "another one starts them" rig_wait 15 "all running" all_run
rig_node_start "$old"
check "all is well" rig_wait 20 "health" rig_healthy

# One that breaks is started again.
e2e_roles
kill -KILL "$(cat "$RIG/run.second.n$leader")"
check "it is missed" rig_wait 5 "its failure" said "n$leader" 'ev=resource.failed resource=second'
check "and started again" rig_wait 5 "it" lives second "$leader"
check "they run still" rig_wait 5 "all running" all_run

# The keeper dies: vagtd begins anew, with another.
: > "$RIG/said"
keeper=$(grep -l "^Name:.vagt-keeper" /proc/[0-9]*/status 2> /dev/null | while read -r f; do
    p=${f#/proc/}; p=${p%/status}
    grep -q "^PPid:.$(rig_pid "n$leader")$" "$f" && echo "$p"
done)
check "there is a keeper" eval '[ -n "$keeper" ]'
kill -KILL "$keeper"
check "it is missed" rig_wait 5 "its loss" said "n$leader" 'ev=keeper.lost'
check "they run again" rig_wait 20 "all running" all_run
check "all is well again" rig_wait 20 "health" rig_healthy

# vagtd hangs: its keeper takes it for dead, and so do the others.
e2e_roles
old=$leader
kill -STOP "$(rig_pid "n$old")"
check "the keeper stops them" rig_wait 6 "the end" dead first "$old"
check "another one starts them" rig_wait 15 "all running" all_run
kill -CONT "$(rig_pid "n$old")"
check "it comes back" rig_wait 20 "health" rig_healthy

# One that cannot run here: somebody else may do better.
e2e_roles
check "each could be relieved" rig_wait 20 "readiness" "$VAGTCTL" ready
check "a drill restarts a bridge" sh -c "'$VAGTCTL' --timeout 60000 drill bridge --yes --budget 30s | grep 'the bridges run  *[0-9]'"
touch "$RIG/broken.n$leader"
old=$leader
kill -KILL "$(cat "$RIG/run.second.n$leader")"
check "the watch is handed over for it" rig_wait 25 "a handover" relieved "$old"
check "and they run there" rig_wait 15 "all running" all_run

# The same fault there: the two do not play ping-pong with it.
e2e_roles
new=$leader
touch "$RIG/broken.n1" "$RIG/broken.n2" "$RIG/broken.n3"
rig_wait 20 "readiness" "$VAGTCTL" ready
kill -KILL "$(cat "$RIG/run.second.n$new")"
third=$((6 - old - new))
check "the third one is tried" rig_wait 25 "a handover" eval '[ "$(rig_watch)" = "$third" ]'
check "then nobody is left, and it is said" rig_wait 30 "it" said "n$third" ev=resource.no_relief
check "... to whoever asks" sh -c "'$VAGTCTL' status | grep -q 'the watch stays where it is'"
check "... and the watch stays" eval '[ "$(rig_watch)" = "$third" ]'
rm "$RIG/broken.n"?
check "they run again when it is mended" rig_wait 30 "all running" all_run

# One that does not stop: its node fences itself, then another may have it.
e2e_roles
old=$leader
touch "$RIG/refuse"
"$VAGTCTL" handover > /dev/null 2>&1 &
check "the node ends" rig_wait 10 "its end" eval '! rig_alive "n$old"'
check "what was started is killed" rig_wait 5 "the end" dead first "$old"
rm "$RIG/refuse"
check "then another one has them" rig_wait 20 "all running" all_run
check "never two at a time" no_clash
wait
