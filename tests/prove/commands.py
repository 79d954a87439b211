#!/usr/bin/env python3
"""Many commands to a real Zigbee2MQTT site, and the verdict over them.

    commands.py send  OPTIONS    give them, at a steady rate; one JSON line each
    commands.py judge OPTIONS    ask every node for each, the coordinators for what
                                 reached the devices, Postgres for its rows

Every second one is inserted into meter_commands, if that table exists; the others go
out by vagtctl. Nothing here uses code of the product, only its command line.
"""

import argparse
import concurrent.futures
import json
import random
import re
import subprocess
import time
import urllib.request
import uuid

FINAL = {"confirmed", "failed", "expired", "superseded", "cancelled"}
SHORT_MS = (1000, 2000, 5000, 10000)  # deadlines besides the default
DEFAULT_MS = 60000
ACCEPT_S = 60  # to find a node that accepts
WORKERS = 8


def options():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("what", choices=["send", "judge"])
    p.add_argument("--vagtctl", required=True)
    p.add_argument("--nodes", required=True, help="control sockets, with commas")
    p.add_argument("--postgres", required=True, help="conninfo")
    p.add_argument("--file", required=True, help="where the commands are kept")
    p.add_argument("--logs", nargs="*", default=[], help="of the nodes")
    p.add_argument("--coordinators", default="", help="control ports, with commas")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--rate", type=float, default=8)
    p.add_argument("--devices", type=int, default=6, help="per area")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--margin-ms", type=int, default=0, help="of a deadline")
    return p.parse_args()


def psql(opt, sql):
    """The lines of the answer, or None."""
    run = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", opt.postgres, "-c", sql],
        capture_output=True, text=True, check=False)
    return run.stdout.splitlines() if run.returncode == 0 else None


def vagtctl(opt, sockets, *args):
    run = subprocess.run([opt.vagtctl, "-s", sockets, "--json", *args],
                         capture_output=True, text=True, check=False)
    try:
        return json.loads(run.stdout)
    except ValueError:
        return {}


# --- giving them ---


def plan(opt, table):
    """The commands, each device switched on and off in turn, deadlines of all kinds."""
    rng = random.Random(opt.seed)
    areas = len(opt.coordinators.split(","))
    meters = [f"a{a + 1}-m{i:03}" for i in range(opt.devices) for a in range(areas)]
    for n in range(opt.count):
        short = n % 3 == 0
        yield {
            "n": n,
            "via": "table" if table and n % 2 == 1 else "vagtctl",
            "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "meter": meters[n % len(meters)],
            "value": "OFF" if n // len(meters) % 2 == 0 else "ON",
            "timeout_ms": rng.choice(SHORT_MS) if short else DEFAULT_MS,
        }


def give(opt, c):
    """Until somebody has it, under the same id."""
    until = time.time() + ACCEPT_S
    c["given"] = False
    c["asked"] = 0
    while not c["given"] and time.time() < until:
        c["asked"] += 1
        if c["via"] == "table":
            c["given"] = psql(opt, insert(c)) is not None
        else:
            answer = vagtctl(opt, opt.nodes, "--timeout", "5000", "send", c["meter"],
                             f"state={c['value']}", "--id", c["id"], "--no-wait",
                             "--timeout-ms", str(c["timeout_ms"]))
            c["given"] = "command" in answer
        if not c["given"]:
            time.sleep(0.05)
    return c


def insert(c):
    """As the site's own programs do it; only who wants another deadline says so."""
    late = c["timeout_ms"] != DEFAULT_MS
    expires = f", now() + interval '{c['timeout_ms']} ms'" if late else ""
    return (f"INSERT INTO meter_commands (id, meter_id, command, value"
            f"{', expires_at' if late else ''}) VALUES ('{c['id']}', '{c['meter']}', "
            f"'set_state', '{c['value']}'{expires}) ON CONFLICT DO NOTHING")


def send(opt):
    table = (psql(opt, "SELECT to_regclass('meter_commands')") or [""])[0] != ""
    began = time.time()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        waiting = []
        for c in plan(opt, table):
            if any(w.done() and not w.result()["given"] for w in waiting[-50:]):
                break  # Nobody took one within ACCEPT_S: there is no site any more.
            time.sleep(max(0, began + c["n"] / opt.rate - time.time()))
            waiting.append(pool.submit(give, opt, c))
        commands = [w.result() for w in waiting]
    with open(opt.file, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(c) + "\n" for c in commands)
    print("given", sum(c["given"] for c in commands))
    print("by_table", sum(c["via"] == "table" for c in commands))
    print("took_s", round(time.time() - began, 1))


# --- the verdict ---


def ledger_id(c):
    return ("pg:" if c["via"] == "table" else "") + c["id"]


