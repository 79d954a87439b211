# shellcheck shell=bash
# Two nodes are enough: either may die, vanish or be cut off, and one goes on.

. tests/prove/chaos.sh

two_well() { rig_healthy && rig_row_open; }
two_on() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" "${@:2}"; }
# Does node $1 carry out a command, and its meter say so?
two_switches() { two_on "$1" --timeout 3000 send a1-m001 "state=$2" --timeout-ms 3000; }
two_acting() {
    local i n=0
    for i in 1 2; do
        [ "$(two_on $i --json --timeout 1000 status 2> /dev/null | rig_json watch.node)" = $i ] && n=$((n + 1))
    done
    echo $n
}

two_up() {
    RIG_NODES=2
    RIG_AREAS=2 RIG_DEVICES=5 RIG_INTERVAL_MS=1000
    fresh_rig
    rig_pg_start
    rig_broker_start
    rig_site_start
    rig_nodes_start
    rig_wait 60 "both nodes to be well" two_well
}

# sorted FILE: median and longest of the numbers in it
sorted() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)], v[NR]}'; }

# until_confirmed NODE: from now until it has confirmed a command, in ms
until_confirmed() {
    local began value=ON
    began=$(rig_now_ms)
    while ! two_switches "$1" $value > /dev/null 2>&1; do
        [ $(($(rig_now_ms) - began)) -lt 30000 ] || break
        [ $value = ON ] && value=OFF || value=ON
        sleep 0.02
    done
    echo $(($(rig_now_ms) - began))
}

# Either dies by kill -9, and comes back by itself.
two_kills() {
    local rounds=10 i watch other mid most
    [ "$quick" = 1 ] && rounds=1
    rm -f "$RIG"/took.*
    for i in $(seq $rounds); do
        watch=$(rig_watch)
        other=$((3 - watch))
        kill -KILL "$(rig_pid "n$watch")"
        until_confirmed $other >> "$RIG/took.watch"
        rig_node_start "$watch"
        back_in "$RIG/took.back" || return
        kill -KILL "$(rig_pid "n$watch")"
        until_confirmed $other >> "$RIG/took.standby"
        rig_node_start "$watch"
        back_in "$RIG/took.back" || return
    done
    read -r mid most < <(sorted "$RIG/took.watch")
    holds "kill -9 of the node on watch → next command confirmed, median of $rounds" "$mid" "<" 4000 ms
    holds "... longest" "$most" "<" 6000 ms
    read -r mid most < <(sorted "$RIG/took.standby")
    holds "kill -9 of the other → next command confirmed, median" "$mid" "<" 4000 ms
    holds "... longest" "$most" "<" 6000 ms
    read -r mid most < <(sorted "$RIG/took.back")
    holds "started again → taken in again unattended, both may relieve, median" "$mid" "<" 15000 ms
    holds "... longest" "$most" "<" 30000 ms
    rig_wait 10 "equal states" rig_hash_equal
    holds "state hash equal on both (1: yes)" "$(rig_hash_equal && echo 1 || echo 0)" = 1 ""
}

back_in() {
    local began
    began=$(rig_now_ms)
    rig_wait 60 "both nodes to be well" two_well ||
        { holds "who was killed is taken in again (1: yes)" 0 = 1 ""; return 1; }
    echo $(($(rig_now_ms) - began)) >> "$1"
}

# Both live and do not hear each other. In a network namespace of its own.
two_cut() {
    local took most told back vanished
    if ! unshare -n true 2> /dev/null; then
        holds "the cut between the two could be tried (needs root)" 0 = 1 ""
        return
    fi
    unshare -n bash tests/prove/two_nodes_cut.sh > "$RIG-cut.out" 2>&1
    sed 's/^/  | /' "$RIG-cut.out"
    read -r took most told back vanished < <(sed -n 's/^figures //p' "$RIG-cut.out")
    holds "cut between the two → next command confirmed by one" "${took:-}" "<" 8000 ms
    holds "... nodes on watch meanwhile, most at any look" "${most:-}" = 1 ""
    holds "... the other says why it is not (1: yes)" "${told:-}" = 1 ""
    holds "healed → both may relieve again" "${back:-}" "<" 30000 ms
    holds "the machine on watch vanishes (no FIN) → next command confirmed" "${vanished:-}" "<" 8000 ms
}

