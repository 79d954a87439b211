#!/bin/bash
# A check that does not hold makes its test fail. Without this nobody would know whether
# the others can.
RIG_NODES=0
. "$(dirname "$0")/lib.sh"

check "what holds" true
check "what does not hold" false
true
