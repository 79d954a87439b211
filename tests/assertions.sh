#!/bin/sh
# Are assertions compiled in? Every library of ours has some, in every build type.
#
#   assertions.sh BUILD-FOLDER
set -eu

build=$1
bad=0
n=0
for lib in base/libvagt_base.a replication/libvagt_replication.a \
    consensus/libvagt_consensus.a node/libvagt_replica.a node/libvagt_node.a \
    adapters/wal/libvagt_wal.a adapters/peer/libvagt_peer.a \
    adapters/mqtt/libvagt_mqtt.a adapters/postgres/libvagt_postgres.a; do
    n=$((n + 1))
    if ! nm "$build/$lib" 2>/dev/null | grep -q '__assert_fail'; then
        echo "$build/$lib: without assertions (or not built): was -DNDEBUG given?"
        bad=$((bad + 1))
    fi
done
if grep -q -- '-DNDEBUG' "$build/build.ninja" 2>/dev/null; then
    echo "$build/build.ninja: has -DNDEBUG"
    bad=$((bad + 1))
fi
echo "$((n - bad)) passed, $bad failed"
[ "$bad" -eq 0 ]
