"""The nodes: same state, healthy after it is over, nothing bad in any log, and no more
memory than before.

Reads history/end.json (health and hashes, asked of every node by load.py), hash.jsonl
(sampled while running), rss.jsonl and log/n*.log."""

import collections
import re
import statistics

import history
from history import verdict

HEALTHY_S = 60
BAD = re.compile(r"ev=fatal|ssertion|start\.failed|state\.diverged|ev=entry\.unreadable"
                 r"|ERROR: \w*Sanitizer|runtime error:|SUMMARY: \w*Sanitizer|Segmentation|panic")
# What a node must say when its disk is damaged or gives up, and nothing else may excuse.
DISK_FAULTS = ("flip", "truncate", "snapshot", "disk", "power", "eio", "full")
DISK_WORDS = re.compile(r"start\.failed|what=disk\.failed|what=snapshot")
# Resident memory may settle this much above where it was after the start.
RSS_FACTOR = 1.5
RSS_MORE_KB = 24 * 1024


def check_hashes(samples, end, nodes):
    of_index = collections.defaultdict(dict)
    for s in samples:
        of_index[s["index"]].setdefault(s["hash"], set()).add(s["node"])
    differ = [(i, h) for i, h in sorted(of_index.items()) if len(h) > 1]
    last = {r["node"]: (r["index"], r["hash"]) for r in end.get("hashes", [])}
    compared = sum(1 for h in of_index.values() for who in h.values() if len(who) > 1)
    return [
        verdict("nodes: different states at one index", len(differ), 0,
                history.examples(differ)),
        verdict("nodes: not at the same index and state at the end",
                0 if len(last) == nodes and len(set(last.values())) == 1 else 1, 0, str(last)),
        history.Verdict("nodes: states compared", compared, "> 0", compared > 0, ""),
    ]


def check_health(end):
    took = end.get("healthy_s")
    return [history.Verdict("nodes: seconds until healthy, after it was over",
                            "never" if took is None else round(took, 1), HEALTHY_S,
                            took is not None and took <= HEALTHY_S,
                            "" if took is not None else str(end.get("why", "")))]


def check_logs(named_lines, found):
    """named_lines: (name, lines)"""
    disk = bool(history.any_of(found, DISK_FAULTS))
    bad = []
    for name, lines in named_lines:
        bad += [f"{name}: {line[:300]}" for line in lines
                if BAD.search(line) and not (disk and DISK_WORDS.search(line))]
    return [verdict("nodes: bad words in the logs", len(bad), 0, history.examples(bad)),
            verdict("nodes: logs missing", 0 if named_lines else 1)]


def check_memory(samples):
    """The median of each node's last samples, against those after a start: of every life
    the first ones, since a node that was killed begins anew."""
    of_node = collections.defaultdict(list)
    for s in samples:
        of_node[s["node"]].append(s["rss_kb"])
    grown = []
    for node, rss in sorted(of_node.items()):
        if len(rss) < 10:
            continue
        n = min(20, len(rss) // 3)
        early, late = statistics.median(rss[:n]), statistics.median(rss[-n:])
        if late > early * RSS_FACTOR + RSS_MORE_KB:
            grown.append((node, f"{early / 1024:.0f} MiB", f"{late / 1024:.0f} MiB"))
    return [verdict("nodes: memory not back at its level", len(grown), 0,
                    history.examples(grown))]


def check(run):
    spec = history.json_file(history.path(run, "history", "load.json"), {})
    end = history.json_file(history.path(run, "history", "end.json"), {})
    logs = [(name, list(history.text_lines(name)))
            for name in history.files(run, "log/n[0-9]*.log")]
    return (check_hashes(list(history.json_lines(history.path(run, "history", "hash.jsonl"))),
                         end, spec.get("nodes", 0)) +
            check_health(end) + check_logs(logs, history.faults(run)) +
            check_memory(list(history.json_lines(history.path(run, "history", "rss.jsonl")))))
