"""Commands: each that was accepted has one end, the same for everybody, and each device
is a register that was written in one order.

Reads history/commands-*.jsonl (callers), device.jsonl (what reached the devices),
commands.tsv (rows of meter_commands) and faults.jsonl.

The order is the cluster's number of each command (seq). That it is an order in which the
commands can have happened one after the other, as their callers saw it, is checked in
real time: who was told before another one asked comes first. Then a device must have been
written in that order: what reached it is a walk through the commands that never goes
back. ON and OFF are no unique values, so that a walk is looked for: the one that takes
the earliest possible command each time goes as far as any."""

import bisect
import collections

import history
from history import MS, verdict

ENDED = ("confirmed", "failed", "expired", "superseded", "cancelled")
RANK = {"accepted": 0, "sent": 1, **{e: 2 for e in ENDED}}
MARGIN_MS = 250  # from a publish through broker and bridge to a device, on a busy machine
HELD_UP_MS = 30000  # a message may come so long after the fault that held it up
SLOW_CLOCK = 10 / 9  # the cluster's time, while it waits for one that was ahead


class Command:
    def __init__(self, ident):
        self.id = ident
        self.dev = self.value = None
        self.invoked = None        # first asked for
        self.accepted = None       # first heard that it was accepted
        self.timeout_ms = None
        self.refused = False       # it must not happen
        self.inserted = False      # as a row, and Postgres has it
        self.seqs = set()
        self.ends = {}             # what was said of its end -> by whom
        self.end_at = None         # first heard of its end
        self.no_end = False
        self.attempts = 0
        self.deadline_ms = self.ended_ms = None
        self.finals = {}           # node -> True: said it; False: does not know it

    @property
    def seq(self):
        return min(self.seqs) if self.seqs else None

    @property
    def status(self):
        return next(iter(self.ends))[0] if self.ends else None

    def learn(self, event):
        """Whatever a node says of it."""
        c = event.get("command") or {}
        if "seq" in c:
            self.seqs.add(c["seq"])
            self.accepted = self.accepted or event["t"]
        self.attempts = max(self.attempts, c.get("attempts", 0))
        self.deadline_ms = c.get("deadline_ms", self.deadline_ms)
        if c.get("status") in ENDED:
            end = (c["status"], c.get("attempts"), c.get("ended_ms"), c.get("value"),
                   c.get("reason"))
            self.ends.setdefault(end, []).append((event.get("node"), event["op"]))
            self.end_at = self.end_at or event["t"]
            self.ended_ms = c.get("ended_ms", self.ended_ms)

    def __repr__(self):
        return f"{self.id} ({self.dev}={self.value}, seq {self.seq}, {self.status})"


@history.once
def load(run):
    """The commands by id, and the events of all callers in order of time."""
    commands, events = {}, []
    for name in history.files(run, "history/commands-*.jsonl"):
        for e in history.json_lines(name):
            if "id" not in e:
                continue
            events.append(e)
    events.sort(key=lambda e: e["t"])
    for e in events:
        c = commands.setdefault(e["id"], Command(e["id"]))
        note(c, e)
    return commands, events


def note(c, e):
    op, ev = e["op"], e["ev"]
    if op in ("send", "insert") and ev == "invoke":
        c.dev, c.value, c.timeout_ms = e["dev"], e["value"], e["timeout_ms"]
        c.invoked = e["t"]
    elif op == "insert" and ev == "ok":
        c.inserted = True
    elif op == "send" and ev == "fail":
        c.refused = True
    elif op == "end" and ev == "info":
        c.no_end = True
    elif op == "final" and ev != "info":
        c.finals[e["node"]] = c.finals.get(e["node"], False) or ev == "ok"
    c.learn(e)


# --- ends ---


