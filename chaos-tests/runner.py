"""One run: the site comes up, the load begins, faults come and go by the plan, everything
heals, the load drains, the checkers look at what was written down."""

import datetime
import heapq
import json
import os
import shutil
import threading
import time
import traceback

import check
import clean
import cluster
import load
import nemeses
import recover
import unavail

WARM_S = 3
HEALTHY_S = 60
DRAIN_S = 120


def wall():
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


class Run:
    def __init__(self, opt, home, chosen, left, events):
        self.opt, self.chosen, self.left, self.events = opt, chosen, left, events
        name = datetime.datetime.now().strftime("%m%d-%H%M%S") + f"-{opt.seed}"
        self.dir = os.path.join(home, name)
        os.makedirs(os.path.join(self.dir, "history"), exist_ok=True)
        needs = {need for n in chosen.values() for need in n.needs}
        self.cluster = cluster.Cluster(
            self.dir, nodes=opt.nodes, seed=opt.seed, build=opt.build,
            witness=opt.nodes if opt.witness else None,
            other_build=opt.other_build if "rolling-upgrade" in chosen else None,
            with_disk="disk" in needs,
            with_faketime="faketime" in needs, extra="\n".join(opt.set))
        clean.claim(self.dir, self.cluster.net.prefix)
        probe = min(10.0, opt.commands / 2)
        self.load = load.Load(self.cluster, seed=opt.seed, rate=opt.rate,
                              command_rate=opt.commands - probe, probe_rate=probe,
                              areas=self.cluster.areas, devices=self.cluster.devices,
                              producers=self.cluster.load_areas, seconds=opt.seconds + 600,
                              deadlines=opt.deadlines)
        with open(os.path.join(self.dir, "history/canary.json"), "w", encoding="utf-8") as f:
            json.dump(self.cluster.canary, f)
        self.going = []     # heap of (time, number, event, begins?, what ends it)
        self.number = 0
        self.counts = {}
        self.skipped = []
        self.problems = []
        self.began = time.monotonic()

    # --- what is said and written down ---

    def say(self, text):
        line = f"{wall()} {time.monotonic() - self.began:7.1f} s  {text}"
        print(line, flush=True)
        with open(os.path.join(self.dir, "chaos.log"), "a", encoding="utf-8") as f:
            f.write(line + "\n")

    def note(self, number, event, name, what, t=None):
        line = {"t": t or time.monotonic_ns() // 1000, "ev": event, "n": number,
                "nemesis": name, "what": what, "wall": wall()}
        with open(os.path.join(self.dir, "history/faults.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

    def problem(self, text):
        self.problems.append(text)
        self.say(f"PROBLEM: {text}")

    # --- the run ---

    def go(self):
        self.say(f"seed {self.opt.seed}, {self.opt.nodes} nodes, {len(self.events)} faults in "
                 f"{self.opt.seconds:g} s, {self.opt.rate:g} readings/s, files in {self.dir}")
        for name, why in self.left:
            self.say(f"left out: {name}: {why}")
        with self.cluster:
            # What a bridge says before anybody has ever subscribed, no broker keeps.
            if not self.cluster.wait_for(60, self.cluster.reading):
                self.problem("no node reads from the broker")
            self.load.prepare()
            self.load.start()
            threading.Thread(target=self.watch_memory, daemon=True).start()
            if not self.cluster.wait_for(60, self.cluster.healthy):
                self.problem("the site is not healthy before the first fault: "
                             + self.cluster.vagtctl("status")[1])
            time.sleep(WARM_S)
            self.say("all is healthy, the load runs")
            self.storm()
            return self.judge(self.calm_down())

    def storm(self):
        """Faults by the plan. What takes longer than planned makes the rest later."""
        begin = time.monotonic()
        for event in self.events:
            heapq.heappush(self.going, (begin + event.at, len(self.going), event, None))
        late = begin
        while self.going:
            at, order, event, end = heapq.heappop(self.going)
            if end is None and self.postponed(at, order, event):
                continue
            time.sleep(max(0.0, at - time.monotonic()))
            if end is None:
                self.shift(time.monotonic() - at)
                self.start_one(event, order)
            else:
                self.end_one(event, order, end)
            late = time.monotonic()
        time.sleep(max(0.0, begin + self.opt.seconds - late))

    def shift(self, late):
        """What comes later comes as much later, and not all at once."""
        if late > 0.5:
            self.going = [(t + late if end is None else t, order, event, end)
                          for t, order, event, end in self.going]
            heapq.heapify(self.going)

    def postponed(self, at, order, event):
        """Exclusive ones begin when all others are over, and nothing begins beside one. The
        plan knows that; but what takes longer than planned may upset it."""
        alone = self.chosen[event.name].exclusive
        until = [t for t, _, e, end in self.going if end is not None
                 and (alone or self.chosen[e.name].exclusive)]
        if not until:
            return False
        heapq.heappush(self.going, (max([at] + until) + 0.1, order, event, None))
        return True

    def start_one(self, event, order):
        nemesis = self.chosen[event.name]
        if nemesis.exclusive and not self.whole():
            self.skip(event, "the site is not healthy")
            return
        self.number += 1
        number, t = self.number, time.monotonic_ns() // 1000
        try:
            end, text = nemesis.begin(self.cluster, event.seed)
        except nemeses.Skip as why:
            self.skip(event, str(why))
            return
        except Exception as e:  # Whatever it is: heal, check, and say it.
            self.note(number, "begin", event.name, f"failed: {e}", t)
            self.note(number, "end", event.name, "")
            self.problem(f"{event.name}: {type(e).__name__}: {e}")
            self.trace()
            return
        self.counts[event.name] = self.counts.get(event.name, 0) + 1
        self.note(number, "begin", event.name, text, t)
        self.say(f"{event.name}: {text} ({event.duration:g} s)")
        heapq.heappush(self.going, (time.monotonic() + event.duration, order, event,
                                    (number, end)))

    def end_one(self, event, _, number_and_end):
        number, end = number_and_end
        try:
            end()
        except Exception as e:
            self.problem(f"end of {event.name}: {type(e).__name__}: {e}")
            self.trace()
        self.note(number, "end", event.name, "")
        self.say(f"{event.name}: over")

    def skip(self, event, why):
        self.skipped.append((event.name, why))
        self.say(f"{event.name}: skipped: {why}")

    def trace(self):
        with open(os.path.join(self.dir, "chaos.log"), "a", encoding="utf-8") as f:
            traceback.print_exc(file=f)

    def whole(self):
        """Before what damages one node for good: all others must be sound."""
        c = self.cluster
        self.reseed_damaged()
        return c.wait_for(HEALTHY_S, lambda: c.healthy() and all(
            recover.level(c, i) for i in c.nodes()))

    def reseed_damaged(self):
        for i in sorted(self.cluster.damaged):
            self.problem(f"node {i} refuses to start, and nobody has damaged its log: see "
                         f"{self.dir}/log/n{i}.log")
            try:
                self.say(f"node {i} is seeded anew: {recover.reseed(self.cluster, i)}")
            except (recover.RecoverError, cluster.ClusterError) as e:
                self.problem(str(e))
                self.cluster.damaged.discard(i)

    def calm_down(self):
        """Everything heals; the load ends. Names of parts of the load that would not."""
        c = self.cluster
        c.heal()
        self.say("everything is healed")
        self.reseed_damaged()
        self.load.wait_healthy(HEALTHY_S)
        self.say("healthy" if c.healthy() else "not healthy")
        gone = [n for n in self.load.dead() if n not in ("observer",)]
        late = self.load.stop()
        c.site("/interval?ms=0")  # Meters that go on reporting would always leave one to ship.
        self.say("the load has stopped; waiting until nothing waits")
        if gone:
            self.problem(f"parts of the load ended by themselves: {', '.join(gone)}")
        if late:
            self.problem(f"parts of the load did not end in time: {', '.join(late)}")
        if not self.load.wait_drained(DRAIN_S):
            self.problem(f"something still waits after {DRAIN_S} s: see history/drain.json")
        self.load.finish(HEALTHY_S)
        return gone + late

    def judge(self, _):
        self.say("checking")
        verdicts = check.run_all(self.dir)
        ok = all(v.ok for v in verdicts) and not self.problems
        return {
            "ok": ok, "seed": self.opt.seed, "nodes": self.opt.nodes,
            "seconds": self.opt.seconds, "rate": self.opt.rate, "run": self.dir,
            "took_s": round(time.monotonic() - self.began, 1), "counts": self.counts,
            "left_out": self.left, "skipped": self.skipped, "problems": self.problems,
            "verdicts": [v._asdict() for v in verdicts],
            "summary": self.summary()}

    def summary(self):
        try:
            return check.summary(self.dir)
        except Exception as e:  # A verdict has said so already.
            return {"error": f"{type(e).__name__}: {e}",
                    "unavailable": {"faults": [], "per fault": unavail.summary([]), "gaps": {}}}

    def watch_memory(self):
        """history/rss.jsonl: once a second, of each node."""
        path = os.path.join(self.dir, "history/rss.jsonl")
        with open(path, "a", encoding="utf-8", buffering=1) as out:
            while not self.cluster.stopping.wait(1):
                for i in self.cluster.nodes():
                    proc = self.cluster.procs.get(f"n{i}")
                    found = memory(proc.pid) if proc and proc.alive() else None
                    if found:
                        out.write(json.dumps({"t": time.monotonic_ns() // 1000, "node": i,
                                              **found}) + "\n")

    def forget(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def memory(pid):
    """{"rss_kb": now, "peak_kb": most} or None."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            fields = dict(line.split(":", 1) for line in f if line.startswith(("VmRSS", "VmHWM")))
        return {"rss_kb": int(fields["VmRSS"].split()[0]),
                "peak_kb": int(fields["VmHWM"].split()[0])}
    except (OSError, KeyError, ValueError):
        return None
