#!/bin/bash
# Secrets stay where they were put: each one of this site is a word that can be searched
# for, and is in nothing that the nodes say, write, keep or start.
export RIG_TLS=1 RIG_LOG=debug
. "$(dirname "$0")/lib.sh"

pg_word=Word-of-Postgres-7f3a
mq_word=Word-of-broker-51c9
mkdir -p "$RIG/seen" "$RIG/backups" "$RIG/cores" "$RIG/vault"
chmod 711 "$RIG/vault"
printf '%s\n' "$mq_word" > "$RIG/vault/mqtt"
chmod 600 "$RIG/vault/mqtt"
mosquitto_passwd -b -c "$RIG/vault/users" vagt "$mq_word" || rig_die "no mosquitto_passwd"
cat > "$RIG/script" << 'SCRIPT'
#!/bin/sh
env >> "$(dirname "$0")/seen/environment-of-a-script"
SCRIPT
chmod +x "$RIG/script"
RIG_EXTRA="resources:
  - {name: script, exec: {script: $RIG/script}, monitor: 500ms}
  - {name: program, command: [/bin/sleep, '1000']}"

# The rig's, and a password at the broker.
eval "rig_plain_$(declare -f rig_config)"
rig_config() {
    rig_plain_rig_config "$1"
    sed -i "s|{name: main, |&username: vagt, password: {file: $RIG/vault/mqtt}, |" "$RIG/n$1/vagt.yaml"
}
broker_again() { # with the passwords of a file
    rig_stop broker
    grep -q password_file "$RIG/mosquitto.conf" || echo "password_file $RIG/vault/users" >> "$RIG/mosquitto.conf"
    rig_spawn broker "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$RIG/mosquitto.conf"
    rig_wait 10 "the broker" rig_taken "$MQTT_PORT"
}
# Of vagtd and all that came of it.
family() {
    local pid children=()
    echo "$1"
    read -r -a children < "/proc/$1/task/$1/children"
    for pid in "${children[@]}"; do family "$pid"; done
}
hush() { # hush NAME CMD...: what it says is seen
    local name=$1
    shift
    "$@" > "$RIG/seen/$name" 2>&1
}
# Where do the words stand? Postgres and the vault have them by right.
spilled() {
    grep -rlaF -f "$RIG/vault/words" "$RIG/seen" "$RIG/log" "$RIG/cores" "$RIG/backups" "$RIG"/n?/ ||
        return 1
}
look() { # look STAGE COMMAND...
    local i pid what stage=$1
    shift
    for what in "$@"; do
        hush "$stage-$what" "$VAGTCTL" --timeout 2000 "$what"
        hush "$stage-$what.json" "$VAGTCTL" --timeout 2000 --json "$what"
    done
    for i in $(seq "$RIG_NODES"); do
        for pid in $(family "$(rig_pid "n$i")"); do
            cp "/proc/$pid/cmdline" "$RIG/seen/$stage-cmdline-$pid"
            [ "$pid" = "$(rig_pid "n$i")" ] || cp "/proc/$pid/environ" "$RIG/seen/$stage-environ-$pid"
        done
    done 2> /dev/null
}

rig_init
rig_pg_start
rig_broker_start
broker_again
rig_site_start
export VAGT_POSTGRES="$PG_CONNINFO password=$pg_word"
rig_spawn events "$VAGTCTL" events
cd "$RIG/cores" || exit 1
# Only so is it vagtd that sees to it that there is no core.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}disable_coredump=0
ulimit -c unlimited 2> /dev/null
rig_nodes_start
cd "$ROOT" || exit 1
need "all devices are online" rig_wait 25 "all online" rig_all_online
need "it is healthy" rig_wait 10 "health" rig_healthy
{
    echo "$pg_word"
    echo "$mq_word"
    # Three lines of base64: what is secret is in the second.
    for k in "$RIG"/pki/nodes/*/node.key; do sed -n 3p "$k"; done
} > "$RIG/vault/words"
need "there are five words" eq "$(grep -c ........ "$RIG/vault/words")" $((RIG_NODES + 2))
e2e_roles

check "a command" "$VAGTCTL" send a1-m001 state=ON
check "the program runs" rig_wait 10 "it" eval '[ "$(rig_status site.resources.1.state)" = running ]'
check "a backup" "$VAGTCTL" backup --to "$RIG/backups"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RIG/vault/key" -out "$RIG/vault/cert" -days 2 \
    -subj /CN=backup 2> /dev/null
check "an encrypted one" "$VAGTCTL" backup --to "$RIG/backups" --encrypt-to "$RIG/vault/cert"
for i in $(seq "$RIG_NODES"); do
    check "node $i: its configuration is right" hush "check-$i" "$VAGTD" -c "$RIG/n$i/vagt.yaml" -n
    check "... and printed" hush "print-$i" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --print-config
done
look well status devices commands members why ready metrics hash drills bridges
hush broker mosquitto_sub -p "$MQTT_PORT" -t '#' -W 1 -v
# A keeper's only root may see.
check "environments of what was started were seen" ge \
    "$(find "$RIG/seen" -name '*environ*' -size +0 | wc -l)" $(($(id -u) == 0 ? RIG_NODES + 2 : 2))

# Refused: by the broker and by Postgres, whose words go into logs and sentences.
mosquitto_passwd -b "$RIG/vault/users" vagt another
broker_again
sed -i 's/\btrust$/scram-sha-256/' "$RIG/pg/data/pg_hba.conf"
rig_psql -c "SELECT pg_reload_conf(), pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'" > "$RIG/seen/reload" 2>&1
check "the broker refuses us" rig_wait 15 "its word" said "n$leader" 'mqtt.*refused'
check "Postgres refuses us" rig_wait 15 "its word" sh -c \
    "'$VAGTCTL' --timeout 2000 status | grep -q 'password authentication failed'"
look refused status why ready metrics

# A node dies by a signal that leaves a core, if anything here does.
(cd "$RIG/cores" && sh -c "sh -c 'kill -ABRT \$\$'; true") > /dev/null 2>&1
if [ -n "$(find "$RIG/cores" -type f)" ]; then
    rm -f "$RIG"/cores/*
    # ASan's own handler would end it in another way.
    kill -ABRT "$(rig_pid "n$other")"
    check "it is gone" rig_wait 10 "its end" eval '! rig_alive "n$other"'
    check "it left no core" eq "$(find "$RIG/cores" -type f)" ""
else
    echo "cores are not left in the folder here: not looked at"
fi
rig_stop events

check "the words are nowhere" eval '! spilled'
cp "$RIG/vault/words" "$RIG/seen/planted"
check "... and would have been found" eval 'eq "$(spilled)" "$RIG/seen/planted"'
