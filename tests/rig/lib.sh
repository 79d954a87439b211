# shellcheck shell=bash
# A site on loopback: Postgres, broker, bridges, nodes. Sourced by demo, prove and
# the tests. Everything lives below $RIG (own data directories, pid files, logs);
# nothing but what is started here is ever stopped, and only by its pid.
#
#   RIG         folder of this run
#   RIG_BUILD   folder of a build (vagtd, vagtctl, sitesim)
#   RIG_NODES   how many nodes (3)
#   RIG_AREAS   how many areas (6), RIG_DEVICES meters each (50)
#   RIG_RAFT    further settings of raft: "snapshot_size: 1MiB"
#   RIG_WITNESS number of the node that is a witness (none)
#   RIG_AREA    more keys of every area (none)
#   RIG_TLS=1   the nodes have certificates, of a CA in $RIG/pki
#   RIG_SECRET_KEYS=1   the control plane asks for keys over TCP, after rig_keys
#   RIG_LOAD_AREAS   further areas load/aK, played by bench_lossless (0)

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Postgres does not run as root, and root's home is nobody else's business: what is
# checked out there keeps its site in /tmp.
rig_home() {
    local user=postgres
    id $user > /dev/null 2>&1 || user=nobody
    if [ "$(id -u)" = 0 ] &&
        ! setpriv --reuid=$user --regid="$(id -g $user)" --clear-groups test -x "$ROOT" 2> /dev/null; then
        echo /tmp/vagt-demo
    else
        echo "$ROOT/build/demo"
    fi
}
RIG=${RIG:-$(rig_home)}
RIG_BUILD=${RIG_BUILD:-$ROOT/build/release}
RIG_NODES=${RIG_NODES:-3}
RIG_AREAS=${RIG_AREAS:-6}
RIG_DEVICES=${RIG_DEVICES:-50}
RIG_LOAD_AREAS=${RIG_LOAD_AREAS:-0}
RIG_INTERVAL_MS=${RIG_INTERVAL_MS:-10000}
RIG_REAL=${RIG_REAL:-0}
RIG_ELECTION=${RIG_ELECTION:-1s}
RIG_HEARTBEAT=${RIG_HEARTBEAT:-100ms}

VAGTD=$RIG_BUILD/node/vagtd
VAGTCTL=$RIG_BUILD/cli/vagtctl
SITESIM=$RIG_BUILD/tests/rig/sitesim

rig_die() { printf '%s\n' "$*" >&2; exit 1; }

rig_now_ms() { date +%s%3N; }

# Is a loopback port taken? Connecting is the test: no tool needed.
rig_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of a block of 256 ports of which none that we use is taken. It is ours until
# the last process that was started from here is gone: the lock is inherited.
rig_ports() {
    local base port try
    for try in $(seq 0 40); do
        base=$((17920 + (($$ + try * 7) % 41) * 256))
        { exec 7> "/tmp/vagt-ports.$base"; } 2> /dev/null && flock -n 7 || continue
        for port in $(seq 0 29) $(seq 100 110) $(seq 200 210); do
            if rig_taken $((base + port)); then continue 2; fi
        done
        rig_base=$base
        return
    done
    rig_die "no block of free ports between 17920 and 28416"
}

# Start in a session of its own: a Ctrl-C at the terminal is for the watcher only.
# rig_spawn NAME CMD...: output to $RIG/log/NAME.log, pid to $RIG/pid/NAME
rig_spawn() {
    local name=$1
    shift
    mkdir -p "$RIG/log" "$RIG/pid"
    rm -f "$RIG/pid/$name" # One that ended by itself has left it.
    setsid -f sh -c 'echo $$ > "$0"; exec "$@"' "$RIG/pid/$name" "$@" \
        >> "$RIG/log/$name.log" 2>&1 < /dev/null
    local i
    for i in $(seq 100); do
        [ -s "$RIG/pid/$name" ] && return
        sleep 0.01
    done
    rig_die "$name did not start: see $RIG/log/$name.log"
}

rig_pid() { cat "$RIG/pid/$1" 2>/dev/null; }