def check_ends(commands, nodes):
    given = [c for c in commands.values() if c.accepted]
    several = [c for c in given if len(c.ends) > 1]
    without = [c for c in given if not c.ends]
    unheard = [(c, n) for c in given for n in range(1, nodes + 1)
               if c.ends and c.finals.get(n) is False]
    refused = [c for c in commands.values() if c.refused and c.seqs]
    return [
        verdict("commands: without an end", len(without), 0, history.examples(without)),
        verdict("commands: with more than one end", len(several), 0,
                history.examples((c, c.ends) for c in several)),
        verdict("commands: whose end a node does not know", len(unheard), 0,
                history.examples(unheard)),
        verdict("commands: refused, and accepted all the same", len(refused), 0,
                history.examples(refused)),
        verdict("commands: histories without a command", 0 if given else 1, 0),
    ]


# --- one order ---


def check_order(commands):
    """One number each, none twice, and in real time: accepted before another was asked
    for means a lower number."""
    numbered = [c for c in commands.values() if c.seqs]
    several = [c for c in numbered if len(c.seqs) > 1]
    of_seq = collections.defaultdict(list)
    for c in numbered:
        of_seq[c.seq].append(c)
    shared = [cs for cs in of_seq.values() if len(cs) > 1]
    back, latest = [], None
    for c in sorted(numbered, key=lambda c: c.seq):
        if latest is not None and c.invoked and c.accepted < latest.invoked:
            back.append((c, "was accepted before", latest, "was asked for"))
        if c.invoked and (latest is None or c.invoked > latest.invoked):
            latest = c
    return [
        verdict("commands: with several numbers, or a number with several",
                len(several) + len(shared), 0, history.examples(several + shared)),
        verdict("commands: numbered against real time", len(back), 0, history.examples(back)),
    ]


def check_reads(commands, events):
    """What is sent once more reads through the leader, so time never goes back in it. What
    a node says by itself may be old, but never an end that is none."""
    began, last, back, stale, wrong = {}, {}, [], [], []
    for e in events:
        if e["op"] not in ("again", "look", "cancel"):
            continue
        if e["ev"] == "invoke":
            began[e["c"], e["op"], e["id"]] = (e["t"], last.get(e["id"]))
            continue
        status = (e.get("command") or {}).get("status")
        if e["ev"] != "ok" or status not in RANK:
            continue
        c = commands[e["id"]]
        if status in ENDED and c.status in ENDED and status != c.status:
            wrong.append((c, e))
        if e["op"] == "look":
            continue
        asked, before = began.get((e["c"], e["op"], e["id"]), (e["t"], None))
        seen = (RANK[status], e["command"].get("attempts", 0))
        if before is not None and seen < before:
            back.append((c, "read", seen, "after", before))
        if status not in ENDED and c.end_at and c.end_at < asked:
            stale.append((c, "read as", status, "when its end was known"))
        last[e["id"]] = max(seen, last.get(e["id"], seen))
    stale += read_open_though_superseded(commands, events)
    return [
        verdict("commands: reads that go back in time", len(back), 0, history.examples(back)),
        verdict("commands: reads that are older than what was known", len(stale), 0,
                history.examples(stale)),
        verdict("commands: reads of another end than it had", len(wrong), 0,
                history.examples(wrong)),
    ]


def newer_commands(commands):
    """Device -> (seqs in order, and for each the command from there on that was heard
    first to be accepted)."""
    by_device = collections.defaultdict(list)
    for c in commands.values():
        if c.seqs:
            by_device[c.dev].append(c)
    out = {}
    for dev, cs in by_device.items():
        cs.sort(key=lambda c: c.seq)
        first = list(cs)
        for i in range(len(cs) - 2, -1, -1):
            if first[i + 1].accepted < first[i].accepted:
                first[i] = first[i + 1]
        out[dev] = ([c.seq for c in cs], first)
    return out


def read_open_though_superseded(commands, events):
    """A command was accepted for a device before the read began, and the older one was
    still open in it."""
    newer = newer_commands(commands)
    began, found = {}, []
    for e in events:
        if e["op"] != "again":
            continue
        if e["ev"] == "invoke":
            began[e["c"], e["id"]] = e["t"]
        elif e["ev"] == "ok" and (e.get("command") or {}).get("status") in ("accepted", "sent"):
            c = commands[e["id"]]
            seqs, first = newer[c.dev]
            i = bisect.bisect_right(seqs, c.seq)
            if i < len(seqs) and first[i].accepted < began.get((e["c"], e["id"]), e["t"]):
                found.append((c, "was open when", first[i], "had been accepted"))
    return found


