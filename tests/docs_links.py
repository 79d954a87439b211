#!/usr/bin/env python3
"""No link of a Markdown file of ours may be dead: files, and headings in them."""

import pathlib
import re
import sys

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.S | re.M)


def anchors(path):
    """The names that GitHub gives to headings."""
    found = set()
    for line in CODE.sub(lambda m: "" if m[0].startswith("```") else m[0],
                         path.read_text()).splitlines():
        if m := re.match(r"#{1,6}\s+(.*)", line):
            name = re.sub(r"[^\w\- ]", "", m.group(1).strip().lower()).replace(" ", "-")
            n, free = 0, name
            while free in found:
                n += 1
                free = f"{name}-{n}"
            found.add(free)
    return found


def check(path, root):
    for m in LINK.finditer(CODE.sub("", path.read_text())):
        target = m.group(1) or m.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        if not to.exists() or not to.is_relative_to(root):
            yield f"{path.relative_to(root)}: {target}: there is no such file"
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            yield f"{path.relative_to(root)}: {target}: there is no such heading"


root = pathlib.Path(sys.argv[1]).resolve()
files = [p for p in sorted(root.rglob("*.md"))
         if not {"build", "node_modules", ".git"} & set(p.relative_to(root).parts)]
dead = [d for p in files for d in check(p, root)]
print("\n".join(dead) or f"{len(files)} files, no dead link")
sys.exit(bool(dead) or not files)
