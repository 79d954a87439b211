"""Disks for nodes: a frailfs mounted on a node's data folder.

    disk = Disk(run_dir / "n1/data", frailfs=build / "chaos-tests/frailfs/frailfs")
    disk.mount()                      # before the node is started; keeps what is there
    disk.cut(seed)                    # power off: from now on every call fails (EIO)
    ...                               # kill -9 of the node; it cannot do harm any more
    disk.on()                         # power on; start the node again
    disk.slow(200); disk.full(1 << 20); disk.eio(); disk.heal()
    disk.unmount()                    # the files stay, in data.below

The files themselves are in a folder beside the mount point, with ".below" added. The
server runs outside of the node's namespaces and outlives kill -9 of the node. Whatever
happens, atexit unmounts; clean(folder) does so for a run that was itself killed.
"""

import atexit
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

_open = []


def why_not(frailfs):
    """Why disks cannot be played here; None: they can."""
    if not pathlib.Path(frailfs).exists():
        return f"{frailfs} is not built (libfuse3-dev)"
    if os.geteuid() != 0:
        return "mounting needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse"
    return None


class Disk:
    """One mounted frailfs."""

    def __init__(self, folder, frailfs, real_sync=True, log=None):
        """folder: where to mount; real_sync False: do not wait for the disk below."""
        self.folder = pathlib.Path(folder)
        self.below = self.folder.with_name(self.folder.name + ".below")
        self.frailfs = str(frailfs)
        self.real_sync = real_sync
        self.log = log
        self.server = None
        # A socket's path is short: not below the run.
        self.rundir = None
        self.socket = None

    def mount(self):
        """Mount; files that were in the folder move below."""
        if self.server:
            raise RuntimeError(f"{self.folder} is mounted")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.below.exists():
            self.below.mkdir(mode=0o755)
            stat = self.folder.stat()
            os.chown(self.below, stat.st_uid, stat.st_gid)
            os.chmod(self.below, stat.st_mode & 0o7777)
            for path in self.folder.iterdir():
                shutil.move(str(path), str(self.below / path.name))
        self.rundir = tempfile.mkdtemp(prefix="frailfs-")
        self.socket = self.rundir + "/ctl"
        argv = [self.frailfs, "mount", self.below, self.folder, self.socket]
        if not self.real_sync:
            argv.append("--no-sync")
        log = open(self.log, "ab") if self.log else subprocess.DEVNULL
        self.server = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)
        if self.log:
            log.close()
        _open.append(self)
        until = time.monotonic() + 10
        while not self._answers():
            if self.server.poll() is not None or time.monotonic() > until:
                self.unmount()
                raise RuntimeError(f"frailfs did not start on {self.folder}; see {self.log}")
            time.sleep(0.01)

    def _answers(self):
        try:
            self.status()
            return os.path.ismount(self.folder)
        except OSError:
            return False

    def ctl(self, *words):
        """One command; its answer without the "ok". An error raises RuntimeError."""
        line = " ".join(str(w) for w in words)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(60)
            s.connect(self.socket)
            s.sendall(line.encode() + b"\n")
            answer = s.makefile().readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(f"{self.folder}: {line}: {answer or 'no answer'}")
        return answer[2:].strip()

    def _numbers(self, *words):
        pairs = (w.split("=", 1) for w in self.ctl(*words).split())
        return {k: int(v) if v.lstrip("-").isdigit() else v for k, v in pairs}

    def status(self):
        """power, space, syncs, unsynced_sectors, ... as a dict."""
        return self._numbers("status")

    def cut(self, seed, fate="mixed"):
        """Power off, now. fate: mixed (by seed), lost or kept (all that is unsynced).
        Returns what there was to lose and what was lost."""
        return self._numbers("cut", seed, fate)

    def arm(self, what, seed, fate="mixed"):
        """Power off as soon as the next sync of a "file" or of the "folder" begins: when
        there is most to lose. status()["power"] says whether that was."""
        self.ctl("arm", what, seed, fate)

    def on(self):
        """Power on again; what was open before stays dead."""
        self.ctl("on")

    def slow(self, sync_ms, write_ms=0):
        """Each sync, each write takes that much longer."""
        self.ctl("slow", sync_ms, write_ms)

    def full(self, bytes_left=0):
        """Files may still grow by that much; statfs says so."""
        self.ctl("full", bytes_left)

    def eio(self):
        """Each sync fails, and what it was to write is not on the disk."""
        self.ctl("eio")

    def lying(self):
        """Each sync does nothing and says that all is well: a mutant."""
        self.ctl("lying")

    def heal(self):
        """An end to slow, full, eio, lying and arm (not to a power cut)."""
        self.ctl("heal")

    def files(self, prefix=""):
        """Names that begin so, sorted, with their size."""
        found = (p for p in self.below.iterdir() if p.is_file())
        return sorted((p.name, p.stat().st_size) for p in found if p.name.startswith(prefix))

    def flip(self, name, offset, mask):
        """Flip bits of one byte at rest (stop the node first)."""
        self.ctl("flip", name, offset, mask)

    def flip_random(self, prefix, seed):
        """One bit of what is not zero in one of these files: (name, offset, mask)."""
        rng = random.Random(seed)
        name = rng.choice([n for n, size in self.files(prefix) if size > 0])
        data = (self.below / name).read_bytes()
        used = len(data.rstrip(b"\0")) or len(data)
        damage = name, rng.randrange(used), 1 << rng.randrange(8)
        self.flip(*damage)
        return damage

    def truncate(self, name, size):
        """Cut off the end of a file at rest."""
        self.ctl("truncate", name, size)

    def unmount(self):
        """Unmount and end the server. The files stay below. May be called twice."""
        if self.server is None:
            return
        try:
            self.ctl("quit")
            self.server.wait(timeout=2)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            pass
        if self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        detach(self.folder)
        shutil.rmtree(self.rundir, ignore_errors=True)
        self.server = None
        if self in _open:
            _open.remove(self)


def detach(folder):
    """Unmount whatever is there, however dead it is."""
    subprocess.run(["umount", "-l", str(folder)], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)


def mounts(below):
    """Mount points of frailfs below a folder."""
    prefix = str(pathlib.Path(below).resolve()).rstrip("/") + "/"
    found = []
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        point = point.encode().decode("unicode_escape")
        if kind == "fuse.frailfs" and point.startswith(prefix):
            found.append(point)
    return found


def clean(below):
    """Unmount all frailfs below a folder, left by a run that was killed, and end their
    servers; returns how many."""
    points = mounts(below)
    for point in points:
        for proc in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (proc / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if words[1:2] == ["mount"] and words[3:4] == [point] and "frailfs" in words[0]:
                os.kill(int(proc.name), 9)
        detach(point)
    return len(points)


def _unmount_all():
    for disk in list(_open):
        disk.unmount()


atexit.register(_unmount_all)
