"""What the fake node answers, by name. `ops` per operation; see fake_node.c."""

HOUR = 3600


def node(number, name, **other):
    base = {
        "id": number, "name": name, "role": "voter", "raft": "follower",
        "watch": "standby", "peer": f"10.0.0.{number}:7400", "control": "",
        "term": 7, "last": 1284551, "committed": 1284551, "applied": 1284551,
        "stored": 1284551, "lag": 0, "contact_ms": 40, "version": "0.1.0",
        "uptime_s": 3 * 24 * HOUR, "rss_bytes": 14 << 20,
        "disk_free_bytes": 118 << 30, "log_bytes": 44 << 20,
        "snapshot_index": 1280000, "hash": "9f2c5be01d6a7733", "hash_index": 1284500,
    }
    return {**base, **other}


def area(name, **other):
    base = {
        "name": name, "base_topic": f"zigbee2mqtt/{name.lower()}",
        "source": "zigbee2mqtt", "broker": "main", "bridge": "online", "ready": True,
        "devices": 52, "online": 52, "offline": 0, "enabled": True, "paused_ms": 0,
    }
    return {**base, **other}


def drill(nr, kind, **more):
    d = {"nr": nr, "kind": kind, "state": "passed", "coordinator": "pi-reception",
         "before": "nas", "after": "pi-reception", "report": {
             "by": "operator", "fault_at_ms": 1, "sent": 20000 + nr, "rows": 20000 + nr,
             "lost": 0, "doubled": 0, "commands": 6, "confirmed": 6, "usual_ms": 21,
             "why": "", "phases": {
                 "detected": 12, "elected": 14 + nr, "acting": 20, "broker": 31,
                 "command": 64, "areas": 84, "row": 260, "all_rows": 3321}}}
    d.update(more)
    return d


def member(number, name, **other):
    base = {
        "id": number, "name": name, "role": "voter", "member": "voter",
        "committed": True, "peer": f"10.0.0.{number}:7400", "control": "",
        "linked": True, "has": 1284551, "leader": False,
    }
    return {**base, **other}


def status(**other):
    base = {
        "cluster": "lyngholm", "node": 1, "now_ms": 1700000000000, "health": "healthy",
        "banner": "nas is on watch and two nodes could relieve it at once.",
        "issues": [],
        "watch": {"node": 1, "name": "nas", "term": 7, "since_ms": 1699989000000},
        "nodes": [
            node(1, "nas", raft="leader", watch="active", contact_ms=0),
            node(2, "pi-reception", uptime_s=11 * HOUR, disk_free_bytes=21 << 30),
            node(3, "pi-workshop", role="witness", watch="-", contact_ms=120,
                 disk_free_bytes=9 << 30, log_bytes=41 << 20),
        ],
        "site": site(),
    }
    return {**base, **other}


def site(**other):
    base = {
        "stale_ms": 0,
        "areas": [area("Nord"), area("Syd"), area("Strand"), area("Skov", online=49),
                  area("Hytter", devices=31, online=31),
                  area("Personale", devices=9, online=9)],
        "brokers": [{"name": "main", "address": "127.0.0.1:1883", "reader": "up",
                     "writer": "up", "holding": 0, "error": "", "received": 18223912,
                     "published": 5121}],
        "postgres": {"configured": True, "link": "up", "error": "", "batches": 91223,
                     "rows": 18110204, "failed": 0},
        "devices": 248, "online": 245,
        "outbox": {"readings": 14, "capacity": 2000000, "oldest_ms": 420, "dropped": 0,
                   "shipped": 18110190},
        "commands": {"open": 1, "confirmed": 5102, "failed": 3, "expired": 7,
                     "superseded": 9, "cancelled": 0},
    }
    return {**base, **other}


def device(name, **other):
    base = {
        "ieee": "0x00124b0024c1a2b3", "name": name, "area": "Nord", "model": "TS011F",
        "state": "on", "availability": "online", "listed": True,
        "last_seen_ms": "@-3500", "updated_ms": "@-3500", "power_mw": 412300,
        "voltage_mv": 231000, "current_ma": 1790, "energy_mwh": 83412000,
        "linkquality": 120,
    }
    return {**base, **other}


