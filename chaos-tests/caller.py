#!/usr/bin/python3
"""Callers: they give commands to the nodes, read in between, and write down what they
saw. Needs python3-zmq and python3-msgpack of Debian, and nothing of the product: it
speaks the control protocol (docs/protocol.md) over TCP.

    caller.py --nodes tcp://A:P,tcp://B:P --devices NAME,NAME --history FILE [options]

Until SIGTERM; then nothing new is given, every command is waited for, and every node is
asked for the end of each. One JSON line per event, times in microseconds of the monotonic
clock, which all processes of this machine share:

    {"t": 1, "c": "C1.0", "op": "send", "ev": "invoke", "id": ..., "dev": ..., "value": "ON",
     "timeout_ms": ...}
    ... "ev": "try", "node": k        asked of node k (1..)
    ... "ev": "ok", "command": {...}  accepted: the command as the cluster tells it
    ... "ev": "fail", "code": ...     refused: it did not happen
    ... "ev": "info"                  nobody knows
    op "again": the same id sent once more, which reads through the leader; "look": what one
    node says by itself; "cancel"; "end": the first that we heard of its end; "final": what
    node k says of it afterwards ("status": null: it knows it no more)

With --table CONNINFO the commands are rows of meter_commands, put in by psql (op "insert";
the id is pg: and that of the row). What became of a row that never was a command stands
in the row only. Callers wait for each command. The probe (--probe) does not: a new command each 1/rate
seconds whatever happens, so that it is seen how long nobody takes or confirms one.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import time
import uuid

import msgpack
import zmq
import zmq.asyncio

ENDED = ("confirmed", "failed", "expired", "superseded", "cancelled")
AGAIN = ("busy", "no_watch", "not_leader", "timeout", "unknown_outcome", "limit")
SILENCE_S = 1.5      # then another node is asked
PROBE_SILENCE_S = 0.25
ACCEPT_S = 90        # then nobody knows whether a command was accepted
END_S = 150          # after its deadline; then it has no end
TABLE_END_S = 20     # the same for a row, which may never become a command
PSQL_S = 5
AWAIT_MS = 1000
AUDIT_AFTER_S = 0.5
FORGOTTEN_S = 120    # a node that has not heard of it by then does not know it
LAST = 300           # so many are asked for once more at the end


def now_us():
    return time.monotonic_ns() // 1000


class History:
    """Lines in a file; each is complete when it is written."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)

    def note(self, client, op, event, **fields):
        self.file.write(json.dumps({"t": now_us(), "c": client, "op": op, "ev": event,
                                    **fields}, separators=(",", ":")) + "\n")


class Nodes:
    """A socket to each node. A node that does not answer costs the caller its time."""

    def __init__(self, endpoints):
        self.context = zmq.asyncio.Context()
        self.endpoints = endpoints
        self.waiting = {}
        self.count = 0
        self.sockets = [self.open(e) for e in endpoints]
        self.readers = [asyncio.ensure_future(self.read(s)) for s in self.sockets]

    def open(self, endpoint):
        s = self.context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.IMMEDIATE, 1), (zmq.RECONNECT_IVL, 20),
                              (zmq.RECONNECT_IVL_MAX, 200), (zmq.CONNECT_TIMEOUT, 1000),
                              (zmq.HEARTBEAT_IVL, 500), (zmq.HEARTBEAT_TIMEOUT, 2000)):
            s.setsockopt(option, value)
        s.connect(endpoint)
        return s

    async def read(self, s):
        while True:
            try:
                reply = msgpack.unpackb(await s.recv(), raw=False, strict_map_key=False)
                future = self.waiting.pop(reply.get("id"), None)
            except (ValueError, msgpack.UnpackException, AttributeError):
                continue
            if future is not None and not future.done():
                future.set_result(reply)

    async def ask(self, k, op, args, silence_s=SILENCE_S):
        """(result, None) or (None, code) of node k (1..); code "silent": no answer."""
        self.count += 1
        number = self.count
        future = asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        try:
            await self.sockets[k - 1].send(
                msgpack.packb({"v": 1, "id": number, "op": op, "args": args}), zmq.NOBLOCK)
            reply = await asyncio.wait_for(future, silence_s)
        except zmq.Again:
            return None, "unreachable"
        except asyncio.TimeoutError:
            return None, "silent"
        finally:
            self.waiting.pop(number, None)
        if reply.get("ok"):
            return reply.get("result") or {}, None
        return None, (reply.get("error") or {}).get("code", "unknown")


KEPT = ("id", "seq", "name", "value", "status", "attempts", "accepted_ms", "sent_ms",
        "ended_ms", "deadline_ms", "reason")


def kept(result):
    """What we write down of a command."""
    c = (result or {}).get("command") or {}
    return {k: c[k] for k in KEPT if k in c}


