# shellcheck shell=bash
# Numbered messages into a site of tests/rig/lib.sh, blows against it, and the
# comparison of what was acknowledged with what is in Postgres. After lib.sh.

LOSSLESS=$RIG_BUILD/bench/bench_lossless

# ll_publish ARGS: see bench_lossless
ll_publish() { "$LOSSLESS" publish --broker "127.0.0.1:$MQTT_PORT" --areas "$RIG_LOAD_AREAS" "$@"; }

# The bridges of the load say who they are; their meters are known afterwards.
ll_announce() { # ll_announce DEVICES
    ll_publish --devices "$1" --messages 0 || rig_die "the load cannot reach the broker"
    rig_wait 20 "the meters of the load" ll_known $((RIG_LOAD_AREAS * $1)) ||
        rig_die "$(rig_status site.devices) devices are known"
}
ll_known() { [ "$(rig_status site.devices)" -ge "$1" ]; }

# kill -9 of who is on watch: at least N times, and for as long as FILE exists; each
# EVERYth time of all nodes.
ll_kill() { # ll_kill N FILE PAUSE_MS EVERY
    "$LOSSLESS" kill --nodes "$SOCKETS" --pids "$RIG/pid" --kills "$1" --while "$2" \
        --pause-ms "$3" --all-every "$4" --verbose \
        --restart "RIG='$RIG' RIG_BUILD='$RIG_BUILD' RIG_NODES=$RIG_NODES bash '$ROOT/tests/rig/start_node.sh'"
}

# kill -9 of Postgres, postmaster and all, and a start that has to recover: N times, one
# every PERIOD seconds, but it runs for one at least. A line for each.
ll_kill_postgres() { # ll_kill_postgres N PERIOD
    local i now next
    next=$(rig_now_ms)
    for i in $(seq "$1"); do
        next=$((next + $2 * 1000))
        sleep 1
        now=$(rig_now_ms)
        [ "$now" -ge "$next" ] || sleep "$(((next - now) / 1000)).$(printf %03d $(((next - now) % 1000)))"
        "$ROOT/tests/rig/pg.sh" stop --crash "$RIG/pg" || return 1
        rig_wait 10 "Postgres to be gone" ll_port_is_free "$PG_PORT" || return 1
        echo "$(rig_now_ms) killed Postgres, number $i"
        "$ROOT/tests/rig/pg.sh" start "$RIG/pg" "$PG_PORT" || return 1
    done
}

ll_port_is_free() { ! rig_taken "$1"; }
ll_outbox_empty() { [ "$(rig_status site.outbox.readings)" = 0 ]; }
ll_no_open_command() { [ "$(rig_status site.commands.open)" = 0 ]; }

# Are there as many rows of messages FIRST .. LAST as there should be?
ll_complete() { # ll_complete FIRST LAST
    [ "$(rig_psql -c "SELECT count(*) FROM meter_readings WHERE meter_id LIKE 'l%' AND
        energy_kwh BETWEEN $1 / 1000.0 AND $2 / 1000.0")" -ge $(($2 - $1 + 1)) ]
}

# Say NAME NUMBER for each figure: the rows of messages FIRST .. LAST against the
# numbers in FILE, one a line. BASE and STEP as the load had them: a row must be of
# the meter and the time of its number, too.
ll_compare() { # ll_compare FILE FIRST LAST DEVICES BASE STEP
    local meters=$((RIG_LOAD_AREAS * $4))
    {
        echo 'CREATE TEMP TABLE acked (k bigint PRIMARY KEY); COPY acked FROM STDIN;'
        cat "$1"
        cat << SQL
\\.
CREATE TEMP TABLE rows AS
    SELECT meter_id, time, round(energy_kwh * 1000)::bigint AS k
    FROM meter_readings WHERE energy_kwh BETWEEN $2 / 1000.0 AND $3 / 1000.0
                          AND meter_id LIKE 'l%';
CREATE INDEX ON rows (k);
ANALYZE acked, rows;
SELECT 'acked ' || count(*) FROM acked;
SELECT 'rows ' || count(*) FROM rows;
SELECT 'distinct ' || count(DISTINCT k) FROM rows;
SELECT 'lost ' || count(*) FROM acked a LEFT JOIN rows r USING (k) WHERE r.k IS NULL;
SELECT 'doubled ' || count(*) FROM (SELECT FROM rows GROUP BY k HAVING count(*) > 1) AS x;
SELECT 'foreign ' || count(*) FROM rows r LEFT JOIN acked a USING (k) WHERE a.k IS NULL;
SELECT 'wrong ' || count(*) FROM rows
    WHERE time <> timestamptz 'epoch' + ($5 + (k - $2) * $6) * interval '1 ms'
       OR meter_id <> format('l%s-m%s', k % $meters % $RIG_LOAD_AREAS + 1,
                             lpad((k % $meters / $RIG_LOAD_AREAS)::text, 3, '0'));
SQL
    } | rig_psql
}

# What must never be in a log.
ll_bad_lines() {
    cat "$RIG"/log/n*.log | grep -c 'ev=fatal\|ssertion\|start.failed\|state.diverged\|ERROR: '
}
