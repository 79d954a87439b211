#!/usr/bin/env python3
"""All checkers over what a run left behind.

    check.py RUN      prints each verdict; exit code 1 if one does not hold
"""

import sys

import commands
import nodes
import readings
import terms
import unavail

CHECKERS = (readings, commands, terms, nodes, unavail)


def run_all(run_dir):
    """[Verdict(name, value, bound, ok, detail)]. A checker that cannot read what it needs
    has not found that it holds."""
    out = []
    for checker in CHECKERS:
        try:
            out += checker.check(run_dir)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as e:
            name = checker.__name__
            out.append(unavail.history.Verdict(f"{name}: could be checked", "no", "yes", False,
                                               f"{type(e).__name__}: {e}"))
    return out


def summary(run_dir):
    """Figures for a table; see unavail.figures for those of "unavailable"."""
    acked, rows, unacked = readings.counts(run_dir)
    return {"acknowledged": acked, "rows": rows, "unacknowledged rows": unacked,
            "commands": commands.counts(run_dir), "unavailable": unavail.figures(run_dir)}


def text(verdicts):
    lines = []
    for v in verdicts:
        lines.append(f"{'ok    ' if v.ok else 'FAILED'}  {v.name}: {v.value} (bound {v.bound})")
        if v.detail and not v.ok:
            lines.append(f"        {v.detail[:2000]}")
    return "\n".join(lines)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    verdicts = run_all(sys.argv[1])
    print(text(verdicts))
    for name, value in summary(sys.argv[1]).items():
        print(f"{name}: {value}")
    sys.exit(0 if all(v.ok for v in verdicts) else 1)


if __name__ == "__main__":
    main()
