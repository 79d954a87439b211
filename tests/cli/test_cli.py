#!/usr/bin/env python3
"""vagtctl against a fake node: text, JSON, exit codes.

  test_cli.py VAGTCTL FAKE_NODE            run all
  test_cli.py VAGTCTL FAKE_NODE --update   write tests/cli/golden/ anew: read the diff!
  test_cli.py - FAKE_NODE --serve healthy DIR   a fake node to look at, until Enter
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import scenarios

HERE = pathlib.Path(__file__).parent
TOP = HERE.parent.parent
VAGTCTL = FAKE_NODE = None
UPDATE = False
COMMANDS = ("status devices send commands command cancel events handover members maintenance "
            "restart rolling-restart drill drills audit area bridges files keys hash why ready ping metrics db "
            "deadletter backup restore pki recover").split()
# These ask no node, or not a fake one; tests/postgres, tests/e2e, test_pki.py have them.
OF_POSTGRES = ("db", "deadletter", "backup", "restore", "pki", "recover")
IN_STEPS = ("rolling-restart",)     # Its answer is its exit code.


class Node:
    """A running fake node, gone at the end of the `with`."""

    def __init__(self, folder, scenario, name="control"):
        self.folder, self.name = folder, name
        self.control = f"ipc://{folder}/{name}.sock"
        self.events = f"ipc://{folder}/{name.replace('control', 'events')}.sock"
        self.log = folder / f"{name}.log"
        self.script = folder / f"{name}.json"
        self.script.write_text(json.dumps(scenarios.ALL[scenario]))

    def __enter__(self):
        self.log.write_text("")
        self.process = subprocess.Popen(
            [FAKE_NODE, self.script, self.control, self.events, self.log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)

    def requests(self, op=None):
        asked = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [r for r in asked if op in (None, r["op"])]


class Result:
    def __init__(self, process, out, err):
        self.code, self.out, self.err = process.returncode, out.decode(), err.decode()


def environment(columns="80"):
    env = {k: v for k, v in os.environ.items() if not k.startswith("VAGT_")}
    env |= {"TZ": "UTC", "TERM": "xterm", "COLUMNS": columns}
    if columns is None:
        del env["COLUMNS"]
    return env


def start(*args, env=None):
    return subprocess.Popen([VAGTCTL, *args], env=env or environment(),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def run(*args, env=None):
    process = start(*args, env=env)
    return Result(process, *process.communicate(timeout=40))


def normal(text, folder):
    """What differs from run to run: the folder, and durations that were measured."""
    text = text.replace(str(folder), "DIR")
    text = re.sub(r"within \d+ ms", "within N ms", text)
    text = re.sub(r"\b(accepted|sent|confirmed|expired|failed|answered) in \d+ ms",
                  r"\1 in N ms", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "DATE", text)


# name: scenario, arguments
GOLDEN = {
    "status_healthy": ("healthy", ["status"]),
    "status_degraded": ("degraded", ["status"]),
    "status_no_watch": ("no_watch", ["status"]),
    "status_hostile": ("hostile", ["status"]),
    "status_stale": ("degraded", ["status", "--stale"]),
    "devices": ("healthy", ["devices", "--area", "Nord", "--name", "Pl"]),
    "devices_none": ("degraded", ["devices"]),
    "devices_hostile": ("hostile", ["devices"]),
    "send": ("healthy", ["send", "Plads 12", "state=on", "--id", "abc", "--area", "Nord"]),
    "send_no_wait": ("healthy", ["send", "Plads 12", "state=off", "--id", "abc",
                                 "--no-wait", "--timeout-ms", "5000"]),
    "send_expired": ("degraded", ["send", "Plads 12", "state=on", "--id", "abc"]),
    "send_superseded": ("superseded", ["send", "Plads 12", "state=on", "--id", "abc"]),
    "send_retry": ("retry", ["send", "Plads 12", "state=on", "--id", "abc"]),
    "send_limit": ("limit", ["send", "Plads 12", "state=on", "--id", "abc"]),
    "send_no_quorum": ("no_watch", ["send", "Plads 12", "state=on", "--id", "abc",
                                    "--timeout", "300"]),
    "send_hostile": ("hostile", ["send", "\x1b[2J", "state=on", "--id", "abc"]),
    "commands": ("healthy", ["commands", "--open", "--limit", "7"]),
    "commands_none": ("degraded", ["commands"]),
    "commands_hostile": ("hostile", ["commands"]),
    "command": ("healthy", ["command", "abc"]),
    "command_unknown": ("no_watch", ["command", "abc"]),
    "command_hostile": ("hostile", ["command", "abc"]),
    "cancel": ("healthy", ["cancel", "abc"]),
    "cancel_no_watch": ("no_watch", ["cancel", "abc"]),
    "events": ("healthy", ["events", "--count", "6"]),
    "events_prefix": ("healthy", ["events", "command.c", "watch", "--count", "2"]),
    "events_hostile": ("hostile", ["events", "--count", "3"]),
    "handover": ("healthy", ["handover", "pi-reception"]),
    "handover_to": ("healthy", ["handover", "--to", "pi-reception"]),
    "handover_not_leader": ("no_watch", ["handover", "2"]),
    "handover_hostile": ("hostile", ["handover"]),
    "members": ("healthy", ["members"]),
    "members_add": ("healthy", ["members", "add", "4", "attic", "127.0.0.1:7404"]),
    "members_remove": ("healthy", ["members", "remove", "pi-workshop", "--no-wait"]),
    "members_refused": ("no_watch", ["members", "remove", "nas"]),
    "members_hostile": ("hostile", ["members"]),
    "maintenance": ("healthy", ["maintenance", "on", "--for", "90m"]),
    "maintenance_off": ("no_watch", ["maintenance", "off"]),
    "maintenance_hostile": ("hostile", ["maintenance"]),
    "restart": ("healthy", ["restart", "pi-reception"]),
    "restart_refused": ("no_watch", ["restart", "nas"]),
    "restart_hostile": ("hostile", ["restart", "nas"]),
    "rolling_restart": ("degraded", ["rolling-restart"]),
    "rolling_restart_no_watch": ("no_watch", ["rolling-restart"]),
    "drill": ("healthy", ["drill", "kill", "--yes"]),
    "drill_dry": ("healthy", ["drill", "kill", "--dry-run", "--budget", "2m"]),
    "drill_not_asked": ("healthy", ["drill", "kill"]),
    "drill_show": ("healthy", ["drill", "show", "6"]),
    "drill_gone": ("healthy", ["drill", "show", "4"]),
    "drill_refused": ("no_watch", ["drill", "vanish", "--yes"]),
    "drill_hostile": ("hostile", ["drill", "kill", "--yes"]),
    "drills": ("healthy", ["drills"]),
    "drills_none": ("no_watch", ["drills"]),
    "drills_hostile": ("hostile", ["drills"]),
    "area": ("healthy", ["area", "off", "Hytter"]),
    "area_unknown": ("no_watch", ["area", "on", "Nordpol"]),
    "area_hostile": ("hostile", ["area", "off", "Hytter"]),
    "bridges": ("healthy", ["bridges"]),
    "bridges_differ": ("degraded", ["bridges", "check"]),
    "bridges_none": ("no_watch", ["bridges", "write"]),
    "bridges_hostile": ("hostile", ["bridges"]),
    "audit_hostile": ("hostile", ["audit"]),
    "keys": ("healthy", ["keys"]),
    "keys_none": ("no_watch", ["keys", "list"]),
    "keys_hostile": ("hostile", ["keys"]),
    "keys_revoke": ("healthy", ["keys", "revoke", "ann"]),
    "files": ("healthy", ["files"]),
    "files_none": ("no_watch", ["files", "list"]),
    "files_hostile": ("hostile", ["files"]),
    "files_history": ("degraded", ["files", "history", "bridge-Hytter"]),
    "files_history_hostile": ("hostile", ["files", "history", "x"]),
    "files_diff": ("healthy", ["files", "diff", "bridge-Hytter", "9"]),
    "files_diff_equal": ("degraded", ["files", "diff", "bridge-Hytter"]),
    "files_diff_hostile": ("hostile", ["files", "diff", "x"]),
    "files_rollback": ("healthy", ["files", "rollback", "bridge-Hytter", "9"]),
    "files_rollback_refused": ("degraded", ["files", "rollback", "bridge-Hytter", "9"]),
    "files_rollback_hostile": ("hostile", ["files", "rollback", "x", "9"]),
    "files_forget": ("healthy", ["files", "forget", "old"]),
    "hash": ("healthy", ["hash", "1284000"]),
    "hash_different": ("degraded", ["hash"]),
    "hash_hostile": ("hostile", ["hash"]),
    "hash_silent": ("no_watch", ["hash", "--timeout", "300"]),
    "why": ("healthy", ["why", "pi-reception"]),
    "why_nothing": ("degraded", ["why"]),
    "why_hostile": ("hostile", ["why"]),
    "why_dies": ("no_watch", ["why"]),
    "why_stray": ("broken", ["why"]),
    "ready": ("healthy", ["ready"]),
    "ready_not": ("degraded", ["ready"]),
    "ready_hostile": ("hostile", ["ready"]),
    "ping": ("healthy", ["ping"]),
    "ping_hostile": ("hostile", ["ping"]),
    "ping_truncated": ("broken", ["ping"]),
    "metrics": ("healthy", ["metrics"]),
    "metrics_hostile": ("hostile", ["metrics"]),
    "unknown_op": ("limit", ["ping"]),
}


class Golden(unittest.TestCase):
    maxDiff = None

    def check(self, name):
        scenario, args = GOLDEN[name]
        with tempfile.TemporaryDirectory(prefix="vagtctl-") as folder:
            folder = pathlib.Path(folder)
            with Node(folder, scenario) as node:
                r = run(args[0], "-s", node.control, *args[1:])
            seen = normal(r.out, folder) + "--- stderr\n" + normal(r.err, folder)
            seen += f"--- exit {r.code}\n"
        path = HERE / "golden" / f"{name}.txt"
        if UPDATE:
            path.parent.mkdir(exist_ok=True)
            path.write_text(seen)
        self.assertEqual(seen, path.read_text())
        self.assertNotRegex(r.out + r.err, "[^\n\x20-\x7e\xa0-\u2027\u202f-\U0010ffff]")
        if not re.match("hostile|broken", scenario):
            widest = max(map(len, r.out.splitlines()), default=0)
            self.assertTrue(widest <= 80 or args[0] == "events", widest)


for case in GOLDEN:
    setattr(Golden, f"test_{case}", lambda self, case=case: self.check(case))


class Live(unittest.TestCase):
    """What takes more than one look."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vagtctl-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def node(self, scenario, name="control"):
        return self.enterContext(Node(self.folder, scenario, name))

    if sys.version_info < (3, 11):
        def enterContext(self, manager):
            value = manager.__enter__()
            self.addCleanup(manager.__exit__, None, None, None)
            return value

    def json_of(self, r):
        self.assertNotRegex(r.out, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        return json.loads(r.out)

    def test_json_is_the_result(self):
        node = self.node("healthy")
        ops = scenarios.HEALTHY["ops"]
        for args in (["status"], ["hash"], ["why"], ["ping"], ["metrics"], ["handover"]):
            r = run(*args, "--json", "-s", node.control)
            self.assertEqual(r.code, 0, r.err)
            self.assertEqual(self.json_of(r), ops[args[0]]["result"])
        for args in (["command", "x"], ["cancel", "x"], ["send", "d", "state=on"]):
            r = run(*args, "--json", "-s", node.control)
            self.assertEqual(self.json_of(r)["command"]["name"], "Plads 12")
        r = run("commands", "--json", "-s", node.control)
        self.assertEqual(len(self.json_of(r)["commands"]), 3)
        r = run("devices", "--json", "-s", node.control)
        self.assertEqual(len(self.json_of(r)["devices"]), 3 + 1 - 0)
        r = run("events", "--json", "--count", "6", "-s", node.control)
        lines = [json.loads(line) for line in r.out.splitlines()]
        self.assertEqual([e["name"] for e in lines],
                         [e["name"] for e in scenarios.HEALTHY["events"]])

    def test_json_of_hostile_answers_is_json(self):
        node = self.node("hostile")
        codes = {"ready": 1, "bridges": 1, "hash": 1, "handover": 1, "send": 1, "status": 1}
        for command in [c for c in COMMANDS if c not in OF_POSTGRES + IN_STEPS]:
            args = {"send": ["x", "y=z"], "command": ["x"], "cancel": ["x"], "area": ["off", "x"],
                    "restart": ["x"], "drill": ["x", "--dry-run"],
                    "events": ["--count", "3"]}.get(command, [])
            r = run(command, *args, "--json", "-s", node.control)
            self.assertEqual(r.code, codes.get(command, 0), command + r.err)
            for line in r.out.splitlines():
                json.loads(line)
            self.assertTrue(r.out.endswith("\n"), command)
            self.json_of(Result(type("P", (), {"returncode": 0}),
                                r.out.splitlines()[0].encode(), b""))

    def test_errors_are_json_too(self):
        node = self.node("no_watch")
        r = run("cancel", "x", "--json", "-s", node.control)
        self.assertEqual(r.code, 3)
        self.assertEqual(self.json_of(r)["error"]["code"], "no_watch")
        r = run("ping", "--json", "-s", f"ipc://{self.folder}/none.sock")
        self.assertEqual(r.code, 4)
        self.assertEqual(self.json_of(r)["error"]["code"], "unreachable")

    def test_damaged_answers_fail_and_say_so(self):
        node = self.node("broken")
        for args in (["ping"], ["status"], ["devices"], ["commands"], ["command", "x"],
                     ["hash"]):
            for more in ([], ["--json"]):
                r = run(*args, *more, "-s", node.control)
                self.assertEqual(r.code, 1, f"{args} {r.err}")
                self.assertIn("does not speak vagt's control protocol", r.err)

    def test_huge_answers(self):
        node = self.node("broken")
        r = run("handover", "-s", node.control)
        self.assertEqual(r.code, 4, r.err)  # beyond 16 MiB the connection is cut
        r = run("cancel", "x", "-s", node.control)
        self.assertEqual(r.code, 0)
        self.assertGreater(len(r.out), 100000)

    def test_extra_frames_are_ignored(self):
        node = self.node("broken")
        r = run("metrics", "-s", node.control)
        self.assertEqual((r.code, r.out), (0, "a 1\n"))

    def test_devices_that_never_end(self):
        node = self.node("endless")
        for more in ([], ["--json"]):
            r = run("devices", *more, "-s", node.control)
            self.assertEqual((r.code, r.out), (1, ""))
            self.assertIn("never comes to the end", r.err)

    def test_requests_carry_what_was_said(self):
        node = self.node("healthy")
        run("devices", "--area", "Nord", "--name", "Pl", "-s", node.control)
        run("send", "Plads 12", "state=on", "--area", "Nord", "--timeout-ms", "5000",
            "-s", node.control)
        run("send", "Plads 12", "mode=Heat=2", "--no-wait", "-s", node.control)
        run("commands", "--open", "--limit", "7", "-s", node.control)
        run("handover", "2", "-s", node.control)
        run("handover", "2b", "-s", node.control)
        run("hash", "17", "-s", node.control)
        run("why", "nas", "-s", node.control)
        first, second = node.requests("devices")
        self.assertEqual(first["args"], {"limit": 500, "area": "Nord", "name": "Pl"})
        self.assertEqual(second["args"]["after"], 3)
        send, other = node.requests("send")
        self.assertEqual(send["v"], 1)
        key = send["args"].pop("id")
        self.assertRegex(key, "^[0-9a-z]{16}$")
        self.assertEqual(send["args"], {"device": "Plads 12", "property": "state",
                                        "value": "ON", "source": "cli", "area": "Nord",
                                        "timeout_ms": 5000})
        self.assertEqual(node.requests("await")[0]["args"]["id"], key)
        self.assertEqual(len(node.requests("await")), 1)
        self.assertEqual(other["args"]["value"], "Heat=2")
        self.assertNotEqual(other["args"]["id"], key)
        self.assertEqual(node.requests("commands")[0]["args"], {"open": True, "limit": 7})
        self.assertEqual([r["args"]["to"] for r in node.requests("handover")], [2, "2b"])
        self.assertEqual(node.requests("hash")[0]["args"], {"index": 17})
        self.assertEqual(node.requests("why")[0]["args"], {"node": "nas"})

    def test_a_retry_keeps_the_id(self):
        node = self.node("retry")
        r = run("send", "Plads 12", "state=on", "-s", node.control)
        self.assertEqual(r.code, 0, r.err)
        asked = node.requests("send")
        self.assertEqual(len(asked), 6)
        self.assertEqual(len({a["args"]["id"] for a in asked}), 1)
        self.assertIn(f"id {asked[0]['args']['id']}\n", r.out)

    def test_send_goes_on_at_the_next_node(self):
        dead = f"ipc://{self.folder}/none.sock"
        cut_off = self.node("no_watch", "control1")
        good = self.node("second", "control2")
        r = run("send", "Plads 12", "state=on", "-s", dead, "-s",
                f"{cut_off.control},{good.control}")
        self.assertEqual(r.code, 0, r.err)
        self.assertEqual(cut_off.requests("send")[0]["args"],
                         good.requests("send")[0]["args"])
        self.assertEqual(len(good.requests("await")), 1)

    def test_send_gives_up_in_time(self):
        node = self.node("no_watch")
        began = time.monotonic()
        r = run("send", "d", "state=on", "--timeout", "700", "-s", node.control)
        self.assertEqual(r.code, 3)
        self.assertLess(time.monotonic() - began, 3)
        self.assertIn("the command was not accepted", r.err)
        silent = self.node("broken", "control2")
        silent.script.write_text(json.dumps({"node": 1, "ops": {"send": {"silent": True}}}))
        silent.__exit__()
        silent = silent.__enter__()
        r = run("send", "d", "state=on", "--timeout", "700", "-s", silent.control)
        self.assertEqual(r.code, 4)
        self.assertIn("repeat with --id", r.err)
        r = run("send", "d", "state=on", "--timeout", "300", "-s",
                f"ipc://{self.folder}/none.sock")
        self.assertEqual(r.code, 4)

    def test_ctrl_c_while_waiting_says_how_to_go_on(self):
        node = self.node("broken")
        node.script.write_text(json.dumps({"node": 1, "ops": {
            "send": scenarios.HEALTHY["ops"]["send"], "await": {"silent": True}}}))
        node.__exit__()
        node = node.__enter__()
        process = start("send", "d", "state=on", "--id", "abc", "-s", node.control)
        while not node.requests("await"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        r = Result(process, *process.communicate(timeout=10))
        self.assertEqual(r.code, 1)
        self.assertIn("the command goes on: vagtctl command abc", r.err)

    def test_the_next_socket_is_asked(self):
        good = self.node("healthy")
        r = run("ping", "-s", f"ipc://{self.folder}/none.sock", "-s", good.control)
        self.assertEqual(r.code, 0, r.err)
        silent = self.node("no_watch", "control2")
        r = run("hash", "--timeout", "600", "-s", f"{silent.control},{good.control}")
        self.assertEqual(r.code, 0, r.err)
        r = run("handover", "-s", f"{silent.control},{good.control}")
        self.assertEqual(r.code, 0, r.err)  # not_leader there, done here
        r = run("why", "-s", f"{silent.control},{good.control}")
        self.assertEqual(r.code, 0, r.err)  # died there

    def test_a_machine_without_power_costs_little(self):
        good = self.node("healthy")
        began = time.monotonic()
        run("ping", "-s", good.control)
        usual = time.monotonic() - began
        with socket.socket() as dead, contextlib.ExitStack() as held:
            dead.bind(("127.0.0.1", 0))
            dead.listen(0)
            for _ in range(4):  # Its queue is full: who comes now hears nothing.
                s = held.enter_context(socket.socket())
                s.setblocking(False)
                s.connect_ex(dead.getsockname())
            began = time.monotonic()
            r = run("ping", "-s", f"tcp://127.0.0.1:{dead.getsockname()[1]},{good.control}")
            took = time.monotonic() - began
        self.assertEqual(r.code, 0, r.err)
        self.assertLess(took - usual, 0.9)

    def test_status_prefers_who_sees_a_watch(self):
        lonely = self.node("no_watch", "control2")
        good = self.node("healthy")
        r = run("status", "-s", f"{lonely.control},{good.control}")
        self.assertEqual(r.code, 0)
        r = run("status", "--stale", "-s", f"{lonely.control},{good.control}")
        self.assertEqual(r.code, 2)
        self.assertIn(f"what node 2 at {lonely.control} knows", r.out)
        self.assertIn(f"what node 1 at {good.control} knows", r.out)
        r = run("status", "--stale", "--json", "-s",
                f"{lonely.control},ipc://{self.folder}/none.sock")
        views = self.json_of(r)
        self.assertEqual(views[0]["status"]["health"], "no_watch")
        self.assertIn("No such file", views[1]["error"])
        r = run("status", "--stale", "-s", f"ipc://{self.folder}/none.sock")
        self.assertEqual(r.code, 4)

    def test_where_the_socket_comes_from(self):
        node = self.node("healthy")
        env = environment() | {"VAGT_CONTROL": node.control}
        self.assertEqual(run("ping", env=env).code, 0)
        self.assertEqual(run("events", "--count", "1", env=env).code, 0)
        env["VAGT_CONTROL"] = "nonsense"
        self.assertEqual(run("ping", env=env).code, 2)
        self.assertEqual(run("-s", node.control, "ping", env=env).code, 0)
        env = environment() | {"VAGT_EVENTS": node.events}
        self.assertEqual(run("events", "--count", "1", env=env).code, 0)
        r = run("events", "--events", node.events, "--count", "1",
                "-s", "ipc:///nowhere/else")
        self.assertEqual(r.code, 0, r.err)
        self.assertEqual(run("events", "-s", "ipc:///nowhere/else").code, 2)
        self.assertEqual(run("events", "-s", "ipc:///nowhere/control.sock").code, 4)
        r = run("events", "-s", "tcp://127.0.0.1:9")
        self.assertIn("tcp://127.0.0.1:109", r.err)
        self.assertEqual(r.code, 4)

    def test_events_go_on_at_the_next_node(self):
        first = Node(self.folder, "healthy", "control1")
        second = self.node("second", "control2")
        first.__enter__()
        process = start("events", "--count", "12", "--events",
                        f"{first.events},{second.events}")
        for _ in range(6):
            process.stdout.readline()
        first.__exit__()
        r = Result(process, *process.communicate(timeout=10))
        self.assertEqual(r.code, 0)
        self.assertEqual(len(r.out.splitlines()), 6)
        self.assertIn("the connection broke; events may be missing", r.err)

    def test_events_end_by_ctrl_c(self):
        node = self.node("healthy")
        process = start("events", "-s", node.control)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, 0)

    def test_watch_shows_changes_and_ends_by_ctrl_c(self):
        node = self.node("healthy")
        node.script.write_text(json.dumps({"node": 1, "ops": {"status": [
            scenarios.HEALTHY["ops"]["status"], scenarios.NO_WATCH["ops"]["status"],
            {"silent": True}]}}))
        node.__exit__()
        node = node.__enter__()
        process = start("status", "--watch", "1", "--timeout", "1500", "-s", node.control)
        seen = b""
        for line in iter(process.stdout.readline, b""):
            seen += line
            if b"NO ANSWER" in line:
                break
        process.send_signal(signal.SIGINT)
        r = Result(process, seen + process.communicate(timeout=10)[0], b"")
        self.assertEqual(r.code, 0)
        self.assertIn("NO ANSWER", r.out)
        self.assertIn("watch: nas → nobody", r.out)
        self.assertIn("node nas: leader, active, 0.1.0 → unreachable, 0.1.0", r.out)
        self.assertNotIn("\x1b", r.out)  # no terminal, no escapes

    def test_a_pipe_gets_whole_names(self):
        node = self.node("healthy")
        r = run("devices", "-s", node.control, env=environment(None))
        self.assertIn("fra Ærøskøbing (langtidsleje)", r.out)

    def test_usage(self):
        for args in ([], ["nope"], ["ping", "x"], ["send", "d"], ["send", "d", "state"],
                     ["send", "d", "=ON"], ["send", "d", "state="], ["command"],
                     ["ping", "--nope"], ["ping", "--watch"], ["--timeout", "x", "ping"],
                     ["ping", "-s", "udp://x"], ["ping", "-s", "ipc://relative"],
                     ["ping", "--timeout", "-5"], ["commands", "--limit", "501"],
                     ["send", "d", "a=b", "--timeout-ms", "999"], ["hash", "x"],
                     ["send", "d", "a=b", "--id", "x" * 64], ["status", "--watch=0"],
                     ["db"], ["db", "drop"], ["db", "status"], ["status", "x"],
                     ["deadletter"], ["deadletter", "x"], ["deadletter", "list"],
                     ["deadletter", "list", "1"], ["deadletter", "show"],
                     ["deadletter", "show", "all"], ["deadletter", "show", "1", "2"],
                     ["deadletter", "drop"], ["deadletter", "drop", "-1"],
                     ["deadletter", "replay", "1", "all"], ["deadletter", "drop", "1x"],
                     ["deadletter", "replay", "9223372036854775808"],
                     ["deadletter", "replay", *(["1"] * 501)],
                     ["deadletter", "list", "--limit", "0"],
                     ["ping", "-s", "ipc:///" + "x" * 200]):
            r = run(*args)
            self.assertEqual(r.code, 2, f"{args}: {r.err}")
            self.assertEqual(r.out, "", args)
            self.assertNotEqual(r.err, "", args)

    def test_unreachable_says_what_to_do(self):
        r = run("ping", "-s", f"ipc://{self.folder}/none.sock")
        self.assertEqual(r.code, 4)
        self.assertIn("No such file or directory; is vagtd running", r.err)
        r = run("ping", "-s", "tcp://127.0.0.1:9")
        self.assertIn("Connection refused; vagtd does not run there", r.err)
        r = run("ping", "-s", f"ipc://{self.folder}/{'x' * 120}")
        self.assertIn("name too long", r.err)
        r = run("ping", "-s", "tcp://no.such.host.invalid:9")
        self.assertEqual(r.code, 4)

    # Whoever answers at another machine's address could say what they like.
    def test_another_machine_is_asked_by_its_key_only(self):
        node = Node(self.folder, "healthy")
        with socket.create_server(("127.0.0.1", 0)) as door, \
                socket.create_server(("127.0.0.1", 0)) as second:
            ports = [s.getsockname()[1] for s in (door, second)]
        node.control, node.events = (f"tcp://127.0.0.1:{port}" for port in ports)
        # No loopback, as far as one can see.
        there, events = (f"tcp://0.0.0.0:{port}" for port in ports)
        with node:
            self.assertEqual(run("ping", "-s", node.control).code, 0)
            for args in (["ping", "-s", there], ["events", "--events", events, "--count", "1"]):
                r = run(*args)
                self.assertNotEqual(r.code, 0, args)
                self.assertEqual(r.out, "", args)
                self.assertIn("VAGT_PLAINTEXT=1", r.err)
                r = run(*args, env=environment() | {"VAGT_PLAINTEXT": "1"})
                self.assertEqual(r.code, 0, r.err)

    def test_a_full_disk_is_a_failure(self):
        node = self.node("healthy")
        with open("/dev/full", "wb") as full:
            r = subprocess.run([VAGTCTL, "status", "-s", node.control], stdout=full,
                               stderr=subprocess.PIPE, timeout=20)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"No space left", r.stderr)

    def test_db_reads_the_conninfo_from_a_file(self):
        r = run("db", "status", "--conninfo-file", str(self.folder / "none"))
        self.assertEqual(r.code, 2)
        self.assertIn("No such file", r.err)
        secret = self.folder / "conninfo"
        secret.write_text("host=127.0.0.1 port=1 password=hush connect_timeout=2\n")
        for words in ("db status", "db migrate", "deadletter list", "deadletter show 1",
                      "deadletter replay all", "deadletter drop 1 2"):
            r = run(*words.split(), "--conninfo-file", str(secret))
            self.assertEqual(r.code, 4, r.err)
            self.assertIn("Connection refused", r.err)
            self.assertNotIn("hush", r.err)
            self.assertEqual(r.out, "")


