#!/bin/bash
# Two nodes, and what moves with the watch: when the one that stands by dies, or falls
# silent, not one thing is stopped; the keeper outlives the new beginning of vagtd. When
# nobody may go on alone, and when the one on watch dies, they are stopped as ever. One of
# their folders is written to all the time, so that no version of it can be taken.
RIG_NODES=2
. "$(dirname "$0")/lib.sh"

cat > "$RIG/daemon" << 'SCRIPT'
#!/bin/bash
rig=$(dirname "$0")
me=${VAGT_RESOURCE#"$rig"/}
node=${me%%/*}
lives() { [ -s "$rig/run.$node" ] && kill -0 "$(cat "$rig/run.$node")" 2> /dev/null; }
case $1 in
    start)
        lives || { setsid sleep 1000 > /dev/null 2>&1 & echo $! > "$rig/run.$node"; }
        echo "start $node" >> "$rig/said"
        ;;
    stop)
        echo "stop $node" >> "$rig/said"
        lives && kill -KILL "$(cat "$rig/run.$node")"
        rm -f "$rig/run.$node"
        ;;
    monitor) lives ;;
esac
SCRIPT
chmod +x "$RIG/daemon"
RIG_EXTRA="watch: {takeover_wait: 6s}
files: [{name: extra, dir: $RIG/extra}]
resources:
  - {name: first, exec: {script: $RIG/daemon}, monitor: 300ms}
  - {name: second, command: [/bin/sleep, '1000'], after: [first]}"

both_are_well() { rig_healthy && rig_row_open; }
state() { rig_status "site.resources.$1.state"; }
all_run() { [ "$(state 0) $(state 1)" = "running running" ]; }
child() { # of process $1, by the name $2
    local p
    for p in $(cat "/proc/$1/task/"*/children 2> /dev/null); do
        grep -q "^Name:.$2\$" "/proc/$p/status" 2> /dev/null && echo "$p"
    done
}
keeper() { child "$(rig_pid "n$1")" vagt-keeper; }
sleeper() { child "$(keeper "$1")" sleep; }
alone() { [ "$(rig_row sole)" = "$leader" ] && [ "$(rig_watch)" = "$leader" ]; }
unharmed() {
    check "$1: the keeper is the same" eq "$(keeper "$leader")" "$keeper"
    check "$1: the program is the same" eq "$(sleeper "$leader")" "$sleeper"
    check "$1: nothing was stopped or started" eq "$(grep "n$leader" "$RIG/said")" ""
}

mkdir "$RIG/extra" # of both: its mark says what it is
echo a > "$RIG/extra/busy"
e2e_up
need "the row is open" rig_wait 10 "the row" rig_row_open
e2e_roles
two=$((3 - leader))
need "they run" rig_wait 10 "all running" all_run
keeper=$(keeper "$leader")
sleeper=$(sleeper "$leader")
check "there is a keeper, and a program" eval '[ -n "$keeper" ] && [ -n "$sleeper" ]'

need "the folder is a version" rig_wait 15 "it" said "n$leader" 'ev=files.taken set=extra version=1 '
while sleep 0.2; do date +%N > "$RIG/extra/busy"; done &
writer=$!
trap 'status=$?; kill "$writer" 2> /dev/null; wait "$writer" 2> /dev/null; (exit "$status"); e2e_end' EXIT
rig_wait 5 "a change" eval '[ "$(cat "$RIG/extra/busy")" != a ]'

# The one that stands by dies.
: > "$RIG/said"
kill -KILL "$(rig_pid "n$two")"
need "the watch goes on alone" rig_wait 10 "the row" alone
check "they run" rig_wait 5 "all running" all_run
check "it says that they were taken over" \
    rig_wait 5 "it" said "n$leader" 'ev=resource.adopted resource=second'
unharmed "after kill -9 of the other"

# Both are there again, and it falls silent.
rig_node_start "$two"
need "all is well again" rig_wait 25 "both" both_are_well
: > "$RIG/log/n$leader.log"
kill -STOP "$(rig_pid "n$two")"
need "the watch goes on alone again" rig_wait 10 "the row" alone
check "they were taken over again" \
    rig_wait 5 "it" said "n$leader" 'ev=resource.adopted resource=second'
check "they run still" rig_wait 5 "all running" all_run
unharmed "after the other fell silent"
kill -CONT "$(rig_pid "n$two")"
need "all is well a third time" rig_wait 25 "both" both_are_well

# What was taken over is looked after like any other.
kill -KILL "$(cat "$RIG/run.n$leader")"
check "what breaks is started again" rig_wait 5 "a start" grep -q "start n$leader" "$RIG/said"

# Nobody may go on alone without Postgres: they stop.
kill "$writer"
: > "$RIG/said"
: > "$RIG/log/n$leader.log"
rig_pg_stop
rig_wait 5 "the loss of Postgres" said "n$leader" 'ev=tie.postgres up=0'
kill -KILL "$(rig_pid "n$two")"
check "without a claim they are stopped" rig_wait 10 "a stop" grep -q "stop n$leader" "$RIG/said"
rig_pg_start
need "the watch goes on alone a third time" rig_wait 15 "the row" alone
check "they run again" rig_wait 10 "all running" all_run

# The node dies: the keeper stops what it holds.
: > "$RIG/said"
kill -KILL "$(rig_pid "n$leader")"
check "the keeper stops them" rig_wait 5 "a stop" grep -q "stop n$leader" "$RIG/said"
