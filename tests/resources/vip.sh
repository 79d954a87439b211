#!/bin/bash
# An address moves from one host to another, and a third one that knew it hears so at
# once. Hosts are network namespaces on a bridge, all inside one that ends with this.
set -eu
tool=$1

if [ "${2:-}" != inside ]; then
    if ! unshare -nm true 2> /dev/null || ! command -v ip > /dev/null; then
        echo "needs root and iproute2: skipped"
        exit 77
    fi
    exec unshare -nm "$0" "$tool" inside
fi

mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link add br0 type bridge
ip link set br0 up
for host in a b c; do
    ip netns add $host
    ip link add to-$host type veth peer name eth0 netns $host
    ip link set to-$host master br0 up
    ip -n $host link set lo up
    ip -n $host link set eth0 up
done
ip -n a addr add 192.0.2.1/24 dev eth0
ip -n b addr add 192.0.2.2/24 dev eth0
ip -n c addr add 192.0.2.3/24 dev eth0
ip -n c addr add 2001:db8::3/64 dev eth0 nodad

fail() {
    echo "FAILED: $*" >&2
    for host in a b c; do
        ip -n $host addr show dev eth0 >&2
        ip -n $host neigh >&2
    done
    exit 1
}

# wait_for SECONDS COMMAND...
wait_for() {
    local end=$((SECONDS + $1))

    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep 0.05
    done
}

at() { ip netns exec "$@"; }
mac() { ip -n "$1" -o link show dev eth0 | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/'; }
has() { [ -n "$(ip -n "$1" -o addr show dev eth0 to "$2")" ]; }
has_not() { ! has "$@"; }
# knows HOST ADDRESS OTHER: does HOST send what goes to ADDRESS to OTHER?
knows() { ip -n "$1" neigh show to "$2" | grep -q "$(mac "$3")"; }
# reaches ADDRESS: does somebody there refuse what c asks for? Nobody listens.
reaches() {
    at c timeout 5 bash -c "echo > /dev/tcp/$1/9" 2>&1 | grep -q refused
}
link_is_ready() { ip -n "$1" -o addr show dev eth0 | grep "inet6 fe80" | grep -qv tentative; }

for host in a b c; do
    wait_for 10 link_is_ready $host
done

for vip in 192.0.2.10/24 2001:db8::10/64; do
    address=${vip%/*}
    at a "$tool" hold $vip eth0
    at a "$tool" announce $vip eth0
    has a "$address" || fail "$address is not at a"
    reaches "$address" || fail "c does not reach $address at a"
    knows c "$address" a || fail "c does not know $address at a"

    # Renewed, it is the same one, and lives on.
    at a "$tool" hold $vip eth0
    [ "$(ip -n a -o addr show dev eth0 to "$address" | wc -l)" = 1 ] ||
        fail "$address is there more than once"

    # Given up here, taken there: c hears it without having asked anybody.
    at a "$tool" drop $vip eth0
    at a "$tool" drop $vip eth0 # Once more does no harm.
    has_not a "$address" || fail "$address is still at a"
    at b "$tool" hold $vip eth0
    at b "$tool" announce $vip eth0
    wait_for 5 knows c "$address" b
    at b "$tool" hold $vip eth0 # However long that took.
    reaches "$address" || fail "c does not reach $address at b"

    # Nobody renews it: the kernel drops it.
    wait_for 10 has_not b "$address"
    has b 192.0.2.2 || fail "another address of b went with it"
done

# What cannot be is said.
if at a "$tool" hold 192.0.2.10/24 nowhere 2> /run/netns/said; then
    fail "an interface that is not there"
fi
grep -q "no interface 'nowhere'" /run/netns/said || fail "$(cat /run/netns/said)"
echo "the address moved, twice"
