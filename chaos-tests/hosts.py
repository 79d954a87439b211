"""A whole site moves from the NAS to a second host, told step by step: `./demo --hosts`.

Two hosts as network namespaces, the site's LAN between them; on it Postgres and the
coordinators of the meters. The host on watch has the address of the broker, Mosquitto and the
real Zigbee2MQTT; each host has its own disk. With --auto nobody is asked, and the exit code
says whether all went as it should. All of it is gone at the end, after Ctrl-C, too."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

import clean
import cluster
import net
import postgres
from moves import (VIP_HOST, Failed, Site, all_paired, bridges_online, let_join, need, on_watch,
                   ready, until_confirmed)


class Story:
    def __init__(self, site, auto):
        self.site, self.auto, self.failed = site, auto, False

    def say(self, text):
        print(text, flush=True)

    def check(self, what, holds):
        self.say(f"  {'ok   ' if holds else 'FAIL '} {what}")
        self.failed |= not holds

    def act(self, text):
        self.say("")
        if not self.auto:
            input(f"[Enter] {text} ")
        else:
            self.say(f"--- {text}")

    def where(self):
        """Who has what, as the machines themselves say it."""
        site = self.site
        for i in site.nodes():
            host = site.net.namespace(f"n{i}")
            has = []
            if net.run(["ip", "-n", host, "-o", "addr", "show", "to",
                        f"{net.NETWORK}{VIP_HOST}"], check=False) and site.alive(f"n{i}"):
                has.append(f"the address {net.NETWORK}{VIP_HOST}")
            lines = [command_line(pid) for pid in net.namespace_pids(host)]
            has += ["Mosquitto"] * any("mosquitto" in line for line in lines)
            bridges = sum("zigbee2mqtt/index.js" in line for line in lines)
            has += [f"{bridges} Zigbee2MQTT"] if bridges else []
            watch = " (on watch)" if site.watch() == i else ""
            state = "" if site.alive(f"n{i}") else " (no power)"
            self.say(f"  {site.name(i):5}{site.addr(f'n{i}'):13}"
                     f"{', '.join(has) or 'nothing of it'}{watch}{state}")

    def began(self):
        site = self.site
        self.say(f"two hosts, {site.areas} areas with {site.devices} meters each; they join now, "
                 "once in their life")
        let_join(site)
        on_watch(site, 1)
        self.where()
        self.check("all meters are online, and the other host could relieve", ready(site))
        command = " ".join(site.net.inside("load") + ["env", "VAGT_PLAINTEXT=1",
            os.path.join(site.build, "cli/vagtctl"), "-s", ",".join(site.control)])
        if not self.auto:
            self.say(f"\nLook for yourself, in another terminal, as root:\n\n  {command} status\n"
                     f"  {command} send a1-m000 state=ON\n  {command} files\n\n"
                     "Ctrl-C ends it all, and leaves nothing behind.")

    def switched(self, what, bound_s, began):
        first, last = until_confirmed(self.site, began)
        self.check(f"{what}: a meter did what it was told {first:.1f} s later", first < bound_s)
        self.check("... and one in each area" + (f", {last:.1f} s later" if last else ""),
                   last is not None)

    def vanish(self):
        self.act("the NAS loses its power, with all that it carries")
        began = time.monotonic()
        self.site.vanish_node(1)
        self.switched("power gone", 40, began)
        need(self.site, 60, "all bridges run on the other host", lambda: bridges_online(self.site))
        self.where()
        self.check("no meter had to join again: the pairings were on the other disk",
                   all(self.site.paired(2, k) == self.site.meters(k)
                       for k in range(1, self.site.areas + 1)))

    def come_back(self):
        self.act("the NAS gets its power again")
        began = time.monotonic()
        self.site.return_node(1)
        need(self.site, 120, "the NAS could relieve", lambda: ready(self.site))
        self.check(f"it stands by {time.monotonic() - began:.1f} s later", True)
        self.check("... and has disturbed nobody: the watch is where it was",
                   self.site.watch() == 2)
        self.where()

    def hand_back(self):
        self.act("the watch is handed back to the NAS, as planned work would")
        began = time.monotonic()
        code, text = self.site.vagtctl("--timeout", "60000", "handover", "nas", timeout=90)
        self.check("vagtctl handover nas", code == 0)
        if code != 0:
            self.say(text)
        self.switched("handed over", 40, began)
        on_watch(self.site, 1)
        self.where()
        self.check("the pairings of both hosts are all of them", all_paired(self.site) == 1)

    def tell(self):
        for step in (self.began, self.vanish, self.come_back, self.hand_back):
            step()
        self.act("everything is taken down" if self.auto else "take everything down")


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
            return f.read().replace("\0", " ")
    except OSError:
        return ""


def stopped(number, _):
    """Once: what takes everything down is not interrupted itself."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    print("\nends: everything is taken down", flush=True)
    sys.exit(128 + number)


def why_not(site):
    """What this machine lacks; "" if all is there."""
    reason = net.why_not()
    if reason:
        return reason
    if not os.access(site.node, os.X_OK) or not os.path.isdir(
            os.path.join(os.path.dirname(os.path.realpath(__file__)),
                         "../tests/rig/z2m/node_modules/zigbee2mqtt")):
        return "the real Zigbee2MQTT is not here: run deploy/setup.sh --with-z2m"
    return ""


def play(story):
    with story.site:
        try:
            story.tell()
        except (Failed, cluster.ClusterError, net.NetError) as e:
            story.check(str(e), False)
        except EOFError:
            pass  # Nobody answers any more.


def main(argv):
    parser = argparse.ArgumentParser(prog="./demo --hosts", description=__doc__)
    parser.add_argument("--auto", action="store_true")
    parser.add_argument("--clean", action="store_true", help="remove what dead runs have left")
    parser.add_argument("--home", required=True, help="where the run may have a folder")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--areas", type=int, default=2)
    parser.add_argument("--devices", type=int, default=3)
    args = parser.parse_args(argv)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.makedirs(args.home, exist_ok=True)
    home = args.home if postgres.can_reach(args.home) else tempfile.gettempdir()
    home = os.path.join(home, "vagt-demo-hosts") if home != args.home else home
    os.makedirs(home, exist_ok=True)
    if os.geteuid() == 0:
        clean.clean(home, quiet=True)
    if args.clean:
        for run in os.scandir(home):
            who = clean.owner(run.path)
            if not who or clean.start_time(who[0]) != who[1]:
                shutil.rmtree(run.path, ignore_errors=True)
        return 0
    run_dir = tempfile.mkdtemp(prefix="run-", dir=home)
    site = Site(run_dir, areas=args.areas, devices=args.devices, interval_ms=2000,
                build=args.build)
    reason = why_not(site)
    if reason:
        shutil.rmtree(run_dir)
        print(f"./demo --hosts cannot run here: {reason}", file=sys.stderr)
        return 77
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stopped)
    clean.claim(run_dir, site.net.prefix)
    story = Story(site, args.auto)
    try:
        play(story)
        left = [n for n in os.listdir(net.NETNS_DIR) if n.startswith(site.net.prefix)]
        story.check("nothing of it is left", not left)
    finally:
        if not story.failed:
            shutil.rmtree(run_dir, ignore_errors=True)
    print(f"something failed: see {run_dir}/log" if story.failed
          else "the site has moved, there and back: all is well", flush=True)
    return int(story.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
