#!/bin/bash
# certs.sh DIR: certificates for tests of TLS with a broker or with Postgres, in DIR:
#   ca.crt           our CA                     foreign.crt   somebody else's
#   server.crt,.key  names 127.0.0.1            other.crt     names 127.0.0.99 only
#   client.crt,.key  for who must show one      old.crt       its time is over
set -euo pipefail
cd "$1"

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null; }

# ca NAME
ca() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -out "$1.crt" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
}

# leaf NAME SAN DAYS
leaf() {
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" \
        -days "$3" -extfile <(printf 'subjectAltName=%s\n' "$2") -out "$1.crt" 2>/dev/null
    rm "$1.csr"
}

ca ca
ca foreign
leaf server IP:127.0.0.1,DNS:localhost 30
leaf other IP:127.0.0.99 30
leaf client DNS:vagt 30
leaf old IP:127.0.0.1 0
# mosquitto and Postgres become another user.
chmod 644 ./*.crt
