#!/usr/bin/python3
"""Asks the nodes how they are, over their control sockets.

    watcher.py sample --nodes E,E --to hash.jsonl    each node's state hash, until SIGTERM
    watcher.py drain --nodes E,E --seconds S --to F  until nothing waits and nothing is open
    watcher.py end --nodes E,E --seconds S --to F    until all are healthy and equal

drain and end write what they found as JSON, {"ok": true, ...}, and end with 0 or 1."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time

from caller import History, Nodes, now_us
from history import by_design

EVERY_S = 1.0
STEP_S = 0.1


async def own_hash(nodes, k):
    """(id, index, hash) of node k, as it says itself."""
    result, code = await nodes.ask(k, "hash", {})
    if code is not None:
        return None
    # Of the rows, the one of the node that answers is the one without a connection.
    status, code = await nodes.ask(k, "ping", {})
    rows = {r["id"]: r for r in result.get("nodes", [])}
    row = rows.get((status or {}).get("node"))
    return (row["id"], row["index"], row["hash"]) if row and row.get("hash") else None


async def sample(nodes, opt):
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    out = History(opt.to)
    while not stopping.is_set():
        found = await asyncio.gather(*(own_hash(nodes, k + 1) for k in range(len(opt.nodes))))
        for f in found:
            if f is not None:
                out.file.write(json.dumps({"t": now_us(), "node": f[0], "index": f[1],
                                           "hash": f[2]}) + "\n")
        try:
            await asyncio.wait_for(stopping.wait(), EVERY_S)
        except asyncio.TimeoutError:
            pass
    return {"ok": True}


async def statuses(nodes, opt):
    return [(await nodes.ask(k + 1, "status", {}))[0] for k in range(len(opt.nodes))]


async def until(opt, look):
    """look() gives what it found, with "ok"."""
    began = time.monotonic()
    while True:
        found = await look()
        found["took_s"] = round(time.monotonic() - began, 3)
        if found["ok"] or found["took_s"] > opt.seconds:
            return found
        await asyncio.sleep(STEP_S)


def waiting(status):
    """(readings in the outbox, open commands) as the site tells it, or None."""
    site = (status or {}).get("site")
    if not site or status.get("watch") is None:
        return None
    return site["outbox"]["readings"], site["commands"]["open"]


async def drain(nodes, opt):
    async def look():
        seen = [waiting(s) for s in await statuses(nodes, opt)]
        return {"ok": all(s == (0, 0) for s in seen), "waiting": seen}
    return await until(opt, look)


async def end(nodes, opt):
    """Healthy on all nodes; then, within the same time again, equal."""
    async def healthy():
        all_ = await statuses(nodes, opt)
        states = [s and s.get("health") for s in all_]
        why = sorted({i["text"] for s in all_ if s for i in s.get("issues", [])
                      if not by_design(i["text"])})
        return {"ok": all(s and s.get("watch") for s in all_) and not why, "health": states,
                "why": why}

    async def equal():
        found = await asyncio.gather(*(own_hash(nodes, k + 1) for k in range(len(opt.nodes))))
        return {"ok": None not in found and len({f[1:] for f in found}) == 1,
                "hashes": [{"node": f[0], "index": f[1], "hash": f[2]} for f in found if f]}

    first = await until(opt, healthy)
    second = await until(opt, equal)
    return {"ok": first["ok"] and second["ok"], "health": first["health"],
            "why": first["why"], "healthy_s": first["took_s"] if first["ok"] else None,
            "hashes": second["hashes"]}


async def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("sample", "drain", "end"))
    p.add_argument("--nodes", required=True, type=lambda s: s.split(","))
    p.add_argument("--to", required=True)
    p.add_argument("--seconds", type=float, default=60)
    opt = p.parse_args()
    nodes = Nodes(opt.nodes)
    found = await {"sample": sample, "drain": drain, "end": end}[opt.what](nodes, opt)
    if opt.what != "sample":
        with open(opt.to + ".new", "w", encoding="utf-8") as f:
            json.dump(found, f)
        os.replace(opt.to + ".new", opt.to)
    nodes.context.destroy(linger=0)
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
