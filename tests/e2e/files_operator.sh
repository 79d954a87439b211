#!/bin/bash
# Versions of a bridge's folder in an operator's hands: history, what differs (without its
# secrets), back to an old one, which another node starts with; and in a backup.
RIG_WITNESS=3
. "$(dirname "$0")/lib.sh"
RIG_DEVICES=2

# A bridge: says with which pairings it was started.
cat > "$RIG/bridge" << 'SH'
#!/bin/bash
case $1 in
    start) [ -e "$ZIGBEE2MQTT_DATA/.up" ] || cat "$ZIGBEE2MQTT_DATA/database.db" > "$ZIGBEE2MQTT_DATA/../started"
        touch "$ZIGBEE2MQTT_DATA/.up" ;;
    stop) rm -f "$ZIGBEE2MQTT_DATA/.up" ;;
    monitor) [ -e "$ZIGBEE2MQTT_DATA/.up" ] ;;
esac
SH
chmod +x "$RIG/bridge"

folder() {
    mkdir -p "$1"
    printf 'mqtt:\n  base_topic: zigbee2mqtt/a1\n  password: hunter%s\nadvanced:\n  channel: 1%s\n' "$2" "$2" > "$1/configuration.yaml"
    printf '{"id":1,"type":"Coordinator"}\n{"id":2,"name":"paired-%s"}' "$2" > "$1/database.db"
    printf 'key: topsecret%s\n' "$2" > "$1/secret.yaml"
}
files() { "$VAGTCTL" --json files | python3 -c '
import json, sys
s = [s for s in json.load(sys.stdin)["sets"] if s["set"] == "bridge-area1"][0]
print(s.get("version", 0), *sorted(s.get("on", [])))'; }
is_on_both() { eq "$(files)" "$1 hut nas"; }
started_with() { grep -q "$2" "$RIG/n$1/started"; }

rig_init
rig_pg_start
rig_broker_start
rig_site_start
for i in 1 2 3; do
    RIG_EXTRA="watch: {takeover_wait: 4s}"
    rig_config $i
    sed -i "s|name: area1, |&bridge: {data_dir: $RIG/n$i/z2m, exec: {script: $RIG/bridge}}, |" "$RIG/n$i/vagt.yaml"
    need "a log for node $i" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --bootstrap
done
folder "$RIG/n1/z2m" 1
folder "$RIG/n2/z2m" 1
for i in 1 2 3; do rig_node_start $i; done
need "a watch" rig_wait 10 "a watch" rig_has_watch
one=$(rig_watch)
two=$((3 - one))
need "a first version, on both" rig_wait 20 "version 1" is_on_both 1
check "the condition of readiness holds" rig_wait 10 "ready" eval '"$VAGTCTL" ready | grep -q "files bridge-area1 .*ok\|ok .*files bridge-area1"'

folder "$RIG/n$one/z2m" 2
check "what changed is a version, on both" rig_wait 20 "version 2" is_on_both 2
check "the history has both" eq "$("$VAGTCTL" files history bridge-area1 | grep -c 'all ')" 2
"$VAGTCTL" files diff bridge-area1 > "$RIG/diff"
check "what differs is shown" grep -q '^+{"id":2,"name":"paired-2"}' "$RIG/diff"
check "... in the configuration, too" grep -q '^-  channel: 11' "$RIG/diff"
check "... that the password is another" eq "$(grep -c '^[-+]  password: (secret)' "$RIG/diff")" 2
check "... and no secret" eval '! grep -q "hunter\|topsecret" "$RIG/diff"'
check "the same from the node that is not on watch" eval \
    '"$VAGTCTL" -s "ipc://$RIG/n$two/control.sock" files diff bridge-area1 1 2 | cmp - "$RIG/diff"'

check "no way back to what there is" eval '! "$VAGTCTL" files rollback bridge-area1 2'
check "... nor to what there never was" eval '! "$VAGTCTL" files rollback bridge-area1 7'
check "... and none is forgotten that is used" eval '! "$VAGTCTL" files forget bridge-area1'
rm -f "$RIG/n$one/started"
check "back to the first" "$VAGTCTL" files rollback bridge-area1 1
check "the bridge began anew with it" rig_wait 20 "a start" started_with "$one" paired-1
check "... and its folder is as it was" grep -q hunter1 "$RIG/n$one/z2m/configuration.yaml"
check "it is the third version, on both" rig_wait 10 "version 3" is_on_both 3
check "... and no fourth one comes of it" eval 'sleep 3; is_on_both 3'

# A backup.
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RIG/key" -out "$RIG/cert" -days 2 \
    -subj /CN=backup 2> /dev/null
mkdir "$RIG/sealed" "$RIG/open"
check "an encrypted backup has the contents" eval \
    '"$VAGTCTL" backup --to "$RIG/sealed" --encrypt-to "$RIG/cert" | grep -q "Of 1 sets of files it has the contents of 1"'
check "... which are verified" eval \
    '"$VAGTCTL" backup verify "$RIG"/sealed/*.cms --key "$RIG/key" | grep -q "the contents of 1\."'
check "one that is not has none" eval '"$VAGTCTL" backup --to "$RIG/open" | grep -q "the contents of 0"'
check "... no secret at all" eval '! grep -q "hunter\|topsecret" "$RIG"/open/*.tar'
check "they come back" "$VAGTCTL" restore "$RIG"/sealed/*.cms --key "$RIG/key" --data-dir "$RIG/again" --node 1
check "... all three, for the service's user only" eq "$(find "$RIG/again/files" -type f -perm 600 | wc -l)" 3

# The other one starts with what was rolled back to.
rm -rf "$RIG/n$two/started"
kill -KILL "$(rig_pid "n$one")"
check "the other node starts the bridge with it" rig_wait 20 "a start" started_with "$two" paired-1
check "no secret is in any log" eval '! grep -q "hunter\|topsecret" "$RIG"/log/*.log'
