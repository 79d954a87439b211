"""What a run left behind, read back: RUN/history and RUN/log. See load.py for who writes
what. Nothing here knows the product."""

import collections
import glob
import json
import os

Verdict = collections.namedtuple("Verdict", "name value bound ok detail")

MS = 1000  # of the monotonic microseconds in which histories are kept

# Faults that may hold a message up on its way, so that it comes late although it left in
# time: of these, what came late is counted apart.
TRANSPORT = ("loss", "delay", "cut", "one-way", "ring", "alone", "isolate", "partition",
             "vanish", "broker", "bridge", "site", "many")
CLOCK = ("clock",)


def verdict(name, value, bound=0, detail=""):
    """Holds if the value is not above the bound."""
    return Verdict(name, value, bound, value <= bound, detail)


def examples(items, most=5):
    """Some of them, for a person to look at."""
    items = list(items)
    more = f" … and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(str(i) for i in items[:most]) + more


def path(run, *names):
    return os.path.join(run, *names)


def files(run, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(run), pattern)))


def json_lines(name):
    """Each line; the last one may be torn, since its writer may have been killed."""
    if not os.path.exists(name):
        return
    with open(name, encoding="utf-8", errors="replace") as f:
        for line in f:
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as e:
                raise ValueError(f"{name}: {e}: {line[:200]}") from e


def json_file(name, default=None):
    if not os.path.exists(name):
        return default
    with open(name, encoding="utf-8") as f:
        return json.load(f)


def text_lines(name):
    with open(name, encoding="utf-8", errors="replace") as f:
        for line in f:
            yield line.rstrip("\n")


def lines(name):
    """The same; nothing if there is no such file."""
    return text_lines(name) if os.path.exists(name) else ()


def rows(name):
    """Lines of COPY's text format, split; nothing if there is no such file."""
    for line in lines(name):
        yield line.split("\t")


def once(function):
    """function(run), kept for as long as none of the run's histories changes: several
    checkers read the same, and an hour of it takes its time."""
    kept = {}

    def wrapped(run):
        stamp = (run, *((name, os.stat(name).st_mtime_ns, os.stat(name).st_size)
                        for name in files(run, "history/*")))
        if kept.get("stamp") != stamp:
            kept["found"], kept["stamp"] = function(run), stamp
        return kept["found"]
    return wrapped


class Fault:
    """A fault of a run: from begin to end (monotonic microseconds)."""

    def __init__(self, name, begin, end, what):
        self.name, self.begin, self.end, self.what = name, begin, end, what

    def __repr__(self):
        return f"{self.name} ({self.what})"


def faults(run):
    """faults.jsonl: {"t": us, "ev": "begin"|"end", "n": number, "nemesis": name,
    "what": text}. What has no end lasted until the end."""
    found = {}
    for e in json_lines(path(run, "history", "faults.jsonl")):
        if e["ev"] == "begin":
            found[e["n"]] = Fault(e["nemesis"], e["t"], None, e.get("what", ""))
        elif e["ev"] == "end" and e["n"] in found:
            found[e["n"]].end = e["t"]
    for f in found.values():
        f.end = f.end if f.end is not None else float("inf")
    return sorted(found.values(), key=lambda f: f.begin)


def any_of(found, words):
    """The faults whose name has one of these words in it."""
    return [f for f in found if any(w in f.name for w in words)]


def by_design(issue):
    """Is this sentence of `status` true of the site as it was set up, and no fault of it?"""
    return any(words in issue for words in (
        "plaintext", "voters survive no more failures", "no further node may fail: 2 of 2",
        "a single node has nobody to relieve it"))
