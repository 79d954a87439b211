#!/usr/bin/env python3
"""vagtctl db and deadletter against a real Postgres: text, JSON, exit codes.

  test_vagtctl.py VAGTCTL PG_SH
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

VAGTCTL = PG_SH = None


class Postgres(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vagt-pgcli-"))
        cls.folder.chmod(0o755)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            cls.port = s.getsockname()[1]
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run([PG_SH, "start", cls.folder, str(cls.port)], check=True)
        cls.addClassCleanup(subprocess.run, [PG_SH, "stop", cls.folder], check=True)
        cls.number = 0

    def setUp(self):
        type(self).number += 1
        self.database = f"t{self.number}"
        self.psql(f"CREATE DATABASE {self.database}", "postgres")

    def conninfo(self, database=None):
        return (f"host=127.0.0.1 port={self.port} user=postgres "
                f"dbname={database or self.database}")

    def psql(self, sql, database=None):
        return subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, self.conninfo(database)],
            check=True, capture_output=True, text=True).stdout.strip()

    def run_ctl(self, *args, code=0, err=""):
        env = {k: v for k, v in os.environ.items() if not k.startswith("VAGT_")}
        env |= {"VAGT_POSTGRES": self.conninfo(), "COLUMNS": "100", "TZ": "UTC"}
        r = subprocess.run([VAGTCTL, *args], env=env, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual((r.returncode, r.stderr), (code, err), r.stdout)
        return r.stdout

    def text(self, *args, **expected):
        """What differs from run to run is made equal."""
        out = self.run_ctl(*args, **expected)
        out = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "DATE", out)
        out = re.sub(r"\d{4}-\d\d-\d\d", "DAY", out)
        return re.sub(r" +\d+ (ms|s)\b", " AGE", out)

    def letter(self, kind, payload, **other):
        row = {"cluster": "jelling", "kind": kind, "seq": 7, "area": "Nord",
               "topic": "z2m/nord/x", "reason": "because", "payload": payload} | other
        names = ", ".join(row)
        values = ", ".join("'" + str(v).replace("'", "''") + "'" for v in row.values())
        self.psql(f"INSERT INTO vagt_dead_letters (at, {names}) VALUES "
                  f"(now() - interval '5 hours', {values})")

    def test_migrate_and_status(self):
        self.assertEqual(
            self.text("db", "status", code=1),
            "The schema is at version 0, this vagtctl knows 6: run `vagtctl db migrate`.\n")
        self.psql("CREATE TABLE meter_readings (id serial PRIMARY KEY, meter_id text,"
                  " time timestamptz); INSERT INTO meter_readings (meter_id, time)"
                  " VALUES ('a', now()), ('a', now()), ('b', '2090-01-01')")
        self.assertEqual(
            self.text("db", "migrate", err="vagtctl: note: the primary key of "
                      "meter_readings is now (id, time): partitions need the time in it\n"),
            "The schema went from version 0 to 6.\n")
        self.assertEqual(self.text("db", "migrate"),
                         "The schema is at version 6, the newest.\n")
        self.psql("SELECT vagt_maintain(90, 3)")
        self.psql("INSERT INTO meter_commands (meter_id) VALUES ('a')")
        self.psql("UPDATE vagt_upkeep SET trouble = 'it was in use', letters_pruned = 1234")
        self.assertEqual(self.text("db", "status"), """\
The schema is at version 6, the newest.
meter_readings  7 partitions, DAY to DAY, and one of all before DAY
waiting         1 row in the partition of no day
retention       90 days: what is older than DAY goes
upkeep AGE ago; so far it dropped 0 partitions, 0 readings and 1,234 dead letters
trouble         it was in use
dead letters    1 new one, 0 to be replayed, 0 replayed, the oldest from AGE ago
meter_commands  1 open, the oldest from AGE ago
""")
        status = json.loads(self.run_ctl("db", "status", "--json"))
        self.assertEqual((status["version"], status["newest"]), (6, 6))
        self.assertEqual(status["readings"]["layout"], "partitions")
        self.assertEqual(status["readings"]["waiting"], 1)
        self.assertEqual(status["upkeep"]["keep_days"], 90)
        self.assertEqual(status["upkeep"]["trouble"], "it was in use")
        self.assertEqual(status["dead_letters"]["new"], 1)
        self.assertEqual(status["commands"]["open"], 1)
        self.psql("INSERT INTO vagt_schema VALUES (99, 'future')")
        self.assertEqual(
            self.text("db", "status", code=1),
            "The schema is at version 99, this vagtctl knows only 6: use a newer one.\n")

    def test_a_role_that_may_look_at_nothing(self):
        self.run_ctl("db", "migrate")
        self.psql("CREATE ROLE guest LOGIN; GRANT SELECT ON vagt_schema TO guest")
        file = self.folder / "conninfo"
        file.write_text(self.conninfo().replace("user=postgres", "user=guest"))
        args = ("db", "status", "--conninfo-file", str(file))
        self.assertEqual(self.text(*args), """\
