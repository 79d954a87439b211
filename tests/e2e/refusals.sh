#!/bin/bash
# Starts that must not happen, each with the sentence that helps.
. "$(dirname "$0")/lib.sh"

rig_init
for i in 1 2 3; do rig_config "$i"; done
run() { # NODE ARGS...: output to $RIG/out, exit code to $code
    local i=$1
    shift
    timeout 20 "$VAGTD" -c "$RIG/n$i/vagt.yaml" "$@" > "$RIG/out" 2>&1
    code=$?
}
says() { grep -q -- "$1" "$RIG/out" || { cat "$RIG/out"; return 1; }; }

run 1
check "not bootstrapped: refused" eq "$code" 1
check "... and the mend is named" says 'vagtd --bootstrap'
check "nothing was written" eq "$(ls "$RIG/n1/data" | grep -c seg-)" 0
run 1 --bootstrap
check "bootstrap" eq "$code" 0
run 1 --bootstrap
check "twice: refused" eq "$code" 1
check "... because there is a log" says 'already'
rig_stop n1
cp -a "$RIG/n1/data/." "$RIG/n2/data"
run 2
check "the folder of another node: refused" eq "$code" 1
check "... and both names are told" says 'campsite/1'
check "... both" says 'campsite/2'
sed -i 's/^cluster: .*/cluster: harbour/' "$RIG/n1/vagt.yaml"
run 1
check "the folder of another cluster: refused" eq "$code" 1
check "... and both are told" says 'harbour/1'
rig_config 1
rig_node_start 1
rig_wait 5 "start" said n1 ev=started
run 1
check "twice in one folder: refused" eq "$code" 1
check "... because another process has it" says "$RIG/n1/data"
run 3 --check
check "a configuration that is right" eq "$code" 0
echo 'nonsense: 1' >> "$RIG/n3/vagt.yaml"
run 3
check "one that is not: refused" eq "$code" 2
check "... with line and name" says 'nonsense'
# Nobody answers alone.
check "one of three is no watch" bash -c "! '$VAGTCTL' -s 'ipc://$RIG/n1/control.sock' --timeout 2000 send a1-m001 state=ON"
