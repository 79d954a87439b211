#!/bin/bash
# A broker of our own: started by the watch with a configuration of ours, started again
# when it dies, and when it hangs.
RIG_NODES=1
RIG_EXTRA=unset
. "$(dirname "$0")/lib.sh"

rig_init
rig_pg_start
RIG_EXTRA="resources:
  - {name: broker, stop_timeout: 3s, monitor: 1s, mosquitto: {listen: ['127.0.0.1:$MQTT_PORT'], data_dir: $RIG/broker, user: $(id -un)}}"
pid_of() { pgrep -f -o "mosquitto -c $RIG/n1/data/broker.conf"; }
other_than() { local pid; pid=$(pid_of) && [ "$pid" != "$1" ]; }
switches() { "$VAGTCTL" --timeout 5000 send "$1" "state=$2" --timeout-ms 5000; }

rig_nodes_start
rig_site_start
need "the broker runs" rig_wait 10 "running" eval '[ "$(rig_status site.resources.0.state)" = running ]'
need "devices are online" rig_wait 20 "all online" rig_all_online
check "a switch" switches a1-m001 ON
check "our status is retained there" eval \
    'mosquitto_sub -p "$MQTT_PORT" -t vagt/campsite/status -C 1 -W 5 | grep -q "\"online\""'
check "readiness does not ask for it from outside" eval '! "$VAGTCTL" ready | grep -q "broker main: 127"'

first=$(pid_of)
kill -KILL "$first"
check "it is started again" rig_wait 10 "another one" other_than "$first"
check "... and used" rig_wait 15 "a switch" switches a1-m001 OFF
check "... which is logged" said n1 "ev=resource.failed resource=broker why=\"it was ended by signal 9"

second=$(pid_of)
kill -STOP "$second"
check "one that hangs is found out" rig_wait 40 "another one" other_than "$second"
check "... by a CONNECT" said n1 "its process runs, but: 127.0.0.1:$MQTT_PORT does not answer"
check "... and the new one used" rig_wait 20 "a switch" switches a1-m001 ON
check "healthy" rig_wait 20 "health" eval '! "$VAGTCTL" status | grep -q "resource broker"'
