# shellcheck shell=bash
# Nothing lost, nothing twice, nothing pending. One site for all of it: the areas of
# the load (bench_lossless plays their bridges) and those of the real Zigbee2MQTT.
#
#   backlog     Postgres is away while a day of readings arrives
#   latency     what a message takes, and how many there may be
#   treatment   messages and commands, while nodes and Postgres are killed
#   outage      everything away at once, and back (tests/e2e/outage.sh)

RIG_REAL=1
RIG_LOAD_AREAS=6
. tests/rig/lossless.sh

meters=50    # of each area of the load
margin=250   # ms from a publish through broker, Zigbee2MQTT and radio to a device

# Snapshots more often than by default, so that there are some of a full outbox.
# How big: all of it, or enough to see that it works.
if [ "$quick" = 1 ]; then
    RIG_AREAS=1 RIG_DEVICES=4 RIG_RAFT='snapshot_size: 1MiB' meters=20 backlog=40000 latency_s=4 burst=30000
    messages=3000 kills=5 pg_kills=2 pg_period=2 commands=36 commands_rate=6 all_every=5
    outages=all:1440 outage_meters=20 outage_hold_s=1
else
    RIG_AREAS=2 RIG_DEVICES=12 RIG_RAFT='snapshot_size: 16MiB' backlog=432000 latency_s=60 burst=200000
    messages=30000 kills=100 pg_kills=10 pg_period=5 commands=1000 commands_rate=8 all_every=20
    outages="postgres:5 postgres:1440 broker:5 broker:1440 bridge:5 bridge:1440 all:5 all:1440"
    outage_meters=300 outage_hold_s=30
fi

# The messages of each part have numbers of their own, above all before, and later
# times: the burst's 27 hours ago, the backlog's a day that ended two hours ago.
first=0
hour=3600000
began_ms=$(rig_now_ms)

# judge_rows WHAT FILE FIRST COUNT BASE STEP: the lines about lost and doubled
judge_rows() {
    local out
    rig_wait 30 "the rows of $1" ll_complete "$3" $(($3 + $4 - 1))
    out=$(ll_compare "$2" "$3" $(($3 + $4 - 1)) $meters "$5" "$6")
    holds "$1: messages acknowledged by the broker" "$(value "$out" acked)" = "$4"
    holds "$1: lost" "$(value "$out" lost)" = 0
    holds "$1: rows in Postgres (distinct messages: $(value "$out" distinct))" "$(value "$out" rows)" = \
        "$(value "$out" distinct)"
    holds "$1: doubled" "$(value "$out" doubled)" = 0
    holds "$1: rows that nobody sent, or of another meter or time" \
        $(($(value "$out" foreign) + $(value "$out" wrong))) = 0
}

# --- Postgres away ---

memory() { # memory FILE: VmRSS of each node, five times a second, until killed
    local k
    while :; do
        for k in $(seq "$RIG_NODES"); do
            awk -v k="$k" '/^VmRSS/ { print k, $2 }' "/proc/$(rig_pid "n$k")/status" 2> /dev/null
        done >> "$1"
        sleep 0.2
    done
}

mib_of() { awk -v k="$2" '$1 == k && $2 > max { max = $2 } END { if (max) printf "%.0f", max / 1024 }' "$1"; }

metric() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" --json metrics 2> /dev/null | rig_json "$2"; }

backlog() {
    local out from k watcher base=$((began_ms - 26 * hour))
    from=$(rig_status site.outbox.shipped)
    rig_pg_stop
    memory "$RIG/memory" &
    watcher=$!
    out=$(ll_publish --devices $meters --first $first --messages $backlog --base-ms $base \
        --step-ms 200 --acked "$RIG/acked-backlog" 2>&1)
    printf '%s\n' "$out" | sed 's/^/  | /'
    # A full one leaves the last few to the broker (docs/adr/0011).
    rig_wait 60 "all of it in the outbox" outbox_holds $((backlog * 95 / 100))
    sleep 1
    holds "backlog: readings in the outbox while Postgres is away" "$(rig_status site.outbox.readings)" ">=" \
        $((backlog * 95 / 100))
    snapshots
    "$ROOT/tests/rig/pg.sh" start "$RIG/pg" "$PG_PORT" || rig_die "Postgres did not come back"
    out=$("$LOSSLESS" drain --postgres "$PG_CONNINFO" --until $((from + backlog)) --patience 180 2>&1)
    printf '%s\n' "$out" | sed 's/^/  | /'
    rig_wait 60 "an empty outbox" ll_outbox_empty
    kill $watcher
    for k in $(seq "$RIG_NODES"); do
        holds "backlog: resident memory of node $k, highest of all samples" "$(mib_of "$RIG/memory" "$k")" "<" 256 MiB
        holds "... and as the kernel says (VmHWM)" \
            "$(awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$(rig_pid "n$k")/status")" "<" 256 MiB
        shows "... longest stall of its loop since its start" "$(metric "$k" loop_stall_max_us)" us
        shows "... of it work of its own, the rest went to other processes" "$(metric "$k" loop_work_max_us)" us
    done
    holds "backlog: drains at" "$(field "$out" '.* \([0-9]*\) per second.*')" ">=" 20000 rows/s
    judge_rows backlog "$RIG/acked-backlog" $first $backlog $base 200
    first=$((first + backlog))
}

