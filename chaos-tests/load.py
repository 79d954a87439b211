"""The load of a run, and what is written down of it.

    load = Load(cluster, seed=7, rate=500)     # rate: readings a second, of all producers
    load.prepare()                             # after the first migration, before the load
    load.start()
    ...                                        # faults
    load.stop()                                # nothing new; every command gets its end
    load.wait_drained(60)                      # nothing waits any more
    load.finish(60)                            # healthy? equal? and everything into files
    check.run_all(cluster.run_dir)

What it needs of the cluster:

    run_dir                    files go to run_dir/history
    build                      folder of a build, for bench_lossless
    control                    ["tcp://A:P", ...]: the control endpoints of the nodes, in order
    broker                     "A:P", numeric
    addr("n1")                 address of a node, as the broker sees it
    spawn(host, name, argv)    start a process on host "load", output to log/NAME.log
    kill(name, signal), alive(name)
    conninfo                   for psql on host "load"; None: no rows of meter_commands
    psql(sql, to=None)         run as owner of the tables; answer as a text, or into the file
                               `to`; an exception if it fails

Nodes need the areas load/a1 .. load/aP (P producers), and the site's sitesim must be run
with --log-file run_dir/history/device.jsonl. The harness writes history/faults.jsonl
(history.py) and history/rss.jsonl ({"t": us, "node": k, "rss_kb": n}).

Producers are bench_lossless stream: each plays one bridge, areas load/aK, meters lK-mNNN.
Callers are caller.py: half of the areas of the site each, and the probe in one of its own;
its meters are nobody else's."""

import json
import os
import signal
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"  # Debian's, which has python3-zmq and python3-msgpack
DEVICES = 20                 # of each producer
CALLER_DEVICES = 3           # of each area that callers switch: few, so that they meet
PROBE_DEVICES = 12
STOP_S = 200                 # for callers to hear of every end
SETTLE_S = 30

# A row for each change of the fence, by the transaction that makes it. Its number is given
# while that row is locked.
AUDIT = """
CREATE TABLE IF NOT EXISTS chaos_fence (
    n bigserial PRIMARY KEY, cluster text, term bigint, node text, begin_ bigint,
    end_ bigint, xid bigint, at timestamptz);
CREATE OR REPLACE FUNCTION chaos_fence_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos_fence (cluster, term, node, begin_, end_, xid, at)
    VALUES (NEW.cluster, NEW.term, NEW.node,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.shipped ELSE NEW.shipped END, NEW.shipped,
            (pg_current_xact_id()::text::bigint & 4294967295), clock_timestamp());
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS chaos_fence_changed ON vagt_fence;
CREATE TRIGGER chaos_fence_changed AFTER INSERT OR UPDATE ON vagt_fence
    FOR EACH ROW EXECUTE FUNCTION chaos_fence_changed();
"""
READINGS = """COPY (SELECT meter_id, round(extract(epoch FROM time) * 1000)::bigint,
    round(energy_kwh * 1000)::bigint, power_w, voltage_v, current_a, state, vagt_seq, xmin
    FROM meter_readings WHERE meter_id LIKE 'l%' ORDER BY vagt_seq) TO STDOUT"""
FENCE = """COPY (SELECT n, term, node, begin_, end_, xid,
    round(extract(epoch FROM at) * 1000000)::bigint FROM chaos_fence ORDER BY n) TO STDOUT"""
ROWS = "COPY (SELECT id, status, attempts FROM meter_commands ORDER BY id) TO STDOUT"


class LoadError(Exception):
    pass


