# shellcheck shell=bash
# What the end-to-end tests share: a small site with real processes in a folder of
# its own, checks that are counted, and an end that cleans up by pid.
#
#   RIG_BUILD   folder of a build (vagtd, vagtctl, sitesim)
#   E2E_KEEP=1  leave the folder behind

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RIG=$(mktemp -d "${TMPDIR:-/tmp}/vagt-e2e.XXXXXX")
RIG_NODES=${RIG_NODES:-3}
RIG_AREAS=2
RIG_DEVICES=5
RIG_INTERVAL_MS=1000
RIG_EXTRA=${RIG_EXTRA:-}
# shellcheck source=../rig/lib.sh
. "$here/../rig/lib.sh"

passed=0
failed=0

# The status is named: a bare `exit` in a trap gives the one from before the trap, and
# no check that failed would ever be seen.
e2e_end() {
    local status=$?
    trap - EXIT INT TERM
    rig_down
    if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then
        failed=$((failed + (passed == 0)))
        for log in "$RIG"/log/n*.log; do
            printf -- '--- %s\n' "$log"
            tail -n "${E2E_TAIL:-25}" "$log"
        done
    fi
    [ -n "${E2E_KEEP:-}" ] || rm -rf "$RIG"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || status=1
    exit "$status"
}
trap e2e_end EXIT
trap 'exit 1' INT TERM

# check WHAT CMD...: does it succeed?
check() {
    local what=$1
    shift
    if "$@" > "$RIG/check.out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$what"
        sed 's/^/    /' "$RIG/check.out" | tail -n 5
    fi
}

# need WHAT CMD...: the same, but nothing after it makes sense without it
need() {
    check "$@"
    [ "$failed" -eq 0 ] || exit 1
}

eq() { [ "$1" = "$2" ] || { printf 'is: %s\nshould be: %s\n' "$1" "$2"; return 1; }; }
le() { [ "$1" -le "$2" ] || { printf 'is: %s\nshould be at most: %s\n' "$1" "$2"; return 1; }; }
ge() { [ "$1" -ge "$2" ] || { printf 'is: %s\nshould be at least: %s\n' "$1" "$2"; return 1; }; }
# Built with sanitizers? Then memory and time say little.
sanitized() { grep -q __asan_init "$VAGTD"; }
said() { grep -q -- "$2" "$RIG/log/$1.log" || { tail -n 3 "$RIG/log/$1.log"; return 1; }; }

# The site as it should be, within 25 seconds.
e2e_up() {
    rig_init
    rig_pg_start
    rig_broker_start
    RIG_SITE_ARGS=${1:-} rig_site_start
    rig_nodes_start
    need "a cold start: all devices online" rig_wait 25 "all online" rig_all_online
    need "a cold start: healthy" rig_wait 10 "health" rig_healthy
}

# The one on watch now, and one that is not.
e2e_roles() {
    rig_wait 10 "a watch" rig_has_watch || exit 1
    leader=$(rig_watch)
    other=$((leader % RIG_NODES + 1))
}

relieved() { local w; w=$(rig_watch); [ -n "$w" ] && [ "$w" != "$1" ]; }

# When node $1 last said $2, in ms: on a busy machine, asking takes longer than relief.
said_at() { grep -- "$2" "$RIG/log/n$1.log" | tail -n 1 | sed 's/.*ts=\([0-9]*\)\.\([0-9]*\).*/\1\2/'; }

# How many nodes say that they are on watch.
active_nodes() {
    local i n=0
    for i in $(seq "$RIG_NODES"); do
        rig_alive "n$i" || continue
        [ "$("$VAGTCTL" -s "ipc://$RIG/n$i/control.sock" --json --timeout 1000 status 2> /dev/null |
            python3 -c "
import json, sys
print([n.get('watch') for n in json.load(sys.stdin)['nodes'] if n['id'] == $i][0])")" = active ] &&
            n=$((n + 1))
    done
    echo "$n"
}

# The status of a command, asked of whoever answers.
command_status() { "$VAGTCTL" --json command "$1" 2> /dev/null | rig_json command.status; }
command_ended() {
    case $(command_status "$1") in
        confirmed | failed | expired | cancelled) return 0 ;;
        *) return 1 ;;
    esac
}
