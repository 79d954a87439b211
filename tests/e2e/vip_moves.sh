#!/bin/bash
# An IPv4 and an IPv6 address move with the watch, from host to host: a planned handover, a
# killed vagtd, a host of which everything was killed at once. A neighbour asks all the
# time who has them: never two at a time. Hosts are network namespaces in one that ends
# with this.
if [ "${1:-}" != inside ]; then
    if ! unshare -nm true 2> /dev/null || ! command -v ip > /dev/null; then
        echo "needs root and iproute2: skipped"
        exit 77
    fi
    exec unshare -nm "$0" inside
fi
. "$(dirname "$0")/lib.sh"

V4=192.0.2.50 V6=2001:db8::50
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip addr add 192.0.2.9/24 dev br0
for host in h1 h2 h3 out; do
    ip netns add $host
    ip link add to-$host type veth peer name eth0 netns $host
    ip link set to-$host master br0 up
    ip -n $host link set lo up
    ip -n $host link set eth0 up
done
for i in 1 2 3; do
    ip -n h$i addr add 192.0.2.$i/24 dev eth0
done
ip -n out addr add 192.0.2.8/24 dev eth0
ip -n out addr add 2001:db8::8/64 dev eth0 nodad

# The site as ever, but each node on a host of its own; Postgres by its Unix socket.
RIG_EXTRA="peers: {plaintext: true}
watch: {takeover_wait: 4s}
resources:
  - {name: address, vip: {address: $V4/24, interface: eth0}, monitor: 1s}
  - {name: address6, vip: {address: '$V6/64', interface: eth0}, monitor: 1s}"
eval "$(declare -f rig_config | sed '1s/rig_config/plain_config/')"
rig_config() {
    local k edit="s/, control: \"[^\"]*\"//; s/, \"tcp:[^\"]*\"//; s/\"127.0.0.1:$MQTT_PORT\"]/\"192.0.2.9:$MQTT_PORT\"], plaintext: true/"
    for k in 1 2 3; do
        edit="$edit; s/127.0.0.1:$((PEER_PORT + k))/192.0.2.$k:$((PEER_PORT + k))/"
    done
    plain_config "$1"
    sed -i "$edit" "$RIG/n$1/vagt.yaml"
}
rig_node_start() {
    rig_spawn "n$1" nsenter --net="/run/netns/h$1" "$VAGTD" -c "$RIG/n$1/vagt.yaml"
}
rig_broker_start() {
    printf 'listener %s\nallow_anonymous true\nuser %s\n' "$MQTT_PORT" "$(id -un)" > "$RIG/mosquitto.conf"
    rig_spawn broker "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$RIG/mosquitto.conf"
    rig_wait 10 "the broker" rig_taken "$MQTT_PORT" || rig_die "see $RIG/log/broker.log"
}
eval "$(declare -f rig_pg_start | sed '1s/rig_pg_start/plain_pg_start/')"
rig_pg_start() {
    plain_pg_start
    export VAGT_POSTGRES="host=$RIG/pg port=$PG_PORT dbname=vagt user=postgres"
}

rig_healthy() { "$VAGTCTL" ready; } # Off loopback and without TLS status is never content.

mac() { ip -n "h$1" -o link show dev eth0 | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/'; }
# answers FAMILY HOST: was that host the last to say that it is there?
answers() { grep " $1 " "$RIG/who" | tail -n 1 | grep -q " $1 $(mac "$2")\$"; }
both_at() { answers 4 "$1" && answers 6 "$1"; }
# knows ADDRESS HOST: does a neighbour that had asked before send there now?
knows() { ip -n out neigh show to "$1" | grep -q "$(mac "$2")"; }
has() { [ -n "$(ip -n "h$1" -o addr show dev eth0 to "$2")" ]; }
clean() { ! has "$1" "$V4" && ! has "$1" "$V6"; }
at_new() { # it is at whoever has the watch now, which is not $1
    local w
    w=$(rig_watch)
    [ -n "$w" ] && [ "$w" != "$1" ] && both_at "$w"
}
learn() {
    for a in "$V4" "$V6"; do
        nsenter --net=/run/netns/out timeout 2 bash -c "echo > /dev/tcp/$a/9" 2> /dev/null
    done
}
last() { "$VAGTCTL" --json drills --limit 1 | rig_json "drills.0.$1"; }

rig_spawn who nsenter --net=/run/netns/out "$(dirname "$0")/who_has.py" eth0 "$V4" "$V6"
ln -sf "$RIG/log/who.log" "$RIG/who"
e2e_up
e2e_roles
check "both are at the node on watch" rig_wait 10 "answers" both_at "$leader"
learn

old=$leader
check "a handover" "$VAGTCTL" --timeout 20000 handover
check "... and they are at the next one" rig_wait 10 "answers" at_new "$old"
e2e_roles
check "... and not at the old one" clean "$old"
check "... which a neighbour has heard" rig_wait 3 "it" eval "knows $V4 $leader && knows $V6 $leader"

old=$leader
kill -KILL "$(rig_pid "n$old")"
began=$(rig_now_ms)
check "a killed vagtd: they are at the next one" rig_wait 15 "answers" at_new "$old"
printf 'kill -9 of vagtd: the addresses moved after %d ms\n' $(($(rig_now_ms) - began))
check "... and not at the old one" clean "$old"
rig_node_start "$old"
check "all is well" rig_wait 20 "readiness" rig_healthy

# Nobody is left to take them away but the kernel.
e2e_roles
old=$leader
keeper=
for p in $(cat "/proc/$(rig_pid "n$old")/task/"*/children); do
    grep -q '^Name:.vagt-keeper' "/proc/$p/status" && keeper=$p
done
need "there is a keeper" [ -n "$keeper" ]
kill -STOP "$keeper" "$(rig_pid "n$old")"
kill -KILL "$keeper" "$(rig_pid "n$old")"
began=$(rig_now_ms)
check "vagtd and keeper killed: they are at the next one" rig_wait 15 "answers" at_new "$old"
printf 'kill -9 of vagtd and keeper: the addresses moved after %d ms\n' $(($(rig_now_ms) - began))
check "... and not at the old one" clean "$old"
rig_node_start "$old"
check "all is well again" rig_wait 20 "readiness" rig_healthy

check "a drill" sh -c "'$VAGTCTL' --timeout 60000 drill handover --yes --budget 30s"
address=$(last report.phases.address)
check "... says when the addresses were there" le "${address:-99999}" 10000
printf 'drill: the addresses after %s ms\n' "$address"

check "never two holders" eval '! awk "NF > 3" "$RIG/who" | grep .'
check "it was asked all the time" ge "$(wc -l < "$RIG/who")" 200
rig_stop who
