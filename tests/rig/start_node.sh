#!/usr/bin/env bash
# start_node.sh N: start node N of the running rig again (RIG, RIG_BUILD).
. "$(dirname "$0")/lib.sh"
rig_init
rig_node_start "$1"
