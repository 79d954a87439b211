#!/usr/bin/env python3
"""A cluster on loopback, to try load and checkers without namespaces and without root;
only processes can be killed and stopped here.

    loop.py --build DIR --run DIR [--seconds N] [--every S] [--rate R] [--seed S]

Runs the load, kills -9 or stops the node on watch now and then (every third time all
nodes at once), Postgres and the broker's clients live on, and checks. Exit code 0: all
holds."""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import check
from load import Load

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMES = ("", "nas", "hut", "office", "attic", "barn")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def taken(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class LoopCluster:
    def __init__(self, run_dir, build, nodes=3, areas=2, devices=20, producers=3, extra=""):
        self.run_dir = os.path.abspath(run_dir)
        self.build = os.path.abspath(build)
        self.nodes = nodes
        self.areas, self.devices, self.producers = areas, devices, producers
        self.extra = extra
        self.processes = {}
        self.ports = {name: free_port() for name in ("pg", "broker", "site")}
        self.peer = [0] + [free_port() for _ in range(nodes)]
        self.tcp = [0] + [free_port() for _ in range(nodes)]
        self.control = [f"tcp://127.0.0.1:{p}" for p in self.tcp[1:]]
        self.broker = f"127.0.0.1:{self.ports['broker']}"
        self.conninfo = f"host=127.0.0.1 port={self.ports['pg']} dbname=vagt user=postgres"
        self.faults_n = 0
        for name in ("log", "history", "mosquitto"):
            os.makedirs(self.path(name), exist_ok=True)

    def path(self, *names):
        return os.path.join(self.run_dir, *names)

    def addr(self, _host):
        return "127.0.0.1"

    # --- processes ---

    def spawn(self, _host, name, argv, env=None):
        with open(self.path("log", f"{name}.log"), "ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "VAGT_POSTGRES": self.conninfo, **(env or {})})

    def kill(self, name, number):
        p = self.processes.get(name)
        if p is not None and p.poll() is None:
            p.send_signal(number)

    def alive(self, name):
        p = self.processes.get(name)
        return p is not None and p.poll() is None

    def wait(self, what, until, seconds=30):
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise RuntimeError(f"waited in vain for {what}; see {self.path('log')}")
            time.sleep(0.05)

    def psql(self, sql, to=None):
        run = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                              self.conninfo, *(["-o", to] if to else []), "-f", "-"],
                             input=sql + ";", capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(run.stderr)
        return run.stdout

    def vagtctl(self, *args):
        run = subprocess.run([os.path.join(self.build, "cli/vagtctl"), "-s",
                              ",".join(self.control), "--timeout", "2000", *args],
                             capture_output=True, text=True, check=False,
                             env={**os.environ, "VAGT_POSTGRES": self.conninfo})
        return run.returncode, run.stdout + run.stderr

    # --- the site ---

    def up(self):
        self.pg("start", self.path("pg"), str(self.ports["pg"]))
        subprocess.run(["psql", "-X", "-q", self.conninfo.replace("dbname=vagt", "dbname=postgres"),
                        "-c", "CREATE DATABASE vagt"], check=True)
        code, text = self.vagtctl("db", "migrate")
        if code != 0:
            raise RuntimeError(text)
        self.start_broker()
        self.spawn("site", "site", [
            os.path.join(self.build, "tests/rig/sitesim"), "--broker", self.broker, "--areas",
            str(self.areas), "--devices", str(self.devices), "--interval-ms", "2000",
            "--control", f"127.0.0.1:{self.ports['site']}", "--log-file",
            self.path("history", "device.jsonl")])
        for k in range(1, self.nodes + 1):
            self.configure(k)
            subprocess.run([self.vagtd(), "-c", self.config(k), "--bootstrap"], check=True,
                           capture_output=True, env={**os.environ, "VAGT_POSTGRES": self.conninfo})
            self.start_node(k)
        self.wait("a watch", lambda: self.watch() is not None)

    def pg(self, *args):
        subprocess.run([os.path.join(ROOT, "tests/rig/pg.sh"), *args], check=True,
                       stdout=subprocess.DEVNULL)

    def start_broker(self):
        conf = self.path("mosquitto.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"listener {self.ports['broker']} 127.0.0.1\nallow_anonymous true\n"
                    f"user root\nset_tcp_nodelay true\nmax_inflight_messages 1000\n"
                    f"max_queued_messages 500000\npersistence true\nautosave_interval 5\n"
                    f"persistence_location {self.path('mosquitto')}/\n"
                    f"log_dest stdout\nlog_type all\n")
        self.spawn("broker", "broker", [shutil.which("mosquitto") or "/usr/sbin/mosquitto",
                                        "-c", conf])
        self.wait("the broker", lambda: taken(self.ports["broker"]))

    def vagtd(self):
        return os.path.join(self.build, "node/vagtd")

    def config(self, k):
        return self.path(f"n{k}", "vagt.yaml")

    def configure(self, k):
        os.makedirs(self.path(f"n{k}", "data"), exist_ok=True)
        areas = [(f"area{a}", f"zigbee2mqtt/a{a}" if self.areas > 1 else "zigbee2mqtt")
                 for a in range(1, self.areas + 1)]
        areas += [(f"load{a}", f"load/a{a}") for a in range(1, self.producers + 1)]
        with open(self.config(k), "w", encoding="utf-8") as f:
            f.write(f"cluster: campsite\nnode: {NAMES[k]}\ndata_dir: {self.path(f'n{k}', 'data')}\n"
                    "nodes:\n")
            for i in range(1, self.nodes + 1):
                f.write(f'  - {{id: {i}, name: {NAMES[i]}, peer: "127.0.0.1:{self.peer[i]}", '
                        f'control: "{self.control[i - 1]}"}}\n')
            f.write(f'control:\n  listen: ["{self.control[k - 1]}"]\n'
                    f'  events: ["ipc://{self.path(f"n{k}")}/events.sock"]\n'
                    f'brokers:\n  - {{name: main, addresses: ["{self.broker}"]}}\nareas:\n')
            for name, topic in areas:
                f.write(f"  - {{name: {name}, base_topic: {topic}, broker: main}}\n")
            f.write("postgres: {conninfo: {env: VAGT_POSTGRES}}\n"
                    "limits: {commands: 65536}\nraft: {snapshot_size: 4MiB}\n" + self.extra)

    def start_node(self, k):
        self.spawn(f"n{k}", f"n{k}", [self.vagtd(), "-c", self.config(k)])

    def watch(self):
        """Id of the node on watch, or None."""
        code, text = self.vagtctl("--json", "status")
        try:
            return json.loads(text)["watch"]["node"]
        except (ValueError, KeyError, TypeError):
            return None

    def note_fault(self, event, n, nemesis, what):
        with open(self.path("history", "faults.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps({"t": time.monotonic_ns() // 1000, "ev": event, "n": n,
                                "nemesis": nemesis, "what": what}) + "\n")

    def down(self):
        for name, p in self.processes.items():
            if name.startswith("n"):
                self.kill(name, signal.SIGCONT)
            self.kill(name, signal.SIGTERM)
        for p in self.processes.values():
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
        self.pg("stop", self.path("pg"))

    # --- faults, as few as show that load and checkers work ---

    def blow(self, rng):
        self.faults_n += 1
        n = self.faults_n
        on_watch = self.watch() or rng.randrange(self.nodes) + 1
        if n % 5 == 0:
            self.note_fault("begin", n, "postgres-kill", "and start")
            self.pg("stop", "--crash", self.path("pg"))
            time.sleep(rng.choice((0, 1)))
            self.pg("start", self.path("pg"), str(self.ports["pg"]))
        elif n % 4 == 0:
            seconds = rng.choice((0.3, 1.5, 4))
            self.note_fault("begin", n, "pause", f"node {on_watch} for {seconds} s")
            self.kill(f"n{on_watch}", signal.SIGSTOP)
            time.sleep(seconds)
            self.kill(f"n{on_watch}", signal.SIGCONT)
        else:
            # The others stand still first: what the one on watch does then is with it only.
            all_ = n % 3 == 0
            others = [k for k in range(1, self.nodes + 1) if k != on_watch] if all_ else []
            self.note_fault("begin", n, "kill-all" if all_ else "kill", f"node {on_watch}")
            for k in others:
                self.kill(f"n{k}", signal.SIGSTOP)
            time.sleep(0.02 if all_ else 0)
            for k in [on_watch, *others]:
                self.kill(f"n{k}", signal.SIGKILL)
            for k in [on_watch, *others]:
                self.processes[f"n{k}"].wait()
            for k in [*others, on_watch]:
                self.start_node(k)
        self.note_fault("end", n, "", "")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    p.add_argument("--run", required=True)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--every", type=float, default=4)
    p.add_argument("--rate", type=float, default=500)
    p.add_argument("--seed", type=int, default=1)
    opt = p.parse_args()
    rng = random.Random(opt.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cluster = LoopCluster(opt.run, opt.build)
    try:
        cluster.up()
        load = Load(cluster, seed=opt.seed, rate=opt.rate)
        load.prepare()
        load.start()
        until = time.monotonic() + opt.seconds
        while time.monotonic() < until:
            time.sleep(opt.every * (0.5 + rng.random()))
            cluster.blow(rng)
            print("fault", cluster.faults_n, "dead:", load.dead(), flush=True)
        time.sleep(2)
        print("healthy:", load.wait_healthy(60).get("healthy_s"))
        print("late:", load.stop())
        print("drained:", load.wait_drained(60))
        load.finish()
    finally:
        cluster.down()
    verdicts = check.run_all(cluster.run_dir)
    print(check.text(verdicts))
    for name, value in check.summary(cluster.run_dir).items():
        print(f"{name}: {value}")
    return 0 if all(v.ok for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
