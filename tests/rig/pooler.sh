#!/bin/sh
# A PgBouncer in transaction mode, as Supabase's port 6543 is: between a client and the
# server of pg.sh. Says "no pgbouncer here" and exits with 77 if there is none.
#
#   pooler.sh start DIR PORT SERVER_PORT
#   pooler.sh stop DIR
set -eu

fail() {
    echo "pooler.sh: $*" >&2
    exit 1
}

# PgBouncer refuses to run as root, too.
unprivileged() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
    else
        setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
    fi
}

start() {
    cat >"$dir/pooler.ini" <<INI
[databases]
* = host=127.0.0.1 port=$2
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
auth_type = trust
auth_file = $dir/pooler.users
pool_mode = transaction
default_pool_size = 2
server_check_delay = 0
server_lifetime = 2
logfile = $dir/pooler.log
pidfile = $dir/pooler.pid
INI
    echo '"postgres" ""' >"$dir/pooler.users"
    unprivileged "$program" -q -d "$dir/pooler.ini" || {
        cat "$dir/pooler.log" >&2 || true
        fail "it did not start"
    }
}

stop() {
    p=$(cat "$dir/pooler.pid" 2>/dev/null) || return 0
    kill "$p" 2>/dev/null || return 0
    while [ -e "/proc/$p/exe" ]; do
        sleep 0.01
    done
}

program=$(PATH="$PATH:/usr/sbin" command -v pgbouncer) || {
    echo "no pgbouncer here" >&2
    exit 77
}
[ $# -ge 2 ] || fail "usage: pooler.sh start DIR PORT SERVER_PORT | stop DIR"
dir=$(cd "$2" && pwd)
user=postgres
if [ "$(id -u)" -eq 0 ] && ! id "$user" >/dev/null 2>&1; then
    user=nobody
fi
cd /

case $1 in
start) start "$3" "$4" ;;
stop) stop ;;
*) fail "unknown verb $1" ;;
esac
