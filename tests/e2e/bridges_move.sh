#!/bin/bash
# The node on watch dies: broker and the real Zigbee2MQTT of two areas come up at another
# one, with the pairings, and a device does what it is told. A coordinator that still has
# a client is waited for; one that is away holds up its own area only.
RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"

z2m=$ROOT/tests/rig/z2m
node=$(command -v node)
[ -n "$node" ] && [ -d "$z2m/node_modules/zigbee2mqtt" ] || {
    echo "no Zigbee2MQTT: deploy/setup.sh --with-z2m"
    passed=1
    exit 77
}

RIG_DEVICES=3
export RIG_RUN=$RIG/z2m
rig_js() { RIG_PORT_BASE=$MQTT_PORT "$node" "$z2m/rig.js" "$@" > "$RIG/log/rig.log" 2>&1; }
pid_of() { rig_json "pids.$1" < "$RIG_RUN/rig.json"; }
state_of() { rig_status site.resources | python3 -c '
import ast, sys
print(next((r["state"] for r in ast.literal_eval(sys.stdin.read()) if r["name"] == sys.argv[1]), "?"))' "$1"; }
runs() { [ "$(state_of "$1")" = running ]; }
all_run() { runs broker && runs bridge-area1 && runs bridge-area2; }

# The devices join first, as on any site; then broker and bridges are the nodes' to run.
rig_init
rig_pg_start
rig_broker_start
need "devices that have joined" rig_js up --areas 2 --devices 3 --broker "127.0.0.1:$MQTT_PORT" \
    --report-ms 2000 --retain on --avail-pause 15 --second reject
rig_js z2m-stop 1
rig_js z2m-stop 2
rig_stop broker
joined=$(grep -c ieeeAddr "$RIG_RUN/a1/database.db")

for i in 1 2 3; do
    RIG_EXTRA="watch: {takeover_wait: 4s}
resources:
  - {name: broker, stop_timeout: 3s, monitor: 1s, mosquitto: {listen: ['127.0.0.1:$MQTT_PORT'], data_dir: $RIG/n$i/broker, user: $(id -un)}}"
    rig_config $i
    for k in 1 2; do # What was paired is on the host of the first watch, nothing elsewhere.
        [ $i = 3 ] || cp -a "$RIG_RUN/a$k" "$RIG/n$i/a$k"
        sed -i "s|name: area$k, |&bridge: {data_dir: $RIG/n$i/a$k, serial: 'tcp://127.0.0.1:$((MQTT_PORT + 100 + k))', command: [/usr/bin/env, GIT_CEILING_DIRECTORIES=$z2m, $node, $z2m/node_modules/zigbee2mqtt/index.js]}, |" "$RIG/n$i/vagt.yaml"
    done
    need "a log for node $i" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --bootstrap
done
check "what --check says of the bridges is nothing" eval '! "$VAGTD" -n -c "$RIG/n1/vagt.yaml" | grep "configuration.yaml"'
for i in 1 2 3; do rig_node_start $i; done
need "a watch" rig_wait 10 "a watch" rig_has_watch
need "broker and bridges run" rig_wait 30 "three that run" all_run
need "devices are online" rig_wait 30 "all online" rig_all_online
check "a device does what it is told" "$VAGTCTL" send a1-m000 state=ON

one=$(rig_watch)
two=$((3 - one))
rm -r "$RIG/n$two/a1" "$RIG/n$two/a2"
copied() { [ "$(rig_status "nodes.$((two - 1)).files.bridge-area$1")" -ge 1 ]; }
check "what was paired is copied" rig_wait 20 "versions" eval 'copied 1 && copied 2'
began=$(rig_now_ms)
kill -KILL "$(rig_pid "n$one")"
check "a device is reached through the other node" \
    rig_wait 30 "a command" "$VAGTCTL" --timeout 5000 send a1-m001 state=ON --timeout-ms 5000
printf 'kill of the watch to the next confirmed command: %d ms\n' $(($(rig_now_ms) - began))
check "... which is on watch" eq "$(rig_watch)" "$two"
check "broker and bridges run there" rig_wait 20 "three that run" all_run
check "nobody joined anew" eq "$(grep -c ieeeAddr "$RIG/n$two/a1/database.db")" "$joined"
check "all are online" rig_wait 20 "all online" rig_all_online

# One coordinator is away: its area waits and says so, the other goes on.
rig_node_start "$one"
check "the first one comes back" rig_wait 20 "two nodes" eval '[ "$(rig_status nodes.2.raft)" != "" ]'
kill -KILL "$(pid_of sim2)"
check "the area without a coordinator is named" rig_wait 30 "a sentence" \
    eval '"$VAGTCTL" status | tr "\n" " " | grep -q "bridge-area2 does not run"'
check "the other one still switches" "$VAGTCTL" send a1-m002 state=ON
check "the watch stays where it is" eq "$(rig_watch)" "$two"

# An area that is off has no bridge.
check "an area is switched off" "$VAGTCTL" area off area1
check "... and its bridge stopped" rig_wait 10 "stopped" eval '[ "$(state_of bridge-area1)" = stopped ]'

# Somebody sits at its coordinator: it is waited for.
exec 7<> "/dev/tcp/127.0.0.1/$((MQTT_PORT + 101))"
check "it is switched on again" "$VAGTCTL" area on area1
check "a coordinator that still has a client is named" rig_wait 10 "a sentence" \
    eval '"$VAGTCTL" status | tr "\n" " " | grep -q "still has a *client"'
check "... and its bridge not started" eval '[ "$(state_of bridge-area1)" = starting ]'
exec 7>&-
check "... before it is free" rig_wait 20 "it runs" runs bridge-area1
rig_nodes_stop
rig_js down
check "nothing is left" rig_wait 10 "the end" eval '! pgrep -f "$RIG/n[123]/data/broker.conf" > /dev/null'
