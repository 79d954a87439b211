#!/usr/bin/env python3
"""Somebody on the network who is no node: what a peer port answers to it.

stranger.py PORT PKI CASE...   one case after another; exit code 0 if each was thrown out
stranger.py PORT flood N       N connections that say nothing, again and again

PKI has ca.crt and nodes/NAME. A case is NAME:ID (shows the certificate of NAME and says
that it is node ID; - shows none), or one of the words below.
"""

import resource
import socket
import ssl
import struct
import sys
import time

TIMEOUT = 15


def frame(kind, body):
    return struct.pack("<IB", len(body) + 1, kind) + body


def hello(node, to=1, cluster=b"campsite"):
    return frame(0, b"vagtpeer" + struct.pack("<IQQQ", 1, 0, node, to) + cluster)


def dial(port, source=None):
    s = socket.create_connection(
        ("127.0.0.1", port), TIMEOUT, (source, 0) if source else None
    )
    s.settimeout(TIMEOUT)
    return s


def context(pki, name):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    if name != "-":
        c.load_cert_chain(f"{pki}/nodes/{name}/node.crt", f"{pki}/nodes/{name}/node.key")
    return c


def ends(s):
    """Waits until the other side closes; what it said before that."""
    said = b""
    try:
        while more := s.recv(4096):
            said += more
    except (ssl.SSLError, ConnectionError):
        pass
    return said


def was_let_in(said):
    return b"vagtpeer" in said


def as_node(port, pki, name, first):
    try:
        s = context(pki, name).wrap_socket(dial(port))
        s.sendall(first)
    except (ssl.SSLError, ConnectionError):
        return b""
    return ends(s)


def raw(port, data):
    s = dial(port)
    try:
        s.sendall(data)
    except ConnectionError:
        return b""
    return ends(s)


def wire_of(port, pki, name):
    """All that a client with this certificate sends until it is known."""
    to, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(pki, name).wrap_bio(to, out)
    s, sent = dial(port), b""
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            data = out.read()
            s.sendall(data)
            sent += data
            to.write(s.recv(65536))
    sent += out.read()
    s.close()
    return sent


def case(port, pki, what):
    if what == "plain":
        return raw(port, hello(2))
    if what == "http":
        return raw(port, b"GET / HTTP/1.1\r\n\r\n")
    if what == "plain-1GB":
        return raw(port, struct.pack("<IB", 1 << 30, 0) + b"x" * 100)
    if what == "half":
        return raw(port, wire_of(port, pki, "hut")[:60])
    if what == "replay":
        return raw(port, wire_of(port, pki, "hut"))
    if what == "1GB":
        return as_node(port, pki, "hut", struct.pack("<IB", 1 << 30, 1))
    name, node = what.split(":")
    return as_node(port, pki, name, hello(int(node)))


def flood(port, n):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, n + 100), hard))
    held, made = [], 0
    while True:
        try:
            held.append(dial(port, "127.0.0.1" if made % 2 else "127.0.0.2"))
            made += 1
        except OSError:
            time.sleep(0.05)  # It is being started again.
        if made == n:
            print(f"{n} made", flush=True)
        if made >= n:
            time.sleep(0.005)
        if len(held) >= n - 50:
            held.pop(0).close()


def main():
    port = int(sys.argv[1])
    if sys.argv[2] == "flood":
        flood(port, int(sys.argv[3]))
    for what in sys.argv[3:]:
        said = case(port, sys.argv[2], what)
        print(what, "was let in" if was_let_in(said) else "was thrown out", flush=True)
        if was_let_in(said):
            sys.exit(1)


main()
