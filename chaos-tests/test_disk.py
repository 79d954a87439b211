#!/usr/bin/env python3
"""Does frailfs lose what a disk may lose, and only that? Run by ctest with the path of
the server; 77: skipped.

Names and contents are written, synced and cut by seed. Beside it stands a model that
knows, for each sector and each name, the states that may be there after a cut."""

import errno
import fcntl
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import disk

SECTOR = 512
FRAILFS = None
SEEDS = int(os.environ.get("DISK_SEEDS", "60"))


class Model:
    """What may be in the folder after a cut."""

    def __init__(self):
        self.data = {}  # number of a file -> list of contents since its last sync
        self.names = {}  # name -> number, now
        self.past = {}  # name -> list of numbers or None since the last sync of the folder

    def _named(self, name, number):
        self.past.setdefault(name, [self.names.get(name)]).append(number)
        if number is None:
            self.names.pop(name, None)
        else:
            self.names[name] = number

    def create(self, name):
        number = len(self.data)
        self.data[number] = [b""]
        self._named(name, number)

    def write(self, name, offset, text):
        states = self.data[self.names[name]]
        now = states[-1].ljust(offset, b"\0")
        states.append(now[:offset] + text + now[offset + len(text):])

    def truncate(self, name, size):
        states = self.data[self.names[name]]
        states.append(states[-1][:size].ljust(size, b"\0"))

    def sync(self, name):
        del self.data[self.names[name]][:-1]

    def sync_dir(self):
        self.past = {}

    def rename(self, old, new):
        number = self.names[old]
        self._named(old, None)
        self._named(new, number)

    def unlink(self, name):
        self._named(name, None)

    def content_may_be(self, number, found):
        """Each sector one of its states; the length one that was, or in between."""
        states = self.data[number]
        sizes = [len(s) for s in states]
        if not min(sizes) <= len(found) <= max(sizes):
            return f"length {len(found)}, was {sizes}"
        for at in range(0, len(found), SECTOR):
            part = found[at:at + SECTOR]
            if not any(s[at:at + SECTOR].ljust(SECTOR, b"\0")[:len(part)] == part
                       for s in states):
                return f"sector at {at} was never so"
        return None

    def check(self, folder):
        """None, or what cannot be."""
        found = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
        for name in set(found) | set(self.names) | set(self.past):
            may = self.past.get(name, [self.names.get(name)])
            if name not in found:
                if None not in may:
                    return f"{name} is gone, and was not removed"
                continue
            wrong = [self.content_may_be(n, found[name]) for n in may if n is not None]
            if not wrong:
                return f"{name} is there again, or for the first time"
            if None not in wrong:
                return f"{name}: {wrong}"
        return None


def history(rng, folder, model, steps=40):
    """Random calls, done to both."""
    for step in range(steps):
        names = sorted(model.names)
        what = rng.choice("ccwwwwwwwssstrruDD") if names else "c"
        name = rng.choice(names) if names else None
        if what == "c":
            name = rng.choice("abcdefgh") + str(step)
            os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR))
            model.create(name)
        elif what in "wst":
            fd = os.open(folder / name, os.O_RDWR)
            if what == "w":
                at = rng.randrange(0, 6000)
                text = bytes([rng.randrange(1, 256)]) * rng.randrange(1, 3000)
                os.pwrite(fd, text, at)
                model.write(name, at, text)
            elif what == "t":
                size = rng.randrange(0, 8000)
                os.ftruncate(fd, size)
                model.truncate(name, size)
            else:
                rng.choice([os.fsync, os.fdatasync])(fd)
                model.sync(name)
            os.close(fd)
        elif what == "r":
            new = rng.choice(names + ["n" + str(step)])
            if new != name:
                os.rename(folder / name, folder / new)
                model.rename(name, new)
        elif what == "u":
            os.unlink(folder / name)
            model.unlink(name)
        else:
            sync_folder(folder)
            model.sync_dir()


def sync_folder(folder):
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def durable(folder, name, text):
    with open(folder / name, "wb") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    sync_folder(folder)


