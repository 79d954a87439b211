"""A node that lost its log is seeded anew, step by step as docs/disaster-recovery.md says
("A node lost its disk", "The log is damaged")."""

import os
import time

PATIENCE_S = 5


class RecoverError(Exception):
    pass


def row(status, i):
    return next((n for n in status.get("nodes", []) if n["id"] == i), {})


def level(c, i):
    """Does this node run, and has it all that the watch has committed?"""
    status = c.status()
    watch = (status.get("watch") or {}).get("node")
    mine, first = row(status, i), row(status, watch)
    return (watch is not None and mine.get("applied") is not None
            and mine.get("term") == first.get("term")
            and mine["applied"] >= first.get("committed", 0) - 200)


def conditions(c, i):
    """What is missing of the conditions under which an empty node may join; "" if nothing."""
    status = c.status()
    watch = (status.get("watch") or {}).get("node")
    if watch is None:
        return "nobody is on watch"
    others = [k for k in c.nodes() if k != i]
    rows = {k: row(status, k) for k in others}
    if any(r.get("raft") in (None, "unreachable") for r in rows.values()):
        return "not all other nodes are connected"
    if len({r.get("term") for r in rows.values()}) != 1:
        return "the others are not in one term"
    if any(r.get("lag", 1) != 0 for r in rows.values()):
        return "the others have a lag"
    # Confirmed in the present term: then both hold all that came before.
    code, text = c.vagtctl("send", c.canary, "state=ON", "--timeout-ms", "10000", timeout=20)
    if code != 0:
        return f"a command to {c.canary} was not confirmed: {text.strip()[-100:]}"
    again = c.status()
    if (again.get("watch") or {}).get("term") != (status.get("watch") or {}).get("term"):
        return "the watch changed meanwhile"
    return ""


def reseed(c, i, seconds=120):
    """Keep the old folder, wait for the conditions, bootstrap, start, compare. What was done,
    as a sentence; RecoverError if it does not work."""
    began = time.monotonic()
    aside = c.keep_disk(i)
    why = "?"
    while why:
        if time.monotonic() - began > seconds:
            raise RecoverError(f"node {i} cannot be seeded anew: {why}")
        why = conditions(c, i)
    c.bootstrap(i)
    c.damaged.discard(i)
    c.start_node(i)
    handover = ""
    if not c.wait_for(PATIENCE_S, lambda: level(c, i)):
        # The one on watch remembers what this node had before.
        code, _ = c.vagtctl("handover", timeout=20)
        handover = f", handover (exit code {code})"
    if not c.wait_for(seconds, lambda: level(c, i) and c.hash_equal()):
        raise RecoverError(f"node {i} was seeded anew and does not catch up")
    return f"{time.monotonic() - began:.1f} s{handover}, the old folder is {os.path.basename(aside)}"
