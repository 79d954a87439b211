"""A Postgres server on one host of the run, and a standby that follows it.

Postgres does not run as root, so its folder belongs to an unprivileged user. The
processes of a server are all processes of its host: nothing else runs there."""

import os
import pwd
import shutil
import signal
import subprocess
import time

import net

PORT = 5432
SETTINGS = """
listen_addresses = '*'
unix_socket_directories = '{folder}'
fsync = on
shared_buffers = 32MB
max_connections = 60
max_wal_size = 512MB
min_wal_size = 64MB
wal_level = replica
max_wal_senders = 4
wal_keep_size = 128MB
hot_standby = on
autovacuum_max_workers = 1
max_parallel_workers = 0
jit = off
log_min_messages = warning
log_line_prefix = '%m [%p] %q%h '
"""


class PostgresError(Exception):
    pass


def bin_dir():
    """Of the newest version installed: Debian keeps it out of PATH."""
    base = "/usr/lib/postgresql"
    found = [int(v) for v in os.listdir(base) if v.isdigit()] if os.path.isdir(base) else []
    if not found:
        raise PostgresError("no Postgres server here: apt install postgresql")
    return f"{base}/{max(found)}/bin"


def user():
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            pass
    raise PostgresError("neither the user postgres nor nobody is here")


def can_reach(folder):
    """May Postgres' user go there?"""
    return subprocess.run(as_user(["test", "-x", folder])).returncode == 0


def as_user(argv):
    group = str(pwd.getpwnam(user()).pw_gid)
    return ["setpriv", f"--reuid={user()}", f"--regid={group}", "--clear-groups", "--"] + argv


class Server:
    """One server: its host and its folder."""

    def __init__(self, cluster, host):
        self.cluster = cluster
        self.host = host
        self.folder = os.path.join(cluster.run_dir, host)
        self.data = os.path.join(self.folder, "data")
        self.bin = bin_dir()

    def command(self, name, *args):
        """A tool of Postgres, as its user, on this host, to its end."""
        return net.run(self.cluster.net.inside(self.host)
                       + as_user([f"{self.bin}/{name}", *args]))

    def _folder(self):
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)
        shutil.chown(self.folder, user())

    def make(self):
        """An empty cluster, with our settings."""
        self._folder()
        self.command("initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8",
                     "--locale=C", "--auth=trust", "--no-sync")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            f.write(SETTINGS.format(folder=self.folder))
        with open(os.path.join(self.data, "pg_hba.conf"), "a", encoding="utf-8") as f:
            f.write(f"host all all {net.NETWORK}0/24 trust\n"
                    f"host replication all {net.NETWORK}0/24 trust\n")

    def start(self, wait_s=60):
        # Left by a crash; its pid may be somebody else's now.
        for left in ("postmaster.pid",):
            if os.path.exists(os.path.join(self.data, left)):
                os.unlink(os.path.join(self.data, left))
        self.cluster.spawn(self.host, f"postgres-{self.host}", as_user(
            [f"{self.bin}/postgres", "-D", self.data, "-p", str(PORT)]))
        until = time.monotonic() + wait_s
        while not self.ready():
            if time.monotonic() > until:
                raise PostgresError(f"Postgres on {self.host} does not answer: see "
                                    f"{self.cluster.run_dir}/log/postgres-{self.host}.log")
            time.sleep(0.05)

    def ready(self):
        return subprocess.run(
            self.cluster.net.inside(self.host)
            + [f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(PORT)]
        ).returncode == 0

    def sql(self, text, database="postgres"):
        return net.run(self.cluster.net.inside(self.host) + [
            f"{self.bin}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
            "127.0.0.1", "-p", str(PORT), "-U", "postgres", "-d", database, "-c", text]).strip()

    def kill(self):
        """kill -9 of all of it at once."""
        net.kill_namespace(self.cluster.net.namespace(self.host))

    def signal(self, sig):
        """To all of its processes."""
        net.kill_namespace(self.cluster.net.namespace(self.host), sig)

    def stop(self):
        self.cluster.kill(f"postgres-{self.host}", signal.SIGINT)

    # --- a standby ---

    def follow(self, primary, wait_s=60):
        """Become a copy of `primary`, which from then on waits for us with every commit: so
        what it has confirmed is here, too."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self._folder()
        self.command("pg_basebackup", "-h", self.cluster.net.addr(primary.host), "-p",
                     str(PORT), "-U", "postgres", "-D", self.data, "-c", "fast", "-X",
                     "stream", "-R", "--no-sync")
        self.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        until = time.monotonic() + wait_s
        while primary.sql("SELECT count(*) FROM pg_stat_replication "
                          "WHERE sync_state = 'sync'") != "1":
            if time.monotonic() > until:
                primary.alone()
                raise PostgresError(f"the copy on {self.host} does not catch up")
            time.sleep(0.05)

    def alone(self):
        """Wait for nobody any more."""
        self.sql("ALTER SYSTEM RESET synchronous_standby_names")
        self.sql("SELECT pg_reload_conf()")

    def promote(self):
        self.command("pg_ctl", "promote", "-w", "-D", self.data)
        # Copied from the old primary.
        self.alone()
