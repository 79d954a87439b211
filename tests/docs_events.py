#!/usr/bin/env python3
"""docs/events.md names every event of the log and of the event socket, and no other."""

import pathlib
import re
import sys

# Names that are a variable where they are used: file, which call, what it can be.
VARIABLE = {
    ("adapters/mqtt/client.c", "log"),  # given to retry_in()
    ("node/events.c", "log"),  # tell_bridge(), tell_text()
    ("node/events.c", "xpub"),
}
EVENT = re.compile(r'"([a-z0-9_]+(?:\.[a-z0-9_]+)*)"')


def call(text, start):
    """The arguments of the call whose opening bracket is at @start."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + 1 : i]
    return ""


def split(args):
    """At the commas of the outermost level, strings left whole."""
    out, depth, quoted, last = [], 0, False, 0
    for i, c in enumerate(args):
        quoted ^= c == '"' and args[i - 1] != "\\"
        depth += 0 if quoted else {"(": 1, ")": -1}.get(c, 0)
        if c == "," and depth == 0 and not quoted:
            out.append(args[last:i].strip())
            last = i + 1
    return out + [args[last:].strip()]


def calls(text, name):
    for m in re.finditer(r"\b" + name + r"\(", text):
        yield split(call(text, m.end() - 1))


def literals(path, text, kind, name, nr, found):
    """Event names in argument @nr of calls of @name."""
    for args in calls(text, name):
        if len(args) <= nr:
            continue
        names = EVENT.findall(args[nr])
        found.update(names)
        if not names and (path, kind) not in VARIABLE:
            sys.exit(f"{path}: {name}() takes its name from '{args[nr]}', which "
                     f"{sys.argv[0]} cannot follow: list it in VARIABLE")


def from_code(root):
    log, xpub = set(), set()
    for path in sorted(root.glob("[abcnr]*/**/*.c")):
        rel = str(path.relative_to(root))
        if rel.split("/")[0] not in ("base", "consensus", "replication", "adapters", "node"):
            continue
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        text = re.sub(r'"\s*\n\s*"', "", text)
        literals(rel, text, "log", "SY_LOG", 2, log)
        if rel == "adapters/mqtt/client.c":
            literals(rel, text, "log", "retry_in", 2, log)
        if rel == "node/events.c":
            told(rel, text, log, xpub)
    return log, xpub


def told(rel, text, log, xpub):
    """node/events.c: names that are passed on, and those made of a status."""
    literals(rel, text, "xpub", "publish", 1, xpub)
    literals(rel, text, "xpub", "tell_device", 1, xpub)
    for names in (log, xpub):
        literals(rel, text, "xpub", "tell_text", 2, names)
    for m in re.finditer(r"\*name\s*=\s*([^;]*);", text):
        names = EVENT.findall(m.group(1))
        xpub.update(names)
        if any(n.startswith(("bridge.", "area.")) for n in names):
            log.update(names)
    model = (pathlib.Path(sys.argv[1]) / "replication/model.c").read_text()
    body = model[model.index("rp_command_status_name") :]
    xpub.update("command." + s for s in re.findall(r"\[RP_[A-Z]+\] = \"(\w+)\"", body))


def from_doc(root):
    sections, now = {"log": set(), "xpub": set()}, None
    for line in (root / "docs/events.md").read_text().splitlines():
        if line.startswith("## "):
            now = {"## The log": "log", "## The event socket": "xpub"}.get(line)
        elif now and (m := re.match(r"\| `([a-z0-9_.]+)`", line)):
            if m.group(1) in sections[now]:
                sys.exit(f"docs/events.md: {m.group(1)} stands twice")
            sections[now].add(m.group(1))
    return sections["log"], sections["xpub"]


root = pathlib.Path(sys.argv[1])
bad = 0
for what, code, doc in zip(("log", "event socket"), from_code(root), from_doc(root)):
    for name in sorted(code - doc):
        print(f"docs/events.md: {name} of the {what} is missing")
    for name in sorted(doc - code):
        print(f"docs/events.md: nothing in the code says {name} to the {what}")
    bad += len(code ^ doc)
    print(f"{what}: {len(code)} in the code, {len(doc)} in the document")
    if len(code) < 10:
        sys.exit("fewer than can be true: this test does not see them")
sys.exit(bad != 0)