# Alive and no zombie? A zombie that has a thread left still holds its locks and sockets:
# the thread waits for the disk.
rig_alive() {
    local pid
    pid=$(rig_pid "$1") || return 1
    [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] || return
    ! grep -q '^[0-9]* (.*) Z' "/proc/$pid/stat" 2>/dev/null ||
        [ "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 2> /dev/null | wc -l)" -gt 1 ]
}

# rig_stop NAME [SIGNAL] [SECONDS]: then SIGKILL
rig_stop() {
    local pid i
    pid=$(rig_pid "$1") || return 0
    if rig_alive "$1"; then
        kill -CONT "$pid" 2>/dev/null
        kill "-${2:-TERM}" "$pid" 2>/dev/null
        for i in $(seq $((${3:-10} * 50))); do
            rig_alive "$1" || break
            sleep 0.02
        done
        rig_alive "$1" && kill -KILL "$pid" 2>/dev/null
    fi
    rm -f "$RIG/pid/$1"
}

# rig_wait SECONDS WHAT CMD...: until the command succeeds
rig_wait() {
    local until=$(($(rig_now_ms) + $1 * 1000)) what=$2
    shift 2
    while ! "$@" > /dev/null 2>&1; do
        [ "$(rig_now_ms)" -lt "$until" ] || {
            printf 'waited in vain for: %s\n' "$what" >&2
            return 1
        }
        sleep 0.05
    done
}

rig_init() {
    mkdir -p "$RIG/log" "$RIG/pid"
    chmod 755 "$RIG"
    local base rig_base
    if [ ! -s "$RIG/ports" ]; then
        rig_ports
        echo "$rig_base" > "$RIG/ports"
    fi
    base=$(cat "$RIG/ports")
    PG_PORT=$base
    MQTT_PORT=$((base + 1))
    SITE_PORT=$((base + 2))
    PEER_PORT=$((base + 10))    # + node
    CONTROL_PORT=$((base + 20)) # + node
    Z2M_PORT_BASE=$base
    PG_CONNINFO="host=127.0.0.1 port=$PG_PORT dbname=vagt user=postgres"
    export VAGT_POSTGRES=$PG_CONNINFO
    SOCKETS=""
    local i
    for i in $(seq "$RIG_NODES"); do
        SOCKETS="$SOCKETS${SOCKETS:+,}ipc://$RIG/n$i/control.sock"
    done
    export VAGT_CONTROL=$SOCKETS
}

# --- Postgres ---

rig_psql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$PG_CONNINFO" "$@"; }

rig_pg_start() {
    "$ROOT/tests/rig/pg.sh" start "$RIG/pg" "$PG_PORT" > "$RIG/log/pg-start.log" 2>&1 ||
        rig_die "Postgres did not start: see $RIG/log/pg-start.log"
    psql -X -q "host=127.0.0.1 port=$PG_PORT dbname=postgres user=postgres" \
        -c 'CREATE DATABASE vagt' > /dev/null 2>&1
    "$VAGTCTL" db migrate > "$RIG/log/migrate.log" 2>&1 ||
        rig_die "the schema could not be made: $(tail -n 1 "$RIG/log/migrate.log")"
}

rig_pg_stop() { "$ROOT/tests/rig/pg.sh" stop "$RIG/pg" > /dev/null 2>&1 || true; }

# --- broker ---

rig_broker_start() {
    mkdir -p "$RIG/mosquitto"
    cat > "$RIG/mosquitto.conf" << CONF
listener $MQTT_PORT 127.0.0.1
allow_anonymous true
user $(id -un)
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 500000
persistence true
persistence_location $RIG/mosquitto/
autosave_interval ${RIG_AUTOSAVE:-5}
CONF
    rig_spawn broker "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$RIG/mosquitto.conf"
    rig_wait 10 "the broker" rig_taken "$MQTT_PORT" || rig_die "see $RIG/log/broker.log"
}

# --- bridges ---

