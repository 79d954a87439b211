#!/bin/bash
# sitesim from outside: does it say what Zigbee2MQTT says, and does it have its races?
# usage: test_sitesim.sh PATH-TO-SITESIM        needs mosquitto, mosquitto_sub, mosquitto_pub, curl, python3
set -u
sim=${1:?usage: test_sitesim.sh PATH-TO-SITESIM}
mosquitto=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mosquitto) || {
    echo "mosquitto is not installed"; exit 77; }
dir=$(mktemp -d)
passed=0 failed=0 broker_pid= sim_pid= sub_pid=

cleanup() {
    local p
    for p in $sub_pid $sim_pid $broker_pid; do kill "$p" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ok() { # text, then a command whose exit code decides
    local text=$1; shift
    if "$@"; then passed=$((passed + 1)); echo "ok   $text"
    else failed=$((failed + 1)); echo "FAIL $text"; fi
}
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
until_true() { # seconds, then a command; polls every 50 ms
    local end=$((SECONDS + $1)); shift
    until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.05; done
}
get() { curl -sf --max-time 5 "http://127.0.0.1:$control$1"; }
pub() { mosquitto_pub -h 127.0.0.1 -p "$port" -q 1 -t "$1" -m "$2"; }
one() { mosquitto_sub -h 127.0.0.1 -p "$port" -t "$1" -C 1 -W 3 -F '%r %p'; }
start_broker() {
    "$mosquitto" -c "$dir/broker.conf" >>"$dir/broker.log" 2>&1 &
    broker_pid=$!
    until_true 3 mosquitto_pub -h 127.0.0.1 -p "$port" -t t -m x 2>/dev/null
}
watch() { # everything from now on, one line per message: time retain qos topic payload
    [ -z "$sub_pid" ] || { kill "$sub_pid"; wait "$sub_pid" 2>/dev/null; }
    mosquitto_sub -h 127.0.0.1 -p "$port" -q 1 -R -t '#' -F '%U %r %q %t %p' >"$dir/seen" &
    sub_pid=$!
    sleep 0.15
}
seen() { grep -q -- "$1" "$dir/seen"; }
seen_within() { until_true "$1" seen "$2"; }
not_seen() { ! seen "$1"; }
start_sim() {
    : >"$dir/sim.out"
    "$sim" --broker "127.0.0.1:$port" --control 127.0.0.1:0 "$@" >"$dir/sim.out" 2>"$dir/sim.err" &
    sim_pid=$!
    until_true 3 grep -q '^control' "$dir/sim.out" || { cat "$dir/sim.err"; return 1; }
    control=$(sed -n 's/^control .*:\([0-9]*\)$/\1/p' "$dir/sim.out")
}
stop_sim() { kill "-${1:-TERM}" "$sim_pid"; wait "$sim_pid" 2>/dev/null; sim_rc=$?; sim_pid=; }
ready() { get /stats | python3 -c '
import json, sys
sys.exit(not all(a["ready"] for a in json.load(sys.stdin)["areas"]))'; }
started() { until_true 5 ready && sleep 0.15; }
json() { # text, python expression over d (the JSON on stdin)
    local text=$1 expr=$2
    ok "$text" python3 -c "
import json, sys
d = json.load(sys.stdin)
sys.exit(not ($expr))"
}
states() { # of one meter, in order: "ON|OFF last_seen"
    python3 - "$dir/seen" "$1" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    f = line.rstrip("\n").split(" ", 4)
    if f[3] == sys.argv[2]:
        d = json.loads(f[4])
        print(d["state"], d["last_seen"])
PY
}
rejects() { # expected text, then arguments
    local want=$1; shift
    "$sim" "$@" >"$dir/out" 2>"$dir/err"; local rc=$?
    [ $rc = 2 ] && grep -q -- "$want" "$dir/err"
}

# ---- command line
b=127.0.0.1:1
ok "no broker is said" rejects "--broker is needed" --areas 1
ok "a host name as broker is refused" rejects "numeric" --broker localhost:1883
ok "too many areas are refused with the range" rejects "1..64" --broker $b --areas 65
ok "text as number is refused" rejects '"5x" is not a number' --broker $b --devices 5x
ok "too many meters are refused" rejects "more than 100000" --broker $b --areas 64 --devices 20000
ok "a control port off loopback is refused" rejects "loopback" --broker $b --control 0.0.0.0:0
ok "an unknown meter is refused" rejects 'no meter "a9-m001"' --broker $b --unreachable a9-m001
ok "a probability above 1 is refused" rejects "0..1" --broker $b --stale-prob 1.5
ok "--help ends well" sh -c '"$1" --help | grep -q -- --stale-prob' sh "$sim"

port=$(free_port)
cat >"$dir/broker.conf" <<CONF
listener $port 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
CONF
start_broker || { echo "no broker"; exit 1; }

# ---- what is there after the start
watch
start_sim --areas 2 --devices 8 --interval-ms 0 --stale-prob 1 --unreachable a2-m003 \
    --unreachable-ms 300 --avail-offline-ms 400 --cache-save-ms 100 --reconnect-ms 100 \
    --ready-ms 800 || exit 1
started
z=zigbee2mqtt
ok "bridge/state online is retained" test "$(one $z/a1/bridge/state)" = '1 {"state":"online"}'
ok "availability is retained" test "$(one $z/a1/a1-m000/availability)" = '1 {"state":"online"}'
one $z/a2/bridge/devices | cut -c3- >"$dir/devices"
json "bridge/devices lists the coordinator and 8 meters" \
    'len(d) == 9 and d[0]["type"] == "Coordinator"' <"$dir/devices"
json "a device has what a consumer reads" 'd[3]["friendly_name"] == "a2-m002" and
    d[3]["ieee_address"] == "0xa4c1380200010002" and d[3]["model_id"] == "TS0601" and
    d[3]["definition"]["model"] == "TOWSMR1-40A-AC" and d[3]["interview_state"] == "SUCCESSFUL"
    and d[3]["supported"] and not d[3]["disabled"]' <"$dir/devices"
one $z/a1/bridge/info | cut -c3- >"$dir/info"
json "bridge/info tells version, last_seen, qos and base topic" 'd["version"] == "2.14.1" and
    d["config"]["advanced"]["last_seen"] == "ISO_8601" and
    d["config"]["device_options"]["qos"] == 1 and
    d["config"]["mqtt"]["base_topic"] == "zigbee2mqtt/a1"' <"$dir/info"
ok "the first states are cached ones, without linkquality" \
    seen '0 1 zigbee2mqtt/a1/a1-m000 {"current":[0-9.]*,"last_seen":"[^"]*","power"'
ok "states are not retained" test -z "$(one $z/a1/a1-m000 2>/dev/null)"

# ---- commands
watch
pub $z/a1/a1-m000/set '{"state":"OFF"}'
sleep 0.2
states $z/a1/a1-m000 >"$dir/s"
ok "ZCL: the old state first, then the new, then the device's report" \
    test "$(cut -d' ' -f1 "$dir/s" | tr '\n' ' ')" = "ON OFF OFF "
ok "ZCL: old and new state carry the same last_seen" \
    test "$(sed -n 1p "$dir/s" | cut -d' ' -f2)" = "$(sed -n 2p "$dir/s" | cut -d' ' -f2)"
get "/tune?stale-prob=0" >"$dir/out"
watch
pub $z/a1/a1-m002/set '{"state":"OFF"}'
pub $z/a1/a1-m001/set OFF
pub $z/a1/a1-m001/set/state ON
sleep 0.2
states $z/a1/a1-m002 >"$dir/s"
ok "Tuya: no stale state at probability 0, and repeated reports" \
    test "$(cut -d' ' -f1 "$dir/s" | tr '\n' ' ')" = "OFF OFF OFF "
ok "Tuya: the confirmation has the old last_seen, the report a new one" \
    test "$(sed -n 1p "$dir/s")" != "$(sed -n 2p "$dir/s")"
ok "bare payload and attribute topic work, in order" \
    test "$(get /log | grep -o 'a1-m001.*"value":"[A-Z]*' | sed 's/.*"//' | tr '\n' ' ')" = "OFF ON "
pub $z/a1/a1-m000/set '{"state":'
pub $z/a1/nope/set '{"state":"ON"}'
pub $z/a1/a1-m000/set '{"foo":1}'
pub $z/a1/a1-m002/set '{"state":"TOGGLE"}'
pub $z/a1/a1-m002/get '{"state":""}'
pub $z/a2/a2-m003/set '{"state":"OFF"}'
ok "bad JSON is an error in bridge/logging" seen_within 2 "Invalid message 'undefined'"
ok "so is an unknown device" seen_within 2 "Entity 'nope' is unknown"
ok "so is an unknown key" seen_within 2 "No converter available for 'foo' on 'a1-m000': (1)"
ok "a Tuya meter cannot toggle" seen_within 2 "Key 'TOGGLE' not found in: "
ok "a Tuya meter cannot be read" seen_within 2 "No converter available for 'get' 'state'"
ok "an unreachable meter fails late, in bridge/logging" seen_within 2 "to 'a2-m003' failed.*NWK_NO_ROUTE"
ok "and its availability goes offline, retained" \
    test "$(one $z/a2/a2-m003/availability)" = '1 {"state":"offline"}'
watch
get "/online?dev=a2-m003&now=1" >"$dir/out"
ok "back again, it is online with its first report" seen_within 2 'a2-m003/availability {"state":"online"}'
pub $z/a1/a1-m004/get '{"state":""}'
ok "/get answers with the state" seen_within 2 'a1/a1-m004 {.*"state":"ON"'
get "/press?dev=a1-m006&state=OFF" >"$dir/out"
ok "a pressed button is reported" seen_within 2 'a1/a1-m006 {.*"event":"local_off".*"state":"OFF"'
pub $z/a1/bridge/request/health_check '{"transaction":{"n":[1]}}'
pub $z/a1/bridge/request/nothing '{"transaction":2}'
pub $z/a1/bridge/request/device/rename '{"from":"nope","to":"x","transaction":"r"}'
ok "a request is answered, its transaction echoed" \
    seen_within 2 'response/health_check {"data":{"healthy":true},"status":"ok","transaction":{"n":\[1\]}}'
ok "a failed one says why" \
    seen_within 2 "response/device/rename {\"data\":{},\"error\":\"Device 'nope' does not exist\",\"status\":\"error\",\"transaction\":\"r\"}"
ok "an unknown one is not answered" not_seen response/nothing

# ---- restart: will, commands lost after `online`, old last_seen
get "/bridge-stop?area=1&how=term" >"$dir/out"
ok "a graceful stop says offline at QoS 0" seen_within 2 ' 0 zigbee2mqtt/a1/bridge/state {"state":"offline"}'
watch
get "/bridge-start?area=1" >"$dir/out"
before=$(get /log | wc -l)
until_true 3 seen 'a1/bridge/state {"state":"online"}'
pub $z/a1/a1-m005/set '{"state":"OFF"}'
started
ok "a command right after online is dropped" test "$(get /log | wc -l)" = "$before"
ok "bridge/info comes after that" seen_within 2 a1/bridge/info
python3 - "$dir/seen" "$dir/online" >"$dir/age" <<'PY'
import datetime, json, sys
online = None
for line in open(sys.argv[1]):
    f = line.split(" ", 4)
    if f[3].endswith("a1/bridge/state"):
        online = float(f[0])
    if f[3].endswith("a1/a1-m000") and online:
        t = datetime.datetime.fromisoformat(json.loads(f[4])["last_seen"].replace("Z", "+00:00"))
        print("old" if t.timestamp() < online else "new")
        break
PY
ok "cached states come back with the last_seen they had" test "$(cat "$dir/age")" = old
pub $z/a1/a1-m005/set '{"state":"OFF"}'
ok "later it works" until_true 2 sh -c "[ \$(curl -s http://127.0.0.1:$control/log | wc -l) -gt $before ]"

# ---- a start that nobody announces, and an error that is repeated
watch
get "/bridge-stop?area=2&how=silent" >"$dir/out"
sleep 0.3
get "/bridge-start?area=2&forgot=1" >"$dir/out"
ok "it says online again" seen_within 3 'a2/bridge/state {"state":"online"}'
ok "and info, and who it has not heard yet" seen_within 2 'a2/a2-m001/availability {"state":"offline"}'
ok "that it was away nobody has said" not_seen 'a2/bridge/state {"state":"offline"}'
started
watch
pub $z/a2/a2-m001/get '{"state":""}'
ok "who is heard is online" seen_within 3 'a2/a2-m001/availability {"state":"online"}'
pub $z/a1/nobody/set '{"state":"OFF"}'
pub $z/a1/nobody/set '{"state":"ON"}'
pub $z/a1/somebody/set '{"state":"ON"}'
ok "an error is said" seen_within 2 "Entity 'somebody' is unknown"
ok "the same error is not said twice in a row" test "$(grep -c "Entity 'nobody'" "$dir/seen")" = 1

# ---- broker gone and back
count() { get /stats | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(d["states"], [a["published"] for a in d["areas"]])'; }
sleep 0.2 # the last command's reports are out
before=$(get /stats | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(d["states"], [a["published"] + 1 for a in d["areas"]])')
kill -9 "$broker_pid"; wait "$broker_pid" 2>/dev/null
sleep 0.3
start_broker
reconnected() { get /stats | python3 -c '
import json, sys
sys.exit(not all(a["connected"] for a in json.load(sys.stdin)["areas"]))'; }
until_true 5 reconnected
sleep 0.5
ok "after a broker restart each bridge sends one message and no states" test "$(count)" = "$before"
ok "it is bridge/state online" test "$(one $z/a2/bridge/state)" = '1 {"state":"online"}'

# ---- bursts and counting
watch
get "/burst?n=20000" >"$dir/out"
burst_done() { get /stats | grep -q '"burst":{"n":20000,"sent":20000,"running":false'; }
ok "a burst of 20,000 leaves" until_true 8 burst_done
sleep 0.5
get /stats | grep -o '"burst":{[^}]*}'
json "the statistics count per meter" \
    'sum(x["published"] for x in d["devices"]) == d["states"] and len(d["devices"]) == 16' <<<"$(get /stats)"
json "/meters tells each relay" \
    '[x["state"] for x in d if x["dev"] in ("a1-m000", "a1-m004")] == ["OFF", "ON"]' <<<"$(get /meters)"
ok "a wrong control command is refused" test "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$control/offline?dev=x")" = 400

# ---- death
watch
stop_sim KILL
ok "killed: the will says offline, at QoS 1" seen_within 3 ' 1 zigbee2mqtt/a2/bridge/state {"state":"offline"}'
start_sim --areas 1 --devices 2 --interval-ms 200 || exit 1
started
watch
ok "one area has the base topic itself, meters report" seen_within 3 ' zigbee2mqtt/a1-m001 {.*"linkquality":101'
stop_sim TERM
ok "SIGTERM ends with 0" test "$sim_rc" = 0
ok "nothing on stderr" test ! -s "$dir/sim.err"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