class Frail(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="frail-")
        self.disk = disk.Disk(pathlib.Path(self.tmp.name) / "data", FRAILFS,
                              real_sync=False, log=self.tmp.name + "/log")
        self.disk.mount()
        self.folder = self.disk.folder

    def tearDown(self):
        server = self.disk.server
        self.disk.unmount()
        log = pathlib.Path(self.tmp.name, "log").read_text()
        self.tmp.cleanup()
        if server is not None:
            self.assertEqual((server.returncode, log), (0, ""))

    def cut(self, seed, fate="mixed"):
        toll = self.disk.cut(seed, fate)
        self.disk.on()
        return toll

    def fails(self, number, call, *args):
        with self.assertRaises(OSError) as e:
            call(*args)
        self.assertEqual(e.exception.errno, number)

    def test_after_a_cut_there_is_only_what_may_be(self):
        undone = 0
        for seed in range(SEEDS):
            rng = random.Random(seed)
            for name in os.listdir(self.folder):
                os.unlink(self.folder / name)
            sync_folder(self.folder)
            model = Model()
            history(rng, self.folder, model)
            toll = self.cut(seed)
            undone += toll["sectors_undone"] + toll["names_undone"]
            self.assertIsNone(model.check(self.folder), f"seed {seed}")
        self.assertGreater(undone, SEEDS)

    def test_what_was_synced_survives_the_worst(self):
        durable(self.folder, "log", b"a" * 5000)
        with open(self.folder / "log", "r+b", buffering=0) as f:
            f.write(b"b" * 5000)
            os.rename(self.folder / "log", self.folder / "log2")
        self.cut(1, "lost")
        self.assertEqual(os.listdir(self.folder), ["log"])
        self.assertEqual((self.folder / "log").read_bytes(), b"a" * 5000)

    def test_a_synced_file_whose_folder_was_not_may_have_no_name(self):
        fd = os.open(self.folder / "new", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"x")
        os.fsync(fd)
        os.close(fd)
        fd = os.open(self.folder / "new", os.O_RDONLY)
        self.cut(1, "lost")
        self.assertEqual(os.listdir(self.folder), [])
        self.fails(errno.EIO, os.pread, fd, 1, 0)
        os.close(fd)

    def test_the_same_seed_makes_the_same_choices(self):
        found = []
        for _ in range(2):
            durable(self.folder, "f", b"a" * 20000)
            with open(self.folder / "f", "r+b", buffering=0) as f:
                f.write(b"b" * 20000)
            self.cut(7)
            found.append((self.folder / "f").read_bytes())
        self.assertEqual(*found)
        self.assertEqual({found[0][i:i + 512].count(found[0][i:i + 1]) for i in
                          range(0, 19968, 512)}, {512})

    def test_all_calls_fail_while_the_power_is_off(self):
        durable(self.folder, "f", b"a")
        fd = os.open(self.folder / "f", os.O_RDWR)
        dirfd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        self.disk.cut(1)
        for call, *args in [(os.pread, fd, 1, 0), (os.pwrite, fd, b"x", 0), (os.fsync, fd),
                            (os.fdatasync, fd), (os.fsync, dirfd), (os.fstat, fd),
                            (os.listdir, self.folder), (os.stat, self.folder / "f"),
                            (os.unlink, self.folder / "f"), (os.statvfs, self.folder),
                            (os.open, self.folder / "g", os.O_CREAT | os.O_RDWR)]:
            self.fails(errno.EIO, call, *args)
        self.disk.on()
        for call, *args in [(os.pread, fd, 1, 0), (os.fsync, fd), (os.fsync, dirfd)]:
            self.fails(errno.EIO, call, *args)
        self.assertEqual((self.folder / "f").read_bytes(), b"a")

    def test_an_armed_cut_comes_with_the_sync_of_the_folder(self):
        durable(self.folder, "f", b"a")
        self.disk.arm("folder", 1, "lost")
        durable_file = os.open(self.folder / "f", os.O_RDWR)
        os.fsync(durable_file)
        os.close(durable_file)
        os.unlink(self.folder / "f")
        self.fails(errno.EIO, sync_folder, self.folder)
        self.assertEqual(self.disk.status()["power"], "off")
        self.disk.on()
        self.assertEqual(os.listdir(self.folder), ["f"])

    def test_a_lying_disk_loses_what_was_synced(self):
        durable(self.folder, "f", b"a" * 1024)
        self.disk.lying()
        durable(self.folder, "f", b"b" * 1024)
        self.cut(1, "lost")
        self.assertEqual((self.folder / "f").read_bytes(), b"a" * 1024)

    def test_a_failed_sync_has_lost_the_data_though_it_can_be_read(self):
        durable(self.folder, "f", b"a" * 1024)
        fd = os.open(self.folder / "f", os.O_RDWR)
        os.pwrite(fd, b"b" * 1024, 0)
        self.disk.eio()
        self.fails(errno.EIO, os.fsync, fd)
        self.disk.heal()
        os.pwrite(fd, b"c" * 512, 512)
        os.fsync(fd)
        os.close(fd)
        self.assertEqual((self.folder / "f").read_bytes(), b"b" * 512 + b"c" * 512)
        self.cut(1, "lost")
        self.assertEqual((self.folder / "f").read_bytes(), b"a" * 512 + b"c" * 512)

    def test_a_full_disk_says_so_and_has_room_again(self):
        durable(self.folder, "f", b"a" * 4096)
        self.disk.full(8192)
        self.assertEqual(os.statvfs(self.folder).f_bavail * 4096, 8192)
        fd = os.open(self.folder / "f", os.O_RDWR)
        os.pwrite(fd, b"b" * 4096, 0)  # No new room needed.
        self.assertEqual(os.pwrite(fd, b"c" * 20000, 4096), 8192)
        self.fails(errno.ENOSPC, os.pwrite, fd, b"d", 12288)
        os.ftruncate(fd, 4096)
        self.assertEqual(os.pwrite(fd, b"e" * 4096, 4096), 4096)
        self.disk.heal()
        self.assertEqual(os.pwrite(fd, b"c" * 20000, 4096), 20000)
        os.close(fd)

    def test_a_slow_disk_is_slow_and_a_cut_ends_the_wait(self):
        fd = os.open(self.folder / "f", os.O_CREAT | os.O_RDWR)
        self.disk.slow(100)
        begin = time.monotonic()
        os.fsync(fd)
        self.assertGreaterEqual(time.monotonic() - begin, 0.09)
        self.disk.slow(60000)
        threading.Timer(0.2, self.disk.cut, [1]).start()
        begin = time.monotonic()
        self.fails(errno.EIO, os.fsync, fd)
        self.assertLess(time.monotonic() - begin, 30)
        os.close(fd)

    def test_who_waits_for_a_slow_disk_can_be_killed(self):
        self.disk.slow(60000)
        code = "import os,sys; fd=os.open(sys.argv[1],os.O_CREAT|os.O_RDWR); print(1,flush=1); os.fsync(fd)"
        child = subprocess.Popen([sys.executable, "-c", code, self.folder / "f"],
                                 stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.2)
        child.kill()
        child.wait(timeout=20)
        child.stdout.close()
        self.disk.heal()

    def test_a_flipped_bit_and_a_cut_end_are_there(self):
        durable(self.folder, "f", b"a" * 100 + b"\0" * 900)
        name, offset, mask = self.disk.flip_random("f", 5)
        self.assertLess(offset, 100)
        self.assertEqual((self.folder / name).read_bytes()[offset], ord("a") ^ mask)
        self.disk.truncate("f", 10)
        self.cut(1, "lost")
        self.assertEqual((self.folder / "f").stat().st_size, 10)

    def test_locks_work_and_are_gone_after_a_cut(self):
        code = ("import fcntl,os,sys\nfd=os.open(sys.argv[1],os.O_CREAT|os.O_RDWR)\n"
                "try: fcntl.lockf(fd,fcntl.LOCK_EX|fcntl.LOCK_NB)\n"
                "except OSError: sys.exit(9)")
        durable(self.folder, "lock", b"")

        def other():
            return subprocess.run([sys.executable, "-c", code, self.folder / "lock"],
                                  check=False).returncode
        fd = os.open(self.folder / "lock", os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        self.assertEqual(other(), 9)
        self.cut(1)
        self.assertEqual(other(), 0)
        os.close(fd)

    def test_what_is_put_aside_may_come_back_until_it_is_synced(self):
        durable(self.folder, "log", b"a" * 600)
        os.mkdir(self.folder / "old")
        os.rename(self.folder / "log", self.folder / "old" / "log")
        self.assertEqual(os.listdir(self.folder), ["old"])
        self.assertEqual(os.listdir(self.folder / "old"), ["log"])
        self.fails(errno.ENOTEMPTY, os.rmdir, self.folder / "old")
        self.cut(1, "lost")
        self.assertEqual(sorted(os.listdir(self.folder)), ["log", "old"])
        self.assertEqual(os.listdir(self.folder / "old"), [])
        os.rename(self.folder / "log", self.folder / "old" / "log")
        sync_folder(self.folder)
        self.cut(2, "lost")
        self.assertEqual(os.listdir(self.folder), ["old"])
        self.assertEqual((self.folder / "old" / "log").read_bytes(), b"a" * 600)
        os.unlink(self.folder / "old" / "log")
        self.cut(3, "kept")
        os.rmdir(self.folder / "old")
        self.assertEqual(os.listdir(self.folder), [])

    def test_killed_or_unmounted_the_files_stay(self):
        durable(self.folder, "f", b"a")
        (self.folder / "g").write_bytes(b"b")
        self.disk.server.kill()
        self.disk.server.wait()
        self.assertEqual(disk.mounts(self.tmp.name), [str(self.folder)])
        self.assertEqual(disk.clean(self.tmp.name), 1)
        self.assertEqual(disk.mounts(self.tmp.name), [])
        self.disk.unmount()
        self.disk.mount()
        self.assertEqual((self.folder / "g").read_bytes(), b"b")


if __name__ == "__main__":
    FRAILFS = sys.argv.pop(1)
    if disk.why_not(FRAILFS):
        print("skipped:", disk.why_not(FRAILFS))
        sys.exit(77)
    unittest.main()
