"""Do cuts cut, in the direction they say? Needs root and nftables."""

import os
import subprocess
import sys
import tempfile
import time
import unittest

import net

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9000))
while True:
    s.sendto(*s.recvfrom(2048))
"""

# Sends numbered datagrams, prints how many came back and the median round trip in ms.
PROBE = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
count, pause = int(sys.argv[2]), float(sys.argv[3])
s.setblocking(False)
trips, got, until = [], 0, time.monotonic() + count * pause + 0.5
sent = 0
while time.monotonic() < until and got < count:
    if sent < count and time.monotonic() >= until - 0.5 - (count - sent) * pause:
        s.sendto(b"%f" % time.monotonic(), (sys.argv[1], 9000))
        sent += 1
    try:
        trips.append(time.monotonic() - float(s.recv(2048)))
        got += 1
    except BlockingIOError:
        time.sleep(0.0005)
trips.sort()
print(got, 1000 * trips[len(trips) // 2] if trips else 0)
"""


def framedelay():
    """Where the build put it; the test's caller says so."""
    return os.environ.get("FRAMEDELAY", "")


class TestNet(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.net = net.Net(f"t{os.getpid() % 10000:x}", framedelay(), self.dir.name)
        self.addCleanup(self.dir.cleanup)
        self.addCleanup(self.net.down)
        self.net.up({"a": 11, "b": 12, "c": 13})
        for host in "abc":
            process = subprocess.Popen(self.net.inside(host) + [sys.executable, "-c", ECHO])
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
        for host in "abc":
            self.wait_for_echo(host)

    def wait_for_echo(self, host):
        """A busy machine takes its time to start a process."""
        until = time.monotonic() + 15
        while self.probe(host, "b" if host == "a" else "a", 1)[0] + \
                self.probe("b" if host == "a" else "a", host, 1)[0] < 2:
            self.assertLess(time.monotonic(), until, f"host {host} does not answer")

    def probe(self, sender, receiver, count=20, pause=0.005):
        text = net.run(self.net.inside(sender) + [
            sys.executable, "-c", PROBE, self.net.addr(receiver), str(count), str(pause)])
        return int(text.split()[0]), float(text.split()[1])

    def tcp(self, sender, receiver, size):
        """Seconds that so many bytes take."""
        take = ("import socket\ns = socket.create_server(('0.0.0.0', 9001))\n"
                "c = s.accept()[0]\nn = 0\nwhile d := c.recv(1 << 20): n += len(d)\nprint(n)")
        give = ("import socket, sys\ns = socket.create_connection((sys.argv[1], 9001))\n"
                "s.sendall(bytes(int(sys.argv[2])))")
        server = subprocess.Popen(self.net.inside(receiver) + [sys.executable, "-c", take],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        begin = time.monotonic()
        net.run(self.net.inside(sender) + [sys.executable, "-c", give,
                                           self.net.addr(receiver), str(size)])
        self.assertEqual(server.communicate(timeout=30)[0].strip(), str(size))
        return time.monotonic() - begin

    def test_whole(self):
        self.assertEqual(self.probe("a", "b")[0], 20)

    def test_cut_and_undo(self):
        token = self.net.cut("a", "b")
        self.assertEqual(self.probe("a", "b")[0], 0)
        self.assertEqual(self.probe("a", "c")[0], 20)
        self.net.undo(token)
        self.assertEqual(self.probe("b", "a")[0], 20)

    def test_one_way_cuts_one_way(self):
        self.net.cut_one_way("a", "b")
        heard = subprocess.Popen(
            self.net.inside("b") + [sys.executable, "-c",
                                    "import socket\ns = socket.socket(socket.AF_INET, "
                                    "socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 9002))\n"
                                    "s.settimeout(1)\nprint(s.recv(9))"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        listens = subprocess.Popen(
            self.net.inside("a") + [sys.executable, "-c",
                                    "import socket\ns = socket.socket(socket.AF_INET, "
                                    "socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 9002))\n"
                                    "s.settimeout(1)\nprint(s.recv(9))"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(0.3)
        say = ("import socket, sys\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
               ".sendto(b'x', (sys.argv[1], 9002))")
        for sender, receiver in (("a", "b"), ("b", "a")):
            net.run(self.net.inside(sender) + [sys.executable, "-c", say,
                                               self.net.addr(receiver)])
        self.assertEqual(heard.communicate()[0], "")
        self.assertEqual(listens.communicate()[0].strip(), "b'x'")

    def test_faults_overlap(self):
        first = self.net.isolate("a")
        second = self.net.cut("a", "b")
        self.net.undo(first)
        self.assertEqual(self.probe("a", "b")[0], 0)
        self.assertEqual(self.probe("a", "c")[0], 20)
        self.net.undo(second)
        self.assertEqual(self.probe("a", "b")[0], 20)

    def test_loss(self):
        self.net.loss(["a"], 300)
        got = self.probe("a", "b", 1000, 0.0005)[0]
        self.assertTrue(390 < got < 590, f"{got} of 1000 came back, 490 should")

    def test_renewed_host_has_its_cuts(self):
        self.net.cut("a", "b")
        self.net.unplug("a")
        self.assertEqual(self.probe("c", "a")[0], 0)
        self.net.renew("a")
        process = subprocess.Popen(self.net.inside("a") + [sys.executable, "-c", ECHO])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        time.sleep(0.3)
        self.assertEqual(self.probe("c", "a")[0], 20)
        self.assertEqual(self.probe("b", "a")[0], 0)

    @unittest.skipUnless(framedelay(), "FRAMEDELAY is not set")
    def test_delay(self):
        token = self.net.delay(["a", "b"], 70, 10)
        got, trip = self.probe("a", "b", 20, 0.05)
        self.assertGreaterEqual(got, 15)  # The first wait for ARP and the rest of 0.5 s.
        self.assertTrue(130 < trip < 165, f"round trip {trip} ms, 140 should be")
        trip = self.probe("c", "a", 20, 0.05)[1]
        self.assertTrue(60 < trip < 90, f"round trip {trip} ms, 70 should be")
        # Large segments and checksums that a network card would fill in survive it.
        self.assertLess(self.tcp("a", "b", 5000000), 10)
        self.net.undo(token)
        self.assertLess(self.probe("a", "b")[1], 20)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    why = net.why_not()
    if why:
        print(f"skipped: {why}")
        sys.exit(77)
    unittest.main()
