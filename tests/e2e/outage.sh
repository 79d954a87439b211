#!/bin/bash
# Postgres, the broker, a bridge, all of them (and the node on watch) are away for 5
# minutes and for 24 hours; then they come back. What was acknowledged is there, once; what waited goes out at
# its pace.
#
#   outage.sh [WHAT:MINUTES]...     WHAT: postgres, broker, bridge, all
#
#   OUTAGE_METERS   meters of the load, one reading a minute each (20)
#   OUTAGE_HOLD_S   how long it really lasts, at least (2)
#
# The hours are those of the load: its messages carry the times of so many minutes, and
# as many of them come as would. What fills and what drains is counted in readings. A
# clock that runs faster for the nodes (libfaketime) would run faster for elections and
# time-outs, too, but not for the disk: that is another machine than the one we sell.
RIG_EXTRA='commands: {pace: 20ms}'
RIG_LOAD_AREAS=2
. "$(dirname "$0")/lib.sh"
. "$here/../rig/lossless.sh"

meters=${OUTAGE_METERS:-20}
hold_s=${OUTAGE_HOLD_S:-2}
batch_rows=2000 # postgres.batch_rows
per_second=50   # 1 s / commands.pace
slack=5         # ... and what arrives closer together than it left
RIG_DEVICES=60
RIG_INTERVAL_MS=5000
[ $# -gt 0 ] || set -- postgres:1440 broker:5 bridge:5 all:1440

numbers=0
# The load's clock ends an hour ago: what is ahead of ours is not believed.
base=$(($(rig_now_ms) - 3600000))
for each; do base=$((base - ${each#*:} * 60000)); done

broker_down() { rig_stop broker TERM; } # It saves what it has: see docs/runbook.md.
bridge_down() { rig_site '/bridge-stop?area=1' > /dev/null; }
bridge_up() { rig_site '/bridge-start?area=1' > /dev/null; }
kill_watch() { e2e_roles; kill -KILL "$(rig_pid "n$leader")"; }
load() { # load FIRST COUNT BASE FILE
    ll_publish --devices $((meters / RIG_LOAD_AREAS)) --first "$1" --messages "$2" \
        --base-ms "$3" --step-ms $((60000 / meters)) --acked "$4" --patience 120 \
        --rate $(($2 / hold_s + 1)) # It is in the middle of it when the broker goes.
}

# Commands to all devices of area 1, accepted while nothing works.
give_commands() { # give_commands NAME VALUE
    local i
    for i in $(seq 0 $((RIG_DEVICES - 1))); do
        "$VAGTCTL" send "$(rig_meter 1 "$i")" "state=$2" --no-wait --id "$1-$i" --timeout-ms 300000 \
            > "$RIG/log/send.log" 2>&1 || return 1
    done
}
confirmed() { # confirmed NAME: how many
    "$VAGTCTL" --json commands --limit 500 2> /dev/null | python3 -c '
import json, sys
print(sum(c["id"].startswith(sys.argv[1] + "-") and c["status"] == "confirmed"
          for c in json.load(sys.stdin)["commands"]))' "$1"
}
all_confirmed() { [ "$(confirmed "$1")" = "$RIG_DEVICES" ]; }

# The most switched in any second, by the log of the bridge.
herd() {
    rig_site /log | python3 -c '
import json, sys
at = sorted(e["t"] for e in json.load(sys.stdin))
print(max((sum(t <= u < t + 1000 for u in at) for t in at), default=0))'
}
# The most rows in one transaction.
largest_batch() {
    rig_psql -c 'SELECT max(n) FROM (SELECT count(*) AS n FROM meter_readings GROUP BY xmin::text) AS x'
}
figure() { printf 'figure %s %s\n' "$1" "$2"; } # for prove
connections() { grep -c 'New connection' "$RIG/log/broker.log"; }

outage() { # outage WHAT MINUTES VALUE
    local what=$1 count=$(($2 * meters)) name="$1-$2" publisher began connected
    local file=$RIG/acked-$numbers
    rig_site '/log?clear=1' > /dev/null
    case $what in postgres | all) rig_pg_stop ;; esac
    case $what in bridge | all) bridge_down ;; esac
    check "$name: commands are accepted all the same" give_commands "$name" "$3"
    load $numbers "$count" "$base" "$file" > "$RIG/log/load.log" 2>&1 &
    publisher=$!
    sleep 0.5
    case $what in broker | all) broker_down ;; esac
    [ "$what" != all ] || kill_watch
    sleep "$hold_s"
    connected=$(connections)
    began=$(rig_now_ms)
    case $what in broker | all) rig_broker_start ;; esac
    case $what in bridge | all) bridge_up ;; esac
    case $what in postgres | all) rig_pg_start ;; esac
    [ "$what" != all ] || rig_node_start "$leader"
    check "$name: every command is confirmed" rig_wait 120 "confirmed" all_confirmed "$name"
    check "$name: rows come again" rig_wait 120 "a row" a_row $numbers $((numbers + count - 1))
    figure "$name back" $(($(rig_now_ms) - began))
    check "$name: the load has all its PUBACKs" wait $publisher
    check "$name: the readings are all in Postgres" \
        rig_wait 120 "all rows" ll_complete $numbers $((numbers + count - 1))
    printf '%s: all there %d ms after the return, %s\n' "$name" $(($(rig_now_ms) - began)) \
        "$(sed 's/^published/of the load/' "$RIG/log/load.log")"
    check "$name: none lost, none twice, none that is not ours" judge "$file" $numbers "$count"
    figure "$name lost" "$(awk '/^lost/ { print $2 }' "$RIG/compared")"
    figure "$name doubled" "$(awk '/^doubled/ { print $2 }' "$RIG/compared")"
    figure "$name confirmed" "$(confirmed "$name")"
    figure "$name herd" "$(herd)"
    check "$name: no herd of commands" le "$(herd)" $((per_second + slack))
    figure "$name connections" $(($(connections) - connected))
    check "$name: no herd of connections" le $(($(connections) - connected)) 8
    check "$name: healthy" rig_wait 30 "health" rig_healthy
    numbers=$((numbers + count))
    base=$((base + count * (60000 / meters)))
}

