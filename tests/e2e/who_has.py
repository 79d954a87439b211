#!/usr/bin/env python3
"""Who has an address, as a neighbour sees it: asked again and again.

    who_has.py INTERFACE IPV4 IPV6

Asks by ARP and by neighbour solicitation, some twenty times a second each, until it is
ended by a signal. A line for each question that was answered: MILLISECONDS FAMILY MAC...
Two addresses in one line are two hosts that both say that it is theirs.
"""

import select
import socket
import struct
import sys
import time

ARP, SOLICIT, ADVERTISE, SOLICITED = 0x0806, 135, 136, 0x40
WAIT_S = 0.02


def text(mac):
    return ":".join(f"{b:02x}" for b in mac)


def gather(sock, answer_of):
    """The hosts that answer within a moment."""
    found, until = set(), time.monotonic() + WAIT_S
    while (left := until - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            mac = answer_of(sock.recv(2048))
            if mac:
                found.add(mac)
    return found


class Arp:
    def __init__(self, interface, address):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
        self.sock.bind((interface, ARP))
        self.mac = self.sock.getsockname()[4]
        self.wanted = socket.inet_aton(address)

    def ask(self):
        # A probe (RFC 5227): from nobody, so that no cache learns anything of it.
        self.sock.send(b"\xff" * 6 + self.mac + struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
                       + self.mac + bytes(4) + bytes(6) + self.wanted)
        return gather(self.sock, self.answer)

    def answer(self, p):
        reply = len(p) >= 42 and struct.unpack("!H", p[20:22])[0] == 2 and p[:6] == self.mac
        return text(p[22:28]) if reply and p[28:32] == self.wanted else None


class Neighbour:
    def __init__(self, interface, address, mac):
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self.wanted = socket.inet_pton(socket.AF_INET6, address)
        group = socket.inet_ntop(socket.AF_INET6, bytes.fromhex("ff0200000000000000000001ff")
                                 + self.wanted[13:])
        self.to = (group, 0, 0, socket.if_nametoindex(interface))
        self.mac = mac

    def ask(self):
        self.sock.sendto(struct.pack("!BBHI", SOLICIT, 0, 0, 0) + self.wanted + b"\x01\x01"
                         + self.mac, self.to)
        return gather(self.sock, self.answer)

    def answer(self, p):
        if len(p) < 32 or p[0] != ADVERTISE or not p[4] & SOLICITED or p[8:24] != self.wanted:
            return None
        return text(p[26:32])


def main():
    arp = Arp(sys.argv[1], sys.argv[2])
    both = [("4", arp), ("6", Neighbour(sys.argv[1], sys.argv[3], arp.mac))]
    while True:
        for family, one in both:
            found = one.ask()
            if found:
                print(int(time.time() * 1000), family, *sorted(found), flush=True)


if __name__ == "__main__":
    main()
