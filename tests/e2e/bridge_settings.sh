#!/bin/bash
# What a Zigbee2MQTT's configuration.yaml has otherwise is told, before it matters, and
# mended where that is allowed and nowhere else.
RIG_NODES=1
. "$(dirname "$0")/lib.sh"

RIG_AREAS=2
file() { echo "$RIG/z$1/configuration.yaml"; }

rig_init
for area in 1 2; do
    mkdir -p "$RIG/z$area"
    {
        printf 'mqtt:\n  base_topic: %s # ours\n' "$(rig_area_topic "$area")"
        printf '  server: mqtt://localhost:1\nserial:\n  port: tcp://127.0.0.1:6638\n'
    } > "$(file "$area")"
done
cp "$(file 1)" "$RIG/before"
rig_config 1
sed -i -e "s|name: area1, |&bridge: {data_dir: $RIG/z1}, |" \
    -e "s|name: area2, |&bridge: {data_dir: $RIG/z2, write_settings: true}, |" "$RIG/n1/vagt.yaml"
export VAGT_POSTGRES='host=127.0.0.1 port=1'
"$VAGTD" -n -c "$RIG/n1/vagt.yaml" > "$RIG/said"
check "--check names file, line and mend" grep -q \
    "z1/configuration.yaml: warning: line 3: mqtt.server is 'mqtt://localhost:1': .*; set it to mqtt://127.0.0.1:$MQTT_PORT" \
    "$RIG/said"
check "--check names what is not there" grep -q "warning: device_options.qos is not set" "$RIG/said"

# A broker of our own: what this host lacks for it.
{
    cat "$RIG/n1/vagt.yaml"
    printf 'resources:\n  - {name: broker, mosquitto: {listen: ["127.0.0.1:%d"], data_dir: %s, executable: %s}}\n' \
        "$MQTT_PORT" "$RIG/broker" "$RIG/no/mosquitto"
} > "$RIG/with-broker.yaml"
"$VAGTD" -n -c "$RIG/with-broker.yaml" > "$RIG/said"
check "a broker that is not there is named" grep -q \
    "resource broker: would not start: $RIG/no/mosquitto cannot be run" "$RIG/said"
check "one that somebody uses is not told otherwise" eval '! grep -q "nobody would use it" "$RIG/said"'

need "a log" "$VAGTD" -c "$RIG/n1/vagt.yaml" --bootstrap
rig_node_start 1
need "a node" rig_wait 10 "an answer" "$VAGTCTL" ping
check "it is told on demand, by the exit code, too" eval '! "$VAGTCTL" bridges > "$RIG/said"'
check "... in sentences" grep -q "mqtt.client_id is not set" "$RIG/said"
check "... and nothing was written" cmp "$(file 2)" <(sed "s|a1|a2|" "$RIG/before")
check "what is not allowed stays" eval '! "$VAGTCTL" bridges write > "$RIG/said"'
check "... as it was" cmp "$(file 1)" "$RIG/before"
check "what is allowed is mended" grep -q "z2): mended" "$RIG/said"
check "... with the broker's address" grep -q "server: mqtt://127.0.0.1:$MQTT_PORT" "$(file 2)"
check "... and comments are kept" grep -q "# ours" "$(file 2)"
check "and then as it should be" eval '"$VAGTCTL" bridges | grep -q "z2): as it should be"'
check "it is logged" said n1 "bridge.settings"
rm "$(file 1)"
check "a file that is missing is told" \
    eval '"$VAGTCTL" bridges | grep -q "z1/configuration.yaml: cannot be read"'
