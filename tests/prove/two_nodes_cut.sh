#!/usr/bin/env bash
# Two nodes that live and do not hear each other: for two-nodes.sh, in a network namespace
# that holds nothing else (unshare -n). Says `figures MS NODES TOLD BACK_MS VANISHED_MS`.
cd "$(dirname "$0")/../.." || exit 1
quick=1 bad=0
. tests/prove/lib.sh
. tests/prove/two-nodes.sh
RIG=$RIG-cut
trap 'rig_down' EXIT
trap 'exit 1' INT TERM

cut() {
    nft -f - << NFT
table inet cut {
    chain in {
        type filter hook input priority 0;
        tcp dport { $((PEER_PORT + 1)), $((PEER_PORT + 2)) } drop
        tcp sport { $((PEER_PORT + 1)), $((PEER_PORT + 2)) } drop
    }
}
NFT
}

ip link set lo up
two_up || exit 1
watch=$(rig_watch)
other=$((3 - watch))
cut
began=$(rig_now_ms)
most=0 told=0 took=
while [ $(($(rig_now_ms) - began)) -lt 6000 ]; do
    for i in 1 2; do
        [ -n "$took" ] || { two_switches $i ON > /dev/null 2>&1 && took=$(($(rig_now_ms) - began)) goes_on=$i; }
    done
    n=$(two_acting)
    [ "$n" -le "$most" ] || most=$n
    sleep 0.1
done
silent=$((3 - ${goes_on:-$other}))
two_on $silent why
two_on $silent why | tr '\n' ' ' | grep -q 'alone\|on its own' && told=1
nft delete table inet cut
began=$(rig_now_ms)
rig_wait 60 "both nodes to be well" two_well && back=$(($(rig_now_ms) - began))

# Its machine vanishes: the other never hears a FIN.
watch=$(rig_watch)
cut
kill -KILL "$(rig_pid "n$watch")"
vanished=$(until_confirmed $((3 - watch)))
nft delete table inet cut
rig_node_start "$watch"
rig_wait 60 "both nodes to be well" two_well || vanished=
echo "figures ${took:-none} $most $told ${back:-none} ${vanished:-none}"