class Load:
    """See above. areas, devices: of sitesim; producers, callers: processes."""

    def __init__(self, cluster, seed=1, rate=500, producers=3, callers=2, command_rate=10,
                 probe_rate=20, table_rate=2, areas=2, devices=20, base="zigbee2mqtt", seconds=7200,
                 observer=True, deadlines="2000,5000,10000,20000"):
        self.cluster = cluster
        self.seed = seed
        self.rate = rate
        self.deadlines = deadlines
        self.producers = producers
        self.callers = callers
        self.command_rate = command_rate
        self.probe_rate = probe_rate
        self.table_rate = table_rate
        self.areas = areas
        self.devices = devices
        self.base = base
        self.seconds = seconds
        self.observer = observer
        self.started = []
        os.makedirs(self.history(), exist_ok=True)

    def history(self, *names):
        return os.path.join(self.cluster.run_dir, "history", *names)

    # --- before ---

    def prepare(self):
        self.cluster.psql(AUDIT)

    def write_spec(self):
        step_us = max(1, int(1e6 * self.producers / self.rate))
        now_ms = int(time.time() * 1000)
        spec = {
            "seed": self.seed, "nodes": len(self.cluster.control), "rate": self.rate,
            "wall_minus_mono_us": time.time_ns() // 1000 - time.monotonic_ns() // 1000,
            "addresses": {self.cluster.addr(f"n{k + 1}"): f"n{k + 1}"
                          for k in range(len(self.cluster.control))},
            "producers": [{"name": f"P{k}", "area": k, "devices": DEVICES,
                           "base_ms": now_ms, "step_us": step_us}
                          for k in range(1, self.producers + 1)]}
        with open(self.history("load.json"), "w", encoding="utf-8") as f:
            json.dump(spec, f, indent=1)
        return spec

    # --- while it runs ---

    def spawn(self, name, argv):
        self.cluster.spawn("load", name, argv)
        self.started.append(name)

    def start(self):
        spec = self.write_spec()
        if self.observer:
            self.spawn("observer", self.observer_argv())
        self.spawn("sampler", [PYTHON, os.path.join(HERE, "watcher.py"), "sample", "--nodes",
                               ",".join(self.cluster.control), "--to",
                               self.history("hash.jsonl")])
        for p in spec["producers"]:
            self.spawn(p["name"], self.producer_argv(p))
        for name, argv in self.caller_argvs():
            self.spawn(name, argv)

    def observer_argv(self):
        """Retained, topic, payload and time of whatever our writer says."""
        host, _, port = self.cluster.broker.rpartition(":")
        to = self.history("broker.tsv")
        sets = f"{self.base}/+/+/set" if self.areas > 1 else f"{self.base}/+/set"
        return ["sh", "-c", 'out=$0; exec "$@" >> "$out"', to, "mosquitto_sub", "-h", host, "-p",
                port, "-V", "5", "-i", "chaos-observer", "-c", "-x", "3600", "-q", "1", "-k",
                "10", "-t", "vagt/+/status", "-t", sets, "-F", "%r\t%t\t%p\t%U"]

    def producer_argv(self, p):
        rate = self.rate / self.producers
        return [os.path.join(self.cluster.build, "bench/bench_lossless"), "stream", "--broker",
                self.cluster.broker, "--base", "load", "--client", f"chaos-{p['name']}",
                "--area-first", str(p["area"]), "--areas", "1", "--devices", str(p["devices"]),
                "--rate", f"{rate:.3f}", "--messages", str(int(rate * self.seconds) + 1),
                "--base-ms", str(p["base_ms"]), "--step-us", str(p["step_us"]), "--acked",
                self.history(f"acked-{p['name']}.txt"), "--patience", "60"]

    def longest(self):
        return max(int(ms) for ms in self.deadlines.split(","))

    def meters(self, first, n):
        """Meters first .. first + n - 1 of each area."""
        return [f"a{a}-m{i:03}" for i in range(first, first + n)
                for a in range(1, self.areas + 1)]

    def caller_argvs(self):
        shared = self.meters(0, min(CALLER_DEVICES, self.devices))
        own = self.meters(CALLER_DEVICES, min(PROBE_DEVICES, self.devices - CALLER_DEVICES))
        common = ["--nodes", ",".join(self.cluster.control)]
        for k in range(1, self.callers + 1):
            yield f"C{k}", [PYTHON, os.path.join(HERE, "caller.py"), *common, "--name", f"C{k}",
                            "--timeouts-ms", self.deadlines,
                            "--devices", ",".join(shared), "--rate",
                            str(self.command_rate / self.callers), "--seed",
                            str(self.seed * 100 + k), "--history",
                            self.history(f"commands-C{k}.jsonl")]
        conninfo = getattr(self.cluster, "conninfo", None)
        if self.table_rate > 0 and conninfo:
            yield "T1", [PYTHON, os.path.join(HERE, "caller.py"), *common, "--name", "T1",
                         "--timeouts-ms", self.deadlines,
                         "--table", conninfo, "--devices", ",".join(shared), "--rate",
                         str(self.table_rate), "--seed", str(self.seed * 100 + 99),
                         "--history", self.history("commands-T1.jsonl")]
        if self.probe_rate > 0 and own:
            yield "probe", [PYTHON, os.path.join(HERE, "caller.py"), *common, "--name", "probe",
                            "--probe", "--devices", ",".join(own), "--rate",
                            str(self.probe_rate), "--seed", str(self.seed * 100),
                            "--timeouts-ms", str(min(10000, self.longest())), "--history",
                            self.history("commands-probe.jsonl")]

    def dead(self):
        """Which part of the load does not run any more, though it should."""
        return [name for name in self.started if not self.cluster.alive(name)]

    # --- and afterwards ---

    def stop(self):
        """Nothing new. Producers wait for the broker, callers for the ends. Whoever does
        not stop in time is killed: what it has written counts."""
        end_first = [n for n in self.started if n not in ("observer", "sampler")]
        for name in end_first:
            self.cluster.kill(name, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while any(self.cluster.alive(n) for n in end_first) and time.monotonic() < until:
            time.sleep(0.1)
        late = [n for n in end_first if self.cluster.alive(n)]
        for name in late:
            self.cluster.kill(name, signal.SIGKILL)
        self.started = [n for n in self.started if n not in end_first]
        return late

    def ask(self, what, seconds):
        """What watcher.py finds, {} if it finds nothing in time."""
        to = self.history(f"{what}.json")
        if os.path.exists(to):
            os.unlink(to)
        self.cluster.spawn("load", what, [
            PYTHON, os.path.join(HERE, "watcher.py"), what, "--nodes",
            ",".join(self.cluster.control), "--seconds", str(seconds), "--to", to])
        until = time.monotonic() + 2 * seconds + SETTLE_S
        while self.cluster.alive(what) and time.monotonic() < until:
            time.sleep(0.1)
        if self.cluster.alive(what):
            self.cluster.kill(what, signal.SIGKILL)
        if not os.path.exists(to):
            return {}
        with open(to, encoding="utf-8") as f:
            return json.load(f)

    def wait_healthy(self, seconds=60):
        """From now, which should be when the last fault has healed. Into end.json, as
        finish() does."""
        return self.ask("end", seconds)

    def wait_drained(self, seconds=60):
        return bool(self.ask("drain", seconds).get("ok"))

    def finish(self, seconds=60):
        """Writes end.json, unless wait_healthy() was asked already, and the tables."""
        if not os.path.exists(self.history("end.json")):
            self.wait_healthy(seconds)
        for name in self.started:
            self.cluster.kill(name, signal.SIGTERM)
        until = time.monotonic() + 10
        while any(self.cluster.alive(n) for n in self.started) and time.monotonic() < until:
            time.sleep(0.1)
        self.started = []
        self.cluster.psql(READINGS, to=self.history("readings.tsv"))
        self.cluster.psql(FENCE, to=self.history("fence.tsv"))
        self.cluster.psql(ROWS, to=self.history("commands.tsv"))
