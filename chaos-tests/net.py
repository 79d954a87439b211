"""Hosts as network namespaces, and what can happen to the links between them.

Everything lives in namespaces of its own, the switch too: nothing is added to the
machine's own network. Names begin with `vc` and the id of the run.

    vcID-sw      br0 ── v-n1 ═ eth0  vcID-n1   10.77.0.11
                     ── v-n2 ═ eth0  vcID-n2   10.77.0.12 …

A packet is dropped by the receiver (nftables, hook input): then one direction can be
cut and the other not, and the sender learns nothing. A delayed host is plugged into
`framedelay` in place of the switch: v-n1 [framedelay] d-n1 ═ e-n1 ── br0.
"""

import os
import signal
import subprocess
import time

NETWORK = "10.77.0."
NETNS_DIR = "/run/netns"


class NetError(Exception):
    """A command of the machine failed; the text says which."""


def run(argv, text=None, check=True):
    """Run a command to its end; its output, or NetError with what it said."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise NetError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def why_not():
    """Why no host can be made here (not everything that is root may); "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"try{os.getpid()}"
    rules = ("table inet t {\n chain c {\n  type filter hook input priority 0;\n"
             "  numgen random mod 1000 < 300 drop\n }\n}\n")
    tries = ((["ip", "netns", "add", name], None),
             (["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"], None),
             (["ip", "-n", name, "link", "set", "lo", "up"], None),
             (["ip", "-n", name, "link", "add", "three", "type", "bridge"], None),
             (["ip", "netns", "exec", name, "nft", "-f", "-"], rules))
    try:
        for argv, text in tries:
            run(argv, text)
        return ""
    except (NetError, OSError) as e:
        return f"no network namespace can be used here: {e}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def namespace_pids(namespace):
    """The processes whose network is this namespace."""
    try:
        wanted = os.stat(os.path.join(NETNS_DIR, namespace)).st_ino
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/net").st_ino == wanted:
                found.append(int(entry))
        except OSError:
            pass  # Gone meanwhile, or a zombie.
    return found


def kill_namespace(namespace, sig=signal.SIGKILL, wait_s=5.0):
    """Send all of them a signal; wait for their end if it is SIGKILL."""
    pids = namespace_pids(namespace)
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass
    until = time.monotonic() + wait_s
    while sig == signal.SIGKILL and namespace_pids(namespace) and time.monotonic() < until:
        time.sleep(0.01)
    return pids


def remove_namespace(namespace):
    """Kill what runs in it and delete it; its interfaces go with it."""
    kill_namespace(namespace)
    run(["ip", "netns", "del", namespace], check=False)


