# shellcheck shell=bash
# A stranger on the site's network: each try is refused, is in the log, and costs the
# site nothing.

export RIG_TLS=1 RIG_SECRET_KEYS=1
RIG_AREAS=2 RIG_DEVICES=10 RIG_INTERVAL_MS=1000
stranger() { python3 tests/e2e/stranger.py "$@"; }
peer_port() { echo $((PEER_PORT + $1)); }
ctl_of() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" "${@:2}"; }
metric() { ctl_of "$1" --json metrics 2> /dev/null | rig_json "$2"; }
# How often node $1 has said $2.
said() { grep -c -- "$2" "$RIG/log/n$1.log"; }
one_more() { [ "$(said "$1" "$2")" -gt "$3" ]; }

# refused WHAT CASE EVENT [PID]: thrown out by node 1, and its log says why. PID: it is trying
refused() {
    local before=0 rc
    if [ -n "${4:-}" ]; then
        wait "$4"
    else
        before=$(said 1 "$3")
        stranger "$(peer_port 1)" "$RIG/pki" "$2" > "$RIG/stranger.out" 2>&1
    fi
    rc=$?
    [ $rc = 0 ] && rig_wait 5 "the word of node 1" one_more 1 "$3" "$before"
    holds "peers: $1: let in (0: no)" "$rc" = 0 ""
    holds "... log events that say so" "$(($(said 1 "$3") - before))" ">=" 1 ""
}

# What the links cost: three replicas on this machine, without and with TLS, in turn.
# The best of each: other work on the machine only ever takes away.
doors_cost() {
    local seconds=5 rounds=3 plain tls i k
    [ "$quick" = 1 ] && seconds=1 rounds=1
    rm -f "$RIG"/bench.*
    for k in $(seq $rounds); do
        for i in plain tls; do
            mkdir -p "$RIG/bench"
            # shellcheck disable=SC2046
            "$RIG_BUILD/bench/bench_commit" --no-raw --seconds $seconds --outstanding 1,1024 --dir "$RIG/bench" \
                $([ $i = plain ] || echo --tls) >> "$RIG/bench.$i" 2>&1
        done
    done
    for i in 1024 1; do
        plain=$(best "$RIG/bench.plain" $i)
        tls=$(best "$RIG/bench.tls" $i)
        holds "inputs per second with TLS / without, $i outstanding (${tls:-0} / ${plain:-0})" \
            "$(awk -v a="${tls:-0}" -v b="${plain:-0}" 'BEGIN { if (b > 0) printf "%.2f", a / b }')" ">=" 0.70 x
    done
}

best() { sed -n "s/^ *$2 outstanding: *\([0-9]*\) inputs.*/\1/p" "$1" | sort -n | tail -n 1; }

# relief_ms FILE: kill -9 of the node on watch to the next confirmed command, median
doors_relief() {
    local kills=9
    [ "$quick" = 1 ] && kills=3
    "$RIG_BUILD/bench/bench_relief" --nodes "$SOCKETS" --pids "$RIG/pid" --kills $kills \
        --handovers 0 --load 20 --areas "$RIG_AREAS" --devices "$RIG_DEVICES" \
        --restart "RIG='$RIG' RIG_BUILD='$RIG_BUILD' bash '$ROOT/tests/rig/start_node.sh'" > "$1" 2>&1
    sed 's/^/  | /' "$1"
    field "$(cat "$1")" 'kill.*median \([0-9.]*\) ms.*' > "$1.ms"
}

# commands_per_s FILE: how many were confirmed by a device in the time
doors_rate() {
    local n=200 began
    [ "$quick" = 1 ] && n=60
    began=$(rig_now_ms)
    python3 - "$VAGTCTL" $n 2> "$1.err" << 'PY' || echo failed > "$1.failed"
import subprocess, sys
from concurrent.futures import ThreadPoolExecutor

def send(k):
    device = f"a{k % 2 + 1}-m{k % 8 + 1:03d}"
    return subprocess.run([sys.argv[1], "--timeout", "8000", "send", device,
                           "state=" + ("ON" if k % 4 < 2 else "OFF")],
                          stdout=subprocess.DEVNULL).returncode

with ThreadPoolExecutor(4) as pool:
    codes = list(pool.map(send, range(int(sys.argv[2]))))
sys.exit(sum(code != 0 for code in codes) and 1)
PY
    echo $((n * 1000 / ($(rig_now_ms) - began))) > "$1"
}

