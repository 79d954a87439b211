# shellcheck shell=bash
# The watch changes hands: relief, handover, commit, and the whole story.

relief() {
    local kills=20 handovers=20 out rc k restarts=0
    [ $quick = 1 ] && kills=5 && handovers=5
    fresh_rig
    rig_pg_start
    rig_broker_start
    rig_site_start
    rig_nodes_start
    rig_wait 60 "all meters to be online" rig_all_online
    holds "devices online" "$(rig_status site.online)" = $((RIG_AREAS * RIG_DEVICES)) ""
    before=$(rig_readings)
    out=$("$RIG_BUILD/bench/bench_relief" --nodes "$SOCKETS" --pids "$RIG/pid" --kills $kills \
        --handovers $handovers --load 20 --areas "$RIG_AREAS" --devices "$RIG_DEVICES" \
        --restart "RIG='$RIG' RIG_BUILD='$RIG_BUILD' bash '$ROOT/tests/rig/start_node.sh'" 2>&1)
    rc=$?
    printf '%s\n' "$out" | sed 's/^/  | /'
    holds "kill -9 of the leader under load, in a row" "$(field "$out" '.*confirmed command: \([0-9]*\) times.*')" = $kills ""
    holds "relief: kill -9 to the next confirmed command, median" "$(field "$out" 'kill.*median \([0-9.]*\) ms.*')" "<" 150 ms
    holds "relief, p99" "$(field "$out" 'kill.*p99 \([0-9.]*\) ms.*')" "<" 1000 ms
    holds "planned handover to the next confirmed command, median" "$(field "$out" 'handover.*median \([0-9.]*\) ms.*')" "<" 150 ms
    holds "commands without an end" "$(field "$out" '.*without an end \([0-9]*\).*')" = 0 ""
    holds "commands whose end the nodes tell differently" "$(field "$out" '.*told differently \([0-9]*\).*')" = 0 ""
    holds "exit code of the load" $rc = 0 ""
    for k in $(seq "$RIG_NODES"); do rig_alive "n$k" && restarts=$((restarts + 1)); done
    holds "nodes running after all restarts" $restarts = "$RIG_NODES" ""
    holds "failed starts, assertions, fatal errors in the logs" \
        "$(cat "$RIG"/log/n*.log | grep -c 'ev=fatal\|ssertion\|start.failed\|state.diverged\|ERROR: ')" = 0 ""
    rig_wait 20 "equal hashes" rig_hash_equal
    holds "state hash equal on all nodes (1: yes)" "$(rig_hash_equal && echo 1 || echo 0)" = 1 ""
    rig_wait 30 "more readings" more_readings "$before"
    holds "readings in Postgres, more than before the kills" "$(rig_readings)" ">=" $((before + 1)) ""
    rig_site_stop
    rig_wait 20 "an empty outbox" outbox_is_empty
    holds "readings in Postgres twice" "$(rig_psql -c 'SELECT count(*) - count(DISTINCT vagt_seq) FROM meter_readings')" = 0 ""
    # Not rows: what says something else of a time that is there replaces it. Each message
    # is looked for in ./prove lossless.
    holds "readings in the log that Postgres has not got" \
        $(($(rig_status site.outbox.shipped) + $(rig_status site.outbox.readings) -
            $(rig_psql -c 'SELECT shipped FROM vagt_fence'))) = 0 ""
    for k in $(seq "$RIG_NODES"); do
        holds "resident memory of node $k at $((RIG_AREAS * RIG_DEVICES)) devices" \
            "$(awk '/VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$(rig_pid "n$k")/status")" "<" 32 MiB
    done
    rig_down
}

outbox_is_empty() { [ "$(rig_status site.outbox.readings)" = 0 ]; }

more_readings() { [ "$(rig_readings)" -gt "$1" ]; }

commit() {
    local out raw p50 seconds=3
    [ $quick = 1 ] && seconds=1
    rm -rf "$RIG/bench"
    mkdir -p "$RIG/bench"
    out=$("$RIG_BUILD/bench/bench_commit" --seconds $seconds --dir "$RIG/bench" 2>&1)
    printf '%s\n' "$out" | sed 's/^/  | /'
    raw=$(printf '%s\n' "$out" | sed -n 's/raw.*p50 \([0-9]*\) us.*/\1/p' |
        awk '{ sum += $1; n++ } END { if (n) print sum / n }')
    p50=$(field "$out" '1 outstanding.*p50 \([0-9]*\) us, p99 .*')
    holds "commit, one at a time: p50 / raw write+fdatasync p50" \
        "$(awk -v a="${p50:-0}" -v b="${raw:-1}" 'BEGIN {if (a > 0) printf "%.2f", a / b}')" "<=" 3 x
    holds "committed inputs per second, 1,024 outstanding" \
        "$(field "$out" '1024 outstanding: \([0-9]*\) inputs.*')" ">=" 200000 /s
}

story() { # story ARGS: one whole run of the demonstration
    local out rc
    out=$(RIG=$RIG-story ./demo --auto --no-setup "$@" 2>&1)
    rc=$?
    printf '%s\n' "$out" | sed 's/^/  | /'
    holds "./demo --auto $*: exit code" $rc = 0 ""
}

prove_watch() {
    commit
    relief
    if [ "$quick" = 0 ]; then
        story
        deploy/setup.sh --with-z2m > build/setup-z2m.log 2>&1
        story --real
    fi
}
