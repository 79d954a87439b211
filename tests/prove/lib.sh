# shellcheck shell=bash
# What the proofs share. Sourced by prove, from the root of the tree.

bad=0
export RIG=$PWD/build/prove
. tests/rig/lib.sh

# holds NAME VALUE OP BOUND [UNIT]: one line, a figure and its bound
holds() {
    if awk -v v="$2" -v b="$4" -v op="$3" 'BEGIN {
        if (v == "") exit 1
        exit !(op == "<" ? v < b : op == "<=" ? v <= b : op == ">=" ? v >= b : v == b) }'; then
        printf '%-66s %10s %-4s (%s %s)  holds\n' "$1" "${2:-none}" "${5:-}" "$3" "$4"
    else
        printf '%-66s %10s %-4s (%s %s)  DOES NOT HOLD\n' "$1" "${2:-none}" "${5:-}" "$3" "$4"
        bad=1
    fi
}

# shows NAME VALUE UNIT: a figure without a bound
shows() { printf '%-66s %10s %s\n' "$1" "${2:-none}" "${3:-}"; }

build_release() {
    [ "$quick" = 1 ] && [ -x "$VAGTD" ] && [ -x "$RIG_BUILD/bench/bench_lossless" ] && return
    deploy/setup.sh || exit 1
    cmake --preset release > /dev/null && cmake --build --preset release > build/build.log 2>&1 ||
        { tail -n 40 build/build.log; exit 1; }
}

# Nothing of an earlier run is left, on its ports or ours.
fresh_rig() {
    rig_init
    rig_down
    rm -rf "$RIG"
    rig_init
}

# field TEXT PATTERN: the first \(group\) of it
field() { printf '%s\n' "$1" | sed -n "s/$2/\\1/p" | head -n 1; }

# value TEXT NAME: the number in its line "NAME NUMBER"
value() { printf '%s\n' "$1" | sed -n "s/^$2 //p" | head -n 1; }
