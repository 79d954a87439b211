#!/bin/bash
# One bit of one node's log flips: that node refuses to start and says where it is
# damaged; the other two go on.
. "$(dirname "$0")/lib.sh"

e2e_up
e2e_roles
for i in 1 2 3; do check "some history" "$VAGTCTL" send a1-m00$i state=OFF; done
rig_stop "n$other"
segment=$(ls "$RIG/n$other/data"/seg-* | head -n 1)
# The end of what was written is followed by zeroes: damage the middle of the rest.
check "a byte is flipped" python3 - "$segment" << 'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = len(data.rstrip(b"\0")) // 2
    f.seek(at)
    f.write(bytes([data[at] ^ 1]))
PY
timeout 10 "$VAGTD" -c "$RIG/n$other/vagt.yaml" > "$RIG/damaged.out" 2>&1
check "it refuses with the exit code for damage" eq $? 4
check "it names the file" grep -q "$(basename "$segment")" "$RIG/damaged.out"
check "it names the offset" grep -qE 'offset [0-9]+' "$RIG/damaged.out"
check "the others are on watch" rig_wait 5 "a watch" rig_has_watch
check "and switch" "$VAGTCTL" send a2-m001 state=OFF
cp "$segment" "$RIG/before"
timeout 10 "$VAGTD" -c "$RIG/n$other/vagt.yaml" > "$RIG/damaged.out" 2>&1
check "the next start refuses as well" eq $? 4
check "and has changed nothing" cmp "$segment" "$RIG/before"
