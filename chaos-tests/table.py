"""The table at the end of a run, for a terminal and for a document."""


def rows(result):
    """One line per nemesis: name, how often, unavailable p50, p99, longest (ms)."""
    times = {}
    for name, _, ms in result["summary"]["unavailable"]["faults"]:
        times.setdefault(name, []).append(ms)
    for name, count in sorted(result["counts"].items()):
        known = sorted(ms for ms in times.get(name, []) if ms is not None)
        yield name, count, at(known, 50), at(known, 99), at(known, 100)


def at(ordered, percent):
    """Nearest rank, as text."""
    return str(ordered[max(0, -(-len(ordered) * percent // 100) - 1)]) if ordered else "-"


def value(result, *words):
    """Sum of the verdicts whose names contain one of these words; "?" if there is none."""
    found = [v["value"] for v in result["verdicts"] if any(w in v["name"] for w in words)]
    return sum(found) if found and all(isinstance(f, int) for f in found) else "?"


def figures(result):
    summary = result["summary"]
    commands = summary.get("commands", {})
    yield "faults", sum(result["counts"].values())
    yield "readings acknowledged", summary.get("acknowledged", "?")
    yield "readings in Postgres", summary.get("rows", "?")
    yield "commands", " ".join(f"{n} {k}" for k, n in commands.items()) or "?"
    yield "lost", value(result, "acknowledged and lost")
    yield "doubled", value(result, "more than one row")
    p50, p99, most = summary["unavailable"]["per fault"]
    yield "longest pause without a confirmed command, per fault, ms (p50 p99 longest)", f"{p50} {p99} {most}"
    for name, found in summary["unavailable"]["gaps"].items():
        yield f"pauses of more than 100 ms, {name} (number, p50 p99 longest)", \
            " ".join(str(f) for f in found)


def text(result):
    out = ["", f"{'nemesis':24} {'times':>6} {'unavailable ms: p50':>20} {'p99':>8} {'longest':>8}"]
    out += [f"{n:24} {c:6} {a:>20} {b:>8} {m:>8}" for n, c, a, b, m in rows(result)]
    out.append("")
    out += [f"{name:66} {is_}" for name, is_ in figures(result)]
    out.append("")
    for v in result["verdicts"]:
        out.append(f"{'holds         ' if v['ok'] else 'DOES NOT HOLD '} {v['name']}: {v['value']} "
                   f"(bound {v['bound']})")
        if not v["ok"] and v["detail"]:
            out.append(f"               {v['detail'][:600]}")
    out += [f"problem: {p}" for p in result["problems"]]
    out += [f"skipped: {name}: {why}" for name, why in result["skipped"]]
    out.append("")
    out.append(f"seed {result['seed']}: " + ("all of it holds" if result["ok"]
                                             else "NOT all of it holds"))
    return "\n".join(out)


def markdown(result):
    out = [f"Seed {result['seed']}, {result['nodes']} nodes, {result['seconds']:g} s of faults, "
           f"{result['rate']:g} readings/s: **{'holds' if result['ok'] else 'does not hold'}**.",
           "", "| nemesis | times | unavailable p50 (ms) | p99 | longest |",
           "|---|---:|---:|---:|---:|"]
    out += [f"| {n} | {c} | {a} | {b} | {m} |" for n, c, a, b, m in rows(result)]
    out += ["", "| figure | |", "|---|---|"]
    out += [f"| {name} | {is_} |" for name, is_ in figures(result)]
    out += ["", "| check | found | bound | |", "|---|---:|---:|---|"]
    out += [f"| {v['name']} | {v['value']} | {v['bound']} | "
            f"{'holds' if v['ok'] else '**does not hold**'} |" for v in result["verdicts"]]
    out += [f"\nProblem: {p}" for p in result["problems"]]
    return "\n".join(out) + "\n"