class Documents(unittest.TestCase):
    """Every command has help, a section in the man page and a completion."""

    def listed(self):  # in --help
        return re.findall(r"^  ([a-z-]+) ", run("--help").out.split("Options")[0], re.M)

    def test_the_list_of_commands(self):
        self.assertEqual(self.listed(), COMMANDS)
        self.assertRegex(run("--version").out, r"^vagtctl \d+\.\d+\.\d+\n$")

    def test_help_man_page_and_completion(self):
        man = (TOP / "docs/man/vagtctl.8.scd").read_text()
        completion = (TOP / "deploy/completion/vagtctl.bash").read_text()
        words = re.search(r"commands='([^']*)'", completion).group(1).split()
        self.assertEqual(words, COMMANDS)
        for command in self.listed():
            r = run(command, "--help")
            self.assertEqual((r.code, r.err), (0, ""), command)
            section = re.search(rf"^\*{command}\*(.*?)(?=^\*[a-z-]+\*|^#)", man,
                                re.M | re.S)
            self.assertTrue(section, f"{command}: no section in the man page")
            case = re.search(rf"^ +{command}\) own='([^']*)'", completion, re.M)
            self.assertTrue(case, f"{command}: no completion")
            own = r.out.split("Options of every")[0]
            options = re.findall(r" (--[a-z-]+)", own)
            self.assertEqual(sorted(case.group(1).split()), sorted(options), command)
            for option in options:
                self.assertIn(option.replace("-", "\\-"), section.group(1)
                              .replace("-", "\\-"), f"{command} {option}")
            self.assertLessEqual(max(map(len, r.out.splitlines())), 80, command)
        self.assertLessEqual(max(map(len, run("--help").out.splitlines())), 80)

    def test_the_completion_completes(self):
        script = (f"source {TOP}/deploy/completion/vagtctl.bash; "
                  "COMP_WORDS=(vagtctl {words}); COMP_CWORD={n}; _vagtctl; "
                  "echo ${{COMPREPLY[*]}}")

        def complete(*words):
            text = script.format(words=" ".join(words) + ("" if words[-1] else "''"),
                                 n=len(words))
            return subprocess.run(["bash", "-c", text], capture_output=True, text=True,
                                  check=True).stdout.split()

        self.assertEqual(complete("st"), ["status"])
        self.assertEqual(complete("status", "--st"), ["--stale"])
        self.assertEqual(complete("db", "m"), ["migrate"])
        self.assertEqual(complete("-s", "ipc:///x", "han"), ["handover"])

    def test_the_man_page_builds(self):
        with open(TOP / "docs/man/vagtctl.8.scd", "rb") as source:
            r = subprocess.run(["scdoc"], stdin=source, capture_output=True)
        self.assertEqual((r.returncode, r.stderr), (0, b""))


def serve(scenario, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    with Node(folder, scenario) as node:
        input(f"vagtctl -s {node.control} …   (Enter ends)\n")


if __name__ == "__main__":
    VAGTCTL, FAKE_NODE = sys.argv[1], sys.argv[2]
    rest = sys.argv[3:]
    if rest[:1] == ["--serve"]:
        serve(*rest[1:])
        sys.exit(0)
    UPDATE = "--update" in rest
    unittest.main(argv=[sys.argv[0], *(a for a in rest if a != "--update")])
