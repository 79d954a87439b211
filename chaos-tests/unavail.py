"""How long the site was not there: for each fault, from its begin to the end of the first
command that was given after it and was confirmed; and the gaps of more than 100 ms
between two that were accepted, two that were confirmed, two commits in Postgres and two
bursts that the broker acknowledged to the producers (which is the broker's, not ours).

Figures, no verdicts, but for a fault after which nothing was ever confirmed again."""

import bisect

import commands
import history
import readings
import terms
from history import MS, verdict

GAP_MS = 100


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
    {name: (number, p50, p99, max)}, "gaps": {name: (number, p50, p99, max)}}"""
    all_commands, _ = commands.load(run)
    each = after_faults(history.faults(run), confirmed_of(all_commands))
    out = {"faults": [(f.name, f.what, None if ms is None else round(ms)) for f, ms in each],
           "per fault": summary([ms for _, ms in each if ms is not None]),
           "by nemesis": {}, "gaps": {}}
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