# A crowd that says nothing, at each node's doors, while the watch is relieved.
doors_crowd() {
    local k crowd=10000 most=0 fds
    [ "$quick" = 1 ] && crowd=3000
    doors_rate "$RIG/rate.quiet"
    doors_relief "$RIG/relief.quiet"
    for k in $(seq "$RIG_NODES"); do
        rig_spawn "crowd$k" python3 tests/e2e/stranger.py "$(peer_port "$k")" flood $((crowd / RIG_NODES + 1))
        rig_spawn "mob$k" python3 tests/e2e/stranger.py $((CONTROL_PORT + k)) flood $((crowd / RIG_NODES + 1))
    done
    for k in $(seq "$RIG_NODES"); do
        rig_wait 60 "the crowd" grep -q made "$RIG/log/crowd$k.log"
        rig_wait 60 "the crowd" grep -q made "$RIG/log/mob$k.log"
    done
    for k in $(seq "$RIG_NODES"); do
        # The table of them doubles when it is full; who they are only root may see.
        fds=$(awk '/^FDSize:/ { print $2 }' "/proc/$(rig_pid "n$k")/status")
        [ "$fds" -le "$most" ] || most=$fds
    done
    holds "half-open connections to the peer ports, held by the crowd" \
        $((RIG_NODES * (crowd / RIG_NODES + 1))) ">=" $crowd ""
    holds "... and as many to the control ports: room for descriptors in a node, most" "$most" "<=" 512 ""
    doors_rate "$RIG/rate.crowd"
    doors_relief "$RIG/relief.crowd"
    for k in $(seq "$RIG_NODES"); do rig_stop "crowd$k"; rig_stop "mob$k"; done
    holds "kill -9 of the watch to the next confirmed command, quiet, median" "$(cat "$RIG/relief.quiet.ms")" "<" 1000 ms
    holds "... in the crowd" "$(cat "$RIG/relief.crowd.ms")" "<" 1000 ms
    holds "commands confirmed per second in the crowd / quiet ($(cat "$RIG/rate.crowd") / $(cat "$RIG/rate.quiet"))" \
        "$(awk -v a="$(cat "$RIG/rate.crowd")" -v b="$(cat "$RIG/rate.quiet")" 'BEGIN { if (b > 0) printf "%.2f", a / b }')" ">=" 0.5 x
    holds "... that failed, runs with any" "$(find "$RIG" -maxdepth 1 -name 'rate.*.failed' | wc -l)" = 0 ""
}

doors_peers() {
    local half
    "$VAGTCTL" pki init "$RIG/foreign" campsite > /dev/null &&
        "$VAGTCTL" pki node "$RIG/foreign" 2 hut 127.0.0.1 > /dev/null &&
        cp -r "$RIG/foreign/nodes/hut" "$RIG/pki/nodes/foreign" && rig_pki_expired expired 2 > "$RIG/log/expired.log" 2>&1
    holds "certificates of a foreign CA and of one that has expired (0: made)" $? = 0 ""
    stranger "$(peer_port 1)" "$RIG/pki" half > "$RIG/half.out" 2>&1 & # It is given 5 s.
    half=$!
    refused "no certificate" -:2 "peer.refused.*shows no certificate"
    refused "a foreign CA" foreign:2 "peer.refused.*of another CA"
    refused "an expired certificate" expired:2 "peer.refused.*has expired"
    refused "the right CA, another node's id" hut:3 "peer.refused.*another node id than its certificate"
    refused "no TLS" plain "peer.refused.*does not speak TLS"
    refused "a frame of 1 GB, before TLS" plain-1GB "peer.refused.*does not speak TLS"
    refused "a frame of 1 GB, from a node's certificate" 1GB "peer.refused.*frame too long"
    refused "what a node said, once more" replay "peer.refused.*changed, or repeated"
    refused "half a greeting" half "peer.refused.*did not say who it is in time" "$half"
}

# as NAME ARGS...: by the key of NAME, to node 1 over TCP
as() {
    "$VAGTCTL" -i "$RIG/keys/$1" --known "$RIG/keys/known" -s "tcp://127.0.0.1:$((CONTROL_PORT + 1))" \
        --timeout 3000 "${@:2}"
}

# turned_down WHAT EVENT CMD...: it fails, and the log of node 1 says why
turned_down() {
    local before rc what=$1 event=$2
    shift 2
    before=$(said 1 "$event")
    "$@" > "$RIG/turned-down.out" 2>&1
    rc=$?
    [ $rc = 0 ] || rig_wait 10 "the word of node 1" one_more 1 "$event" "$before"
    holds "control: $what: was served (0: no)" $((rc == 0)) = 0 ""
    holds "... log events that say so" "$(($(said 1 "$event") - before))" ">=" 1 ""
}

bytes() { ! stranger "$((CONTROL_PORT + 1))" "" "$1"; }
often() {
    seq 300 | xargs -P 8 -I{} "$VAGTCTL" -i "$RIG/keys/op" --known "$RIG/keys/known" \
        -s "tcp://127.0.0.1:$((CONTROL_PORT + 1))" cancel nobody{}
}

