# shellcheck shell=bash
# The site moves with the watch: address, broker, bridges. Not in it yet: copies of the data
# of the bridges (both hosts have one folder here), and drills.

# The NAS, with all that it carries, loses its power. moved AREAS DEVICES
moved() {
    local out said
    rm -rf "$RIG/moves"
    out=$(python3 chaos-tests/moves.py --dir "$RIG/moves" --build "$RIG_BUILD" --areas "$1" --devices "$2" 2> "$RIG/moves.err")
    said=$?
    sed 's/^/  | /' "$RIG/moves.err"
    [ $said = 77 ] && holds "a machine could vanish here (needs root and namespaces)" 0 = 1 ""
    holds "the NAS vanishes → first command confirmed by a device" "$(value "$out" first)" "<" 20 s
    holds "... a command in each of $1 areas" "$(value "$out" last)" "<" 60 s
    holds "... readings of all meters flow" "$(value "$out" readings_flow)" "<" 60 s
    holds "... meters that had to join again" "$(value "$out" pairings_lost)" = 0 ""
    holds "... meters said to be offline, most at any look" "$(value "$out" offline)" = 0 ""
    shows "... looks at is_online" "$(value "$out" offline_looks)"
    shows "... readings seen by somebody else at the broker before" "$(value "$out" observed)"
    holds "... of them lost" "$(value "$out" lost)" = 0 ""
    holds "... readings doubled" "$(value "$out" doubled)" = 0 ""
    holds "the NAS returns → it could relieve again" "$(value "$out" back)" "<" 60 s
    holds "... commands refused meanwhile" "$(value "$out" refused_meanwhile)" = 0 ""
    holds "... the watch moved (0: no)" "$(value "$out" watch_moved)" = 0 ""
    holds "... processes of the other host that ended meanwhile" "$(value "$out" processes_ended_meanwhile)" = 0 ""
    holds "... exit code" $said = 0 ""
}

prove_site() {
    deploy/setup.sh --with-z2m > "$RIG/setup.out" 2>&1 || { tail -n 5 "$RIG/setup.out"; exit 1; }
    if [ "$quick" = 1 ]; then moved 2 3; else moved 6 8; fi
}