# What the snapshots cost until now, all nodes.
snapshots() {
    local us
    us=$(sed -n 's/.*ev=snapshot.taken .*ok=yes fork_us=\([0-9]*\).*/\1/p' "$RIG"/log/n*.log | sort -n)
    shows "... snapshots taken, all nodes" "$(printf '%s\n' "$us" | grep -c .)"
    holds "... a snapshot stops the loop for, median" "$(printf '%s\n' "$us" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }')" \
        "<" 10000 us
    shows "... longest" "$(printf '%s\n' "$us" | tail -n 1)" us
    shows "... the child wrote for, longest" "$(sed -n 's/.*ev=snapshot.taken .*ok=yes .* ms=\([0-9]*\).*/\1/p' "$RIG"/log/n*.log |
        sort -n | tail -n 1)" ms
}

outbox_holds() { [ "$(rig_status site.outbox.readings)" -ge "$1" ]; }

# --- latency, and how much goes ---

latency() {
    local out n=$((latency_s * 100 + RIG_LOAD_AREAS * meters)) events="" k
    for k in $(seq "$RIG_NODES"); do events="$events${events:+,}ipc://$RIG/n$k/events.sock"; done
    out=$("$LOSSLESS" latency --broker "127.0.0.1:$MQTT_PORT" --areas "$RIG_LOAD_AREAS" --devices $meters \
        --first $first --messages $n --rate 100 --step-ms 10 --flip --nodes "$SOCKETS" \
        --events "$events" --postgres "$PG_CONNINFO" --patience 20 2>&1)
    printf '%s\n' "$out" | sed 's/^/  | /'
    first=$((first + n))
    holds "100 messages/s: publish to row in Postgres, p99 (polled each 5 ms)" \
        "$(field "$out" 'publish to row: .*p99 \([0-9.]*\) ms.*')" "<" 500 ms
    holds "100 messages/s: publish to event of a follower, p99" \
        "$(field "$out" 'publish to event.*p99 \([0-9.]*\) ms.*')" "<" 100 ms
    holds "... messages without row or event" \
        "$(printf '%s\n' "$out" | awk '/missing/ { n += $(NF - 2) } END { print n }')" = 0
}

# As fast as PUBACKs come: to a subscriber that does nothing, then to the site.
throughput() {
    local alone took began base=$((began_ms - 27 * hour))
    "$LOSSLESS" sink --broker "127.0.0.1:$MQTT_PORT" --base alone --client sink --messages $burst \
        --patience 120 > "$RIG/log/sink.log" 2>&1 &
    rig_wait 10 "the subscriber" grep -q subscribed "$RIG/log/sink.log"
    ll_publish --devices $meters --base alone --client alone --messages $burst > "$RIG/log/alone.log" 2>&1
    wait $!
    alone=$(field "$(cat "$RIG/log/sink.log")" 'received.* \([0-9]*\) per second.*')
    began=$(rig_now_ms)
    ll_publish --devices $meters --first $first --messages $burst --base-ms $base \
        --acked "$RIG/acked-burst" > "$RIG/log/burst.log" 2>&1
    rig_wait 60 "the last row" ll_complete $first $((first + burst - 1))
    took=$(($(rig_now_ms) - began))
    sed 's/^/  | /' "$RIG/log/burst.log"
    shows "sustained maximum: first publish to last row" $((burst * 1000 / took)) rows/s
    shows "... the broker alone, same publisher, a subscriber that does nothing" "$alone" msg/s
    shows "... ratio" "$(awk -v a=$((burst * 1000 / took)) -v b="${alone:-0}" 'BEGIN { if (b > 0) printf "%.2f", a / b }')"
    judge_rows "sustained maximum" "$RIG/acked-burst" $first $burst $base 1
    first=$((first + burst))
}

# --- the treatment ---

coordinators() {
    local k list=""
    for k in $(seq "$RIG_AREAS"); do list="$list${list:+,}$((Z2M_PORT_BASE + 200 + k))"; done
    echo "$list"
}