doors_control() {
    local name none=control.strangers
    for name in op viewer gone nobody; do "$VAGTCTL" keys new "$RIG/keys/$name" > "$RIG/keys/$name.pub" 2> /dev/null; done
    for name in op:operator viewer:viewer gone:admin; do
        "$VAGTCTL" keys add "${name%:*}" "${name#*:}" "$(cat "$RIG/keys/${name%:*}.pub")" > /dev/null
    done
    as op send a1-m001 state=ON > /dev/null 2>&1
    holds "control: an operator's key: a command, exit code" $? = 0 ""
    turned_down "no key" $none "$VAGTCTL" -s "tcp://127.0.0.1:$((CONTROL_PORT + 1))" --timeout 1500 ping
    turned_down "a key that is not enrolled" 'control.refused.*what=connect' as nobody ping
    turned_down "bytes that are no ZeroMQ" $none bytes http
    turned_down "a frame of 1 GB" $none bytes plain-1GB
    turned_down "a viewer's key, to switch" 'control.refused who=viewer.*what=send' as viewer send a1-m001 state=OFF
    turned_down "a viewer's key, to remove a node" 'control.refused who=viewer.*what=members_change' as viewer members remove hut
    turned_down "an operator's key, to give a key" 'control.refused who=op.*what=keys_change' as op keys add eve admin "$(cat "$RIG/keys/nobody.pub")"
    "$VAGTCTL" keys revoke gone > /dev/null
    turned_down "a key that was revoked" 'control.refused.*what=connect' as gone status
    turned_down "300 changes at once, by one key" 'control.refused who=op.*too many' often
    "$VAGTCTL" audit verify > "$RIG/audit.out" 2>&1
    holds "the chain of the audit: exit code of vagtctl audit verify" $? = 0 ""
    holds "... records that say who gave and took keys" "$("$VAGTCTL" audit --limit 500 2> /dev/null | grep -c keys_change)" ">=" 4 ""
}

# It knows the way, and its certificate is in order.
doors_removed() {
    local watch gone before links seconds=6 # it tries every 2 s
    [ "$quick" = 1 ] && seconds=3
    watch=$(rig_watch)
    gone=$((watch % RIG_NODES + 1))
    ctl_of "$watch" --timeout 30000 members remove "${RIG_NAMES[$gone]}" > /dev/null 2>&1
    holds "vagtctl members remove: exit code" $? = 0 ""
    rig_wait 10 "its word" one_more "$gone" members.out 0
    rig_stop "n$gone"
    before=$(said "$watch" 'peer.refused.*removed from the cluster')
    rig_node_start "$gone"
    rig_wait 10 "the word of node $watch" one_more "$watch" 'peer.refused.*removed from the cluster' "$before"
    links=$(metric "$gone" peer_links) # made since its start
    sleep $seconds
    holds "peers: the certificate of a removed node: links made in $seconds s" $(($(metric "$gone" peer_links) - links)) = 0 ""
    holds "... log events that say so" $(($(said "$watch" 'peer.refused.*removed from the cluster') - before)) ">=" 1 ""
    rig_stop "n$gone"
}

# fuzz_one PROGRAM SECONDS: what it printed in $RIG/NAME.out, its exit code in NAME.rc
fuzz_one() {
    local name
    name=$(basename "$1")
    mkdir -p "$RIG/corpus/$name"
    "$1" -max_total_time="$2" -timeout=30 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix=build/fuzz/ "$RIG/corpus/$name" "tests/fuzz/corpus/$name" > "$RIG/$name.out" 2>&1
    echo $? > "$RIG/$name.rc"
}

# What comes from outside is read by code that was fed with everything: here again for a
# short while; hours and findings of the long runs are in docs/testing.md.
doors_fuzz() {
    local f name seconds=60 runs=0 bad=0 executions=0 n
    if [ "$quick" = 1 ]; then
        seconds=1
    else
        { cmake --preset fuzz && cmake --build --preset fuzz; } > build/fuzz.log 2>&1
    fi
    for f in build/fuzz/tests/fuzz/fuzz_*; do
        [ -f "$f" ] && [ -x "$f" ] || continue
        runs=$((runs + 1))
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
        fuzz_one "$f" $seconds &
    done
    wait
    for f in "$RIG"/fuzz_*.rc; do
        [ -f "$f" ] || continue
        name=$(basename "$f" .rc)
        [ "$(cat "$f")" = 0 ] || { bad=$((bad + 1)); tail -n 20 "$RIG/$name.out" | sed 's/^/  | /'; }
        n=$(field "$(cat "$RIG/$name.out")" '^stat::number_of_executed_units: *\([0-9]*\)')
        executions=$((executions + ${n:-0}))
    done
    if [ "$quick" = 1 ] && [ $runs = 0 ]; then
        echo "  | the fuzzers are not built here (cmake --preset fuzz): left out"
        return
    fi
    holds "fuzzers run for $seconds s each" $runs ">=" 10 ""
    shows "... inputs tried" $executions
    holds "... that found something" $bad = 0 ""
}

prove_doors() {
    local memory k
    doors_cost
    fresh_rig
    rig_pg_start
    rig_broker_start
    rig_site_start
    rig_keys
    rig_nodes_start
    rig_wait 60 "all meters to be online" rig_all_online
    holds "devices online" "$(rig_status site.online)" = $((RIG_AREAS * RIG_DEVICES)) ""
    doors_peers
    doors_control
    doors_crowd
    memory=0
    for k in $(seq "$RIG_NODES"); do
        memory=$(awk -v m="$memory" '/^VmHWM/ { v = $2 / 1024; printf "%.1f", (v > m ? v : m) }' "/proc/$(rig_pid "n$k")/status")
    done
    holds "memory of a node, highest of all (VmHWM)" "$memory" "<" 64 MiB
    doors_removed
    rig_down
    doors_fuzz
}
