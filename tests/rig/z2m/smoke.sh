#!/bin/bash
# End-to-end check of the rig: real Zigbee2MQTT, simulated coordinator, set/get, failover to another data dir.
# RIG_PORT_BASE and RIG_HOST as in rig.js; BROKER=127.0.0.1:PORT uses a broker that already runs.
set -e
cd "$(dirname "$0")"; export RIG_RUN=${RIG_RUN:-$PWD/run-smoke}; pass=0; fail=0
[ -d node_modules/zigbee2mqtt ] || { echo "smoke: not installed, run: npm ci --omit=optional --ignore-scripts" >&2; exit 2; }
host=${RIG_HOST:-127.0.0.1}; bport=${RIG_PORT_BASE:-18830}; ctl=$host:$((${RIG_PORT_BASE:-17430} + 201)); bhost=$host
up=(--areas 1 --devices 8 --fresh --report-ms 2000)
if [ -n "$BROKER" ]; then bhost=${BROKER%:*}; bport=${BROKER##*:}; up+=(--broker "$BROKER"); fi
H="-h $bhost -p $bport"
ok() { if [ "$2" = 1 ]; then pass=$((pass+1)); echo "ok   $1"; else fail=$((fail+1)); echo "FAIL $1"; fi; }
trap 'node rig.js down >/dev/null 2>&1' EXIT
node rig.js up "${up[@]}"
for i in 0 1 2 3; do
  t=zigbee2mqtt/a1-m00$i
  (timeout 5 mosquitto_sub $H -q 1 -R -t $t > $RIG_RUN/s$i.txt || true) & sleep 0.3
  mosquitto_pub $H -q 1 -t $t/set -m '{"state":"OFF"}'; sleep 1.5
  ok "model $i: set OFF reaches the device" $(curl -s $ctl/dev/$i | grep -c '"state":"OFF"')
  ok "model $i: state OFF published" $(grep -c '"state":"OFF"' $RIG_RUN/s$i.txt | sed 's/[1-9][0-9]*/1/')
  mosquitto_pub $H -q 1 -t $t/get -m '{"state":""}'
done
sleep 1
ok "availability is retained and online" $(mosquitto_sub $H -t zigbee2mqtt/a1-m000/availability -C 1 -W 2 | grep -c online)
ok "bridge/devices lists 8 devices" $(mosquitto_sub $H -t zigbee2mqtt/bridge/devices -C 1 -W 2 | node -e 'let b="";process.stdin.on("data",c=>b+=c).on("end",()=>console.log(JSON.parse(b).length===9?1:0))')
node rig.js clone 1 $RIG_RUN/hostB; node rig.js z2m-stop 1 KILL; sleep 0.5
ok "last will: bridge/state offline" $(mosquitto_sub $H -t zigbee2mqtt/bridge/state -C 1 -W 2 | grep -c offline)
node rig.js z2m-start 1 $RIG_RUN/hostB; mosquitto_pub $H -q 1 -t zigbee2mqtt/a1-m001/set -m '{"state":"ON"}'; sleep 1.5
ok "host B controls the same network" $(curl -s $ctl/dev/1 | grep -c '"state":"ON"')
echo "$pass passed, $fail failed"; [ $fail = 0 ]