def command(**other):
    base = {
        "id": "7h3kq2m9x0a4bcde", "seq": 5113, "device": "0x00124b0024c1a2b3",
        "name": "Plads 12", "area": "Nord", "property": "state", "value": "ON",
        "source": "cli", "status": "confirmed", "attempts": 1,
        "accepted_ms": "@-4500", "sent_ms": "@-4491", "ended_ms": "@-4459",
        "deadline_ms": "@+55500", "reason": "",
    }
    return {**base, **other}


def result(value, **other):
    return {"result": value, **other}


def error(code, text):
    return {"error": {"code": code, "text": text}}


AT = 1700000000000
OPEN = {"status": "accepted", "attempts": 0, "sent_ms": 0, "ended_ms": 0}

HEALTHY = {
    "node": 1,
    "ops": {
        "ping": result({"version": "0.1.0", "node": 1, "name": "nas"}),
        "status": result(status()),
        "devices": [
            result({"devices": [
                device("Plads 12"),
                device("Plads 13 – Familien Østergård-Skjærbæk fra Ærøskøbing (langtidsleje)",
                       state="off", power_mw=0, last_seen_ms="@-250500"),
                device("", area="Syd", state="unknown", availability="unknown",
                       last_seen_ms=0, power_mw=None, energy_mwh=None),
            ], "next": 3}),
            result({"devices": [
                device("Bad 2", area="Strand", availability="offline",
                       last_seen_ms="@-260000000", power_mw=1),
            ], "next": 0}),
        ],
        "send": result({"command": command(**OPEN)}),
        "await": result({"command": command()}, delay_ms=50),
        "command": result({"command": command(
            status="failed", attempts=4,
            reason="the device refused: ERROR_CODE 0x93 (UNSUPPORTED_CLUSTER)")}),
        "commands": result({"commands": [
            command(**OPEN, name="Plads 14"),
            command(),
            command(id="order-2231-heat", source="postgres", name="Hytte 4 – varmepumpe",
                    property="system_mode", value="heat", status="expired", attempts=6,
                    accepted_ms="@-7400000", ended_ms="@-7340000",
                    reason="no confirmation before the deadline"),
        ]}),
        "cancel": result({"command": command(status="cancelled", attempts=0, sent_ms=0)}),
        "handover": result({"from": "nas", "to": "pi-reception", "took_ms": 34}),
        "members": result({"last": 1284551, "change": {
            "what": "voter", "node": 4,
            "waits": "attic is catching up: 900000 of 1284551 entries"}, "members": [
                member(1, "nas", leader=True), member(2, "pi-reception"),
                member(3, "pi-workshop", role="witness"),
                member(4, "attic", member="spare", has=900000),
                member(5, "barn", member="removed", linked=False, has=0)]}),
        "members_change": result({"what": "voter", "node": 4}),
        "members_progress": result({"last": 1284551, "change": None, "members": [
            member(1, "nas", leader=True), member(4, "attic")]}),
        "maintenance": result({"on": True, "until_ms": "@+5430000", "left_ms": 5399000}),
        "restart": result({"node": 2, "uptime_ms": 86400000}),
        "drill": result({
            "nr": 7, "kind": "kill", "coordinator": "pi-reception", "ready": True,
            "text": "pi-reception could relieve nas right now", "plan": [
                "nas is on watch; pi-reception coordinates and measures",
                "vagtd on nas is killed (SIGKILL); systemd starts it again"]}),
        "drills": result({
            "now_ms": "@+300", "target_ms": 60000, "target_lost_ppm": 100, "drills": [
                drill(7, "kill", began_ms="@-60000", ended_ms="@-55000"),
                drill(6, "kill", state="failed", began_ms="@-900000", ended_ms="@-800000",
                      report={"by": "schedule", "fault_at_ms": "@-890000", "phases": {
                          "detected": 1210, "elected": 1220, "acting": 1240},
                          "sent": 412, "rows": 400, "lost": 13, "doubled": 1,
                          "commands": 1, "confirmed": 0, "usual_ms": 18,
                          "why": "given up after 60 s: not every area confirmed a "
                                 "command"}),
                drill(5, "kill", began_ms="@-86400000", ended_ms="@-86390000"),
                drill(3, "handover", state="aborted", began_ms="@-90000000",
                      ended_ms="@-89990000",
                      report={"by": "operator", "fault_at_ms": 0,
                              "why": "an operator ended it"})]}),
        "area": result({"area": "Hytter", "off": True, "devices": 31}),
        "audit": result({"first": 1, "last": 2, "records": [
            {"nr": 1, "at_ms": "@-60000", "node": 2, "who": "root", "from": "pid 4711 on nas", "what": "send",
             "about": "device=Pitch 7 property=state value=ON", "result": "done", "before": "00" * 32,
             "hash": "11" * 32},
            {"nr": 2, "at_ms": "@-3000", "node": 2, "who": "ann", "from": "192.0.2.7 at nas",
             "what": "keys_change", "about": "action=revoke name=vera", "result": "done",
             "before": "11" * 32, "hash": "22" * 32}]}),
        "keys": result({"sealed": True, "keys": [
            {"name": "ann", "role": "operator", "key": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"},
            {"name": "dashboard", "role": "viewer", "key": "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"}]}),
        "keys_change": result({"name": "ann"}),
        "bridges": result({"node": "nas", "bridges": [
            {"area": "Hytter", "dir": "/var/lib/z2m/hytter", "may_write": False,
             "written": False, "differs": []},
            {"area": "Nord", "dir": "/var/lib/z2m/nord", "may_write": True,
             "written": True, "differs": ["mqtt.client_id is not set: …; set it to x"]}]}),
        "files": result({"now_ms": "@+300", "sets": [
            {"set": "bridge-Hytter", "dir": "/var/lib/z2m/hytter", "version": 12,
             "versions": 10, "at_ms": "@-35000", "by": "nas", "from": 0, "files": 6,
             "bytes": 86016, "on": ["nas", "pi-reception"]},
            {"set": "bridge-Nord", "dir": "/var/lib/z2m/nord"},
            {"set": "old", "dir": "", "version": 1, "versions": 1, "at_ms": "@-90000000",
             "by": "nas", "from": 0, "files": 1, "bytes": 12, "on": []}]}),
        "files_rollback": result({"set": "bridge-Hytter", "version": 13, "from": 9,
                                  "restarts": True, "folder": True}),
        "files_forget": result({"set": "old"}),
        "files_diff": result({
            "set": "bridge-Hytter", "node": "nas", "before": 9, "after": 12, "files": [
                {"path": "configuration.yaml", "what": "changed", "bytes_before": 812,
                 "bytes_after": 815, "how": "text", "text":
                     "@@ -3,3 +3,3 @@\n mqtt:\n-  password: (secret)\n"
                     "+  password: (secret)\n   server: mqtt://10.0.0.9\n"},
                {"path": "coordinator_backup.json", "what": "changed",
                 "bytes_before": 9000, "bytes_after": 9000, "how": "secret", "text": "",
                 "mode_before": 0o600, "mode_after": 0o640},
                {"path": "icon.png", "what": "added", "bytes_before": None,
                 "bytes_after": 70000, "how": "binary", "text": ""},
                {"path": "groups.yaml", "what": "removed", "bytes_before": 90,
                 "bytes_after": None, "how": "absent", "text": ""}]}),
        "hash": result({"nodes": [
            {"id": i, "name": n, "index": 1284500 + i, "hash": "9f2c5be01d6a7733",
             "hash_at_index": "11aa22bb33cc44dd"}
            for i, n in ((1, "nas"), (2, "pi-reception"), (3, "pi-workshop"))],
            "equal": True}),
        "ready": result({
            "ready": True, "text": "pi-reception could relieve nas right now",
            "watch": "nas",
            "site": [
                {"what": "quorum", "about": "", "ok": True,
                 "text": "without nas 2 of 3 nodes would be left, and 2 are needed"},
                {"what": "tie-breaker", "about": "", "ok": None,
                 "text": "not configured"}],
            "nodes": [{
                "id": 2, "name": "pi-reception", "ok": True,
                "text": "all 3 conditions hold", "rows": [
                    {"what": "caught up", "about": "", "ok": True,
                     "text": "0 entries and 0 ms behind nas (at most 2000 ms)"},
                    {"what": "broker", "about": "main", "ok": True,
                     "text": "127.0.0.1:1883 took us in 3 ms, 4 s ago"},
                    {"what": "postgres", "about": "", "ok": True,
                     "text": "took us as vagt in 18 ms, 31 s ago"}]}]}),
        "why": result({"sentences": [
            "pi-reception (node 2) is not on watch because nas leads in term 7.",
            "It could relieve nas at once: it lacks 0 of 1284551 entries, its log is on "
            "disk and it reaches Mosquitto at 127.0.0.1:1883 and Postgres."]}),
        "metrics": result({"vagt_entries_total": 1284551, "vagt_loop_stall_seconds": 0.004,
                           "vagt_offset": -3}),
    },
    "events": [
        {"name": "command.accepted", "body": {
            "name": "command.accepted", "at_ms": AT, "node": 1,
            "command": command(**{**OPEN, "accepted_ms": AT})}},
        {"name": "command.confirmed", "body": {
            "name": "command.confirmed", "at_ms": AT + 41, "node": 1,
            "command": command(accepted_ms=AT, sent_ms=AT + 4, ended_ms=AT + 41)}},
        {"name": "device.state", "body": {
            "name": "device.state", "at_ms": AT + 42, "node": 1,
            "device": device("Plads 12")}},
        {"name": "bridge.offline", "body": {
            "name": "bridge.offline", "at_ms": AT + 1500, "node": 1, "area": "Nord"}},
        {"name": "watch.taken", "body": {
            "name": "watch.taken", "at_ms": AT + 2000, "node": 2, "term": 8,
            "watch_node": 2}},
        {"name": "role", "body": {
            "name": "role", "at_ms": AT + 3000, "node": 2, "from": "standby",
            "to": "ramping", "term": 8, "nested": {"a": [1, None]}}},
    ],
}

DEGRADED = {
    "node": 1,
    "ops": {
        "status": result(status(
            health="degraded",
            banner="nas is on watch, but nobody could relieve it now.",
            issues=[
                {"level": "error", "text": "pi-reception (10.0.0.2:7400) has not been heard "
                 "of for 4 min: is it switched on, and does its network cable sit? Until "
                 "it is back, one more failure stops the site."},
                {"level": "warning", "text": "The bridge of area Strand is offline: look at "
                 "zigbee2mqtt@strand on nas."},
            ],
            nodes=[
                node(1, "nas", raft="leader", watch="active", contact_ms=0),
                node(2, "pi-reception", raft="unreachable", watch="-", lag=20551,
                     contact_ms=253000, applied=1264000, last=1264000, committed=1264000),
                {"id": 3, "name": "pi-workshop", "role": "witness", "raft": "unknown",
                 "watch": "-"},
            ],
            site=site(
                stale_ms=12000,
                areas=[area("Nord"), area("Strand", bridge="offline", ready=False, online=0),
                       area("Gammel", enabled=False, devices=0, online=0)],
                brokers=[{"name": "main", "address": "127.0.0.1:1883", "reader": "up",
                          "writer": "connecting", "holding": 212, "error": "writer: the "
                          "broker refused the connection: not authorised",
                          "received": 18223912, "published": 5121}],
                postgres={"configured": True, "link": "down", "error": "connection to "
                          "server at 10.0.0.9 timed out", "batches": 91223,
                          "rows": 18110204, "failed": 4},
                outbox={"readings": 1412000, "capacity": 2000000, "oldest_ms": 5400000,
                        "dropped": 0, "shipped": 18110190}),
        )),
        "bridges": result({"node": "nas", "bridges": [
            {"area": "Nord", "dir": "/var/lib/z2m/nord", "may_write": False,
             "written": False, "differs": [
                 "line 4: mqtt.server is 'mqtt://localhost': it would not find the broker; "
                 "set it to mqtt://10.0.0.9:1883"]}]}),
        "files": result({
            "now_ms": "@+300", "set": "bridge-Hytter", "node": "pi-reception", "versions": [
                {"version": 13, "at_ms": "@-5000", "by": "nas", "from": 9, "files": 6,
                 "bytes": 86000, "missing": 0, "changed": 2, "changes": [
                     {"path": "configuration.yaml", "what": "changed"},
                     {"path": "groups.yaml", "what": "added"}]},
                {"version": 12, "at_ms": "@-35000", "by": "nas", "from": 0, "files": 6,
                 "bytes": 86016, "missing": 2, "changed": 10, "changes": [
                     {"path": "database.db", "what": "changed"},
                     {"path": "old.js", "what": "removed"}]},
                {"version": 11, "at_ms": "@-95000", "by": "nas", "from": 0, "files": 6,
                 "bytes": 86016, "missing": 0, "changed": 0, "changes": []}]}),
        "files_diff": result({"set": "bridge-Hytter", "before": 11, "after": 12,
                              "files": []}),
        "files_rollback": error("unavailable", "1 of 6 contents of version 9 of "
                                "bridge-Hytter are not on nas: another version, or hand "
                                "the watch to a node whose `vagtctl files history` has "
                                "them all"),
        "hash": result({"nodes": [
            {"id": 1, "name": "nas", "index": 12, "hash": "9f2c5be01d6a7733",
             "hash_at_index": "11aa22bb33cc44dd"},
            {"id": 2, "name": "pi-reception", "index": 12, "hash": "0000000000000001",
             "hash_at_index": ""}], "equal": False}),
        "send": result({"command": command(**OPEN)}),
        # So long under way that `send` cannot have seen it leave, however slow it is.
        "await": result({"command": command(
            status="expired", attempts=6, reason="no confirmation before the deadline",
            sent_ms="@-64459")}),
        "devices": result({"devices": [], "next": 0}),
        "commands": result({"commands": []}),
        "why": result({"sentences": []}),
        "ready": result({
            "ready": False, "watch": "nas",
            "text": "pi-reception could not relieve nas: broker main: 10.0.0.2:1883 "
                    "cannot be reached: connection refused, 1 s ago",
            "site": [], "nodes": [
                {"id": 2, "name": "pi-reception", "ok": False,
                 "text": "broker main: 10.0.0.2:1883 cannot be reached: connection "
                         "refused, 1 s ago", "rows": [
                     {"what": "broker", "about": "main", "ok": False,
                      "text": "10.0.0.2:1883 cannot be reached: connection refused, "
                              "1 s ago"},
                     {"what": "postgres", "about": "", "ok": None,
                      "text": "is being tried"}]},
                {"id": 3, "name": "hut", "ok": False, "rows": [],
                 "text": "it cannot be reached from nas"}]}),
    },
}

NO_WATCH = {
    "node": 2,
    "ops": {
        "keys": result({"sealed": False, "keys": []}),
        "bridges": result({"node": "nas", "bridges": []}),
        "files": result({"now_ms": "@+300", "sets": []}),
        "status": result(status(
            node=2, health="no_watch", watch=None, site=None,
            banner="Nobody is on watch: 1 of 3 nodes is here and 2 are needed.",
            issues=[{"level": "error", "text": "nas and pi-workshop cannot be reached."}],
            nodes=[node(1, "nas", raft="unreachable", watch="-", contact_ms=61000),
                   node(2, "pi-reception", raft="candidate", contact_ms=0),
                   node(3, "pi-workshop", role="witness", raft="unreachable", watch="-",
                        contact_ms=61000)])),
        "send": error("no_quorum", "1 of 3 nodes is here and 2 are needed: start another."),
        "handover": error("not_leader", "nobody leads: there is nothing to hand over."),
        "members_change": error(
            "no_quorum", "without nas only 1 of 2 voters could be reached and 2 are "
            "needed: nothing could be decided; start the others first"),
        "maintenance": result({"on": False, "until_ms": 0, "left_ms": 0}),
        "restart": error("no_quorum", "nas is on watch, and no other node could take it"),
        "drill": error("invalid", "the site is not ready for it: nobody is on watch (`vagtctl "
                       "ready`); --force does it all the same"),
        "drills": result({"now_ms": "@+300", "target_ms": 60000, "target_lost_ppm": 100,
                          "drills": []}),
        "area": error("not_found", "no area is called 'Nordpol'"),
        "cancel": error("no_watch", "nobody is on watch."),
        "command": error("not_found", "there is no command with this id."),
        "hash": {"silent": True},
        "why": {"die": True},
    },
}

ODD = {"$str": "1b5b324a1b5d303b6f776e65640707c3285c0a00c29b33316de280ae"}

# Wrong types, missing keys, escape sequences.
HOSTILE = {
    "node": 1,
    "ops": {
        "ping": result({"version": ODD, "node": "x", "name": ODD}),
        "status": result({
            "cluster": ODD, "node": "one", "now_ms": -1, "health": 7, "banner": ODD,
            "issues": [{"level": 3, "text": ODD}, "no map", 7, None, {}],
            "watch": {"name": ODD, "term": "x", "since_ms": 1.5},
            "nodes": [{"id": 1, "name": ODD, "contact_ms": 2**62, "uptime_s": 2**62,
                       "disk_free_bytes": 2**62, "lag": 2**62}, {}, 5, [], "x",
                      {"id": [1, 2], "name": {"a": 1}, "role": ODD, "lag": -5}],
            "site": {"areas": [{}, 1, {"name": ODD, "bridge": ODD, "broker": ODD}],
                     "brokers": [{"name": ODD, "error": ODD}, None],
                     "postgres": {"configured": True, "link": ODD, "error": ODD},
                     "outbox": [], "commands": "x"},
        }),
        "devices": result({"devices": [{}, 5, device("x", state=5, area=ODD),
                                       {"name": ODD, "last_seen_ms": "@+90000000",
                                        "power_mw": "much", "energy_mwh": -5}], "next": "x"}),
        "commands": result({"commands": [{}, None, command(id=ODD, reason=ODD, name=ODD,
                                                           accepted_ms="@+90000000")]}),
        "command": result({"command": [1]}),
        "cancel": result("x"),
        "send": result({"command": command(id=ODD, **OPEN)}),
        "await": result({"command": command(status="failed", reason=ODD,
                                            sent_ms="@-64459")}),
        "handover": error(7, ODD),
        "members": result({"last": "x", "change": {"node": 3, "what": ODD, "waits": ODD},
                           "members": [{}, 7, member(1, ODD, peer=ODD, has="x"),
                                       {"member": "removed", "name": 5}]}),
        "maintenance": result({"on": True, "until_ms": ODD, "left_ms": ODD}),
        "restart": result({"node": ODD}),
        "drill": result({"nr": ODD, "ready": ODD, "text": ODD, "plan": [ODD, 5, {}]}),
        "drills": result({"now_ms": ODD, "drills": [
            5, {}, drill(0, ODD, state=ODD, before=ODD, report={
                "by": ODD, "fault_at_ms": 5, "phases": {"row": ODD, "command": 1 << 62},
                "sent": 1 << 62, "lost": 1 << 61, "why": ODD})]}),
        "area": result({"area": ODD, "off": 7, "devices": "x"}),
        "hash": result({"nodes": [{"id": "x", "hash": ODD}], "equal": "yes"}),
        "why": result({"sentences": [ODD, 5, {"a": 1}]}),
        "audit": result({"first": ODD, "last": 1 << 62, "broken": ODD, "records": [5, {}, {
            "nr": ODD, "at_ms": ODD, "node": ODD, "who": ODD, "from": ODD, "what": ODD, "about": ODD,
            "result": ODD, "before": ODD, "hash": 7}]}),
        "keys": result({"sealed": 3, "keys": [{"name": ODD, "role": ODD, "key": ODD}, 5, {"name": 7}]}),
        "files": result({"now_ms": ODD, "sets": [5, {}, {
            "set": ODD, "dir": ODD, "version": 1 << 62, "at_ms": ODD, "by": ODD,
            "files": ODD, "bytes": 1 << 62, "on": [ODD, 5]}], "versions": [5, {
                "version": 3, "by": ODD, "from": 1 << 62, "changed": 1 << 62,
                "changes": [{"path": ODD, "what": ODD}, 5]}]}),
        "files_diff": result({"set": ODD, "before": ODD, "after": 1, "files": [5, {
            "path": ODD, "what": ODD, "how": ODD, "mode_after": 1 << 62,
            "text": "+\u001b[2J\n@\u202e\n"}, {"path": "x", "text": ODD}]}),
        "files_rollback": result({"set": ODD, "version": ODD, "restarts": "x"}),
        "bridges": result({"node": ODD, "bridges": [
            {"area": ODD, "dir": ODD, "written": 3, "differs": [ODD, 7]}, 5]}),
        "ready": result({"ready": 3, "text": ODD, "site": {"a": ODD}, "nodes": [
            5, {"name": ODD, "text": ODD, "rows": [
                ODD, {"what": ODD, "about": ODD, "ok": "yes", "text": ODD}, {}]}]}),
        "metrics": result({"a": {"b": [1, {"c": {"$bin": "00ff"}}]}, "n": None}),
    },
    "events": [
        {"name": "x\u001b[2J", "body": {"at_ms": "x", "node": ODD, "odd": ODD}},
        {"name": "y", "body": [1, 2]},
        {"name": "device.state", "body": {"device": {"name": ODD}, "command": 5}},
    ],
}

# Damage below the level of values.
BROKEN = {
    "node": 1,
    "ops": {
        "ping": {"raw": "85a17601a2"},
        "status": {"raw": ""},
        "devices": {"raw": "c1"},
        "commands": {"raw": "91" * 40},
        "command": {"raw": "84a17601a2696401a26f6bc3a6726573756c74ddffffffff"},
        "metrics": {"frames": 3, "result": {"a": 1}},
        "hash": {"raw": "2a"},
        "why": result({"sentences": ["The second answer counts."]},
                      stray=result({"sentences": ["To somebody else."]})),
        "handover": result({"$huge": 20 << 20}),
        "cancel": result({"command": command(name={"$huge": 100000})}),
        "await": {"silent": True},
    },
    "events": [{"name": "x", "body": {"at_ms": 5, "node": 1, "v": {"$huge": 100}}}],
}

# Comes round after failing in every way that may be tried again.
RETRY = {
    "node": 1,
    "ops": {
        "send": [error("no_watch", "nobody is on watch yet."),
                 error("not_leader", "nas leads no more."),
                 error("unknown_outcome", "leadership was lost meanwhile."),
                 error("busy", "too much to do."), error("timeout", "no commit in time."),
                 result({"command": command(**OPEN)})],
        "await": [error("not_found", "not applied here yet."),
                  result({"command": command(status="sent", ended_ms=0)}),
                  result({"command": command(attempts=2)})],
    },
}

# A second node, for failing over.
SECOND = {"node": 2, "ops": {**HEALTHY["ops"], "ping": result(
    {"version": "0.1.0", "node": 2, "name": "pi-reception"})},
    "events": HEALTHY["events"]}

LIMIT = {"node": 1, "ops": {"send": error("limit", "1000 commands are open: wait.")}}
SUPERSEDED = {"node": 1, "ops": {
    "send": result({"command": command(status="superseded", attempts=0, sent_ms=0,
                                       reason="by 5120, state=OFF")})}}
ENDLESS = {"node": 1, "ops": {"devices": result({"devices": [], "next": 5})}}

ALL = {k.lower(): v for k, v in list(globals().items())
       if isinstance(v, dict) and "ops" in v}
