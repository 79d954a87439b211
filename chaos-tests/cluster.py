"""A site for chaos tests: nodes, broker, Postgres, bridges and load, a host each.

    c = Cluster(run_dir, nodes=3, seed=7, build="build/release")
    with c:                # comes up; torn down on the way out, whatever happens
        c.kill_node(1)     # kill -9; stays down
        c.start_node(1)
        c.vagtctl("status")

Hosts: n1..n9, broker, pg, pg2 (a standby moves there), site, load. Files of the run, below
run_dir: log/NAME.log, n1/ (configuration, data), broker/, pg/, history/.

A node that ends by itself is started again after a second, as systemd would do, unless
its exit code is 2 (configuration) or 4 (damaged log): then somebody has to act."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import disk
import history
import net
import postgres

NAMES = ("-", "nas", "hut", "office", "attic", "barn")
PEER_PORT, CONTROL_PORT, EVENTS_PORT, BROKER_PORT, SITE_PORT = 7401, 7402, 7502, 1883, 8100
PG_SERVICE = 20  # last byte of the address that moves between pg and pg2
HOSTS = {"broker": 10, "pg": 21, "pg2": 22, "site": 30, "load": 40}
RESTART_S = 1.0
BROKEN_LOG = 4
NO_RESTART = (2, BROKEN_LOG)
FAKETIME = "/usr/lib/{}/faketime/libfaketimeMT.so.1"


class ClusterError(Exception):
    pass


class Proc:
    """A process of the run, a child of ours."""

    def __init__(self, host, name, popen):
        self.host = host
        self.name = name
        self.popen = popen
        self.pid = popen.pid

    def alive(self):
        return self.popen.poll() is None

    def code(self):
        return self.popen.poll()

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            self.popen.send_signal(sig)

    def wait(self, seconds=None):
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def faketime_library():
    for arch in sorted(os.listdir("/usr/lib")):
        if os.path.exists(FAKETIME.format(arch)):
            return FAKETIME.format(arch)
    return None


class Cluster:
    def __init__(self, run_dir, nodes=3, seed=1, build="build/release", run_id=None,
                 areas=2, devices=20, load_areas=3, interval_ms=10000, with_disk=False,
                 with_faketime=False, extra="", other_build=None, witness=None):
        self.run_dir = os.path.abspath(run_dir)
        self.count = nodes
        self.witness = witness  # number of the node that only votes
        self.seed = seed
        self.build = os.path.abspath(build)
        self.areas, self.devices, self.load_areas = areas, devices, load_areas
        self.interval_ms = interval_ms
        self.with_disk = with_disk
        self.extra = extra
        self.other_build = os.path.abspath(other_build) if other_build else None
        self.builds = {i: self.other_build or self.build for i in self.nodes()}
        self.frailfs = os.path.join(self.build, "chaos-tests/frailfs/frailfs")
        self.procs = {}
        self.disks = {}
        self.wanted = set()    # nodes that should run
        self.ended_at = {}     # node -> when it was seen to have ended by itself
        self.damaged = set()   # nodes that refuse to start with their log
        self.exits = []        # (monotonic s, node, exit code) of those that ended by themselves
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.faketime = faketime_library() if with_faketime else None
        for folder in ("", "log", "history"):
            os.makedirs(os.path.join(self.run_dir, folder), exist_ok=True)
        os.chmod(self.run_dir, 0o755)
        run_id = run_id or f"{os.getpid() % 0x10000:x}"
        self.net = net.Net(run_id, os.path.join(
            self.build, "chaos-tests/framedelay"), self.path("log"))
        self.pg = postgres.Server(self, "pg")
        self.pg_spare = postgres.Server(self, "pg2")

    # --- where things are ---

    def name(self, i):
        return NAMES[i]

    def able(self, need):
        """Can this be played here? See Nemesis.needs."""
        return {"disk": self.with_disk, "faketime": bool(self.faketime),
                "other-build": bool(self.other_build)}[need]

    @property
    def canary(self):
        """A meter of the bridges that the load does not switch."""
        return f"a1-m{self.devices - 1:03}"

    @property
    def pg_address(self):
        return f"{net.NETWORK}{PG_SERVICE}"

    def nodes(self):
        return range(1, self.count + 1)

    def path(self, *names):
        return os.path.join(self.run_dir, *names)

    def addr(self, host):
        return self.net.addr(host)

    @property
    def control(self):
        return [f"tcp://{net.NETWORK}{i}:{CONTROL_PORT}" for i in self.nodes()]

    @property
    def broker(self):
        return f"{net.NETWORK}{HOSTS['broker']}:{BROKER_PORT}"

    @property
    def conninfo(self):
        return (f"host={net.NETWORK}{PG_SERVICE} port={postgres.PORT} dbname=vagt "
                "user=postgres sslmode=disable")

    def environment(self):
        return {**os.environ, "VAGT_POSTGRES": self.conninfo, "VAGT_PLAINTEXT": "1",
                "VAGT_CONTROL": ",".join(self.control)}

    # --- processes ---

    def spawn(self, host, name, argv, env=None):
        """Start it on that host; output to log/NAME.log. Replaces a dead one of this name."""
        with self.lock:
            with open(self.path("log", f"{name}.log"), "ab") as log:
                popen = subprocess.Popen(
                    self.net.inside(host) + argv, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, start_new_session=True, env=env or self.environment(),
                    cwd="/")
            self.procs[name] = Proc(host, name, popen)
            return self.procs[name]

    def kill(self, name, sig=signal.SIGKILL):
        if name in self.procs:
            self.procs[name].kill(sig)

    def alive(self, name):
        return name in self.procs and self.procs[name].alive()

    def run(self, host, argv, timeout=30):
        """A command on that host, to its end: (exit code, output)."""
        try:
            done = subprocess.run(self.net.inside(host) + argv, capture_output=True, text=True,
                                  timeout=timeout, env=self.environment())
        except subprocess.TimeoutExpired:
            return 124, ""
        return done.returncode, done.stdout + done.stderr

    # --- the whole ---

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        self.net.up({**HOSTS, **{f"n{i}": i for i in self.nodes()}})
        self.pg.make()
        self.pg.start()
        self.net.take_address("pg", PG_SERVICE)
        self.pg.sql("CREATE DATABASE vagt")
        code, text = self.vagtctl("db", "migrate")
        if code != 0:
            raise ClusterError(f"the schema could not be made: {text}")
        self.start_broker()
        self.start_site()
        for i in self.nodes():
            self.mount(i)
            self.configure(i)
            self.bootstrap(i)
            self.start_node(i)
        threading.Thread(target=self._supervise, daemon=True).start()
        if self.net.framedelay and not os.access(self.net.framedelay, os.X_OK):
            raise ClusterError(f"{self.net.framedelay} is not built")

    def down(self):
        self.stopping.set()
        with self.lock:
            self.wanted.clear()
            self.net.down()
            for proc in self.procs.values():
                proc.wait(5)
            for one in self.disks.values():
                one.unmount()
            self.disks.clear()

    # --- broker, bridges, Postgres ---

    def start_broker(self):
        os.makedirs(self.path("broker"), exist_ok=True)
        conf = self.path("broker", "mosquitto.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"listener {BROKER_PORT}\nallow_anonymous true\nuser root\n"
                    "set_tcp_nodelay true\nmax_inflight_messages 1000\n"
                    "max_queued_messages 1000000\npersistence true\n"
                    f"persistence_location {self.path('broker')}/\nautosave_interval 1\n"
                    "log_type all\nlog_timestamp true\nlog_dest stdout\n")
        self.spawn("broker", "broker", [shutil.which("mosquitto") or "/usr/sbin/mosquitto",
                                        "-c", conf])

    def start_site(self):
        self.spawn("site", "site", [
            os.path.join(self.build, "tests/rig/sitesim"), "--broker", self.broker, "--areas",
            str(self.areas), "--devices", str(self.devices), "--interval-ms",
            str(self.interval_ms), "--control", f"127.0.0.1:{SITE_PORT}", "--seed",
            str(self.seed), "--log-file", self.path("history", "device.jsonl")])

    def site(self, request):
        """The control port of the bridges: "/bridge-stop?area=1"."""
        return self.run("site", ["curl", "-s", "-f", "-m", "5",
                                 f"http://127.0.0.1:{SITE_PORT}{request}"])

    def psql(self, sql, to=None):
        argv = self.net.inside("load") + [
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.conninfo, "-c", sql]
        if not to:
            return net.run(argv).strip()
        with open(to, "w", encoding="utf-8") as f:
            subprocess.run(argv, stdout=f, check=True)
        return None

    def failover_postgres(self):
        """The service's address goes to the copy, which leads from now on."""
        self.pg_spare.promote()
        self.net.take_address(self.pg_spare.host, PG_SERVICE, away_from=[self.pg.host])
        self.pg, self.pg_spare = self.pg_spare, self.pg

    # --- nodes ---

    def configure(self, i):
        lines = ["cluster: campsite", f"node: {NAMES[i]}", f"data_dir: {self.data_dir(i)}",
                 "log: {level: info}", "peers: {plaintext: true}", "nodes:"]
        lines += [f'  - {{id: {k}, name: {NAMES[k]}, peer: "{self.addr(f"n{k}")}:{PEER_PORT}", '
                  f'control: "tcp://{self.addr(f"n{k}")}:{CONTROL_PORT}"'
                  f'{", role: witness" if k == self.witness else ""}}}' for k in self.nodes()]
        lines += ["control:", "  plaintext: true",
                  f'  listen: ["tcp://{self.addr(f"n{i}")}:{CONTROL_PORT}"]',
                  f'  events: ["tcp://{self.addr(f"n{i}")}:{EVENTS_PORT}"]',
                  "brokers:", f'  - {{name: main, addresses: ["{self.broker}"], '
                  'plaintext: true}', "areas:"]
        for k in range(1, self.areas + 1):
            topic = f"zigbee2mqtt/a{k}" if self.areas > 1 else "zigbee2mqtt"
            lines.append(f"  - {{name: area{k}, base_topic: {topic}, broker: main}}")
        for k in range(1, self.load_areas + 1):
            lines.append(f"  - {{name: load{k}, base_topic: load/a{k}, broker: main}}")
        lines += ["postgres: {conninfo: {env: VAGT_POSTGRES}}", self.extra]
        with open(self.path(f"n{i}", "vagt.yaml"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def data_dir(self, i):
        return self.path(f"n{i}", "data")

    def mount(self, i):
        """The disk of a node: a folder, or a file system that can fail."""
        os.makedirs(self.data_dir(i), exist_ok=True)
        if self.with_disk:
            self.disks[i] = disk.Disk(self.data_dir(i), self.frailfs,
                                      log=self.path("log", f"frailfs-n{i}.log"))
            self.disks[i].mount()

    def keep_disk(self, i):
        """A new, empty disk; the old one is kept aside. Where that is."""
        number = 1
        while os.path.exists(self.path(f"n{i}", f"damaged-{number}")):
            number += 1
        aside = self.path(f"n{i}", f"damaged-{number}")
        if i in self.disks:
            self.disks[i].unmount()
            shutil.move(str(self.disks[i].below), aside)
        else:
            shutil.move(self.data_dir(i), aside)
        self.mount(i)
        return aside

    def expect_damage(self, i):
        """Whether a node refuses its log is no surprise from here on."""
        note = {"t": int(time.monotonic() * 1e6), "node": i, "expected": True}
        with open(self.path("history", "exits.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(note) + "\n")

    def vagtd(self, i, *args):
        return [os.path.join(self.builds[i], "node/vagtd"), "-c",
                self.path(f"n{i}", "vagt.yaml"), *args]

    def bootstrap(self, i):
        code, text = self.run(f"n{i}", self.vagtd(i, "--bootstrap"))
        if code != 0:
            raise ClusterError(f"node {i} cannot be bootstrapped: {text}")

    def node_environment(self, i):
        env = self.environment()
        if self.faketime:
            clock = self.path(f"n{i}", "clock")
            if not os.path.exists(clock):
                self.set_clock(i, 0)
            env.update(LD_PRELOAD=self.faketime, FAKETIME_TIMESTAMP_FILE=clock,
                       FAKETIME_CACHE_DURATION="1", FAKETIME_DONT_FAKE_MONOTONIC="1",
                       NO_FAKE_STAT="1", FAKETIME_DISABLE_SHM="1")
        return env

    def set_clock(self, i, seconds):
        """The wall clock of a node is off by so much, from within a second on."""
        new = self.path(f"n{i}", "clock.new")
        with open(new, "w", encoding="utf-8") as f:
            f.write(f"{seconds:+d}\n")
        os.replace(new, self.path(f"n{i}", "clock"))

    def start_node(self, i):
        with self.lock:
            self.wanted.add(i)
            self.ended_at.pop(i, None)
            if f"n{i}" in self.procs and self.procs[f"n{i}"].popen.returncode is None:
                self.procs[f"n{i}"].wait(0.2)
            if not self.alive(f"n{i}"):
                self.spawn(f"n{i}", f"n{i}", self.vagtd(i), env=self.node_environment(i))

    def kill_node(self, i, sig=signal.SIGKILL):
        """It stays down until start_node."""
        with self.lock:
            self.wanted.discard(i)
            self.kill(f"n{i}", sig)
            self.procs[f"n{i}"].wait(20)

    def kill_node_quickly(self, i):
        """Without waiting, so that several die at once; kill_node or start_node follows."""
        self.wanted.discard(i)
        self.kill(f"n{i}")

    def stop_node(self, i, sig=signal.SIGTERM):
        self.kill_node(i, sig)
        if self.alive(f"n{i}"):
            raise ClusterError(f"node {i} did not end on signal {sig} within 20 s")

    def vanish_node(self, i):
        """The power of the machine goes: nobody is told anything."""
        with self.lock:
            self.wanted.discard(i)
            self.net.unplug(f"n{i}")
            net.kill_namespace(self.net.namespace(f"n{i}"))
            self.procs[f"n{i}"].wait(20)

    def return_node(self, i):
        self.net.renew(f"n{i}")
        self.start_node(i)

    def pause_node(self, i, sig=signal.SIGSTOP):
        self.kill(f"n{i}", sig)

    def _supervise(self):
        while not self.stopping.wait(0.1):
            with self.lock:
                for i in sorted(self.wanted):
                    self._look_after(i)

    def _look_after(self, i):
        proc = self.procs[f"n{i}"]
        if proc.alive():
            return
        now = time.monotonic()
        if i not in self.ended_at:
            self.ended_at[i] = now
            self.exits.append((now, i, proc.code()))
            with open(self.path("history", "exits.jsonl"), "a", encoding="utf-8") as f:
                f.write(json.dumps({"t": int(now * 1e6), "node": i, "code": proc.code()}) + "\n")
        if proc.code() in NO_RESTART:
            self.damaged.add(i)
        elif now - self.ended_at[i] >= RESTART_S:
            self.start_node(i)

    def heal(self):
        """Links, disks, clocks and processes as they should be; all nodes run."""
        self.net.heal()
        for i in self.nodes():
            if self.faketime:
                self.set_clock(i, 0)
            if i in self.disks:
                self.disks[i].heal()
            self.pause_node(i, signal.SIGCONT)
            self.start_node(i)
        self.pg.signal(signal.SIGCONT)
        if not self.alive("broker"):
            self.start_broker()

    # --- asking ---

    def vagtctl(self, *args, host="load", nodes=None, timeout=30):
        """(exit code, text); `nodes`: only these are asked."""
        sockets = [self.control[i - 1] for i in nodes or self.nodes()]
        return self.run(host, [os.path.join(self.build, "cli/vagtctl"), "-s",
                               ",".join(sockets), *args], timeout)

    def status(self, timeout_ms=1500, nodes=None):
        """As a dictionary; {} if nobody answers."""
        _, text = self.vagtctl("--json", "--timeout", str(timeout_ms), "status", nodes=nodes)
        try:
            answer = json.loads(text.splitlines()[0])
        except (ValueError, IndexError):
            return {}
        return {} if "error" in answer else answer

    def watch(self):
        """The node on watch as the first one that answers sees it, or None."""
        return ((self.status() or {}).get("watch") or {}).get("node")

    def hash_equal(self):
        return self.vagtctl("--timeout", "2000", "hash")[0] == 0

    def reading(self):
        """Has the watch subscribed at the broker?"""
        brokers = (self.status().get("site") or {}).get("brokers", [])
        return bool(brokers) and all(b["reader"] == "up" for b in brokers)

    def healthy(self):
        """On watch, and nothing wrong but that the network is trusted."""
        status = self.status()
        return bool(status.get("watch")) and not [
            issue for issue in status.get("issues", []) if not history.by_design(issue["text"])]

    def wait_for(self, seconds, what):
        """Until what() is true; whether it became so."""
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until or self.stopping.is_set():
                return False
            time.sleep(0.1)
        return True