# --- the devices ---


class Window:
    """When a command may reach its device."""

    def __init__(self, c, clocks):
        factor = SLOW_CLOCK if clocks else 1
        self.command = c
        self.begin = c.invoked
        self.end = (c.accepted or float("inf")) + c.timeout_ms * MS * factor + MARGIN_MS * MS
        self.wall_end = float("inf")
        if c.end_at:
            self.end = min(self.end, c.end_at + MARGIN_MS * MS)
        if not clocks:
            self.wall_end = min(c.deadline_ms or float("inf"),
                                c.ended_ms or float("inf")) + MARGIN_MS
        self.may = c.value is not None and (c.attempts > 0 or not c.ends)

    def fits(self, e):
        return self.may and e["value"] == self.command.value and self.begin <= e["mono_us"]

    def in_time(self, e):
        return e["mono_us"] <= self.end and e["wall_ms"] <= self.wall_end


NEVER = 1000000  # What it costs to explain an entry not at all; being late costs 1.
LOOK_AHEAD_MS = 30000
WAYS = 32        # So many explanations are kept; more than were ever needed.


def walk(windows, reached, excuses, unknown=()):
    """What reached one device, against its commands in their order: the explanation with
    the fewest entries that fit none, and of these the one with the fewest that were held
    up. Returns both. @unknown: commands of which nobody knows whether they were accepted;
    they have no place in the order."""
    ways = [(0, 0, None)]  # (next window, cost, (what was not in time, those before))
    for e in reached:
        found = {}
        for at, cost, story in ways:
            for to, more, what in steps(windows, at, e, excuses, unknown):
                if to not in found or found[to][0] > cost + more:
                    found[to] = (cost + more, (what, story) if what else story)
        ways, best = [], float("inf")
        for to in sorted(found):  # Further on must be cheaper, else it is of no use.
            if found[to][0] < best:
                best = found[to][0]
                ways.append((to, *found[to]))
        ways = ways[-WAYS:]
    story, never, late = ways[-1][2], [], []
    while story:
        what, story = story
        (never if what[0] is None else late).append(what[1] if what[0] is None else what)
    return never[::-1], late[::-1]


def steps(windows, at, e, excuses, unknown):
    """(window, cost, what is to be told): where the entry may have come from."""
    late = False
    for i in range(at, len(windows)):
        if windows[i].begin > e["mono_us"] + LOOK_AHEAD_MS * MS:
            break  # In the order of their numbers, which is nearly that of time.
        if not windows[i].fits(e):
            continue
        if windows[i].in_time(e):
            yield i, 0, None
            break
        if not late and held_up(windows[i], e, excuses):
            late = True
            yield i, 1, (windows[i].command, e)
    if any(w.fits(e) for w in unknown):
        yield at, 0, None
    else:
        yield at, NEVER, (None, e)


def held_up(window, e, excuses):
    return any(f.begin <= e["mono_us"] and f.end + HELD_UP_MS * MS >= window.begin
               for f in excuses)


def device_log(run):
    """What reached each device, in order; a start of the site is {"mono_us": t} in each."""
    reached, starts = collections.defaultdict(list), []
    for e in history.json_lines(history.path(run, "history", "device.jsonl")):
        if "dev" in e:
            reached[e["dev"]].append(e)
        else:
            starts.append(e["mono_us"])
    for entries in reached.values():
        entries.sort(key=lambda e: e["mono_us"])
    return reached, starts


def value_between(reached, starts, begin, end, value):
    """Had the device this value at some time in between? Unknown counts as yes: nobody
    told us how it was before the first command, or when the site was started anew."""
    def time(e):
        return e["mono_us"]

    last_start = max((s for s in starts if s <= end), default=0)
    first = bisect.bisect_right(reached, begin, key=time)
    if first == 0 or last_start > begin or reached[first - 1]["mono_us"] < last_start:
        return True
    beyond = bisect.bisect_right(reached, end, key=time)
    return any(e["value"] == value for e in reached[first - 1:beyond])


