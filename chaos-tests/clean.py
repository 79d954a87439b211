"""What a run leaves when it is killed itself: processes, namespaces, mounts. Each run says
in RUN/owner who it is; one whose owner lives is left alone."""

import os

import disk
import net


def start_time(pid):
    """When a process began, in ticks since boot: with its number, it names it for good."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def claim(run_dir, prefix):
    with open(os.path.join(run_dir, "owner"), "w", encoding="ascii") as f:
        f.write(f"{os.getpid()} {start_time(os.getpid())} {prefix}\n")


def owner(run_dir):
    """(pid, start, prefix) or None."""
    try:
        with open(os.path.join(run_dir, "owner"), encoding="ascii") as f:
            pid, start, prefix = f.read().split()
            return int(pid), start, prefix
    except (OSError, ValueError):
        return None


def unmount(run_dir):
    """Disks of a certain size; how many."""
    with open("/proc/mounts", encoding="utf-8") as f:
        points = [line.split()[1] for line in f if line.split()[0] == "vagt"]
    points = [point for point in points if point.startswith(run_dir + "/")]
    for point in points:
        net.run(["umount", "-l", point], check=False)
    return len(points)


def clean(home, quiet=False):
    """All runs below this folder whose owner is dead. Says what it did."""
    found = 0
    for name in sorted(os.listdir(home)) if os.path.isdir(home) else []:
        run_dir = os.path.join(home, name)
        who = owner(run_dir)
        if not who or start_time(who[0]) == who[1]:
            continue
        left = [n for n in (os.listdir(net.NETNS_DIR) if os.path.isdir(net.NETNS_DIR) else [])
                if n.startswith(who[2])]
        pids = sum(len(net.namespace_pids(n)) for n in left)
        for namespace in sorted(left):
            net.remove_namespace(namespace)
        mounts = disk.clean(run_dir) + unmount(run_dir)
        if left or mounts:
            found += 1
            print(f"{run_dir}: {pids} processes, {len(left)} hosts, {mounts} disks removed")
    if found or not quiet:
        print(f"{found} runs cleaned up; their files are still there" if found
              else "nothing was left of dead runs")
    return 0
