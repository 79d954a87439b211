"""./chaos: break a whole site, on purpose and by a seed, and see whether it keeps its word.

Three nodes (or 2, or 5), broker, Postgres, bridges and load, each on a host of its own
(network namespaces; nothing of this machine's network is touched). Needs root.

  ./chaos                             a minute of everything
  ./chaos --seconds 3600 --seed 7     an hour; the same seed plans the same faults
  ./chaos --nemesis kill,one-way      only these
  ./chaos --list                      what can go wrong
  ./chaos --clean                     remove what a run that was killed has left
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import clean
import disk
import nemeses
import net
import postgres
import runner
import schedule
import table
import cluster as site

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = 77


def options(argv):
    p = argparse.ArgumentParser(prog="./chaos", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nemesis", default="all", metavar="NAME,…", help="which faults (all)")
    p.add_argument("--seconds", type=float, default=60, help="how long faults are made (60)")
    p.add_argument("--seed", type=int, help="of the plan and of who is hit (random)")
    p.add_argument("--nodes", type=int, choices=(1, 2, 3, 4, 5), default=3, help="(3)")
    p.add_argument("--witness", action="store_true",
                   help="the last node only votes: with --nodes 3, two nodes and a witness")
    p.add_argument("--rate", type=float, default=500, help="readings a second (500)")
    p.add_argument("--commands", type=float, default=20, help="commands a second (20)")
    p.add_argument("--deadlines", default="2000,5000,10000,20000", metavar="MS,…",
                   help="how long commands live, one of these each (2000,5000,10000,20000)")
    p.add_argument("--every", type=float, default=5, help="seconds between faults (5)")
    p.add_argument("--together", type=int, default=schedule.TOGETHER,
                   help=f"faults at once, at most ({schedule.TOGETHER})")
    p.add_argument("--build", default=os.path.join(ROOT, "build/release"), help="(build/release)")
    p.add_argument("--other-build", help="an older build: nodes begin with it, for rolling-upgrade")
    p.add_argument("--set", action="append", default=[], metavar="YAML",
                   help="a line for each node's configuration: 'raft: {election: 500ms}'")
    p.add_argument("--markdown", metavar="FILE", help="the table, as Markdown")
    p.add_argument("--keep", action="store_true", help="keep all files, even if all holds")
    p.add_argument("--list", action="store_true", help="the faults, and what each needs")
    p.add_argument("--plan", action="store_true", help="what would be done, and when")
    p.add_argument("--clean", action="store_true", help="remove what dead runs have left")
    p.add_argument("--no-faults", action="store_true", help="the load alone, for comparison")
    return p.parse_args(argv)


def lacking(opt):
    """What cannot be played here: need -> why."""
    out = {}
    why = disk.why_not(os.path.join(opt.build, "chaos-tests/frailfs/frailfs"))
    if why:
        out["disk"] = why
    if not site.faketime_library():
        out["faketime"] = "libfaketime is not here: apt install faketime"
    if not opt.other_build:
        out["other-build"] = "--other-build names no other build"
    return out


def choose(opt):
    """({name: Nemesis}, [(name, why not)])"""
    wanted = list(nemeses.TABLE) if opt.nemesis == "all" else opt.nemesis.split(",")
    chosen, left = {}, []
    missing = lacking(opt)
    for name in wanted:
        if name in nemeses.NOT_YET:
            left.append((name, nemeses.NOT_YET[name]))
            continue
        if name not in nemeses.TABLE:
            sys.exit(f"./chaos: no nemesis is called {name}; ./chaos --list shows them")
        why = [missing[need] for need in nemeses.TABLE[name].needs if need in missing]
        if why:
            left.append((name, why[0]))
        else:
            chosen[name] = nemeses.TABLE[name]
    if opt.nemesis == "all":
        left += list(nemeses.NOT_YET.items())
    return chosen, left


def show_list():
    for n in nemeses.TABLE.values():
        notes = [f"needs {need}" for need in n.needs] + (["alone"] if n.exclusive else [])
        notes = f" ({', '.join(notes)})" if notes else ""
        print(f"{n.name:22} {n.text}; {n.shortest:g} to {n.longest:g} s{notes}")
    for name, why in nemeses.NOT_YET.items():
        print(f"{name:22} not yet: {why}")


def why_not(opt):
    """What this machine lacks; "" if all is there."""
    for tool in ("ip", "nft", "nsenter", "setpriv", "mosquitto", "mosquitto_sub", "curl"):
        if not shutil.which(tool):
            return f"{tool} is not here: run deploy/setup.sh"
    if subprocess.run(["/usr/bin/python3", "-c", "import zmq, msgpack"],
                      capture_output=True).returncode != 0:
        return "python3-zmq and python3-msgpack are not here: run deploy/setup.sh"
    for part in ("node/vagtd", "cli/vagtctl", "tests/rig/sitesim", "bench/bench_lossless",
                 "chaos-tests/framedelay"):
        if not os.access(os.path.join(opt.build, part), os.X_OK):
            return f"{opt.build}/{part} is not built: cmake --build --preset release"
    return net.why_not()


def home():
    """Where runs are kept: a place that Postgres' user can reach."""
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    if postgres.can_reach(os.path.join(ROOT, "build")):
        return os.path.join(ROOT, "build/chaos")
    return "/tmp/vagt-chaos"


def main(argv):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    opt = options(argv)
    if opt.list:
        show_list()
        return 0
    chosen, left = choose(opt)
    if opt.seed is None:
        opt.seed = random.SystemRandom().randrange(1, 1000000)
    events = [] if opt.no_faults else schedule.plan(opt.seed, opt.seconds, chosen, opt.every,
                                                    opt.together)
    if opt.plan:
        for e in events:
            print(f"{e.at:8.1f} s  {e.name:22} for {e.duration:g} s")
        return 0
    why = why_not(opt)
    if why:
        print(f"./chaos: cannot run here: {why}", file=sys.stderr)
        return SKIPPED
    if opt.clean:
        return clean.clean(home())
    # Ctrl-C and kill tear everything down, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    run = runner.Run(opt, home(), chosen, left, events)
    result = run.go()
    print(table.text(result))
    if opt.markdown:
        with open(opt.markdown, "w", encoding="utf-8") as f:
            f.write(table.markdown(result))
    with open(os.path.join(run.dir, "result.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1, default=str)
    if result["ok"] and not opt.keep:
        run.forget()
    else:
        print(f"files: {run.dir}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
