#!/bin/bash
# What a service manager hears of a node: that it is up, that its loop turns, what it
# does; and nothing from a loop that hangs.
RIG_NODES=1
. "$(dirname "$0")/lib.sh"
heard=$RIG/heard
python3 - "@vagt-e2e-$$" "$heard" << 'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\0" + sys.argv[1][1:])
with open(sys.argv[2], "a", buffering=1, encoding="utf-8") as f:
    while True:
        f.write(s.recv(4096).decode() + "\n")
PY
listener=$!
trap 'kill $listener; e2e_end' EXIT
export NOTIFY_SOCKET=@vagt-e2e-$$ WATCHDOG_USEC=400000
hears() { grep -q "$1" "$heard"; }
more() { [ "$(grep -c WATCHDOG=1 "$heard")" -gt "$1" ]; }

rig_wait 5 "the listener" test -e "$heard"
rig_init
rig_broker_start
rig_nodes_start
check "it is ready" rig_wait 5 "READY" hears READY=1
check "it says what it does" rig_wait 10 "STATUS" hears "STATUS=on watch, nas as voter in cluster campsite"
check "its loop turns" rig_wait 5 "WATCHDOG" more 5
kill -STOP "$(rig_pid n1)"
sleep 0.5
n=$(grep -c WATCHDOG=1 "$heard")
sleep 1
check "a process that hangs says nothing" eval '! more "$n"'
kill -CONT "$(rig_pid n1)"
check "then it goes on" rig_wait 5 "WATCHDOG" more "$n"