a_row() { # a_row FIRST LAST
    [ -n "$(rig_psql -c "SELECT 1 FROM meter_readings WHERE meter_id LIKE 'l%' AND
        energy_kwh BETWEEN $1 / 1000.0 AND $2 / 1000.0 LIMIT 1")" ]
}

judge() { # judge FILE FIRST COUNT
    ll_compare "$1" "$2" $(($2 + $3 - 1)) $((meters / RIG_LOAD_AREAS)) "$base" $((60000 / meters)) > "$RIG/compared"
    cat "$RIG/compared"
    [ "$(grep -cx "acked $3\|rows $3\|distinct $3\|lost 0\|doubled 0\|foreign 0\|wrong 0" "$RIG/compared")" = 7 ]
}

rig_init
rig_pg_start
# The days of the load: else its rows wait in the partition of no day, and to move them
# from there is one transaction of its own, not one of the node's.
rig_psql -c "SELECT vagt_make_day('meter_readings', 'meter_readings_other', day::date)
             FROM generate_series(date '1970-01-01' + $((base / 86400000)),
                                  (now() AT TIME ZONE 'UTC')::date - 2, interval '1 day') AS day" > /dev/null
rig_broker_start
rig_site_start
rig_nodes_start
rig_wait 20 "a watch" rig_has_watch
ll_announce $((meters / RIG_LOAD_AREAS))
need "a cold start: healthy" rig_wait 20 "health" rig_healthy
value=OFF
for each; do
    outage "${each%:*}" "${each#*:}" $value
    if [ $value = OFF ]; then value=ON; else value=OFF; fi
done
check "no transaction has more rows than a batch" le "$(largest_batch)" $batch_rows
figure "largest transaction" "$(largest_batch)"
check "the same state everywhere" rig_wait 10 "equal hashes" rig_hash_equal
check "nothing bad in the logs" eq "$(ll_bad_lines)" 0
