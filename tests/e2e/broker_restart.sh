#!/bin/bash
# The broker is killed and started again.
. "$(dirname "$0")/lib.sh"

e2e_up
check "a switch before" "$VAGTCTL" send a1-m001 state=OFF
rig_stop broker KILL
broker_up() { [ "$(rig_status site.brokers.0.writer)" = up ] && [ "$(rig_status site.brokers.0.reader)" = up ]; }
broker_down() { [ "$(rig_status site.brokers.0.writer)" != up ]; }
check "the loss is noticed" rig_wait 5 "no link" broker_down
check "and told" rig_wait 5 "not healthy" bash -c "'$VAGTCTL' --json status | grep -q '\"health\": *\"degraded\"'"
check "a command is accepted meanwhile" \
    "$VAGTCTL" send a1-m002 state=OFF --no-wait --id meanwhile --timeout-ms 30000
before=$(rig_watch)
sleep 1
rig_broker_start
check "both links are up again" rig_wait 10 "links" broker_up
check "all online again" rig_wait 15 "all online" rig_all_online
check "the command that waited is carried out" \
    rig_wait 15 "confirmed" eval '[ "$(command_status meanwhile)" = confirmed ]'
check "a switch afterwards" "$VAGTCTL" send a1-m001 state=ON
check "healthy" rig_wait 10 "health" rig_healthy
check "the same node has kept the watch" eq "$(rig_watch)" "$before"
rows=$(rig_readings)
more() { [ "$(rig_readings)" -gt "$rows" ]; }
check "rows go on" rig_wait 10 "rows" more

# A relief brings a broker that has never seen anything: nothing is retained there, and
# a bridge that only connects again says no more than "online".
rig_stop broker KILL
check "the loss is noticed again" rig_wait 5 "no link" broker_down
rm -f "$RIG/mosquitto/mosquitto.db"
rig_broker_start
check "both links are up at an empty broker" rig_wait 10 "links" broker_up
check "a switch through it" "$VAGTCTL" send a1-m001 state=OFF
check "our own status is there again" rig_wait 10 "the status" eval \
    'mosquitto_sub -p "$MQTT_PORT" -t vagt/campsite/status -C 1 -W 1 | grep -q "\"online\""'
check "healthy at an empty broker" rig_wait 15 "health" rig_healthy