def check_devices(commands, reached, starts, found):
    by_device = collections.defaultdict(list)
    for c in commands.values():
        if c.dev and (c.seqs or not c.refused):
            by_device[c.dev].append(c)
    excuses = history.any_of(found, history.TRANSPORT)
    clocks = bool(history.any_of(found, history.CLOCK))
    never, late, false_, wrong = [], [], [], []
    for dev, cs in by_device.items():
        cs.sort(key=lambda c: (c.seq is None, c.seq or c.invoked))
        windows = [Window(c, clocks) for c in cs if c.seqs]
        unknown = [Window(c, clocks) for c in cs if not c.seqs]
        n, l = walk(windows, reached.get(dev, []), excuses, unknown)
        never += n
        late += l
        for c in cs:
            if c.status == "confirmed" and not value_between(
                    reached.get(dev, []), starts, c.invoked, c.end_at, c.value):
                false_.append(c)
        if not stands_as_confirmed(cs, reached.get(dev, []), starts):
            wrong.append((dev, cs[-1]))
    known = {c.dev for c in commands.values()}
    never += [e for dev, es in reached.items() if dev not in known for e in es]
    return [
        verdict("devices: switched late, out of order, or by nobody", len(never), 0,
                history.examples(never)),
        verdict("devices: switched late because a message was held up", len(late),
                float("inf"), history.examples(late, 2)),
        verdict("devices: confirmed, but never so", len(false_), 0, history.examples(false_)),
        verdict("devices: not as last confirmed", len(wrong), 0, history.examples(wrong)),
    ]


def stands_as_confirmed(cs, reached, starts):
    """After the last confirmed command, unless something else may have come after it."""
    sent = [c for c in cs if c.seqs and (c.attempts > 0 or not c.ends)]
    if not sent or sent[-1].status != "confirmed" or any(not c.seqs for c in cs):
        return True
    last_start = max(starts, default=0)
    after = [e for e in reached if e["mono_us"] >= last_start]
    return not after or after[-1]["value"] == sent[-1].value or last_start > sent[-1].end_at


# --- rows of meter_commands ---


def note_rows(run, commands):
    """A row that no node knows as a command and that says it was never sent must not reach
    its device."""
    for ident, _, attempts, *_ in history.rows(history.path(run, "history", "commands.tsv")):
        c = commands.get("pg:" + ident)
        if c and not c.seqs and attempts == "0":
            c.refused = True


def check_rows(run, commands):
    """commands.tsv: id, status, attempts of each row. The command has the id pg:ID."""
    table = history.path(run, "history", "commands.tsv")
    differ, there = [], set()
    for ident, status, *_ in history.rows(table):
        c = commands.get("pg:" + ident)
        there.add("pg:" + ident)
        if status not in ENDED or (c and c.ends and c.status != status):
            differ.append((ident, status, c))
    differ += [(c, "is no row") for c in commands.values()
               if c.id.startswith("pg:") and c.inserted and c.id not in there]
    return [verdict("commands: rows without an end, or with another than the nodes say",
                    len(differ), 0, history.examples(differ))]


def check(run):
    commands, events = load(run)
    nodes = history.json_file(history.path(run, "history", "load.json"), {}).get("nodes", 0)
    reached, starts = device_log(run)
    # The harness switches a meter of its own before it seeds a node anew.
    reached.pop(history.json_file(history.path(run, "history", "canary.json")), None)
    note_rows(run, commands)
    return (check_ends(commands, nodes) + check_order(commands) +
            check_reads(commands, events) +
            check_devices(commands, reached, starts, history.faults(run)) +
            check_rows(run, commands))


def counts(run):
    """How many commands had which end."""
    commands, _ = load(run)
    ends = collections.Counter(c.status or ("unknown" if not c.accepted else "none")
                               for c in commands.values())
    return dict(sorted(ends.items()))