rig_site_start() {
    if [ "$RIG_REAL" = 1 ]; then
        RIG_RUN=$RIG/z2m RIG_PORT_BASE=$Z2M_PORT_BASE node "$ROOT/tests/rig/z2m/rig.js" up \
            --areas "$RIG_AREAS" --devices "$RIG_DEVICES" --broker "127.0.0.1:$MQTT_PORT" \
            --report-ms "$RIG_INTERVAL_MS" ||
            rig_die "Zigbee2MQTT did not come up: see $RIG/z2m/"
        return
    fi
    rig_spawn site "$SITESIM" --broker "127.0.0.1:$MQTT_PORT" --areas "$RIG_AREAS" \
        --devices "$RIG_DEVICES" --interval-ms "$RIG_INTERVAL_MS" \
        --control "127.0.0.1:$SITE_PORT" --seed "${RIG_SEED:-1}" ${RIG_SITE_ARGS:-}
    rig_wait 10 "the simulated site" rig_taken "$SITE_PORT" || rig_die "see $RIG/log/site.log"
}

rig_site_stop() {
    if [ -s "$RIG/z2m/rig.json" ]; then
        RIG_RUN=$RIG/z2m RIG_PORT_BASE=$Z2M_PORT_BASE node "$ROOT/tests/rig/z2m/rig.js" down \
            > /dev/null 2>&1
    fi
    rig_stop site
}

# The simulated site's control port: rig_site /stats
rig_site() { curl -s -f "http://127.0.0.1:$SITE_PORT$1"; }

# Base topic and name of the Kth area and of a meter in it.
rig_area_topic() { if [ "$RIG_AREAS" = 1 ]; then echo zigbee2mqtt; else echo "zigbee2mqtt/a$1"; fi; }
rig_meter() { printf 'a%d-m%03d' "$1" "$2"; }

# --- nodes ---

RIG_NAMES=(- nas hut office attic barn)

# The certificate of node $1, of a CA that is made when it is needed first.
rig_pki() {
    [ -s "$RIG/pki/ca.crt" ] || "$VAGTCTL" pki init "$RIG/pki" campsite || return
    [ -s "$RIG/pki/nodes/${RIG_NAMES[$1]}/node.crt" ] ||
        "$VAGTCTL" pki node "$RIG/pki" "$1" "${RIG_NAMES[$1]}" 127.0.0.1
}

# rig_pki_expired NAME ID: a certificate of our own CA whose time is over
rig_pki_expired() {
    local d=$RIG/pki/nodes/$1
    mkdir -p "$d"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$d/node.key" -out "$d/csr" &&
        printf 'subjectAltName=URI:vagt://campsite/node/%d\nextendedKeyUsage=clientAuth\n' "$2" > "$d/ext" &&
        : > "$d/index" && openssl rand -hex 8 > "$d/serial" &&
        printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' \
            "$d/index" "$d/serial" "$d" > "$d/conf" &&
        openssl ca -batch -config "$d/conf" -cert "$RIG/pki/ca.crt" -keyfile "$RIG/pki/ca.key" \
            -in "$d/csr" -out "$d/node.crt" -extfile "$d/ext" -notext \
            -startdate 20200101000000Z -enddate 20210101000000Z
}

