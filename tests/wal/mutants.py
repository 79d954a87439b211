#!/usr/bin/env python3
"""Break the log on purpose, one thing at a time: a test of its own must notice.

mutants.py SOURCE_DIR RAFT_INCLUDE_DIR [NAME...]
"""

import pathlib
import subprocess
import sys
import tempfile

ROOT, RAFT = pathlib.Path(sys.argv[1]), sys.argv[2]
ONLY = sys.argv[3:]

# name: (file, what is there, what is put there instead, the test that must fail)
MUTANTS = {
    "chain-not-checked": ("scan.c", "if (rec.chain != s->chain) {", "if (false) {", "damage"),
    "chain-across-segments-not-checked": (
        "scan.c", "h->prev_end != s->end || rec.chain != s->chain", "false", "damage"),
    "later-records-not-looked-for": (
        "scan.c", "if (safe > s->end) {", "if (false) {", "damage"),
    "safe-not-checked": ("scan.c", "if (s->end < s->safe) {", "if (false) {", "damage"),
    "mark-not-read": (
        "scan.c", "s->mark.segment == r->seg->number", "s->mark.segment == 0", "damage"),
    "last-segment-may-be-missing": (
        "scan.c", "if (seg[n - 1].a < s->mark.segment) {", "if (false) {", "damage"),
    "size-not-checked": (
        "scan.c", "if (r->head.size != size) {", "if (false) {", "damage"),
    "payload-not-checked": (
        "record.c", "if (ad_wal_get32(q) != sy_crc32c(seed, q + 4, "
        "ad_wal_record_size(len) - 4)) {", "if (false) {", "damage"),
    "votes-not-compared": (
        "scan.c", "(term == st->term && st->vote != 0 && vote != st->vote)", "false",
        "damage"),
    "snapshot-ahead-accepted": ("scan.c", "if (f->a >= s->state.next) {", "if (false) {",
                                "damage"),
    "no-sync-after-write": ("wal.c", "    add_sync(w);\n", "", "crash"),
    "folder-not-synced-after-roll": (
        "wal.c", "ad_wal_job_add(&w->job, AD_WAL_DO_SYNC_DIR);\n        w->fresh = false;",
        "w->fresh = false;", "crash"),
    "name-before-content": (
        "wal.c", "assert(w->end == w->fresh_end);",
        "assert(w->end == w->fresh_end);\n        w->job.n--;\n        add_sync(w);\n"
        "        w->job.n--;", "crash"),
    "mark-before-write": ("wal.c", "    w->mark.offset = w->end;",
                          "    w->mark.offset = w->end + 8;", "crash"),
    "tail-not-rewritten": ("open.c", "if (s->safe == to) {", "if (s->cut == 0) {", "crash"),
    "folder-not-synced-at-start": (
        "open.c", "rv = w->fs.sync_dir(w->fs.ctx);", "rv = 0;", "crash"),
    "life-not-in-the-seed": (
        "record.c", "ad_wal_put64(raw + 8, life);", "ad_wal_put64(raw + 8, life * 0);",
        "stale"),
    "tail-not-zeroed": (
        "open.c", "memset(s->image.p + s->end, 0, s->image.len - s->end);", "", "stale"),
    "vote-lost-at-roll": (
        "wal.c", ".vote = w->state.vote,", ".vote = 0,", "crash"),
    "drop-too-much": (
        "wal.c", "op->drop_until < w->segs[n].index_max", "op->drop_until < 1", "crash"),
    "drop-before-mark": (
        "wal.c", "        add_mark(w);\n        drop(w, old, dropped);",
        "        drop(w, old, dropped);\n        add_mark(w);", "crash"),
    "install-does-not-begin": (
        "wal.c", ".flags = begins ? AD_WAL_BEGINS : 0,", ".flags = 0,", "crash"),
    "interrupted-install-not-finished": (
        "scan.c", "if (rv == 0 && !picked && s->state.base_index > 0) {", "if (false) {",
        "crash"),
}

FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", f"-I{ROOT}", "-isystem", RAFT]
BASE = [ROOT / "base" / f"{n}.c" for n in ("buf", "crc32c", "err", "hash", "log", "mem")]
WAL = sorted((ROOT / "adapters/wal").glob("*.c"))
TESTS = ROOT / "tests/wal"


def compile_all(sources, folder):
    objects = []
    for src in sources:
        out = folder / f"{src.stem}.o"
        subprocess.run(["gcc", *FLAGS, "-c", src, "-o", out], check=True)
        objects.append(out)
    return objects


def main():
    bad = []
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        common = compile_all([*BASE, TESTS / "memfs.c", TESTS / "rig.c"], tmp)
        wal = dict(zip((p.name for p in WAL), compile_all(WAL, tmp)))
        tests = {}
        for t in ("damage", "crash", "stale"):
            tests[t] = compile_all([TESTS / f"test_wal_{t}.c"], tmp)[0]
        for name, (file, old, new, test) in MUTANTS.items():
            if ONLY and name not in ONLY:
                continue
            text = (ROOT / "adapters/wal" / file).read_text()
            if old not in text:
                bad.append(f"{name}: \"{old}\" is not in {file} any more")
                continue
            mutated = tmp / "mutated.c"
            mutated.write_text(text.replace(old, new))
            subprocess.run(["gcc", *FLAGS, "-w", "-c", mutated, "-o", tmp / "mutated.o"],
                           check=True)
            objects = [tmp / "mutated.o" if n == file else o for n, o in wal.items()]
            exe = tmp / "mutant"
            subprocess.run(["gcc", *objects, *common, tests[test], "-o", exe, "-lcmocka",
                            "-lxxhash"], check=True)
            run = subprocess.run([exe], capture_output=True, timeout=300)
            print(f"{name}: {'killed' if run.returncode else 'ALIVE'}", flush=True)
            if run.returncode == 0:
                bad.append(f"{name} is alive: test_wal_{test} does not notice")
    print("\n".join(bad) or "all killed")
    sys.exit(1 if bad else 0)


main()
