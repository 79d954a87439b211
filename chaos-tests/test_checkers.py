"""Each checker is shown a history in which what it looks for has happened. A sound run, on
which all of them agree, is the ground; each test spoils one thing in it."""

import json
import os
import shutil
import tempfile
import unittest

import check
import commands
import history
import readings
import terms
import unavail

BASE_MS = 1795600000000
START = 1_000_000_000  # microseconds of the monotonic clock
WALL_S = 1795600000


def wall_ms(t):
    return WALL_S * 1000 + (t - START) / 1000


class Run:
    """A folder like that of a real run, small and sound."""

    def __init__(self, folder):
        self.dir = folder
        for name in ("history", "log"):
            os.makedirs(os.path.join(folder, name))
        self.producer = {"name": "P1", "area": 1, "devices": 3, "base_ms": BASE_MS,
                         "step_us": 1500}
        self.json("load.json", {"nodes": 3, "producers": [self.producer],
                                "addresses": {"10.0.0.1": "n1", "10.0.0.2": "n2"}})
        self.write("acked-P1.txt", [f"{START} 0-3", f"{START + 5000} 4-9"])
        self.rows = [self.row(k) for k in range(10)]
        self.fence = [[1, 2, "nas", 0, 4, 700, 1], [2, 2, "nas", 4, 6, 701, 2],
                      [3, 3, "hut", 6, 6, 702, 3], [4, 3, "hut", 6, 10, 703, 4]]
        self.events = []
        self.device = [{"mono_us": START - 1}]
        self.command("A", 1, "ON", 0, 100)
        self.command("B", 2, "OFF", 200, 300)
        self.command("C", 3, "ON", 400, 500)
        self.broker = [["0", "vagt/c/status", self.status(2, "nas"), "1"],
                       ["0", "z/a1/a1-m000/set", '{"state":"ON"}', "2"],
                       ["0", "vagt/c/status", self.status(3, "hut"), "3"],
                       ["1", "vagt/c/status", self.status(2, "nas"), "4"]]
        self.broker_log = [
            "1: New client connected from 10.0.0.1:4711 as vagt-campsite-out (p5, c0, k10).",
            "2: Received PUBLISH from vagt-campsite-out (d0, q1, r0, m2, 'z/a1/a1-m000/set', "
            "... (14 bytes))"]
        self.hashes = [{"t": 1, "node": n, "index": i, "hash": f"h{i}"}
                       for i in (5, 6) for n in (1, 2, 3)]
        self.end = {"healthy_s": 3.2, "hashes": [{"node": n, "index": 9, "hash": "x"}
                                                 for n in (1, 2, 3)]}
        self.logs = {n: ["<5>ts=1.0 node=nas ev=watch from=ramping to=active term=2"]
                     for n in ("n1", "n2", "n3")}
        self.rss = [{"t": i, "node": 1, "rss_kb": 14000 + i} for i in range(100)]
        self.faults = [{"t": START + 150_000, "ev": "begin", "n": 1, "nemesis": "kill",
                        "what": "node 1"},
                       {"t": START + 150_000, "ev": "end", "n": 1}]
        self.table = []

    # --- parts ---

    def row(self, k):
        seq = k + 1
        xid = 700 if seq <= 4 else 701 if seq <= 6 else 703
        return [f"l1-m{k % 3:03}", str(BASE_MS + k * 1500 // 1000), str(k), f"{k % 3600}.000",
                str(220 + k % 20), f"{k % 16}.{k % 100:02}", "ON", str(seq), str(xid)]

    @staticmethod
    def status(term, watch):
        return json.dumps({"state": "online", "watch": watch, "term": term})

    def told(self, ident, seq, value, status, began, ended=0):
        return {"id": ident, "seq": seq, "value": value, "status": status,
                "attempts": 0 if status == "accepted" else 1,
                "deadline_ms": wall_ms(START + (began + 10) * 1000) + 2000,
                "ended_ms": wall_ms(START + ended * 1000) if ended else 0, "reason": ""}

    def event(self, ms, op, ev, ident, **more):
        self.events.append({"t": START + ms * 1000, "c": "C1.0", "op": op, "ev": ev,
                            "id": ident, **more})
        return self.events[-1]

    def reach(self, ms, value, dev="a1-m000"):
        t = START + ms * 1000
        self.device.append({"mono_us": t, "wall_ms": wall_ms(t), "dev": dev, "value": value})
        return self.device[-1]

    def command(self, ident, seq, value, began, ended, status="confirmed"):
        """Given, accepted, carried out and confirmed; all three nodes say so."""
        self.event(began, "send", "invoke", ident, dev="a1-m000", value=value, timeout_ms=2000)
        self.event(began + 10, "send", "ok", ident, node=1,
                   command=self.told(ident, seq, value, "accepted", began))
        if status == "confirmed":
            self.reach(ended - 20, value)
        end = self.told(ident, seq, value, status, began, ended)
        self.event(ended, "end", "ok", ident, node=1, command=end)
        for n in (1, 2, 3):
            self.event(ended + 500, "final", "ok", ident, node=n, command=dict(end))

    def find(self, op, ev, ident, node=None):
        return next(e for e in self.events if (e["op"], e["ev"], e["id"]) == (op, ev, ident)
                    and (node is None or e.get("node") == node))

    # --- files ---

    def write(self, name, lines, folder="history"):
        with open(os.path.join(self.dir, folder, name), "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in lines)

    def json(self, name, value):
        self.write(name, [json.dumps(value)])

    def verdicts(self):
        def lines(items):
            return [json.dumps(i) for i in items]

        def tabs(items):
            return ["\t".join(map(str, r)) for r in items]

        self.write("readings.tsv", tabs(self.rows))
        self.write("fence.tsv", tabs(self.fence))
        self.write("commands-C1.jsonl", lines(self.events))
        self.write("device.jsonl", lines(self.device))
        self.write("broker.tsv", tabs(self.broker))
        self.write("hash.jsonl", lines(self.hashes))
        self.write("rss.jsonl", lines(self.rss))
        self.write("faults.jsonl", lines(self.faults))
        self.write("commands.tsv", tabs(self.table))
        self.json("end.json", self.end)
        self.write("broker.log", self.broker_log, "log")
        for name, text in self.logs.items():
            self.write(f"{name}.log", text, "log")
        return check.run_all(self.dir)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.run_ = Run(os.path.join(folder, "run"))

    def failing(self):
        return [v.name for v in self.run_.verdicts() if not v.ok]

    def finds(self, *names):
        """These verdicts do not hold, and no other."""
        self.assertEqual(sorted(names), sorted(self.failing()))


class Sound(Case):
    def test_a_sound_run_holds(self):
        self.assertEqual([], self.failing())

    def test_an_empty_folder_does_not(self):
        with tempfile.TemporaryDirectory() as folder:
            found = check.run_all(folder)
        for part in ("readings", "commands", "terms", "nodes"):
            self.assertTrue([v for v in found if not v.ok and v.name.startswith(part)], part)

    def test_a_damaged_file_is_no_success(self):
        self.run_.rows.append(["l1-m000", "x"])
        self.assertIn("readings: could be checked", self.failing())

    def test_a_torn_last_line_is_none(self):
        self.run_.verdicts()
        with open(os.path.join(self.run_.dir, "history/acked-P1.txt"), "a",
                  encoding="utf-8") as f:
            f.write("1000 10-")
        with open(os.path.join(self.run_.dir, "history/commands-C1.jsonl"), "a",
                  encoding="utf-8") as f:
            f.write('{"t": 1, "c"')
        self.assertEqual([], [v.name for v in check.run_all(self.run_.dir) if not v.ok])


class Readings(Case):
    def test_lost_at_the_beginning(self):
        del self.run_.rows[0:2]
        self.finds("readings: acknowledged and lost at the beginning")

    def test_lost_in_the_middle(self):
        del self.run_.rows[4]
        self.finds("readings: acknowledged and lost in the middle")

    def test_lost_at_the_end(self):
        del self.run_.rows[9]
        self.finds("readings: acknowledged and lost at the end")

    def test_a_killed_broker_excuses_only_what_it_had_just_taken(self):
        run = self.run_
        run.write("acked-P1.txt", [f"{START - 9000_000} 0-3", f"{START} 4-9"])
        del run.rows[4]
        run.faults[0]["nemesis"] = "broker-kill"
        self.assertEqual([], self.failing())
        del run.rows[2]
        self.finds("readings: acknowledged and lost in the middle")
        run.faults[0]["nemesis"] = "broker-term"
        self.assertEqual(2, [v.value for v in run.verdicts() if not v.ok][0])

    def test_all_lost(self):
        self.run_.rows = []
        self.finds("readings: acknowledged and lost at the beginning")

    def test_doubled(self):
        twin = self.run_.row(3)
        twin[1] = str(int(twin[1]) + 1)
        twin[7] = "10"
        twin[8] = "703"
        self.run_.rows[9:] = [twin, self.run_.row(9)]
        self.finds("readings: more than one row", "readings: of another meter, time or value",
                   "readings: rows with a number that another has")

    def test_of_another_meter(self):
        self.run_.rows[5][0] = "l1-m000"
        self.finds("readings: of another meter, time or value")

    def test_of_another_time(self):
        self.run_.rows[5][1] = str(BASE_MS)
        self.finds("readings: of another meter, time or value")

    def test_of_another_value(self):
        for column, value in ((3, "4.5"), (4, "\\N"), (5, "0"), (6, "OFF")):
            self.run_.rows[5] = self.run_.row(5)
            self.run_.rows[5][column] = value
            self.finds("readings: of another meter, time or value")

    def test_foreign(self):
        self.run_.rows.append(["l7-m000", str(BASE_MS), "3", "3", "223", "3.03", "ON", "10",
                               "703"])
        self.finds("readings: rows of messages that nobody sent",
                   "readings: rows with a number that another has")

    def test_nothing_was_acknowledged(self):
        self.run_.write("acked-P1.txt", [])
        self.finds("readings: producers of which nothing was acknowledged")

    def test_what_was_not_acknowledged_may_be_there(self):
        self.run_.write("acked-P1.txt", [f"{START} 0-3"])
        self.assertEqual([], self.failing())
        self.assertEqual((4, 10, 6), readings.counts(self.run_.dir))


class Commands(Case):
    def test_without_an_end(self):
        run = self.run_
        run.events = [e for e in run.events
                      if not (e["id"] == "C" and e["op"] in ("end", "final"))]
        run.event(9000, "end", "info", "C")
        self.finds("commands: without an end")

    def test_two_ends(self):
        self.run_.find("final", "ok", "B", 2)["command"]["status"] = "expired"
        self.finds("commands: with more than one end")

    def test_the_same_end_at_another_time(self):
        self.run_.find("final", "ok", "B", 3)["command"]["ended_ms"] += 1
        self.finds("commands: with more than one end")

    def test_another_reason(self):
        self.run_.find("final", "ok", "B", 3)["command"]["reason"] = "x"
        self.finds("commands: with more than one end")

    def test_a_node_does_not_know_it(self):
        e = self.run_.find("final", "ok", "B", 2)
        e["ev"], e["status"] = "fail", None
        del e["command"]
        self.finds("commands: whose end a node does not know")

    def test_refused_and_carried_out(self):
        self.run_.event(5, "send", "fail", "A", code="invalid")
        self.finds("commands: refused, and accepted all the same")

    def test_no_commands(self):
        self.run_.events, self.run_.device = [], []
        self.assertIn("commands: histories without a command", self.failing())

    def test_two_numbers(self):
        self.run_.find("final", "ok", "A", 2)["command"]["seq"] = 9
        self.finds("commands: with several numbers, or a number with several")

    def test_a_number_twice(self):
        for e in self.run_.events:
            if e["id"] == "B" and "command" in e:
                e["command"]["seq"] = 1
        self.assertIn("commands: with several numbers, or a number with several",
                      self.failing())

    def renumber(self, ident, seq):
        for e in self.run_.events:
            if e["id"] == ident and "command" in e:
                e["command"]["seq"] = seq

    def test_numbered_against_real_time(self):
        self.renumber("A", 5)
        self.assertIn("commands: numbered against real time", self.failing())

    def test_at_the_same_time_any_order_is_right(self):
        run = self.run_
        run.events, run.device = [], run.device[:1]
        run.command("A", 2, "ON", 0, 300)
        run.command("B", 1, "OFF", 5, 100)
        self.assertEqual([], self.failing())

    def test_reads_that_go_back(self):
        run = self.run_
        run.event(30, "again", "invoke", "A")
        run.event(40, "again", "ok", "A", command=run.told("A", 1, "ON", "sent", 0))
        run.event(50, "again", "invoke", "A")
        run.event(60, "again", "ok", "A", command=run.told("A", 1, "ON", "accepted", 0))
        self.finds("commands: reads that go back in time")

    def test_a_read_older_than_what_was_known(self):
        run = self.run_
        run.event(150, "again", "invoke", "A")
        run.event(160, "again", "ok", "A", command=run.told("A", 1, "ON", "sent", 0))
        self.finds("commands: reads that are older than what was known")

    def test_open_though_a_newer_one_was_accepted(self):
        run = self.run_
        run.events, run.device = [], run.device[:1]
        run.command("A", 1, "ON", 0, 500, "superseded")
        run.command("B", 2, "OFF", 20, 100)
        run.event(200, "again", "invoke", "A")
        run.event(210, "again", "ok", "A", command=run.told("A", 1, "ON", "accepted", 0))
        self.finds("commands: reads that are older than what was known")

    def test_a_node_alone_may_be_old_but_not_wrong(self):
        run = self.run_
        run.event(150, "look", "ok", "A", node=2, command=run.told("A", 1, "ON", "sent", 0))
        self.assertEqual([], self.failing())
        run.event(160, "look", "ok", "A", node=2,
                  command=run.told("A", 1, "ON", "cancelled", 0, 100))
        self.finds("commands: reads of another end than it had",
                   "commands: with more than one end")

    def test_rows_of_the_table(self):
        self.run_.table = [["x", "sent", 1]]
        self.finds("commands: rows without an end, or with another than the nodes say")
        self.run_.command("pg:x", 4, "OFF", 700, 800)
        self.run_.table = [["x", "confirmed", 1]]
        self.assertEqual([], self.failing())
        self.run_.table = [["x", "expired", 1]]
        self.finds("commands: rows without an end, or with another than the nodes say")

    def inserted(self):
        run = self.run_
        run.event(600, "insert", "invoke", "pg:y", dev="a1-m000", value="OFF", timeout_ms=2000)
        run.event(610, "insert", "ok", "pg:y")
        return run

    def test_a_row_that_is_lost(self):
        self.inserted()
        self.finds("commands: rows without an end, or with another than the nodes say")

    def test_a_row_that_never_was_a_command(self):
        run = self.inserted()
        run.table = [["y", "superseded", 0]]
        self.assertEqual([], self.failing())
        run.reach(700, "OFF")
        self.finds(Devices.NEVER, "devices: not as last confirmed")


class Devices(Case):
    NEVER = "devices: switched late, out of order, or by nobody"

    def test_switched_by_nobody(self):
        self.run_.reach(50, "ON", dev="a1-m019")
        self.finds(self.NEVER)

    def test_an_old_value_comes_back(self):
        self.run_.reach(650, "OFF")
        self.finds(self.NEVER, "devices: not as last confirmed")

    def test_before_it_was_asked_for(self):
        self.run_.device[1]["mono_us"] = START - 1
        self.assertIn(self.NEVER, self.failing())

    def ended_otherwise(self, status):
        run = self.run_
        run.command("D", 4, "OFF", 700, 2710, status)
        return run

    def test_after_its_deadline(self):
        self.ended_otherwise("expired").reach(2990, "OFF")
        self.finds(self.NEVER)

    def test_at_its_deadline(self):
        self.ended_otherwise("expired").reach(2700, "OFF")
        self.assertEqual([], self.failing())

    def test_after_its_deadline_held_up_by_the_network(self):
        run = self.ended_otherwise("expired")
        run.reach(4000, "OFF")
        run.faults += [{"t": START + 2000_000, "ev": "begin", "n": 2,
                        "nemesis": "leader-from-broker", "what": ""},
                       {"t": START + 3900_000, "ev": "end", "n": 2}]
        found = {v.name: v.value for v in run.verdicts()}
        self.assertEqual(0, found[self.NEVER])
        self.assertEqual(1, found["devices: switched late because a message was held up"])

    def test_after_it_was_cancelled(self):
        run = self.run_
        run.command("D", 4, "OFF", 700, 800, "cancelled")
        run.reach(1100, "OFF")
        self.finds(self.NEVER)

    def test_never_sent_and_carried_out(self):
        run = self.run_
        run.command("D", 4, "OFF", 700, 800, "cancelled")
        for e in run.events:
            if e["id"] == "D" and "command" in e:
                e["command"]["attempts"] = 0
        run.reach(750, "OFF")
        self.finds(self.NEVER, "devices: not as last confirmed")

    def test_confirmed_but_never_so(self):
        run = self.run_
        run.device = [e for e in run.device if e["mono_us"] != START + 280_000]
        self.finds("devices: confirmed, but never so")

    def test_not_as_last_confirmed(self):
        run = self.run_
        run.device.pop()
        self.finds("devices: confirmed, but never so", "devices: not as last confirmed")

    def test_a_site_that_starts_anew_forgets(self):
        run = self.run_
        run.device[-1:] = [{"mono_us": START + 490_000}]
        self.assertEqual([], self.failing())

    def test_sent_twice_is_allowed_until_the_next(self):
        self.run_.reach(285, "OFF")
        self.assertEqual([], self.failing())

    def test_the_clock_of_a_cluster_that_waits_goes_slower(self):
        run = self.ended_otherwise("expired")
        for e in run.events:
            if e["id"] == "D" and "command" in e:
                e["command"]["deadline_ms"] -= 3_600_000
                e["command"]["ended_ms"] -= 3_600_000
        run.reach(2700, "OFF")
        self.finds(self.NEVER)
        run.faults += [{"t": START, "ev": "begin", "n": 2, "nemesis": "clock-jump", "what": ""}]
        self.assertEqual([], self.failing())

    def test_nobody_knows_whether_it_was_accepted(self):
        run = self.run_
        run.event(700, "send", "invoke", "D", dev="a1-m000", value="OFF", timeout_ms=2000)
        run.event(9000, "send", "info", "D", code="silent")
        run.reach(800, "OFF")
        self.assertEqual([], self.failing())


class Terms(Case):
    def test_an_older_term_writes_to_postgres(self):
        self.run_.fence[2][1], self.run_.fence[3][1] = 1, 1
        self.finds("terms: an older one writes to Postgres after a newer one")

    def test_terms_that_take_turns(self):
        self.run_.fence.append([5, 2, "nas", 10, 10, 704, 5])
        self.finds("terms: an older one writes to Postgres after a newer one")

    def test_the_watermark_jumps(self):
        self.run_.fence[3][3] = 7
        self.assertIn("terms: the watermark jumps", self.failing())

    def test_the_watermark_goes_back(self):
        self.run_.fence.append([5, 3, "hut", 10, 8, 704, 5])
        self.finds("terms: the watermark jumps")

    def test_two_nodes_in_one_term(self):
        self.run_.fence[1][2] = "hut"
        self.finds("terms: of two nodes")

    def test_no_writes(self):
        self.run_.fence = []
        self.assertIn("terms: Postgres histories without a write", self.failing())

    def test_rows_outside_the_fence(self):
        self.run_.rows[5][8] = "999"
        self.finds("terms: rows written outside a transaction of the fence")

    def test_the_watermark_moves_in_another_transaction(self):
        self.run_.rows[5][8] = "700"
        self.finds("terms: rows written outside a transaction of the fence")

    def test_an_older_term_speaks_at_the_broker(self):
        self.run_.broker.append(["0", "vagt/c/status", Run.status(2, "nas"), "5"])
        self.finds("terms: an older one speaks at the broker after a newer one")

    def test_two_speak_in_one_term(self):
        self.run_.broker.append(["0", "vagt/c/status", Run.status(3, "nas"), "5"])
        self.finds("terms: an older one speaks at the broker after a newer one")

    def test_nothing_was_observed(self):
        self.run_.broker = []
        self.finds("terms: broker histories without a status")

    def test_a_writer_that_is_not_connected(self):
        self.run_.broker_log.reverse()
        self.finds("terms: commands from a writer that is not connected")

    def test_no_writer_at_all(self):
        self.run_.broker_log = ["1: mosquitto version 2.0.11 starting"]
        self.finds("terms: broker logs without our writer")


class Nodes(Case):
    def test_states_differ(self):
        self.run_.hashes[1]["hash"] = "other"
        self.finds("nodes: different states at one index")

    def test_one_node_with_two_states_at_one_index(self):
        self.run_.hashes.append({"t": 9, "node": 1, "index": 5, "hash": "other"})
        self.finds("nodes: different states at one index")

    def test_nothing_was_compared(self):
        self.run_.hashes = [{"t": 1, "node": 1, "index": 5, "hash": "h"}]
        self.finds("nodes: states compared")

    def test_different_at_the_end(self):
        self.run_.end["hashes"][2]["hash"] = "y"
        self.finds("nodes: not at the same index and state at the end")

    def test_one_is_missing_at_the_end(self):
        self.run_.end["hashes"].pop()
        self.finds("nodes: not at the same index and state at the end")

    def test_not_healthy(self):
        for took in (None, 61):
            self.run_.end["healthy_s"] = took
            self.finds("nodes: seconds until healthy, after it was over")

    def test_bad_words(self):
        for line in ('<3>ts=1 node=nas ev=fatal what="consensus.broken"',
                     "vagtd: x.c:1: f: Assertion `a' failed.",
                     '<3>ts=1 node=nas ev=start.failed err=EBADMSG',
                     '<3>ts=1 node=nas ev=state.diverged text=x',
                     "==1==ERROR: AddressSanitizer: heap-use-after-free",
                     "node/x.c:3:4: runtime error: signed integer overflow"):
            self.run_.logs["n2"] = [line]
            self.finds("nodes: bad words in the logs")

    def test_a_damaged_disk_excuses_only_what_it_must(self):
        self.run_.faults.append({"t": START, "ev": "begin", "n": 2, "nemesis": "bit-flip",
                                 "what": ""})
        self.run_.logs["n2"] = ["<3>ts=1 node=nas ev=start.failed err=EBADMSG"]
        self.assertEqual([], self.failing())
        self.run_.logs["n2"] = ["<3>ts=1 node=nas ev=state.diverged text=x"]
        self.finds("nodes: bad words in the logs")

    def test_logs_are_missing(self):
        self.run_.logs = {}
        self.finds("nodes: logs missing")

    def test_memory_grows(self):
        for s in self.run_.rss[70:]:
            s["rss_kb"] = 60000
        self.finds("nodes: memory not back at its level")

    def test_memory_that_comes_back(self):
        for s in self.run_.rss[30:60]:
            s["rss_kb"] = 200000
        self.assertEqual([], self.failing())


class Unavailable(Case):
    def test_a_fault_after_which_nothing_came(self):
        run = self.run_
        run.faults[0]["t"] = START + 450_000
        run.command("D", 4, "OFF", 12000, 12100, "expired")
        self.finds("unavailable: faults after which nothing was confirmed")

    def test_from_the_fault_to_the_next_confirmed(self):
        self.run_.verdicts()
        found = unavail.figures(self.run_.dir)
        self.assertEqual([("kill", "node 1", 200)], found["faults"])
        self.assertEqual((200, 200, 200), found["per fault"])
        self.assertEqual((150, 150, 150), found["to the next"])
        self.assertEqual((2, 200, 200, 200), found["gaps"]["command confirmed"])

    def test_the_longest_pause_of_a_fault(self):
        second = 1_000_000
        fault = history.Fault("cut", 10 * second, 12 * second, "")
        times = [t * second for t in (1, 5, 9, 10.5, 13, 13.2, 16.9, 30)]
        pauses = unavail.longest_pauses([fault], times)
        self.assertEqual([(fault, 13100)], pauses)
        # The pause before it is not its own, nor the one that begins later.
        self.assertEqual([(fault, 3700)], unavail.longest_pauses([fault], times[:-1]))
        self.assertEqual([(fault, 1000)], unavail.longest_pauses(
            [fault], [t * second for t in (1, 9.5, 10.5, 11, 12, 13, 14, 15, 16, 17, 18)]))
        self.assertEqual([(fault, None)], unavail.longest_pauses([fault], times[:3]))

    def test_what_was_under_way_does_not_count(self):
        fault = history.Fault("kill", 100, 100, "")
        self.assertEqual([(fault, 0.4)],
                         unavail.after_faults([fault], [(50, 150), (120, 500), (130, 600)]))

    def test_the_first_to_be_confirmed_need_not_be_the_first_given(self):
        fault = history.Fault("kill", 100, 100, "")
        self.assertEqual([(fault, 0.2)],
                         unavail.after_faults([fault], [(120, 500), (130, 300)]))

    def test_percentiles(self):
        values = list(range(1, 201))
        self.assertEqual((100, 198, 200), unavail.summary(values))
        self.assertEqual((None, None, None), unavail.summary([]))


class Parts(unittest.TestCase):
    def test_a_walk_takes_the_earliest_that_fits(self):
        def window(begin, end, value):
            c = commands.Command("x")
            c.invoked, c.accepted, c.value, c.timeout_ms = begin, begin, value, 0
            w = commands.Window(c, True)
            w.end = end
            return w

        windows = [window(0, 100, "ON"), window(10, 100, "OFF"), window(20, 100, "ON")]
        reached = [{"mono_us": t, "wall_ms": 0, "value": v}
                   for t, v in ((30, "ON"), (31, "OFF"), (32, "ON"))]
        self.assertEqual(([], []), commands.walk(windows, reached, []))
        reached.append({"mono_us": 33, "wall_ms": 0, "value": "OFF"})
        never, late = commands.walk(windows, reached, [])
        self.assertEqual((1, []), (len(never), late))  # One of them is nobody's.

    def test_the_xid_of_the_audit_is_the_one_of_the_row(self):
        rows = [{"n": 1, "term": 1, "node": "a", "begin": 0, "end": 2, "xid": 5, "wall_us": 0}]
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "history"))
            with open(os.path.join(folder, "history/readings.tsv"), "w",
                      encoding="utf-8") as f:
                f.write("m\t0\t0\t0\t0\t0\tON\t2\t5\n")
            self.assertTrue(all(v.ok for v in terms.check_rows(folder, rows)))


if __name__ == "__main__":
    unittest.main()