# commands VERB FILE ARGS: half by vagtctl, half by the table
commands() {
    local verb=$1 file=$2
    shift 2
    python3 tests/prove/commands.py "$verb" --file "$file" --vagtctl "$VAGTCTL" --nodes "$SOCKETS" \
        --postgres "$PG_CONNINFO" --coordinators "$(coordinators)" \
        --devices "$RIG_DEVICES" "$@"
}

real_site_up() { rig_site_start > "$RIG/log/z2m-up.log" 2>&1; }

treatment() {
    local base publisher killer pg_killer out
    base=$(rig_now_ms)
    touch "$RIG/treatment"
    ll_kill $kills "$RIG/treatment" 300 $all_every > "$RIG/log/kills.log" 2>&1 &
    killer=$!
    ll_kill_postgres $pg_kills $pg_period > "$RIG/log/pg-kills.log" 2>&1 &
    pg_killer=$!
    { ll_publish --devices $meters --first $first --messages $messages --rate 500 --base-ms "$base" \
        --acked "$RIG/acked-treatment"; rig_now_ms > "$RIG/published"; } > "$RIG/log/treatment.log" 2>&1 &
    publisher=$!
    commands send "$RIG/commands.json" --count $commands --rate $commands_rate > "$RIG/log/commands-sent.log" 2>&1
    wait $publisher $pg_killer
    holds "treatment: kill -9 of the node on watch, while messages came" \
        "$(kills_before "$(cat "$RIG/published")" "$RIG/log/kills.log")" ">=" $kills
    shows "... of all nodes at once, among them" "$(grep -c ' all others' "$RIG/log/kills.log")"
    holds "treatment: kill -9 of Postgres, while messages came" \
        "$(kills_before "$(cat "$RIG/published")" "$RIG/log/pg-kills.log")" ">=" $pg_kills
    rm "$RIG/treatment"
    wait $killer
    shows "... kills of nodes until the last command was given" "$(grep -c ' killed node ' "$RIG/log/kills.log")"
    sed 's/^/  | /' "$RIG/log/treatment.log"
    grep -v ' killed node ' "$RIG/log/kills.log" | sed 's/^/  | /'
    rig_wait 90 "an end of each command" ll_no_open_command
    holds "treatment: commands without an end" "$(rig_status site.commands.open)" = 0
    judge_commands
    [ "$quick" = 1 ] || out_of_reach
    rig_site_stop
    rig_wait 60 "an empty outbox" ll_outbox_empty
    holds "treatment: readings that still wait for Postgres" "$(rig_status site.outbox.readings)" = 0
    judge_rows treatment "$RIG/acked-treatment" $first $messages "$base" 1
    first=$((first + messages))
    sound
}

# Devices come and go while commands go to them. A command that Zigbee2MQTT has taken
# before its deadline may be carried out after it: it tries for 17.1 s to reach a device,
# and there is no way to tell it otherwise (docs/protocol.md). Nobody is killed here.
out_of_reach() {
    local out k movers="" pid
    touch "$RIG/out-of-reach"
    for k in $(coordinators | tr , ' '); do
        curl -s -d '{"clear":true}' "127.0.0.1:$k/all" > /dev/null
        come_and_go "$k" & movers="$movers $!"
    done
    commands send "$RIG/reach.json" --count 240 --rate 3 --seed 2 > "$RIG/log/reach-sent.log" 2>&1
    rm "$RIG/out-of-reach"
    for pid in $movers; do wait "$pid"; done
    rig_wait 90 "an end of each command" ll_no_open_command
    sleep 18 # What Zigbee2MQTT still tries.
    out=$(commands judge "$RIG/reach.json" --margin-ms $margin 2>&1)
    holds "devices out of reach: commands in exactly one final state" "$(value "$out" one_end)" = 240
    shows "... expired" "$(value "$out" expired)"
    shows "... reached their device after the deadline, by Zigbee2MQTT's own retries" "$(value "$out" late)"
    holds "... the latest of them, after its deadline" "$(value "$out" latest_ms)" "<" 17500 ms
    holds "... devices that are not as last confirmed" "$(value "$out" wrong_state)" = 0
}

come_and_go() { # come_and_go PORT
    local device
    while [ -e "$RIG/out-of-reach" ]; do
        device=$((RANDOM % RIG_DEVICES))
        curl -s -d '{"online":false}' "127.0.0.1:$1/dev/$device" > /dev/null
        sleep $((3 + RANDOM % 15))
        curl -s -d '{"online":true}' "127.0.0.1:$1/dev/$device" > /dev/null
    done
}

