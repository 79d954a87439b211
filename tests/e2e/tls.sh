#!/bin/bash
# The doors between the nodes are locked: with certificates the site works as ever, and
# somebody on the network who is no node gets nowhere, is named in the log, and does not
# keep the nodes from relieving each other.
export RIG_TLS=1
. "$(dirname "$0")/lib.sh"

port() { echo $((PEER_PORT + $1)); }
stranger() { python3 "$here/stranger.py" "$@"; }
# thrown_out CASE WHY: by node 1, and its log says why
thrown_out() {
    stranger "$(port 1)" "$RIG/pki" "$1" && rig_wait 5 "its word" said n1 "peer.refused.*$2"
}
metric() { "$VAGTCTL" -s "ipc://$RIG/n$1/control.sock" --json metrics | rig_json "$2"; }

e2e_up
check "the links are encrypted" eq "$(metric 1 peer_tls)" 1
check "what is there can be shown" "$VAGTCTL" pki show "$RIG/pki"
check "a command goes through" "$VAGTCTL" send a1-m001 state=ON

# Who has not the right certificate.
check "a CA of somebody else" "$VAGTCTL" pki init "$RIG/foreign" campsite
check "... signs for node 2" "$VAGTCTL" pki node "$RIG/foreign" 2 hut 127.0.0.1
cp -r "$RIG/foreign/nodes/hut" "$RIG/pki/nodes/foreign"
need "a certificate whose time is over" rig_pki_expired expired 2
check "none" thrown_out -:2 "shows no certificate"
check "one of another CA" thrown_out foreign:2 "of another CA"
check "one that has expired" thrown_out expired:2 "has expired"
check "the right one, and another id" thrown_out hut:3 "another node id than its certificate"
check "no TLS at all" thrown_out plain "does not speak TLS"
check "another protocol" thrown_out http "does not speak TLS"
check "a gigabyte, it says" thrown_out plain-1GB "does not speak TLS"
check "a gigabyte inside TLS" thrown_out 1GB "frame too long"
check "what a node said, once more" thrown_out replay "changed, or repeated"
check "half a greeting" thrown_out half "did not say who it is in time"
check "nobody was let in, no link was lost" eq "$(grep -c peer.lost "$RIG/log/n1.log")" 0
check "all is well" rig_wait 10 "health" rig_healthy

# Renewed while running.
check "a new certificate for node 1" "$VAGTCTL" pki renew "$RIG/pki" nas --days 500
kill -HUP "$(rig_pid n1)"
check "is read at once" rig_wait 5 "its word" said n1 'tls.renewed days=500'
echo half > "$RIG/pki/nodes/nas/node.crt"
kill -HUP "$(rig_pid n1)"
check "what cannot be used is told" rig_wait 5 "its word" said n1 'tls.not_renewed'
check "... to the operator, too" rig_wait 5 "an issue" sh -c \
    "'$VAGTCTL' -s 'ipc://$RIG/n1/control.sock' status | grep -q 'the old one still is'"
rm "$RIG/pki/nodes/nas/node.crt"
check "another key, and its certificate" "$VAGTCTL" pki node "$RIG/pki" 1 nas 127.0.0.1
kill -HUP "$(rig_pid n1)"
check "are read" rig_wait 5 "its word" said n1 'tls.renewed days=36'
check "and all is well" rig_wait 10 "health" rig_healthy

# Two thousand that say nothing, while the watch is relieved.
e2e_roles
rig_spawn flood python3 "$here/stranger.py" "$(port "$other")" flood 2000
rig_spawn flood2 python3 "$here/stranger.py" "$(port "$leader")" flood 2000
check "two thousand connections" rig_wait 20 "them" grep -q "2000 made" "$RIG/log/flood.log"
before=$(rig_now_ms)
rig_stop "n$leader" KILL
check "the watch is relieved all the same" rig_wait 10 "relief" relieved "$leader"
printf 'relief among 2,000 half-open connections: %d ms\n' $(($(rig_now_ms) - before))
check "a command goes through" "$VAGTCTL" send a1-m002 state=ON
rig_node_start "$leader"
check "who comes back is let in among them" rig_wait 20 "health" rig_healthy
check "the crowd is in the log" said "n$other" peer.crowd
check "no more than may be wait" ge "$(metric "$other" peer_turned_away)" 1000
rig_stop flood
rig_stop flood2

# Removed: it may knock, and is told why it is not let in.
e2e_roles
gone=$((6 - leader - other))
check "a node is removed" "$VAGTCTL" --timeout 30000 members remove "${RIG_NAMES[$gone]}"
check "it is told so" rig_wait 10 "its word" said "n$gone" members.out
rig_stop "n$gone"
rig_node_start "$gone"
check "... and when it comes back" rig_wait 10 "its word" sh -c \
    "'$VAGTCTL' -s 'ipc://$RIG/n$gone/control.sock' status | grep -q 'no member of the cluster'"
check "the others say why" rig_wait 10 "it" said "n$leader" 'peer.refused.*removed from the cluster'
# One that has not applied the removal yet lets it in for that moment.
linked_with_nobody() { eq "$(metric "$gone" peer_links)" 0 > /dev/null; }
check "it is linked with nobody" rig_wait 5 "that" linked_with_nobody
check "it may come in again" "$VAGTCTL" --timeout 30000 members add "$gone" "${RIG_NAMES[$gone]}" "127.0.0.1:$(port "$gone")"
check "all is well again" rig_wait 15 "health" rig_healthy
