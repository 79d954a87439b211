"""Readings: each that the broker acknowledged is exactly one row in Postgres, and says
what it said.

Reads history/load.json (the producers), acked-P.txt (what was acknowledged) and
readings.tsv (the rows). Message k of a producer has a meter, a time and values that
follow from k; so a row tells which message it was and whether it is right."""

import history
from history import MS, verdict

UNSAVED_MS = 3000  # autosave_interval of the broker is 1 s, in its own good time


class Producer:
    """What was acknowledged, as a byte for each message, and what arrived."""

    def __init__(self, spec):
        self.name = spec["name"]
        self.area = spec["area"]
        self.devices = spec["devices"]
        self.base_ms = spec["base_ms"]
        self.step_us = spec["step_us"]
        self.acked = bytearray()
        self.seen = bytearray()
        self.doubled = []
        self.wrong = []

    def note_acked(self, first, last):
        if len(self.acked) <= last:
            self.acked.extend(bytes(last + 1 - len(self.acked)))
        self.acked[first:last + 1] = b"\x01" * (last + 1 - first)

    def expected(self, k):
        """The row of message k; numbers in thousandths, since numeric has no fixed form."""
        return (f"l{self.area}-m{k % self.devices:03}",
                self.base_ms + k * self.step_us // 1000, k,
                k % 3600 * 1000, (220 + k % 20) * 1000, k % 16 * 1000 + k % 100 * 10, "ON")

    def written(self, k):
        """The same as the product happens to write it: millions are compared with this."""
        return (f"l{self.area}-m{k % self.devices:03}\t{self.base_ms + k * self.step_us // 1000}"
                f"\t{k}\t{k % 3600}.000\t{220 + k % 20}.000\t{k % 16}.{k % 100:02}0\tON\t")

    def note_row(self, line, row, k):
        if len(self.seen) <= k:
            self.seen.extend(bytes(k + 65536 - len(self.seen)))
        if self.seen[k]:
            self.doubled.append((self.name, k))
        self.seen[k] = 1
        if line.startswith(self.written(k)):
            return
        is_ = (row[0], int(row[1]), k, *(_thousandths(v) for v in row[3:6]), row[6])
        if is_ != self.expected(k):
            self.wrong.append((self.name, k, is_))

    def lost(self):
        """Acknowledged and not there: at the beginning, in the middle, at the end of what
        arrived. Nothing arrived at all: all of it is lost at the beginning."""
        seen = self.seen.ljust(len(self.acked), b"\0")
        missing = [k for k in _ones(self.acked) if not seen[k]]
        first = seen.find(1) if seen.find(1) >= 0 else len(seen)
        last = seen.rfind(1)
        return ([k for k in missing if k < first],
                [k for k in missing if first < k < last],
                [k for k in missing if k >= first and k > last])

    def take_excused(self, run, kills):
        """Those acknowledged just before the broker was killed: it loses what it has not
        saved, whoever reads it. Counted apart."""
        excused = set()
        for at, first, last in acknowledged(run, self.name):
            if any(k - UNSAVED_MS * MS <= at <= k + MS for k in kills):
                excused.update(range(first, last + 1))
        return excused

    def unacked(self):
        """There, but we never heard that the broker had it: allowed, counted."""
        acked = self.acked.ljust(len(self.seen), b"\0")
        return sum(1 for k in _ones(self.seen) if not acked[k])


def _thousandths(text):
    try:
        return round(float(text) * 1000)
    except ValueError:
        return text  # NULL is \\N


def _ones(flags):
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


def acknowledged(run, name):
    """(microseconds, first, last) of each burst of acknowledgements."""
    for line in history.text_lines(history.path(run, "history", f"acked-{name}.txt")):
        at, _, span = line.partition(" ")
        first, _, last = span.partition("-")
        if not last.isdigit():
            return  # torn: the producer was killed
        yield int(at), int(first), int(last)


@history.once
def load(run):
    """The producers of a run, with all that is known of them; and rows of nobody's."""
    spec = history.json_file(history.path(run, "history", "load.json"), {})
    found = {p["area"]: Producer(p) for p in spec.get("producers", [])}
    for p in found.values():
        for _, first, last in acknowledged(run, p.name):
            p.note_acked(first, last)
    foreign, numbers, repeated = [], bytearray(), 0
    of_prefix = {f"l{area}": p for area, p in found.items()}
    for line in history.lines(history.path(run, "history", "readings.tsv")):
        row = line.split("\t")
        number = int(row[7])
        if len(numbers) <= number:
            numbers.extend(bytes(number + 65536 - len(numbers)))
        repeated += numbers[number]
        numbers[number] = 1
        producer = of_prefix.get(row[0].partition("-")[0])
        k = int(row[2])
        if producer is None or k < 0 or k > len(producer.acked) + 100000:
            foreign.append(row)
        else:
            producer.note_row(line, row, k)
    return list(found.values()), foreign, repeated


def check_lost(run, producers):
    kills = [f.begin for f in history.faults(run) if f.name == "broker-kill"]
    out, with_broker = [], []
    places = {"at the beginning": [], "in the middle": [], "at the end": []}
    for p in producers:
        excused = p.take_excused(run, kills) if kills else ()
        for place, lost in zip(places.values(), p.lost()):
            place += [(p.name, k) for k in lost if k not in excused]
            with_broker += [(p.name, k) for k in lost if k in excused]
    for place, lost in places.items():
        out.append(verdict(f"readings: acknowledged and lost {place}", len(lost), 0,
                           history.examples(lost)))
    out.append(verdict("readings: lost with a broker that was killed before it saved",
                       len(with_broker), float("inf"), history.examples(with_broker)))
    return out


def check(run):
    producers, foreign, repeated = load(run)
    out = check_lost(run, producers)
    doubled = [d for p in producers for d in p.doubled]
    wrong = [w for p in producers for w in p.wrong]
    out.append(verdict("readings: more than one row", len(doubled), 0,
                       history.examples(doubled)))
    out.append(verdict("readings: of another meter, time or value", len(wrong), 0,
                       history.examples(wrong)))
    out.append(verdict("readings: rows of messages that nobody sent", len(foreign), 0,
                       history.examples(foreign)))
    out.append(verdict("readings: rows with a number that another has", repeated))
    none = [p.name for p in producers if not p.acked.count(1)]
    out.append(verdict("readings: producers of which nothing was acknowledged",
                       len(none) if producers else 1, 0, history.examples(none)))
    return out


def counts(run):
    """(acknowledged, rows, rows of which no acknowledgement was seen)"""
    producers, _, _ = load(run)
    return (sum(p.acked.count(1) for p in producers), sum(p.seen.count(1) for p in producers),
            sum(p.unacked() for p in producers))
