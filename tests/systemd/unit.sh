#!/bin/bash
# The unit is what it says: known to systemd, and as closed as it was when it was written.
unit=$1/deploy/systemd/vagtd.service
command -v systemd-analyze > /dev/null || { echo "there is no systemd here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
sed 's|/usr/local/sbin/vagtd|/bin/true|; /^Documentation=/d' "$unit" > "$dir/vagtd.service"
if ! systemd-analyze verify "$dir/vagtd.service" > "$dir/said" 2>&1 || grep -q vagtd "$dir/said"; then
    cat "$dir/said"
    exit 1
fi
systemd-analyze security --offline=true --threshold=25 "$dir/vagtd.service" > "$dir/said" 2>&1
said=$?
tail -n 1 "$dir/said"
[ $said = 0 ] || { grep '^✗' "$dir/said"; exit 1; }
for line in Restart=always WatchdogSec=120s MemoryMax=256M OOMPolicy=continue CPUQuota=50% NoNewPrivileges=yes \
    ProtectSystem=strict KillMode=process; do
    grep -qx "$line" "$unit" || { echo "$line is missing"; exit 1; }
done
