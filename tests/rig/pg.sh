#!/bin/sh
# A private Postgres for tests and demonstrations, in one folder.
#
#   pg.sh start DIR PORT     make the cluster if there is none, start it, wait for it
#   pg.sh stop DIR           stop it; DIR stays, with all the data
#   pg.sh stop --crash DIR   kill -9, as if the power had failed
#   pg.sh pause DIR          SIGSTOP: it takes connections and never answers
#   pg.sh resume DIR
#
# Listens on 127.0.0.1:PORT and on a Unix socket in DIR; user and database are
# "postgres", without password (DIR/data/pg_hba.conf). Started by root it runs as
# an unprivileged user, who then owns DIR. Doing it twice does no harm.
set -eu

fail() {
    echo "pg.sh: $*" >&2
    exit 1
}

# The newest one installed; Debian keeps them out of PATH.
bin_dir() {
    for version in $(cd /usr/lib/postgresql 2>/dev/null && printf '%s\n' * | sort -rn); do
        if [ -x "/usr/lib/postgresql/$version/bin/initdb" ]; then
            echo "/usr/lib/postgresql/$version/bin"
            return
        fi
    done
    found=$(command -v initdb) || fail "no Postgres server here: apt install postgresql"
    dirname "$found"
}

# Postgres refuses to run as root.
unprivileged() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
    else
        runuser -u "$user" -- "$@"
    fi
}

pid() {
    head -n 1 "$data/postmaster.pid" 2>/dev/null || true
}

# Alive, and not somebody else who got the number after a crash.
running() {
    p=$(pid)
    [ -n "$p" ] && kill -0 "$p" 2>/dev/null && [ "$(stat -c %u "/proc/$p")" = "$(stat -c %u "$data")" ] &&
        tr '\0' ' ' <"/proc/$p/cmdline" | grep -qF -- "-D $data"
}

# The postmaster and its children.
family() {
    echo "$1"
    cat "/proc/$1/task/$1/children" 2>/dev/null || ps -o pid= --ppid "$1" || true
}

make() {
    mkdir -p "$dir"
    [ "$(id -u)" -ne 0 ] || chown "$user" "$dir"
    unprivileged "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C --auth=trust \
        >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        fail "initdb failed"
    }
    cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir'
fsync = on
shared_buffers = 16MB
max_connections = 40
max_wal_size = 64MB
min_wal_size = 32MB
wal_level = minimal
max_wal_senders = 0
autovacuum_max_workers = 1
max_parallel_workers = 0
jit = off
log_min_messages = warning
CONF
}

start() {
    if running; then
        return
    fi
    [ -s "$data/PG_VERSION" ] || make
    # Left by a crash. The dead one may be a zombie still, which counts as alive.
    rm -f "$data/postmaster.pid" "$dir"/.s.PGSQL.*
    unprivileged "$bin/pg_ctl" start -w -s -t 30 -D "$data" -l "$dir/server.log" \
        -o "-p $port" || {
        tail -n 20 "$dir/server.log" >&2 || true
        fail "the server did not start"
    }
}

stop() {
    running || return 0
    p=$(pid)
    if [ "$crash" = yes ]; then
        all=$(family "$p")
        # The postmaster first: it would start a recovery of its own otherwise.
        # shellcheck disable=SC2086
        kill -9 $all 2>/dev/null || true
        # A child that is still there would keep the next start out. A zombie has
        # no exe any more.
        for one in $all; do
            while [ -e "/proc/$one/exe" ]; do
                sleep 0.01
            done
        done
        return
    fi
    # One that is paused would not hear it.
    # shellcheck disable=SC2046
    kill -CONT $(family "$p") 2>/dev/null || true
    unprivileged "$bin/pg_ctl" stop -w -s -m fast -t 30 -D "$data"
}

signal_all() {
    running || fail "not running"
    # shellcheck disable=SC2046
    kill "-$1" $(family "$(pid)")
}

[ $# -ge 2 ] || fail "usage: pg.sh start DIR PORT | stop [--crash] DIR | pause DIR | resume DIR"
verb=$1
shift
crash=no
if [ "$1" = --crash ]; then
    crash=yes
    shift
fi
[ $# -ge 1 ] || fail "which folder?"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
if [ "${1:-}" = --crash ]; then
    crash=yes
fi
data=$dir/data
bin=$(bin_dir)
user=postgres
if [ "$(id -u)" -eq 0 ] && ! id "$user" >/dev/null 2>&1; then
    user=nobody
fi
cd / # The unprivileged user may not see where we are.

case $verb in
start)
    port=${1:-}
    [ -n "$port" ] || fail "start: which port?"
    start
    ;;
stop) stop ;;
pause) signal_all STOP ;;
resume) signal_all CONT ;;
*) fail "unknown verb $verb" ;;
esac