rig_config() {
    local i=$1 k
    mkdir -p "$RIG/n$i/data"
    if [ -n "${RIG_TLS:-}" ]; then
        rig_pki "$i" > "$RIG/log/pki.log" 2>&1 || rig_die "see $RIG/log/pki.log"
    fi
    {
        printf 'cluster: campsite\nnode: %s\ndata_dir: %s\n' "${RIG_NAMES[$i]}" "$RIG/n$i/data"
        printf 'log: {level: %s}\nnodes:\n' "${RIG_LOG:-info}"
        for k in $(seq "$RIG_NODES"); do
            printf '  - {id: %d, name: %s, peer: "127.0.0.1:%d", control: "tcp://127.0.0.1:%d"%s}\n' \
                "$k" "${RIG_NAMES[$k]}" $((PEER_PORT + k)) $((CONTROL_PORT + k)) \
                "$([ "$k" = "${RIG_WITNESS:-}" ] && echo ', role: witness')"
        done
        printf 'control:\n  listen: ["ipc://%s/n%d/control.sock", "tcp://127.0.0.1:%d"]\n' \
            "$RIG" "$i" $((CONTROL_PORT + i))
        if [ -n "${RIG_SECRET_KEYS:-}" ]; then
            printf '  events: ["ipc://%s/n%d/events.sock", "tcp://127.0.0.1:%d"]\n' "$RIG" "$i" $((CONTROL_PORT + 5 + i))
            printf '  secret_key: {file: %s/n%d/curve.key}\n' "$RIG" "$i"
        else
            printf '  events: ["ipc://%s/n%d/events.sock"]\n' "$RIG" "$i"
        fi
        printf 'brokers:\n  - {name: main, addresses: ["127.0.0.1:%d"]}\nareas:\n' "$MQTT_PORT"
        for k in $(seq "$RIG_AREAS"); do
            printf '  - {name: area%d, base_topic: %s, broker: main%s}\n' "$k" \
                "$(rig_area_topic "$k")" "${RIG_AREA:+, $RIG_AREA}"
        done
        for k in $(seq "$RIG_LOAD_AREAS"); do
            printf '  - {name: load%d, base_topic: load/a%d, broker: main}\n' "$k" "$k"
        done
        printf 'postgres: {conninfo: {env: VAGT_POSTGRES}}\n'
        printf 'raft: {election: %s, heartbeat: %s%s}\n' "$RIG_ELECTION" "$RIG_HEARTBEAT" "${RIG_RAFT:+, $RIG_RAFT}"
        if [ -n "${RIG_TLS:-}" ]; then
            k=$RIG/pki/nodes/${RIG_NAMES[$i]}
            printf 'tls: {ca: %s, cert: %s, key: {file: %s}}\n' "$k/ca.crt" "$k/node.crt" "$k/node.key"
        fi
        printf '%s\n' "${RIG_EXTRA:-}"
    } > "$RIG/n$i/vagt.yaml"
}

# A key for each node's control plane, and keys/known with that of node 1.
rig_keys() {
    local k
    mkdir -p "$RIG/keys"
    for k in $(seq "$RIG_NODES"); do
        mkdir -p "$RIG/n$k"
        "$VAGTCTL" keys new "$RIG/n$k/curve.key" > "$RIG/n$k/curve.pub" 2> /dev/null
    done
    echo "127.0.0.1 $(cat "$RIG/n1/curve.pub")" > "$RIG/keys/known"
}

rig_node_start() { rig_spawn "n$1" "$VAGTD" -c "$RIG/n$1/vagt.yaml"; }

rig_nodes_start() {
    local i
    for i in $(seq "$RIG_NODES"); do
        rig_config "$i"
        "$VAGTD" -c "$RIG/n$i/vagt.yaml" --bootstrap > "$RIG/log/bootstrap.log" 2>&1 ||
            rig_die "node $i: $(tail -n 2 "$RIG/log/bootstrap.log")"
        rig_node_start "$i"
    done
}

rig_nodes_stop() {
    local i
    for i in $(seq "$RIG_NODES"); do
        rig_alive "n$i" && kill -TERM "$(rig_pid "n$i")" 2> /dev/null
    done
    for i in $(seq "$RIG_NODES"); do rig_stop "n$i"; done
}

# rig_json PATH: a value out of JSON on standard input: site.online, nodes.0.raft
rig_json() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[int(key)] if isinstance(value, list) else (value or {}).get(key)
print("" if value is None else value)' "$1" 2> /dev/null
}

rig_status() { "$VAGTCTL" --json --timeout 2000 status 2> /dev/null | rig_json "$1"; }

# The row that breaks the tie of two nodes: rig_row COLUMN
rig_row() { rig_psql -c "SELECT $1 FROM vagt_tiebreak"; }
rig_row_open() { [ "$(rig_row 'coalesce(sole, 0)')" = 0 ]; }

# Id of the node on watch, as the first node that answers sees it; empty: none.
rig_watch() { rig_status watch.node; }
rig_has_watch() { [ -n "$(rig_watch)" ]; }
rig_healthy() { [ "$(rig_status health)" = healthy ]; }
rig_all_online() { [ "$(rig_status site.online)" = $((RIG_AREAS * RIG_DEVICES)) ]; }
rig_hash_equal() { "$VAGTCTL" --timeout 2000 hash > /dev/null 2>&1; }

rig_readings() { rig_psql -c 'SELECT count(*) FROM meter_readings'; }

rig_down() {
    rig_site_stop
    rig_nodes_stop
    rig_stop broker
    rig_stop coordinator
    rig_pg_stop
}
