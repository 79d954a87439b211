#!/bin/bash
# The broker speaks TLS. Readings and commands go through, and through a relief; a node
# that stands by looks the same way. A broker that cannot prove who it is gets nothing,
# the site says why, and goes on when it can.
. "$(dirname "$0")/lib.sh"

conf() {
    cat >> "$RIG/mosquitto.conf" << CONF
listener $TLS_PORT 127.0.0.1
certfile $RIG/certs/$1.crt
keyfile $RIG/certs/$1.key
cafile $RIG/certs/ca.crt
require_certificate true
CONF
}
# with CERT: the broker begins again, with this certificate
with() {
    rig_stop broker
    sed -i '/^listener '"$TLS_PORT"'/,$d' "$RIG/mosquitto.conf"
    conf "$1"
    rig_spawn broker "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$RIG/mosquitto.conf"
    rig_wait 10 "the broker" rig_taken "$TLS_PORT"
}
says() { "$VAGTCTL" status | grep -q "$1"; }

rig_init
TLS_PORT=$((MQTT_PORT + 2))
rig_pg_start
mkdir "$RIG/certs"
need "certificates" "$here/../rig/certs.sh" "$RIG/certs"
# Mosquitto becomes another user than root, which the keys are of.
chmod 644 "$RIG/certs"/server.key "$RIG/certs"/foreign.key
rig_broker_start
need "the broker" with server
rig_site_start
use_tls() { sed -i "s|addresses: \[\"127.0.0.1:$MQTT_PORT\"\]|addresses: [\"127.0.0.1:$TLS_PORT\"], tls: {ca: $RIG/certs/ca.crt, cert: $RIG/certs/client.crt, key: {file: $RIG/certs/client.key}}|" "$RIG/n$1/vagt.yaml"; }
for i in 1 2 3; do
    rig_config "$i"
    use_tls "$i"
    need "node $i is set up" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --bootstrap
    rig_node_start "$i"
done
need "a cold start: all devices online" rig_wait 25 "all online" rig_all_online
check "a command goes through" "$VAGTCTL" send a1-m001 state=ON
check "who stands by is ready, broker and all" rig_wait 20 "readiness" "$VAGTCTL" ready

e2e_roles
rig_stop "n$leader" KILL
check "the watch is relieved" rig_wait 10 "relief" relieved "$leader"
check "a command goes through" "$VAGTCTL" send a1-m002 state=ON
rig_node_start "$leader"

need "a broker with somebody else's certificate" with foreign
check "is not spoken to, which is said" rig_wait 20 "its word" says "certificate is not good"
need "the right one again" with server
check "all is well" rig_wait 40 "health" rig_healthy
check "a command goes through" rig_wait 20 "it" "$VAGTCTL" send a1-m003 state=ON
check "nothing went unencrypted" eval '! grep -q "up.*link=.*127.0.0.1:$MQTT_PORT" "$RIG"/log/n*.log'