# kills_before MS FILE: lines "MS killed ..." of before
kills_before() { awk -v until="$1" '$2 == "killed" && $1 < until { n++ } END { print n + 0 }' "$2"; }

judge_commands() {
    local out
    out=$(commands judge "$RIG/commands.json" --margin-ms $margin --logs "$RIG"/log/n*.log 2>&1)
    printf '%s\n' "$out" | grep '^#' | head -n 20
    holds "commands given, $(value "$(cat "$RIG/log/commands-sent.log")" by_table) of them by the table meter_commands" \
        "$(value "$(cat "$RIG/log/commands-sent.log")" given)" = $commands
    holds "commands in exactly one final state, the same on every node" "$(value "$out" one_end)" = $commands
    holds "commands of which the logs tell two ends" "$(value "$out" logged_twice)" = 0
    holds "rows of meter_commands that say something else" "$(value "$out" rows_differ)" = 0
    for status in confirmed superseded expired failed cancelled; do
        shows "... $status" "$(value "$out" $status)"
    done
    shows "... rows that expired before a node could take them (among the expired)" "$(value "$out" never_taken)"
    shows "... switched at a device, by the coordinators' logs (attempts in the ledger: $(value "$out" attempts))" \
        "$(value "$out" reached)"
    holds "commands that reached a device later than $margin ms after the deadline" "$(value "$out" late)" = 0
    shows "... the latest, after its deadline (negative: before)" "$(value "$out" latest_ms)" ms
    holds "switched at a device without any command" "$(value "$out" unexplained)" = 0
    holds "devices that are not as last confirmed" "$(value "$out" wrong_state)" = 0
    shows "... as a later command wanted that was never confirmed" "$(value "$out" later_unconfirmed)"
}

# --- everything away at once, and back ---

outages() { # on a site of its own
    OUTAGE_METERS=$outage_meters OUTAGE_HOLD_S=$outage_hold_s RIG_BUILD=$RIG_BUILD \
        tests/e2e/outage.sh $outages > "$PWD/build/prove-outage.log" 2>&1
}

judge_outages() {
    local out each name
    out=$(cat build/prove-outage.log)
    printf '%s\n' "$out" | grep -v '^figure' | sed 's/^/  | /'
    for each in $outages; do
        name="${each%:*}-${each#*:}"
        holds "outage of ${each%:*}, ${each#*:} minutes: lost" "$(figure "$out" "$name lost")" = 0
        holds "... doubled" "$(figure "$out" "$name doubled")" = 0
        holds "... commands given meanwhile that were confirmed afterwards" "$(figure "$out" "$name confirmed")" = 60
        holds "... the last of them, after the return" "$(figure "$out" "$name back")" "<" 60000 ms
        holds "... switched in one second after the return, most" "$(figure "$out" "$name herd")" "<=" 55
        holds "... connections to the broker after the return" "$(figure "$out" "$name connections")" "<=" 8
    done
    holds "outages: rows in one transaction, most" "$(figure "$out" "largest transaction")" "<=" 2000
    holds "outages: checks that failed" "$(field "$out" '[0-9]* passed, \([0-9]*\) failed')" = 0
}

figure() { value "$1" "figure $2"; }

sound() {
    rig_wait 20 "equal hashes" rig_hash_equal
    holds "state hash equal on all nodes (1: yes)" "$(rig_hash_equal && echo 1 || echo 0)" = 1
    holds "failed starts, assertions, fatal errors in the logs" "$(ll_bad_lines)" = 0
}

prove_lossless() {
    local up outage
    [ -d tests/rig/z2m/node_modules/zigbee2mqtt ] || deploy/setup.sh --with-z2m > build/setup-z2m.log 2>&1 ||
        rig_die "no Zigbee2MQTT: see build/setup-z2m.log"
    fresh_rig
    rig_pg_start
    rig_broker_start
    rig_nodes_start
    rig_wait 30 "a node on watch" rig_has_watch || exit 1
    ll_announce $meters
    throughput
    if [ "$quick" = 1 ]; then real_site_up & up=$!; fi # It takes a while to get up.
    backlog
    latency
    if [ "$quick" = 1 ]; then wait $up; else real_site_up; fi
    rig_wait 30 "all devices online" all_online || holds "devices online" "$(rig_status site.online)" = "all"
    if [ "$quick" = 1 ]; then outages & outage=$!; fi # Nothing here is timed closely.
    treatment
    rig_down
    if [ "$quick" = 1 ]; then wait $outage; else outages; fi
    judge_outages
}

all_online() { [ "$(rig_status site.online)" = $((RIG_AREAS * RIG_DEVICES + RIG_LOAD_AREAS * meters)) ]; }
