"""How long the site was not there, as those saw it who gave commands at a steady rate,
whatever happened. Of each fault: the longest time without a command confirmed, from its
begin until some seconds after its end; two faults at once have the same pauses. And all
pauses of more than 100 ms between two commands accepted, two confirmed, two commits in
Postgres and two bursts that the broker acknowledged to the producers (which is the
broker's, not ours).

Besides, from the begin of a fault to the end of the first command that was given after it
and confirmed: what a kill costs, to the millisecond. A cut is noted a little before it is
made, so for these it says little.

Figures, no verdicts, but for a fault after which nothing was ever confirmed again."""

import bisect

import commands
import history
import readings
import terms
from history import MS, verdict

GAP_MS = 100
AFTER_US = 5_000_000  # what a fault does to the site does not end with it


def percentile(values, p):
    """Nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * p // 100) - 1)] if ordered else None


def summary(values):
    """p50, p99, max in whole milliseconds."""
    return tuple(None if v is None else round(v)
                 for v in (percentile(values, 50), percentile(values, 99),
                           max(values, default=None)))


def after_faults(found, confirmed):
    """confirmed: (invoked, ended) in microseconds. (fault, milliseconds or None) of each."""
    by_invoked = sorted(confirmed)
    invoked = [c[0] for c in by_invoked]
    # The least end of all that were given from there on.
    least = [float("inf")] * (len(by_invoked) + 1)
    for i in range(len(by_invoked) - 1, -1, -1):
        least[i] = min(least[i + 1], by_invoked[i][1])
    out = []
    for f in found:
        end = least[bisect.bisect_left(invoked, f.begin)]
        out.append((f, None if end == float("inf") else (end - f.begin) / MS))
    return out


def longest_pauses(found, times):
    """(fault, milliseconds) of each: the longest time between two of @times that lies, be
    it in part, between the begin of the fault and AFTER_US after its end; None if nothing
    came any more."""
    ordered = sorted(times)
    out = []
    for f in found:
        first = max(0, bisect.bisect_right(ordered, f.begin) - 1)
        beyond = min(len(ordered), bisect.bisect_left(ordered, f.end + AFTER_US) + 1)
        part = ordered[first:beyond]
        longest = max((b - a for a, b in zip(part, part[1:]) if b > f.begin), default=None)
        out.append((f, None if longest is None else longest / MS))
    return out


def gaps(times, more_than_ms=GAP_MS):
    """The pauses between consecutive times (microseconds), in milliseconds."""
    ordered = sorted(times)
    found = ((b - a) / MS for a, b in zip(ordered, ordered[1:]))
    return [g for g in found if g > more_than_ms]


def confirmed_of(all_commands):
    return [(c.invoked, c.end_at) for c in all_commands.values()
            if c.status == "confirmed" and c.invoked and c.end_at]


def series(run, all_commands):
    """Name -> times in microseconds."""
    spec = history.json_file(history.path(run, "history", "load.json"), {})
    acked = [at for p in spec.get("producers", [])
             for at, _, _ in readings.acknowledged(run, p["name"])]
    return {
        "command accepted": [c.accepted for c in all_commands.values() if c.accepted],
        "command confirmed": [end for _, end in confirmed_of(all_commands)],
        "commit in Postgres": [r["wall_us"] for r in terms.fence(run)],
        "acknowledged by the broker": acked,
    }


def figures(run):
    """{"faults": [(name, what, ms or None)], "per fault": (p50, p99, max), "by nemesis":
    {name: (number, p50, p99, max)}, "to the next": (p50, p99, max), "gaps": {name: (number,
    p50, p99, max)}}; all but the last two: longest pauses"""
    all_commands, _ = commands.load(run)
    confirmed = confirmed_of(all_commands)
    found = history.faults(run)
    each = longest_pauses(found, [end for _, end in confirmed])
    nearest = after_faults(found, confirmed)
    out = {"faults": [(f.name, f.what, None if ms is None else round(ms)) for f, ms in each],
           "per fault": summary([ms for _, ms in each if ms is not None]),
           "by nemesis": {}, "gaps": {},
           "to the next": summary([ms for _, ms in nearest if ms is not None])}
    for name in sorted({f.name for f, _ in each}):
        of_it = [ms for f, ms in each if f.name == name and ms is not None]
        out["by nemesis"][name] = (len(of_it), *summary(of_it))
    for name, times in series(run, all_commands).items():
        found = gaps(times)
        out["gaps"][name] = (len(found), *summary(found))
    return out


def check(run):
    """A fault in the last moments of a run may have nothing after it."""
    all_commands, _ = commands.load(run)
    last = max((c.invoked for c in all_commands.values() if c.invoked), default=0)
    never = [f for f, ms in after_faults(history.faults(run), confirmed_of(all_commands))
             if ms is None and f.begin < last - 10000 * MS]
    return [verdict("unavailable: faults after which nothing was confirmed", len(never), 0,
                    history.examples(never))]
