# shellcheck shell=bash
# Proof by fire: histories from seeds, deliberate bugs, and a site that is broken.

# The last version whose log has none of the inputs that came with this one: an upgrade
# begins there.
BEFORE=66be3e3
# ... with this mended: it could not be reached from another machine without it.
REACHABLE=78362d2

# seeds WHAT SEEDS ARGS: none of so many may be bad
seeds() {
    local what=$1 n=$2 out
    shift 2
    out=$("$RIG_BUILD/tests/sim/vagt-sim" "$@" 1 "$n" 2>&1)
    printf '%s\n' "$out" | sed 's/^/  | /'
    holds "$what: seeds run" "$(field "$out" '^\([0-9]*\) seeds, .*')" = "$n" ""
    holds "... bad ones" "$(field "$out" '.* seeds, \([0-9]*\) bad.*')" = 0 ""
    took=$(field "$out" '.* bad; \([0-9.]*\) s: .*')
    shows "... a second" "$(field "$out" '.*: \([0-9.]*\) seeds\/s.*')"
}

# A bug in the simulated world must be found: finds NAME SEEDS
finds() {
    local out
    out=$("$RIG_BUILD/tests/sim/vagt-sim" -s -x -m "$1" 1 "$2" 2>&1)
    holds "simulator finds: $1 (1: yes, seed $(field "$out" '^seed \([0-9]*\):.*'))" $((! $?)) = 1 ""
}

# figures FILE: what a run of ./chaos has to show
figures() {
    python3 - "$1" << 'PY'
import json, sys
r = json.load(open(sys.argv[1]))
for word, name in (("lost", "readings: acknowledged and lost"),
                   ("doubled", "readings: more than one row")):
    found = [int(v["value"]) for v in r["verdicts"] if v["name"].startswith(name)]
    print(word, sum(found) if found else "")
print("acknowledged", r["summary"]["acknowledged"])
print("rows", r["summary"]["rows"])
print("faults", sum(r["counts"].values()))
print("kinds", len([n for n in r["counts"].values() if n]))
print("commands", sum(r["summary"]["commands"].values()))
print("verdicts", len(r["verdicts"]))
print("broken", sum(not v["ok"] for v in r["verdicts"]))
print("problems", len(r["problems"]))
PY
}

# broken WHAT ARGS: ./chaos with these, and its verdict
broken() {
    local what=$1 out rc f dir
    shift
    if [ "$(id -u)" != 0 ]; then
        holds "$what: could run (needs root)" 0 = 1 ""
        return
    fi
    ./chaos "$@" --keep > "$RIG/chaos.out" 2>&1
    rc=$?
    out=$(cat "$RIG/chaos.out")
    printf '%s\n' "$out" | sed 's/^/  | /'
    dir=$(field "$out" '^files: \(.*\)')
    f=$(figures "$dir/result.json" 2> /dev/null)
    holds "$what: faults" "$(value "$f" faults)" ">=" 1 ""
    shows "... kinds of them" "$(value "$f" kinds)"
    shows "... readings acknowledged" "$(value "$f" acknowledged)"
    shows "... commands" "$(value "$f" commands)"
    holds "... readings acknowledged and lost" "$(value "$f" lost)" = 0 ""
    holds "... readings doubled" "$(value "$f" doubled)" = 0 ""
    holds "... verdicts of the checkers that do not hold, of $(value "$f" verdicts)" "$(value "$f" broken)" = 0 ""
    holds "... what else went wrong" "$(value "$f" problems)" = 0 ""
    holds "... exit code" $rc = 0 ""
    [ $rc != 0 ] || rm -rf "$dir"
}

# A build of an older commit: old_build DIR COMMIT
old_build() {
    [ -x "build/$1/build/release/node/vagtd" ] && return
    git worktree add -f --detach "build/$1" "$2" > /dev/null 2>&1 || return
    git -C "build/$1" cherry-pick --no-commit $REACHABLE > /dev/null 2>&1
    mkdir -p "build/$1/build"
    [ ! -d build/deps ] || cp -al build/deps "build/$1/build/"
    (cd "build/$1" && cmake --preset release && cmake --build --preset release --target vagtd) \
        > "build/$1.log" 2>&1
}

# The present tools with the daemon of another commit.
mixed_build() { # mixed_build DIR COMMIT
    old_build "$1" "$2" || return
    rm -rf "build/$1-mixed"
    cp -al build/release "build/$1-mixed"
    rm "build/$1-mixed/node/vagtd"
    cp "build/$1/build/release/node/vagtd" "build/$1-mixed/node/"
}

mutants() {
    local out
    out=$(tests/mutants/run "$@" 2>&1)
    printf '%s\n' "$out" | tail -n 40 | sed 's/^/  | /'
    holds "mutants: deliberate bugs tried" "$(field "$out" '^\([0-9]*\) mutants.*')" ">=" 10 ""
    holds "... alive after all tests" "$(field "$out" '.*, \([0-9]*\) alive.*')" = 0 ""
}

prove_chaos() {
    mkdir -p "$RIG"
    if [ "$quick" = 1 ]; then
        seeds "whole sites" 100 -s -j 2
        seeds "cores and logs" 20
        seeds "members come and go" 10 -c
        finds no-fence 100
        finds ack-early 100
        holds "mutants that still apply, of $(find tests/mutants -name '*.patch' | wc -l)" \
            "$(tests/mutants/run --check | sed -n 's/^\([0-9]*\) of .* apply$/\1/p')" ">=" 10 ""
        broken "a site under fire for 12 s" --seed 5 --seconds 12 --every 3 --deadlines 2000,4000 \
            --nemesis kill,leader-alone,pause,postgres-kill
        return
    fi
    seeds "whole sites" 10000 -s -j 2
    holds "... seconds that took" "$took" "<" 900 s
    seeds "whole sites of two nodes" 1000 -s -n 2 -j 2
    seeds "whole sites of five nodes" 300 -s -n 5 -j 2
    seeds "cores and logs" 1000
    seeds "members come and go" 500 -c
    for m in ack-early no-fence split-tx no-takeover late-command no-dedup; do finds $m 400; done
    mutants
    if mixed_build before $BEFORE; then
        upgrade="--other-build build/before-mixed"
    else
        echo "  | no history of this repository here: the upgrade from $BEFORE is left out"
    fi
    # shellcheck disable=SC2086
    broken "an hour of everything" --seed "${CHAOS_SEED:-1}" --seconds "${CHAOS_SECONDS:-3600}" \
        ${upgrade:-} --markdown build/chaos-table.md
}