The schema is at version 6, the newest.
meter_readings  9 partitions, DAY to DAY
waiting         unknown: this role may not look
retention       unknown: this role may not look
dead letters    unknown: this role may not look
meter_commands  unknown: this role may not look
""")
        status = json.loads(self.run_ctl(*args, "--json"))
        self.assertIsNone(status["upkeep"])
        self.assertIsNone(status["dead_letters"]["new"])

    def test_list_and_show(self):
        self.assertIn("run \"vagtctl db migrate\"", subprocess.run(
            [VAGTCTL, "deadletter", "list"], env={"VAGT_POSTGRES": self.conninfo()},
            capture_output=True, text=True, check=False).stderr)
        self.run_ctl("db", "migrate")
        self.assertEqual(self.text("deadletter", "list"), "No dead letters.\n")
        self.letter("message", '{"power": 1}\nsecond\x1b[2J line', reason="no \x1b[2J number")
        self.letter("message", "\\x00ff41", seq=8, area="", topic="")
        self.letter("reading", '{"meter_id":"a"}')
        self.assertEqual(self.text("deadletter", "list", "--limit", "2"), """\
ID  AGE  KIND     STATUS  AREA  TOPIC       REASON
 3  5 h  reading  new     Nord  z2m/nord/x  because
 2  5 h  message  new     -     -           because
The newest 2 of 3; --limit shows more.
""")
        self.assertEqual(self.text("deadletter", "show", "1"), """\
id        1
kind      message, number 7 of cluster jelling
status    new
area      Nord
topic     z2m/nord/x
reason    no \\x1b[2J number
at        DATE, 5 h ago
stored    DATE, AGE ago
payload   28 bytes, not text, in hex
7b22706f776572223a20317d0a7365636f6e641b5b324a206c696e65
""")
        self.assertIn("payload   3 bytes, not text, in hex\n00ff41\n",
                      self.text("deadletter", "show", "2"))
        self.assertIn('payload   16 bytes\n{"meter_id":"a"}\n',
                      self.text("deadletter", "show", "3"))
        letters = json.loads(self.run_ctl("deadletter", "list", "--json"))
        self.assertEqual(letters["total"], 3)
        self.assertEqual([x["id"] for x in letters["letters"]], [3, 2, 1])
        self.assertNotIn("payload", letters["letters"][0])
        letter = json.loads(self.run_ctl("deadletter", "show", "2", "--json"))
        self.assertEqual((letter["size"], letter["payload_hex"]), (3, "00ff41"))
        letter = json.loads(self.run_ctl("deadletter", "show", "3", "--json"))
        self.assertEqual(letter["payload"], '{"meter_id":"a"}')
        self.text("deadletter", "show", "9", code=1,
                  err="vagtctl: deadletter show: there is no dead letter 9\n")

    def test_replay_and_drop(self):
        self.run_ctl("db", "migrate")
        self.letter("message", "x")
        self.letter("reading", '{"meter_id":"a","time":"2026-11-25T00:00:00Z"}')
        self.letter("reading", '{"meter_id":"a"}', seq=8)
        why = ('null value in column "time" of relation "meter_readings_other" violates '
               "not-null constraint")
        self.assertEqual(
            self.text("deadletter", "replay", "3", "4", code=1,
                      err=f"vagtctl: letter 3 stays: {why}\n"
                      "vagtctl: letter 4 stays: there is no such letter\n"),
            "2 letters: 2 refused again.\n")
        self.assertEqual(json.loads(self.run_ctl("deadletter", "replay", "3", "--json",
                                                 code=1)),
                         {"refused": [{"id": 3, "reason": why}], "done": 0, "there": 0,
                          "asked": 0})
        self.psql("UPDATE vagt_dead_letters SET payload ="
                  " '{\"meter_id\":\"a\",\"time\":\"2026-11-25T00:00:00Z\"}' WHERE id = 3")
        self.assertEqual(self.text("deadletter", "replay", "all"),
                         "3 letters: 1 put back, 1 already there, 1 asked of the node on "
                         "watch.\n")
        self.assertEqual(self.text("deadletter", "replay", "all"), "0 letters.\n")
        self.assertEqual(self.psql("SELECT count(*) FROM meter_readings"), "1")
        self.assertEqual(
            self.text("deadletter", "drop", "1", "9", code=1,
                      err="vagtctl: deadletter drop: 1 of the 2 were not there\n"),
            "1 letter dropped.\n")
        self.assertEqual(self.run_ctl("deadletter", "drop", "2", "--json"),
                         '{"dropped":1}\n')
        self.assertEqual(self.text("deadletter", "drop", "all"), "1 letter dropped.\n")
        self.assertEqual(self.text("deadletter", "drop", "all"), "0 letters dropped.\n")


if __name__ == "__main__":
    VAGTCTL, PG_SH = sys.argv[1], sys.argv[2]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
