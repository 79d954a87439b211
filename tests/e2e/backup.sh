#!/bin/bash
# Backups: by the clock and by hand, verified, encrypted, thinned out, damaged, to a place
# that is not there; and a new cluster that begins with one.
RIG_EXTRA="backup: {dir: BACKUPS, at: \"$(date -d '-5 minutes' +%H:%M)\", keep: 2, timeout: 5s}"
. "$(dirname "$0")/lib.sh"
mkdir "$RIG/backups"
RIG_EXTRA=${RIG_EXTRA/BACKUPS/$RIG/backups}
newest() { find "$RIG/backups" -name "vagt-campsite-*.$1" | sort | tail -n 1; }
verified() { [ -n "$(newest tar)" ] && grep -h -q 'key=backup.verified' "$RIG/log/n1.log"; }

e2e_up
check "the first one is made by itself" rig_wait 20 "a backup" verified
first=$(newest tar)
check "it is verified by another program" "$VAGTCTL" backup verify "$first"
check "tar opens it" tar -C "$RIG" -xf "$first"
check "with right checksums" sh -c "cd '$RIG' && sha256sum -c SHA256SUMS"
check "no secrets are in it" sh -c "! tar -tf '$first' | grep secrets"
check "nor in its configuration" sh -c "! grep -q password= '$RIG/config.yaml'"
check "only one node makes it" eq "$(find "$RIG/backups" -type f | wc -l)" 1

check "a command" "$VAGTCTL" send a1-m001 state=ON --id kept
check "by hand" "$VAGTCTL" backup
# The same state in the same second would be the same file.
check "another command" "$VAGTCTL" send a1-m002 state=ON
check "again" "$VAGTCTL" backup
check "two are kept" eq "$(find "$RIG/backups" -name '*.tar' | wc -l)" 2
check "the newest are" eval '[ ! -e "$first" ]'
check "elsewhere, too" "$VAGTCTL" backup --to "$RIG"
check "not where there is nothing" eval '! "$VAGTCTL" backup --to "$RIG/nowhere"'

# Encrypted.
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$RIG/key" -out "$RIG/cert" -days 2 \
    -subj /CN=backup 2> /dev/null
mkdir "$RIG/sealed"
check "encrypted" "$VAGTCTL" backup --to "$RIG/sealed" --encrypt-to "$RIG/cert"
sealed=$(echo "$RIG"/sealed/*.cms)
check "openssl opens it" openssl cms -decrypt -inform DER -inkey "$RIG/key" -in "$sealed" -out "$RIG/open.tar"
check "it holds the secrets" sh -c "tar -tf '$RIG/open.tar' | grep -q secrets/postgres.conninfo"
check "without the key it is no use" eval '! "$VAGTCTL" backup verify "$sealed"'
check "with it, it is verified" "$VAGTCTL" backup verify "$sealed" --key "$RIG/key"

# Damaged: in any of its files, and the end.
good=$(newest tar)
for at in manifest.txt state.snapshot config.yaml SHA256SUMS; do
    cp "$good" "$RIG/bad.tar"
    python3 - "$RIG/bad.tar" "$at" << 'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = bytearray(f.read())
    data[data.find(sys.argv[2].encode() + b"\0") + 512 + 30] ^= 1
    f.seek(0)
    f.write(data)
PY
    check "a flip in $at is found" eval '! "$VAGTCTL" backup verify "$RIG/bad.tar"'
done
head -c 3000 "$good" > "$RIG/bad.tar"
check "so is a missing end" eval '! "$VAGTCTL" backup verify "$RIG/bad.tar"'

# All is lost: a new cluster begins with it.
rig_nodes_stop
for i in 1 2 3; do rm -rf "$RIG/n$i/data"; done
check "it is restored" "$VAGTCTL" restore "$good" --data-dir "$RIG/n1/data" --node 1
check "not over a log" eval '! "$VAGTCTL" restore "$good" --data-dir "$RIG/n1/data" --node 1'
rig_psql -c 'DELETE FROM vagt_fence' # What was written after the backup is ahead of it.
rig_node_start 1
check "it takes the watch" rig_wait 10 "a watch" eval '[ "$(rig_watch)" = 1 ]'
check "it knows the past" eq "$(command_status kept)" confirmed
for i in 2 3; do
    mkdir "$RIG/n$i/data"
    check "node $i rejoins" "$VAGTD" -c "$RIG/n$i/vagt.yaml" --rejoin
    rig_node_start "$i"
done
check "all are taken in" rig_wait 30 "health" rig_healthy
check "with the same state" rig_wait 5 "equal hashes" rig_hash_equal
check "it switches" "$VAGTCTL" send a1-m002 state=ON
check "Postgres takes readings" rig_wait 15 "a connection" eval '[ "$(rig_status site.postgres.link)" = up ]'
