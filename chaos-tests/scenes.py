"""What a site that moves with the watch promises, scene by scene. For `./prove site`: prints
`NAME VALUE`, a figure a line; what an operator would read goes to standard error.

    scenes.py --dir DIR --build BUILD --areas 6 --devices 8 --scenes vanish
    scenes.py --dir DIR --areas 2 --devices 3 --scenes full,busy,stuck,drill
"""

import argparse
import glob
import os
import re
import signal
import sys
import threading
import time

import clean
import cluster
import net
from moves import (COORDINATOR_PORT, VIP_HOST, Failed, Offline, Site, all_paired,
                   bridges_online, come_back, figure, let_join, need, on_watch, ready, sentences,
                   until_confirmed, vanish)

HALF = '{"id":99,"type":"Router","ieeeAddr":"0xa4c138'
TOLD_S = 60  # A half-written file is told after so long.


class Holders(threading.Thread):
    """How many hosts have the address, or the program, at a time: looked at all the time."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.most, self.looks, self.done = site, 0, 0, threading.Event()

    def has_address(self, i):
        return net.run(["ip", "-n", self.site.net.namespace(f"n{i}"), "-o", "addr", "show", "to",
                        f"{net.NETWORK}{VIP_HOST}"], check=False) != ""

    def has_program(self, i):
        try:
            with open(self.site.path(f"n{i}", "stubborn.pid"), encoding="ascii") as f:
                pid = f.read().strip()
            with open(f"/proc/{pid}/cmdline", encoding="ascii") as f:
                return f.read().startswith("sleep")
        except (OSError, ValueError):
            return False

    def run(self):
        while not self.done.wait(0.02):
            for has in (self.has_address, self.has_program):
                # The first is asked twice: what moved between two looks is no second holder.
                both = has(1) and has(2) and has(1)
                self.most = max(self.most, 2 if both else int(has(1) or has(2)))
            self.looks += 1


def told(site, pattern):
    return re.search(pattern, sentences(site)) is not None


def half_write(site, nas):
    """The database of the first area is half written, and stays so: the bridge mends it when it
    writes it again."""
    with open(os.path.join(site.z2m_dir(nas, 1), "database.db"), "r+", encoding="utf-8") as f:
        if not f.read().endswith(HALF):
            f.write(HALF)


def half_is_told(site, nas):
    def so():
        half_write(site, nas)
        return told(site, r"database\.db")
    began = time.monotonic()
    need(site, TOLD_S + 30, "the half-written file is told", so)
    figure("half_told", f"{time.monotonic() - began:.0f}")


def half_was_kept_out(site, nas):
    kept = glob.glob(site.path(f"n{3 - nas}", "z2m-a1*", "*")) + glob.glob(site.path("n?", "data/files/*"))
    figure("half_copied", sum(HALF.encode() + b"\n" in open(path, "rb").read() + b"\n"
                              for path in kept if os.path.isfile(path)))


def scene_vanish(site, patient):
    nas = site.watch()
    offline = Offline(site)
    offline.start()
    half_write(site, nas)
    if patient:
        half_is_told(site, nas)
    vanish(site, nas, offline, lambda: half_write(site, nas))
    half_was_kept_out(site, nas)
    come_back(site, nas)
    offline.done.set()
    figure("offline_looks", offline.looks)
    on_watch(site, nas)
    # What its broker kept from before says that all is online; a meter says more.
    figure("handed_back", f"{until_confirmed(site, time.monotonic())[0]:.1f}")
    figure("half_aside", len(glob.glob(site.path(f"n{nas}", "z2m-a1.aside-*"))))


def scene_full(site, _):
    """The disk of the other host is full while something is copied to it."""
    spare = 3 - site.watch()
    site.room(spare, 64)
    with open(os.path.join(site.z2m_dir(3 - spare, 1), "converter.txt"), "w",
              encoding="ascii") as f:
        f.write("x" * 400_000)
    began = time.monotonic()
    need(site, 30, "the full disk is told", lambda: told(site, "cannot keep copies"))
    figure("full_told", f"{time.monotonic() - began:.1f}")
    figure("full_acknowledged", int(holds_it(site, spare)))
    figure("full_switched", int(site.switch(1, 0, "OFF")))
    site.room(spare, 16 * 1024)
    began = time.monotonic()
    need(site, 60, "it goes on when there is room",
         lambda: holds_it(site, spare) and site.copied(spare))
    figure("full_went_on", f"{time.monotonic() - began:.1f}")
    need(site, 30, "nothing of it is told any more",
         lambda: not told(site, "cannot keep copies") and ready(site))


def holds_it(site, i):
    """A version with that file is agreed upon, and has all its contents there."""
    sizes = [os.path.getsize(path) for path in glob.glob(os.path.join(site.contents(i), "*"))]
    return 400_000 in sizes and any(s["bytes"] > 400_000 for s in site.status().get("files", []))


def scene_busy(site, _):
    """Somebody sits at the coordinator of the last area while the watch moves."""
    k, to = site.areas, 3 - site.watch()
    name = f"bridge-area{k}"
    site.vagtctl("area", "off", f"area{k}")
    need(site, 30, "an area is off", lambda: site.resources()[name]["state"] == "stopped")
    site.coordinator(k, "/second", {"mode": "reject"})
    address = f"{site.addr('site')}/{COORDINATOR_PORT + k}"
    sitter = site.spawn("load", "sitter", ["bash", "-c", f"exec 7<> /dev/tcp/{address} && "
                                           "exec sleep 1000"])
    need(site, 10, "the seat is taken",
         lambda: (site.coordinator(k, "/stats") or {}).get("connected"))
    site.vagtctl("area", "on", f"area{k}")
    site.vagtctl("--timeout", "60000", "handover", cluster.NAMES[to], timeout=90)
    began = time.monotonic()
    need(site, 30, "the busy coordinator is told", lambda: told(site, "still has a client"))
    done = [site.wait_for(60, lambda k=other: site.switch(k, 0, "ON", 1500))
            for other in range(1, site.areas)]
    figure("busy_others", sum(done))
    figure("busy_others_took", f"{time.monotonic() - began:.1f}")
    figure("busy_started", int(site.resources()[name]["state"] == "running"))
    sitter.kill()
    began = time.monotonic()
    need(site, 60, "the area goes on when the seat is free", lambda: bridges_online(site))
    figure("busy_went_on", f"{time.monotonic() - began:.1f}")
    site.coordinator(k, "/second", {"mode": "kick"})
    need(site, 60, "the other could relieve", lambda: ready(site))


def scene_stuck(site, _):
    """A program refuses to stop: its node fences itself, then the other may have it."""
    old = site.watch()
    holders = Holders(site)
    holders.start()
    ended = len(site.exits)
    with open(site.path("refuse"), "w", encoding="ascii"):
        pass
    began = time.monotonic()
    asked = threading.Thread(target=site.vagtctl, args=("--timeout", "20000", "handover"),
                             daemon=True)
    asked.start()
    need(site, 30, "the node that cannot stop it fences itself",
         lambda: any(node == old for _, node, _ in site.exits[ended:]))
    os.unlink(site.path("refuse"))
    figure("stuck_fenced", f"{time.monotonic() - began:.1f}")
    first, _ = until_confirmed(site, began)
    figure("stuck_first", f"{first:.1f}")
    need(site, 90, "all runs elsewhere, and the other is back",
         lambda: bridges_online(site) and ready(site))
    holders.done.set()
    figure("stuck_moved", int(site.watch() != old))
    figure("holders", holders.most)
    figure("holders_looks", holders.looks)


def scene_drill(site, _):
    """A drill, and its report."""
    code, text = site.vagtctl("--timeout", "90000", "drill", "handover", "--yes", timeout=120)
    if code != 0:
        print(text, file=sys.stderr)
    figure("drill", code)
    newest = site.vagtctl("drills", "--limit", "1")[1]
    number = re.search(r"^ *(\d+) ", newest, re.M)
    print(site.vagtctl("drill", "show", number[1] if number else "1")[1], file=sys.stderr)
    need(site, 60, "all bridges run after the drill", lambda: bridges_online(site))


SCENES = {"vanish": scene_vanish, "full": scene_full, "busy": scene_busy, "stuck": scene_stuck,
          "drill": scene_drill}


def options(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dir", required=True)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--areas", type=int, default=6)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--interval-ms", type=int, default=2000, help="of their reports")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--patient", action="store_true",
                        help="wait the minute until a half-written file is told")
    return parser.parse_args(argv)


def main(argv):
    args = options(argv)
    reason = net.why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    site = Site(args.dir, areas=args.areas, devices=args.devices,
                interval_ms=args.interval_ms, build=args.build)
    clean.claim(args.dir, site.net.prefix)
    try:
        with site:
            let_join(site)
            joined = [site.joined(k) for k in range(1, site.areas + 1)]
            for name in args.scenes.split(","):
                SCENES[name](site, args.patient)
            figure("paired", all_paired(site))
            figure("rejoined", sum(joined) - sum(site.joined(k) for k in range(1, site.areas + 1)))
    except (Failed, cluster.ClusterError, net.NetError) as e:
        print(f"scenes: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