class Net:
    """The hosts of one run and their links.

    `cut`, `isolate`, `loss` and `delay` return a token; `undo(token)` takes that one
    fault back, so several can hold at once. `heal()` takes all of them back.
    """

    def __init__(self, run_id, framedelay=None, log_dir="."):
        self.prefix = f"vc{run_id}-"
        self.framedelay = framedelay
        self.log_dir = log_dir
        self.hosts = {}  # name -> number, also the last byte of its address
        self.rules = {}  # token -> [(receiver, sender or None: anybody, permille)]
        self.delays = {}  # token -> {host: process}
        self.token = 0

    # --- hosts ---

    def namespace(self, host):
        return self.prefix + host

    def addr(self, host):
        return NETWORK + str(self.hosts[host])

    def inside(self, host):
        """What to put before a command so that it runs on that host."""
        return ["nsenter", f"--net={NETNS_DIR}/{self.namespace(host)}", "--"]

    def pids(self, host):
        return namespace_pids(self.namespace(host))

    def up(self, hosts):
        """Make the switch and the hosts: {name: number}."""
        self._make_namespace("sw")
        self._ip("sw", "link add br0 type bridge\nlink set br0 up\n")
        for host, number in hosts.items():
            self.add(host, number)

    def add(self, host, number):
        self.hosts[host] = number
        self._make_namespace(host)
        self._plug(host)
        self._apply([host])

    def down(self):
        for token in list(self.delays):
            self.undo(token)
        for name in sorted(os.listdir(NETNS_DIR) if os.path.isdir(NETNS_DIR) else []):
            if name.startswith(self.prefix):
                remove_namespace(name)

    def _make_namespace(self, host):
        name = self.namespace(host)
        run(["ip", "netns", "add", name])
        # No IPv6: its chatter would only blur the traces.
        run(["nsenter", f"--net={NETNS_DIR}/{name}", "--", "sh", "-c",
             "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6;"
             "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"], check=False)
        run(["ip", "-n", name, "link", "set", "lo", "up"])

    def _ip(self, host, batch):
        run(["ip", "-n", self.namespace(host), "-batch", "-"], text=batch)

    def _plug(self, host):
        number = self.hosts[host]
        # A fixed hardware address: a host that returns is known to all ARP caches.
        self._ip("sw", f"link add v-{host} type veth peer name eth0 address "
                       f"02:76:61:67:74:{number:02x} netns {self.namespace(host)}\n"
                       f"link set v-{host} master br0\nlink set v-{host} up\n")
        self._ip(host, f"addr add {self.addr(host)}/24 dev eth0\nlink set eth0 up\n")

    # --- a host vanishes ---

    def unplug(self, host):
        """The link goes down. Nothing that its processes say at their end gets out."""
        self._ip("sw", f"link set v-{host} down\n")

    def renew(self, host):
        """A new machine in the place of the old one: nothing in the kernel knows its
        connections (dead ones would repeat their FIN as soon as the link is up)."""
        self._ip("sw", f"link del v-{host}\n")
        remove_namespace(self.namespace(host))
        self.add(host, self.hosts[host])

    # --- links ---

    def _new(self, rules):
        self.token += 1
        self.rules[self.token] = rules
        self._apply({receiver for receiver, _, _ in rules})
        return self.token

    def cut_one_way(self, sender, receiver):
        return self._new([(receiver, sender, 1000)])

    def cut(self, a, b):
        return self._new([(a, b, 1000), (b, a, 1000)])

    def cut_many(self, pairs):
        """Both directions of several links, as one fault."""
        return self._new([rule for a, b in pairs for rule in ((a, b, 1000), (b, a, 1000))])

    def cut_one_way_many(self, pairs):
        """(sender, receiver), several as one fault."""
        return self._new([(receiver, sender, 1000) for sender, receiver in pairs])

    def cut_addresses(self, host, others, address):
        """Both directions between a host and some others, an address that moves between them
        included."""
        rules = [rule for other in others for rule in ((host, other, 1000), (other, host, 1000))]
        return self._new(rules + [(host, address, 1000)])

    def isolate(self, host):
        """Nobody reaches it and it reaches nobody."""
        rules = [(host, None, 1000)]
        rules += [(other, host, 1000) for other in self.hosts if other != host]
        return self._new(rules)

    def loss(self, hosts, permille):
        """Of what these hosts receive and send, a random share is lost."""
        rules = [(host, None, permille) for host in hosts]
        rules += [(other, host, permille) for other in self.hosts if other not in hosts
                  for host in hosts]
        return self._new(rules)

    def _address(self, host):
        return self.addr(host) if host in self.hosts else host

    def _apply(self, receivers):
        for receiver in receivers:
            lines = []
            for rules in self.rules.values():
                for to, sender, permille in rules:
                    if to != receiver:
                        continue
                    match = f"ip saddr {self._address(sender)} " if sender else 'iifname "eth0" '
                    share = "" if permille >= 1000 else f"numgen random mod 1000 < {permille} "
                    lines.append(f"    {match}{share}counter drop")
            text = "table inet chaos\ndelete table inet chaos\n"
            if lines:
                text += ("table inet chaos {\n  chain input {\n"
                         "    type filter hook input priority 0; policy accept;\n"
                         + "\n".join(lines) + "\n  }\n}\n")
            run(self.inside(receiver) + ["nft", "-f", "-"], text=text)

    def delay(self, hosts, ms, jitter_ms=0):
        """What these hosts send arrives so much later, in order."""
        self.token += 1
        self.delays[self.token] = {}
        for host in hosts:
            if any(host in others for others in self.delays.values()):
                continue  # It is slow already.
            self.delays[self.token][host] = self._delay_host(host, ms, jitter_ms)
        return self.token

    def _delay_host(self, host, ms, jitter_ms):
        self._ip("sw", f"link add d-{host} type veth peer name e-{host}\n"
                       f"link set d-{host} up\nlink set e-{host} master br0\n"
                       f"link set e-{host} up\nlink set v-{host} nomaster\n")
        log = open(os.path.join(self.log_dir, f"framedelay-{host}.log"), "a")
        process = subprocess.Popen(
            self.inside("sw") + [self.framedelay, f"v-{host}", f"d-{host}", str(ms),
                                 str(jitter_ms)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()
        return process

    def _undelay_host(self, host, process):
        process.kill()
        process.wait()
        run(["ip", "-n", self.namespace("sw"), "link", "set", f"v-{host}", "master", "br0"],
            check=False)
        run(["ip", "-n", self.namespace("sw"), "link", "del", f"d-{host}"], check=False)

    def undo(self, token):
        rules = self.rules.pop(token, [])
        self._apply({receiver for receiver, _, _ in rules})
        for host, process in self.delays.pop(token, {}).items():
            self._undelay_host(host, process)

    def heal(self):
        for token in list(self.rules) + list(self.delays):
            self.undo(token)

    # --- an address that moves ---

    def take_address(self, host, number, away_from=()):
        """The address NETWORK+number is this host's from now on."""
        for other in away_from:
            run(["ip", "-n", self.namespace(other), "addr", "del", f"{NETWORK}{number}/32",
                 "dev", "eth0"], check=False)
        run(["ip", "-n", self.namespace(host), "addr", "add", f"{NETWORK}{number}/32",
             "dev", "eth0"], check=False)
        # What a gratuitous ARP would do.
        for other in self.hosts:
            run(["ip", "-n", self.namespace(other), "neigh", "flush", "to",
                 f"{NETWORK}{number}"], check=False)