def ask_all(opt, commands):
    """What each node says of each command: c["told"], one entry a node."""
    nodes = opt.nodes.split(",")

    def ask(c, node):
        return vagtctl(opt, node, "--timeout", "5000", "command", ledger_id(c)).get("command", {})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for c in commands:
            c["told"] = [pool.submit(ask, c, node) for node in nodes]
        for c in commands:
            c["told"] = [t.result() for t in c["told"]]


def never_taken(commands, rows):
    """Rows that nobody took before their deadline are expired where they are, without a
    command in the ledger: the row is all there is."""
    unseen = [c for c in commands
              if c["via"] == "table" and not any(c["told"]) and rows.get(c["id"]) == "expired"]
    for c in unseen:
        c["told"] = [{"status": "expired", "seq": 0, "attempts": 0, "accepted_ms": 0,
                      "deadline_ms": 0, "value": c["value"]}]
    return len(unseen)


def in_rows(opt):
    lines = psql(opt, "SELECT id || ' ' || status FROM meter_commands") or []
    return dict(line.split(" ") for line in lines)


def final_in_logs(opt):
    """Final states that a leader has logged, by id."""
    found = {}
    line_re = re.compile(r"ev=command id=(\S+) status=(\S+)")
    for name in opt.logs:
        with open(name, encoding="utf-8", errors="replace") as f:
            for line in f:
                m = line_re.search(line)
                if m and m.group(2) in FINAL:
                    found.setdefault(m.group(1).strip('"'), set()).add(m.group(2))
    return found


def from_coordinators(opt):
    """All that reached a device, and how the devices are now."""
    log, state = [], {}
    for area, port in enumerate(opt.coordinators.split(","), 1):
        base = f"http://127.0.0.1:{port}"
        for d in json.load(urllib.request.urlopen(base + "/devices")):
            state[f"a{area}-m{d['i']:03}"] = d["state"]
        for e in json.load(urllib.request.urlopen(base + "/log")):
            if e["what"] in ("ON", "OFF"):
                log.append((f"a{area}-m{e['dev']:03}", e["t"], e["what"]))
    return log, state


def lateness(log, commands):
    """Of each delivery: ms after the deadline of the command it can best be explained
    with (negative: before it), None if there is none."""
    by_meter = {}
    for c in commands:
        by_meter.setdefault((c["meter"], c["value"]), []).append(c["told"][0])
    for meter, t, value in log:
        may = [t - k["deadline_ms"] for k in by_meter.get((meter, value), [])
               if k and k["attempts"] > 0 and k["accepted_ms"] <= t]
        yield min(may, default=None)


def wrong_ends(log, state, commands):
    """Devices that are not as the last confirmed command wanted them. One whose later
    command reached it, but ended otherwise, is as that one wanted it."""
    wrong, excused = 0, 0
    for meter, is_now in state.items():
        mine = sorted((c["told"][0] for c in commands if c["meter"] == meter and c["told"][0]),
                      key=lambda k: k["seq"])
        confirmed = [k for k in mine if k["status"] == "confirmed"]
        if not confirmed or confirmed[-1]["value"] == is_now:
            continue
        later = [k for k in mine if k["seq"] > confirmed[-1]["seq"] and k["attempts"] > 0]
        if any(k["value"] == is_now for k in later):
            excused += 1
        else:
            wrong += 1
            print(f"# {meter} is {is_now}; last confirmed: {confirmed[-1]}")
    return wrong, excused


def judge(opt):
    with open(opt.file, encoding="utf-8") as f:
        commands = [json.loads(line) for line in f]
    ask_all(opt, commands)
    rows, logged = in_rows(opt), final_in_logs(opt)
    unseen = never_taken(commands, rows)
    log, state = from_coordinators(opt)
    ends = [{t.get("status") for t in c["told"]} for c in commands]
    late = list(lateness(log, commands))
    wrong, excused = wrong_ends(log, state, commands)
    known = [c["told"][0] for c in commands if c["told"][0]]
    table = [c for c in commands if c["via"] == "table"]
    print("one_end", sum(len(e) == 1 and e <= FINAL for e in ends))
    print("told_differently", sum(len(e) > 1 for e in ends))
    print("logged_twice", sum(len(s) > 1 for s in logged.values()))
    print("rows", len(table))
    print("rows_differ", sum(rows.get(c["id"]) != c["told"][0].get("status") for c in table))
    for status in sorted(FINAL):
        print(status, sum(k["status"] == status for k in known))
    print("never_taken", unseen)
    print("reached", len(log))
    print("attempts", sum(k["attempts"] for k in known))
    print("unexplained", sum(x is None for x in late))
    print("late", sum(x is not None and x > opt.margin_ms for x in late))
    print("latest_ms", max((x for x in late if x is not None), default=0))
    print("wrong_state", wrong)
    print("later_unconfirmed", excused)
    for c, e in zip(commands, ends):
        if not (len(e) == 1 and e <= FINAL):
            print("#", json.dumps(c))


if __name__ == "__main__":
    arguments = options()
    send(arguments) if arguments.what == "send" else judge(arguments)
