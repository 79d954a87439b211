"""One watch: terms never take turns, neither in Postgres nor at the broker.

Postgres: load.py puts a trigger on vagt_fence that writes a row for each change of it, in
the transaction that makes it (history/fence.tsv: n, term, node, from, to, xid, wall
microseconds). The row of the fence is locked by whoever changes it, so n is the order of
the commits. Each row of meter_readings tells the transaction that wrote it (xmin): it
must be one that moved the fence over just these numbers.

Broker: its own log (log_type all) tells who connected as our writer, from which address,
and each message it got from it; an observer that subscribes the status and all commands
(history/broker.tsv: topic, payload, retain, wall seconds) tells the order in which they
left."""

import json
import re

import history
from history import verdict

# mosquitto 2.0: "New client connected from 10.9.0.2:4711 as vagt-campsite-out (p5, ..."
CONNECTED = re.compile(r"New client connected from ([\d.]+):\d+ as vagt-(\S+)-out ")
RECEIVED = re.compile(r"Received PUBLISH from vagt-(\S+)-out \(.*'([^']*)'")
STATUS = re.compile(r"vagt/[^/]+/status$")
# The log of a node, for who it is that connects: the address is its own.
WATCH = re.compile(r"ts=([\d.]+) node=(\S+) ev=watch from=\S+ to=active term=(\d+)")


def fence(run):
    names = ("n", "term", "node", "begin", "end", "xid", "wall_us")
    return [dict(zip(names, [int(r[0]), int(r[1]), r[2], *map(int, r[3:7])]))
            for r in history.rows(history.path(run, "history", "fence.tsv"))]


def check_fence(rows):
    back, gaps, shared = [], [], []
    node_of = {}
    previous = None
    for r in sorted(rows, key=lambda r: r["n"]):
        if previous and r["term"] < previous["term"]:
            back.append((r, "after", previous))
        if previous and r["begin"] != previous["end"] or r["end"] < r["begin"]:
            gaps.append((r, "after", previous))
        if node_of.setdefault(r["term"], r["node"]) != r["node"]:
            shared.append((r["term"], node_of[r["term"]], r["node"]))
        previous = r
    return [
        verdict("terms: an older one writes to Postgres after a newer one", len(back), 0,
                history.examples(back)),
        verdict("terms: the watermark jumps", len(gaps), 0, history.examples(gaps)),
        verdict("terms: of two nodes", len(shared), 0, history.examples(shared)),
        verdict("terms: Postgres histories without a write", 0 if rows else 1),
    ]


def check_rows(run, rows):
    """Each row was written by a transaction that moved the watermark over its number."""
    of_xid = {}
    for r in rows:
        low, high = of_xid.get(r["xid"], (r["begin"], r["end"]))
        of_xid[r["xid"]] = (min(low, r["begin"]), max(high, r["end"]))
    outside = []
    for row in history.rows(history.path(run, "history", "readings.tsv")):
        low, high = of_xid.get(int(row[8]), (0, 0))
        if not low < int(row[7]) <= high:
            outside.append((row[0], row[7], "by transaction", row[8], (low, high)))
    return [verdict("terms: rows written outside a transaction of the fence", len(outside), 0,
                    history.examples(outside))]


# --- the broker ---


def observed(run):
    """(topic, payload, retained) in the order of the broker."""
    for row in history.rows(history.path(run, "history", "broker.tsv")):
        if len(row) >= 3:
            yield row[1], row[2], row[0] == "1"


def check_observed(messages):
    """A status says the term of who writes it: after a newer one no older one may come."""
    highest, back, commands, names = 0, [], 0, {}
    for topic, payload, retained in messages:
        if topic.endswith("/set"):
            commands += 1
            continue
        if retained or not STATUS.search(topic):
            continue
        try:
            status = json.loads(payload)
        except ValueError:
            back.append((topic, payload))
            continue
        term = status.get("term")
        if term is None:
            continue  # the last will
        if term < highest:
            back.append((status, "after term", highest))
        if names.setdefault(term, status.get("watch")) != status.get("watch"):
            back.append((status, "and", names[term], "in one term"))
        highest = max(highest, term)
    return [verdict("terms: an older one speaks at the broker after a newer one", len(back),
                    0, history.examples(back)),
            verdict("terms: broker histories without a status", 0 if highest else 1)]


def terms_of_nodes(run):
    """Name -> [(wall seconds, term)] of when it came on watch, out of its log."""
    found = {}
    for name in history.files(run, "log/n*.log"):
        for line in history.text_lines(name):
            m = WATCH.search(line)
            if m:
                found.setdefault(m.group(2), []).append((float(m.group(1)), int(m.group(3))))
    return found


def check_broker_log(lines, node_of_address):
    """Who publishes as our writer is who connected last. A node that comes back after
    another one has acted must have been on watch again: it publishes nothing before it
    connects, and the broker knows one connection per client id. What is counted is a
    message from a writer that is not connected, which would be two at once."""
    connected, by_turn, stray = {}, [], []
    for line in lines:
        m = CONNECTED.search(line)
        if m:
            node = node_of_address.get(m.group(1), m.group(1))
            connected[m.group(2)] = node
            by_turn.append([node, 0])
            continue
        m = RECEIVED.search(line)
        if m and m.group(2).endswith("/set"):
            if m.group(1) not in connected:
                stray.append(line)
            else:
                by_turn[-1][1] += 1
    return by_turn, stray


def check(run):
    rows = fence(run)
    spec = history.json_file(history.path(run, "history", "load.json"), {})
    out = check_fence(rows) + check_rows(run, rows) + check_observed(observed(run))
    for name in history.files(run, "log/broker*.log"):
        turns, stray = check_broker_log(history.text_lines(name), spec.get("addresses", {}))
        out.append(verdict("terms: commands from a writer that is not connected", len(stray),
                           0, history.examples(stray)))
        out.append(verdict("terms: broker logs without our writer", 0 if turns else 1))
    return out
