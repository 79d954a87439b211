#!/bin/bash
# What a bridge keeps moves with the watch: its folder is there, as it was last, wherever
# the bridge is started. A half-written file never is; what a node that died had alone is
# moved aside, never merged.
. "$(dirname "$0")/lib.sh"

# Bridges that do nothing; what they would write, the test writes.
cat > "$RIG/bridge" << 'SCRIPT'
#!/bin/bash
file=$VAGT_RESOURCE.pid
lives() { [ -s "$file" ] && grep -q '^State:.[^Z]' "/proc/$(cat "$file")/status" 2> /dev/null; }
case $1 in
    start) lives || { setsid sleep 1000 > /dev/null 2>&1 & echo $! > "$file"; } ;;
    stop) if lives; then kill "$(cat "$file")"; while lives; do sleep 0.01; done; fi ;;
    monitor) lives ;;
esac
SCRIPT
chmod +x "$RIG/bridge"

dir() { echo "$RIG/n$1/z2m"; }
db() { echo "$RIG/n$1/z2m/database.db"; }
settings() { printf 'mqtt:\n  base_topic: %s\n  server: mqtt://127.0.0.1:%s\nserial:\n  port: /dev/null\n' "$(rig_area_topic 1)" "$MQTT_PORT"; }
# pair NODE N: N devices are in its folder.
pair() { seq "$2" | sed 's/.*/{"id":&}/' > "$(db "$1").tmp" && mv "$(db "$1").tmp" "$(db "$1")"; }
paired() { eq "$(grep -c id "$(db "$1")")" "$2"; }
runs() { [ "$(rig_status site.resources.0.state)" = running ]; }
taken() { said "n$1" "ev=files.taken set=bridge-area1 version=$2 "; }
moved() { local id; id=$(rig_watch) && [ -n "$id" ] && [ "$id" != "$1" ]; }
aside() { compgen -G "$RIG/n$1/z2m.aside-*" > /dev/null; }
complete() { [ "$(rig_status "nodes.$(($1 - 1)).files.bridge-area1")" = "$2" ]; }

rig_init
rig_pg_start
rig_broker_start
rig_site_start
for i in 1 2 3; do
    RIG_EXTRA="watch: {takeover_wait: 3s}
files: [{name: extra, dir: $RIG/n$i/extra}]"
    rig_config $i
    mkdir "$(dir $i)" "$RIG/n$i/extra"
    echo a=1 > "$RIG/n$i/extra/site.conf"
    settings > "$(dir $i)/configuration.yaml"
    sed -i "s|name: area1, |&bridge: {data_dir: $(dir $i), exec: {script: $RIG/bridge}}, |" "$RIG/n$i/vagt.yaml"
    need "a log for node $i" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --bootstrap
done
for i in 1 2 3; do rig_node_start $i; done
need "a watch" rig_wait 10 "a watch" rig_has_watch
need "the bridge runs" rig_wait 10 "it" runs
e2e_roles
one=$leader

pair "$one" 3
need "what was paired is a version" rig_wait 15 "a version" taken "$one" 2
check "... that others have" rig_wait 5 "copies" eval 'complete 1 2 && complete 2 2 && complete 3 2'
check "... readable by the service only" eq "$(stat -c %a "$RIG/n$one/data/files")" 700

# A half-written file, and then the machine is gone.
printf '{"id":4}\n{"id' >> "$(db "$one")"
sleep 3
kill -KILL "$(rig_pid "n$one")"
need "another one takes over" rig_wait 15 "a watch" moved "$one"
check "its bridge runs" rig_wait 15 "it" runs
two=$(rig_watch)
check "... with what was paired" paired "$two" 3
check "what was half written is nowhere else" eval '! grep -rq "{\"id$" "$RIG/n$two/data/files" "$(dir "$two")"'
check "nothing was moved aside there: it was an older version" eval '! aside "$two"'

# The old one has more than anybody: it comes back, and gets the watch.
pair "$two" 5
check "the new one takes versions" rig_wait 15 "a version" taken "$two" 3
pair "$one" 9
rig_node_start "$one"
check "it gets what it missed" rig_wait 15 "a copy" complete "$one" 3
check "... and can take the watch" rig_wait 20 "health" "$VAGTCTL" ready
check "a handover" "$VAGTCTL" --timeout 20000 handover "$one"
check "its bridge runs" rig_wait 15 "it" runs
check "the watch is there" eq "$(rig_watch)" "$one"
check "... with the newest version" paired "$one" 5
check "... and its own is kept beside it" eval 'aside "$one" && eq "$(cat "$RIG/n$one"/z2m.aside-*/database.db | wc -l)" 9'
check "... which is told" eval '"$VAGTCTL" status | tr -s "\n " " " | grep -q "was changed in a way that no other node has"'

# Both of the others are told once; a planned stop leaves nothing behind.
pair "$one" 6
echo a=2 > "$RIG/n$one/extra/site.conf"
check "a handover at once" "$VAGTCTL" --timeout 20000 handover "$two"
check "the bridge runs" rig_wait 15 "it" runs
check "... with what was written last" paired "$two" 6
check "nothing was moved aside" eval '! aside "$two"'

# A set that no bridge has is there before any resource starts.
check "a folder without a bridge moved along" eq "$(cat "$RIG/n$two/extra/site.conf")" "a=2"

# Bits that have turned on the disk are copied anew.
third=$((6 - one - two))
sum=$(sha256sum < "$(db "$two")" | cut -d " " -f 1)
check "the contents are kept under their checksum" test -s "$RIG/n$third/data/files/$sum"
printf X | dd of="$RIG/n$third/data/files/$sum" conv=notrunc status=none
check "a handover" "$VAGTCTL" --timeout 30000 handover "$third"
check "the bridge runs" rig_wait 20 "it" runs
check "... as it was written" paired "$third" 6

# A disk that is full: nothing is acknowledged, all else goes on, and so does this when
# there is room.
full() { mount -t tmpfs -o size=64k tmpfs "$RIG/n$1/data/files" 2> /dev/null; }
if full "$one"; then
    trap 'umount "$RIG/n$one/data/files"; e2e_end' EXIT
    kill -KILL "$(rig_pid "n$two")"
    head -c 300000 /dev/zero | tr '\0' x > "$(dir "$third")/converter.js"
    pair "$third" 7
    check "a full disk is told" rig_wait 15 "a sentence" said "n$one" 'ev=files.unkept .*[Nn]o space'
    check "... to operators everywhere" rig_wait 5 "a sentence" eval '"$VAGTCTL" status | tr -s "\n " " " | grep -q "cannot keep copies of bridge data"'
    check "... and nothing acknowledged" eval '! taken "$third" 5'
    check "a switch works all the same" "$VAGTCTL" send a1-m001 state=ON
    mount -o remount,size=16m "$RIG/n$one/data/files"
    check "it goes on when there is room" rig_wait 15 "a version" taken "$third" 5
    check "... and is told no more" rig_wait 5 "silence" eval '! "$VAGTCTL" status | tr -s "\n " " " | grep -q "cannot keep copies"'
fi
