# shellcheck shell=bash
# The site moves with the watch: address, broker, bridges and what they keep. Two hosts, each
# with folders of its own.

# scenes NAME NICE AREAS DEVICES SCENES [MORE...]: figures in $RIG/NAME.out, the rest in NAME.err
scenes() {
    local name=$1 nice=$2 areas=$3 devices=$4 what=$5
    shift 5
    rm -rf "${RIG:?}/$name"
    mkdir -p "$RIG/$name"
    nice -n "$nice" python3 chaos-tests/scenes.py --dir "$RIG/$name" --build "$RIG_BUILD" --areas "$areas" --devices "$devices" \
        --scenes "$what" "$@" > "$RIG/$name.out" 2> "$RIG/$name.err" &
    wait $!
    echo "exit $?" >> "$RIG/$name.out"
}

# ended NAME: what was said meanwhile; where none of it can be played, so be it said
ended() {
    sed 's/^/  | /' "$RIG/$1.err"
    [ "$(value "$out" exit)" = 77 ] && holds "two machines could be made here (needs root and namespaces)" 0 = 1 ""
    holds "... exit code" "$(value "$out" exit)" = 0 ""
}

# The NAS, with all that it carries, loses its power. vanished AREAS
vanished() {
    local out
    out=$(cat "$RIG/moves.out")
    holds "the NAS vanishes → first command confirmed by a device" "$(value "$out" first)" "<" 20 s
    holds "... a command in each of $1 areas" "$(value "$out" last)" "<" 60 s
    holds "... readings of all meters flow" "$(value "$out" readings_flow)" "<" 60 s
    holds "... meters that had to join again" "$(value "$out" pairings_lost)" = 0 ""
    holds "... meters said to be offline, most at any look" "$(value "$out" offline)" = 0 ""
    shows "... looks at is_online" "$(value "$out" offline_looks)"
    shows "... readings seen by somebody else at the broker before" "$(value "$out" observed)"
    holds "... of them lost" "$(value "$out" lost)" = 0 ""
    holds "... readings doubled" "$(value "$out" doubled)" = 0 ""
    [ "${quick:?}" = 1 ] || holds "a half-written database.db → told" "$(value "$out" half_told)" "<" 90 s
    holds "a half-written database.db: copies of it that the other host has" "$(value "$out" half_copied)" = 0 ""
    holds "the NAS returns → it could relieve again" "$(value "$out" back)" "<" 60 s
    holds "... commands refused meanwhile" "$(value "$out" refused_meanwhile)" = 0 ""
    holds "... the watch moved (0: no)" "$(value "$out" watch_moved)" = 0 ""
    holds "... processes of the other host that ended meanwhile" "$(value "$out" processes_ended_meanwhile)" = 0 ""
    holds "the watch is handed back to it: a command is confirmed" "$(value "$out" handed_back)" "<" 60 s
    holds "... what it had half written is kept aside" "$(value "$out" half_aside)" = 1 ""
    holds "... the pairings of both hosts are all of them (1: yes)" "$(value "$out" paired)" = 1 ""
    holds "... meters that had to join again since the beginning" "$(value "$out" rejoined)" = 0 ""
    ended moves
}

# A coordinator has a client that does not go. busy AREAS
busy() {
    holds "somebody sits at a coordinator while the watch moves: other areas work" "$(value "$out" busy_others)" = $(($1 - 1)) ""
    holds "... handed over → that is told, and a command in each of them confirmed" "$(value "$out" busy_others_took)" "<" 60 s
    holds "... its bridge runs meanwhile (0: no)" "$(value "$out" busy_started)" = 0 ""
    holds "... the seat is free → it runs" "$(value "$out" busy_went_on)" "<" 60 s
}

# What else may be in the way. hindered AREAS
hindered() {
    local out
    out=$(cat "$RIG/hindered.out")
    holds "the disk of the other host is full while data is copied → told" "$(value "$out" full_told)" "<" 30 s
    holds "... acknowledged all the same (0: no)" "$(value "$out" full_acknowledged)" = 0 ""
    holds "... a command is confirmed meanwhile (1: yes)" "$(value "$out" full_switched)" = 1 ""
    holds "... there is room → acknowledged" "$(value "$out" full_went_on)" "<" 30 s
    [ "$quick" = 1 ] || busy "$1"
    holds "a program refuses to stop → the node fences itself" "$(value "$out" stuck_fenced)" "<" 20 s
    holds "... the other host has the watch (1: yes)" "$(value "$out" stuck_moved)" = 1 ""
    holds "... first command confirmed there" "$(value "$out" stuck_first)" "<" 60 s
    holds "... hosts that have the address, or the program, at any look" "$(value "$out" holders)" "<=" 1 ""
    holds "... looks" "$(value "$out" holders_looks)" ">=" 50 ""
    [ "$quick" = 1 ] || holds "a drill: exit code" "$(value "$out" drill)" = 0 ""
    holds "the pairings of both hosts are all of them (1: yes)" "$(value "$out" paired)" = 1 ""
    holds "... meters that had to join again since the beginning" "$(value "$out" rejoined)" = 0 ""
    ended hindered
}

prove_site() {
    deploy/setup.sh --with-z2m > "$RIG/setup.out" 2>&1 || { tail -n 5 "$RIG/setup.out"; exit 1; }
    if [ "$quick" = 1 ]; then # Two sites at a time, the one whose times have narrow bounds first.
        (trap 'kill $(jobs -p); exit 1' TERM; scenes moves 0 2 3 vanish --interval-ms 1000) &
        scenes hindered 10 2 3 full,stuck
        wait
        vanished 2
    else
        scenes moves 0 6 8 vanish --patient
        vanished 6
        scenes hindered 0 2 3 full,busy,stuck,drill
    fi
    hindered 2
}