# Without Postgres and with a dead node nobody goes on, until an operator says so.
two_lost() {
    local watch other seconds=10 i acted=0 began
    [ "$quick" = 1 ] && seconds=3
    watch=$(rig_watch)
    other=$((3 - watch))
    rig_pg_stop
    kill -KILL "$(rig_pid "n$watch")"
    for i in $(seq $seconds); do
        sleep 1
        two_switches $other ON > /dev/null 2>&1 && acted=1
    done
    holds "Postgres away and a node dead: the other acted within $seconds s (0: no)" $acted = 0 ""
    holds "... why names the cause and recover (1: yes)" \
        "$(two_on $other why 2>&1 | tr '\n' ' ' | grep -c 'Postgres does not answer.*recover')" = 1 ""
    rig_stop "n$other"
    began=$(rig_now_ms)
    "$VAGTCTL" recover "$RIG/n$other/data" --yes-i-mean campsite > "$RIG/recover.out" 2>&1
    holds "vagtctl recover: exit code" $? = 0 ""
    sed 's/^/  | /' "$RIG/recover.out"
    rig_node_start $other
    rig_pg_start
    until_confirmed $other > "$RIG/took.recover"
    holds "recovered by force → next command confirmed" $(($(rig_now_ms) - began)) "<" 20000 ms
    rig_node_start "$watch"
    rig_wait 10 "the abandoned node to be told, and to end" eval '! rig_alive "n$watch"'
    "$VAGTD" -c "$RIG/n$watch/vagt.yaml" --rejoin > "$RIG/rejoin.out" 2>&1
    rig_node_start "$watch"
    rig_wait 60 "both nodes to be well" two_well
    holds "the abandoned node is back after one command (1: yes)" "$(two_well && echo 1 || echo 0)" = 1 ""
}

two_explore() {
    local out explore=$RIG_BUILD/tests/consensus/test_tie_explore
    out=$({ "$explore"; [ "$quick" = 1 ] || "$explore" deep; } 2>&1 | grep -v '^  ')
    printf '%s\n' "$out" | sed 's/^/  | /'
    shows "explorer: states of the protocol visited" \
        "$(printf '%s\n' "$out" | sed -n 's/^the protocol: .*: \([0-9]*\) states.*/\1/p' | awk '{n += $1} END {print n}')"
    holds "... bounds in which all holds" "$(printf '%s\n' "$out" | grep -c '^the protocol: .*all holds$')" ">=" $((quick ? 6 : 10)) ""
    holds "... in which something does not" "$(printf '%s\n' "$out" | grep '^the protocol: ' | grep -vc 'all holds$')" = 0 ""
    holds "... rules left out on purpose, and missed" "$(printf '%s\n' "$out" | grep -c ': found$')" ">=" 5 ""
}

two_backup() {
    local file
    mkdir -p "$RIG/backups"
    "$VAGTCTL" backup --to "$RIG/backups" > "$RIG/backup.out" 2>&1
    file=$(find "$RIG/backups" -name '*.tar' | head -n 1)
    holds "vagtctl backup, and verify in a scratch state (0: equal)" \
        "$("$VAGTCTL" backup verify "${file:-none}" > "$RIG/verify.out" 2>&1; echo $?)" = 0 ""
}

two_witness() {
    RIG_NODES=3 RIG_WITNESS=3
    fresh_rig
    RIG_AREAS=6 RIG_DEVICES=50
    rig_pg_start
    rig_broker_start
    rig_site_start
    rig_nodes_start
    rig_wait 60 "all meters to be online" rig_all_online
    holds "witness at 300 meters: resident memory" \
        "$(awk '/VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$(rig_pid n3)/status")" "<" 16 MiB
    kill -KILL "$(rig_pid "n$(rig_watch)")"
    rig_wait 10 "a watch" eval '[ -n "$(rig_watch)" ]'
    holds "... on watch ever (0: no)" "$(grep -c 'to=ramping' "$RIG/log/n3.log")" = 0 ""
    rig_down
    unset RIG_WITNESS
}

prove_two-nodes() {
    two_explore
    two_up
    holds "vagtctl ready with both there: exit code" "$("$VAGTCTL" ready > "$RIG/ready.out" 2>&1; echo $?)" = 0 ""
    two_kills
    two_backup
    two_lost
    rig_down
    two_cut
    if [ "$quick" = 0 ]; then
        two_witness
        broken "two nodes, all that may break, 10 minutes" --nodes 2 --seed 11 --seconds 600
        broken "two nodes and a witness, 5 minutes" --witness --seed 12 --seconds 300
    fi
}