class Callers:
    def __init__(self, opt):
        self.opt = opt
        self.nodes = Nodes(opt.nodes)
        self.history = History(opt.history)
        self.rng = random.Random(opt.seed)
        self.stopping = asyncio.Event()
        self.audits = asyncio.Queue()
        self.ended = []
        self.given = 0

    # --- one command ---

    def new(self, client):
        self.given += 1
        return {"id": f"{client}-{self.opt.seed}-{self.given}",
                "device": self.rng.choice(self.opt.devices),
                "property": "state", "value": self.rng.choice(("ON", "OFF")),
                "timeout_ms": self.rng.choice(self.opt.timeouts_ms)}

    def pick(self):
        return self.rng.randrange(len(self.opt.nodes)) + 1

    async def send(self, client, args, op="send", silence_s=SILENCE_S, patience_s=ACCEPT_S):
        """Until a node has taken it, under the same id."""
        note = self.history.note
        k = self.pick()
        note(client, op, "invoke", id=args["id"], dev=args["device"], value=args["value"],
             timeout_ms=args["timeout_ms"])
        until = time.monotonic() + patience_s
        code, tries = "none", 0
        while time.monotonic() < until:
            note(client, op, "try", id=args["id"], node=k)
            result, code = await self.nodes.ask(k, "send", args, silence_s)
            if code is None:
                note(client, op, "ok", id=args["id"], node=k, command=kept(result))
                return kept(result)
            if code not in AGAIN + ("silent", "unreachable"):
                # A node that begins may not know the device: that is not for ever.
                note(client, op, "fail", id=args["id"], node=k, code=code)
                return None
            # Quickly at first; when nobody takes it, not ever as often.
            tries += 1
            await asyncio.sleep(0 if code == "silent" else min(0.01 * tries, 0.2))
            k = k % len(self.opt.nodes) + 1
        note(client, op, "info", id=args["id"], code=code)
        return None

    async def wait_end(self, client, args, silence_s=SILENCE_S, end_s=END_S):
        """Its end, as the first node tells it; None if it has none."""
        until = time.monotonic() + args["timeout_ms"] / 1000 + end_s
        k = self.pick()
        while time.monotonic() < until:
            result, code = await self.nodes.ask(
                k, "await", {"id": args["id"], "timeout_ms": AWAIT_MS},
                AWAIT_MS / 1000 + silence_s)
            command = kept(result)
            if code is None and command.get("status") in ENDED:
                self.history.note(client, "end", "ok", id=args["id"], node=k, command=command)
                self.audits.put_nowait((time.monotonic() + AUDIT_AFTER_S, args["id"]))
                return command
            if code not in (None, "silent"):
                await asyncio.sleep(0.05)
            k = k % len(self.opt.nodes) + 1
        if end_s == END_S:  # Rows need not become commands.
            self.history.note(client, "end", "info", id=args["id"])
        return None

    async def read_between(self, client, args):
        what = self.rng.random()
        if what < 0.25:
            await self.send(client, args, op="again", patience_s=5)
        elif what < 0.5:
            k = self.pick()
            self.history.note(client, "look", "invoke", id=args["id"], node=k)
            result, code = await self.nodes.ask(k, "command", {"id": args["id"]})
            self.history.note(client, "look", "ok" if code is None else "fail",
                              id=args["id"], node=k, command=kept(result), code=code)
        elif what < 0.55:
            k = self.pick()
            self.history.note(client, "cancel", "invoke", id=args["id"])
            result, code = await self.nodes.ask(k, "cancel", {"id": args["id"]})
            self.history.note(client, "cancel", "ok" if code is None else "info",
                              id=args["id"], command=kept(result), code=code)

    # --- who calls ---

    async def pause(self, seconds):
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except asyncio.TimeoutError:
                pass

    async def caller(self, n):
        client = f"{self.opt.name}.{n}"
        every = self.opt.callers / self.opt.rate
        at = time.monotonic() + every * self.rng.random()
        while not self.stopping.is_set():
            await self.pause(at - time.monotonic())
            if self.stopping.is_set():
                return
            at = max(at + every, time.monotonic() - every)
            args = self.new(client)
            if await self.send(client, args) is None:
                continue
            await self.read_between(client, args)
            await self.wait_end(client, args)

    # --- rows of meter_commands ---

    async def insert(self, client, args):
        """True when Postgres has the row. The same row again harms nobody."""
        sql = ("INSERT INTO meter_commands (id, meter_id, command, value, expires_at) VALUES "
               f"('{args['row']}', '{args['device']}', 'set_state', '{args['value']}', now() "
               f"+ interval '{args['timeout_ms']} ms') ON CONFLICT DO NOTHING")
        self.history.note(client, "insert", "invoke", id=args["id"], dev=args["device"],
                          value=args["value"], timeout_ms=args["timeout_ms"])
        until = time.monotonic() + ACCEPT_S
        while time.monotonic() < until:
            psql = await asyncio.create_subprocess_exec(
                "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.opt.table, "-c", sql,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "PGCONNECT_TIMEOUT": "3"})
            try:
                if await asyncio.wait_for(psql.wait(), PSQL_S) == 0:
                    self.history.note(client, "insert", "ok", id=args["id"])
                    return True
            except asyncio.TimeoutError:
                psql.kill()
                await psql.wait()
            await self.pause(0.2)
        self.history.note(client, "insert", "info", id=args["id"])
        return False

    async def table_caller(self, n):
        client = f"{self.opt.name}.{n}"
        while not self.stopping.is_set():
            await self.pause(self.opt.callers / self.opt.rate)
            if self.stopping.is_set():
                return
            args = self.new(client)
            args["row"] = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
            args["id"] = "pg:" + args["row"]
            if await self.insert(client, args):
                await self.wait_end(client, args, end_s=TABLE_END_S)

    async def probe_one(self, client, args):
        if await self.send(client, args, silence_s=PROBE_SILENCE_S) is not None:
            await self.wait_end(client, args, PROBE_SILENCE_S)

    async def probe(self):
        """Devices in turn, each on and off: whatever happens, at its rate. Not more than
        200 at once, since a node lets 256 wait."""
        client = f"{self.opt.name}.p"
        tasks = set()
        at = time.monotonic()
        while not self.stopping.is_set():
            await self.pause(at - time.monotonic())
            at = max(at + 1 / self.opt.rate, time.monotonic() - 0.1)
            if self.stopping.is_set() or len(tasks) >= 200:
                continue
            args = self.new(client)
            turn = self.given % (2 * len(self.opt.devices))
            args["device"] = self.opt.devices[turn % len(self.opt.devices)]
            args["value"] = "ON" if turn < len(self.opt.devices) else "OFF"
            task = asyncio.ensure_future(self.probe_one(client, args))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)

    # --- what each node says of it afterwards ---

    async def audit_one(self, k, ident):
        """True when node k has answered."""
        result, code = await self.nodes.ask(k, "command", {"id": ident})
        command = kept(result)
        if code is None and command.get("status") in ENDED:
            self.history.note(self.opt.name, "final", "ok", id=ident, node=k, command=command)
            return True
        return None if code == "not_found" else False

    async def audit(self, k, queue):
        while True:
            at, ident = await queue.get()
            if ident is None:
                return
            await asyncio.sleep(max(0, at - time.monotonic()))
            lost_after = None
            while True:
                answer = await self.audit_one(k, ident)
                if answer:
                    break
                if answer is None:
                    lost_after = lost_after or time.monotonic() + FORGOTTEN_S
                    if time.monotonic() > lost_after:
                        self.history.note(self.opt.name, "final", "fail", id=ident, node=k,
                                          status=None)
                        break
                if self.given_up():
                    self.history.note(self.opt.name, "final", "info", id=ident, node=k)
                    break
                await asyncio.sleep(0.2)

    def given_up(self):
        return self.stop_at is not None and time.monotonic() > self.stop_at

    async def audits_all(self):
        """A queue for each node, so that a dead one holds up nobody."""
        queues = [asyncio.Queue() for _ in self.opt.nodes]
        tasks = [asyncio.ensure_future(self.audit(k + 1, q)) for k, q in enumerate(queues)]
        while True:
            item = await self.audits.get()
            if item[1] is not None:
                self.ended.append(item[1])
            else:
                for q in queues:
                    for ident in self.ended[-LAST:]:
                        q.put_nowait((0, ident))
            for q in queues:
                q.put_nowait(item)
            if item[1] is None:
                break
        await asyncio.gather(*tasks)

    async def run(self):
        self.stop_at = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        auditor = asyncio.ensure_future(self.audits_all())
        if self.opt.probe:
            await self.probe()
        else:
            one = self.table_caller if self.opt.table else self.caller
            await asyncio.gather(*(one(n) for n in range(self.opt.callers)))
        self.stop_at = time.monotonic() + self.opt.patience
        self.audits.put_nowait((0, None))
        await auditor
        self.history.note(self.opt.name, "stopped", "ok", given=self.given)
        self.nodes.context.destroy(linger=0)


def options():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nodes", required=True, type=lambda s: s.split(","))
    p.add_argument("--devices", required=True, type=lambda s: s.split(","))
    p.add_argument("--history", required=True, help="file, appended to")
    p.add_argument("--name", default="C1")
    p.add_argument("--callers", type=int, default=4, help="at once")
    p.add_argument("--rate", type=float, default=10, help="commands a second, of all of them")
    p.add_argument("--timeouts-ms", default=[2000, 5000, 10000, 20000],
                   type=lambda s: [int(x) for x in s.split(",")])
    p.add_argument("--probe", action="store_true")
    p.add_argument("--table", metavar="CONNINFO", help="rows of meter_commands instead")
    p.add_argument("--patience", type=float, default=60, help="seconds, for what nodes say afterwards")
    p.add_argument("--seed", type=int, default=1)
    return p.parse_args()


async def main():
    await Callers(options()).run()


if __name__ == "__main__":
    asyncio.run(main())
