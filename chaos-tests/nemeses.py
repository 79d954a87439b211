"""What can go wrong: one function each. It does the damage, yields a sentence that says
whom it hit, and after that mends it:

    @nemesis("pause", 0.1, 30)
    def pause(c, rng):
        i = pick(c, rng)
        c.pause_node(i)
        yield f"SIGSTOP of {node(c, i)}"
        c.pause_node(i, signal.SIGCONT)

`c` is the Cluster, `rng` the random numbers of this fault. Raise Skip(why) if it cannot be
done now. Exclusive ones find a healthy site and leave one: they damage what the others keep
for all, so only one node may be hit at a time, and it must be whole again before the next."""

import os
import random
import signal
import time

import recover

TABLE = {}
# In the table for those who look for them.
NOT_YET = {
    "postgres-restore": "a copy of yesterday: rows shipped since are gone by design "
                        "(docs/disaster-recovery.md, \"Postgres is gone\")",
}


ARMED_S = 1.0


class Skip(Exception):
    """It cannot be done; the text says why."""


class Nemesis:
    def __init__(self, name, function, shortest, longest, needs, exclusive):
        self.name = name
        self.function = function
        self.shortest, self.longest = shortest, longest
        self.needs = needs  # of: disk, faketime, other-build
        self.exclusive = exclusive
        self.text = (function.__doc__ or "").strip()

    def begin(self, cluster, seed):
        """(what to call at the end, sentence)"""
        rng = random.Random(seed)
        going = self.function(cluster, rng)
        text = next(going)
        return (lambda: next(going, None)), text


def nemesis(name, shortest, longest, needs=(), exclusive=False):
    def add(function):
        TABLE[name] = Nemesis(name, function, shortest, longest, needs, exclusive)
        return function
    return add


# --- whom ---

def pick(c, rng, leader=0.6):
    """A running node; more often than not the one on watch."""
    up = [i for i in c.nodes() if c.alive(f"n{i}") and i in c.wanted]
    if not up:
        raise Skip("no node runs")
    watch = c.watch()
    if watch in up and rng.random() < leader:
        return watch
    return rng.choice(up)


def the_watch(c):
    watch = None
    until = time.monotonic() + 5
    while watch is None and time.monotonic() < until:
        watch = c.watch()
    if watch is None or not c.alive(f"n{watch}"):
        raise Skip("nobody is on watch")
    return watch


def node(c, i):
    """For a sentence."""
    return f"n{i}" + (" (on watch)" if c.watch() == i else "")


# --- processes ---

@nemesis("kill", 0.1, 5)
def kill(c, rng):
    """kill -9 of a node, which is started again"""
    i = pick(c, rng)
    text = f"kill -9 of {node(c, i)}"
    c.kill_node(i)
    yield text
    c.start_node(i)


@nemesis("kill-all", 0.1, 3)
def kill_all(c, rng):
    """kill -9 of all nodes at once"""
    for i in c.nodes():
        c.kill_node_quickly(i)
    yield "kill -9 of all nodes"
    order = list(c.nodes())
    rng.shuffle(order)
    for i in order:
        c.start_node(i)


@nemesis("pause", 0.1, 30)
def pause(c, rng):
    """SIGSTOP of a node, then SIGCONT"""
    i = pick(c, rng, 0.7)
    text = f"SIGSTOP of {node(c, i)}"
    c.pause_node(i)
    yield text
    c.pause_node(i, signal.SIGCONT)


@nemesis("vanish", 2, 15)
def vanish(c, rng):
    """a machine is gone: no FIN, no RST; later it is started anew"""
    i = pick(c, rng)
    text = f"the machine of {node(c, i)} vanishes"
    c.vanish_node(i)
    yield text
    c.return_node(i)


@nemesis("handover", 0.5, 2)
def handover(c, rng):
    """vagtctl handover"""
    watch = the_watch(c)
    to = rng.choice([i for i in c.nodes() if i != watch])
    code, text = c.vagtctl("handover", c.name(to), timeout=20)
    last = text.strip().splitlines()[-1:] or [""]
    yield f"handover from n{watch} to n{to}: exit code {code}, {last[0][:100]}"


@nemesis("rolling-restart", 0, 1, exclusive=True)
def rolling_restart(c, rng):
    """each node is stopped and started, the one on watch last"""
    yield "SIGTERM and start, one node after the other: " + roll(c, rng, lambda i: None)


@nemesis("members", 2, 8, exclusive=True)
def members(c, rng):
    """a node that is not on watch votes no more, and votes again"""
    watch = the_watch(c)
    others = [i for i in c.nodes() if i not in (watch, c.witness)]
    if len(c.nodes()) < 3:
        raise Skip("one of two cannot be spared")
    i = rng.choice(others)
    code, text = c.vagtctl("--timeout", "15000", "members", "demote", c.name(i), timeout=20)
    last = text.strip().splitlines()[-1:] or [""]
    yield f"n{i} votes no more: exit code {code}, {last[0][:80]}"
    for _ in range(10):
        if c.vagtctl("--timeout", "15000", "members", "promote", c.name(i), timeout=20)[0] == 0:
            return
        time.sleep(0.5)


@nemesis("rolling-upgrade", 0, 1, needs=("other-build",), exclusive=True)
def rolling_upgrade(c, rng):
    """each node goes from the other build, the older one, to this one, the one on watch last"""
    def newer(i):
        c.builds[i] = c.build
    # Never back: an old node rightly stops at what only a newer one can have written.
    if all(c.builds[i] == c.build for i in c.nodes()):
        raise Skip("all nodes run the new build already")
    yield "from the other build to this one, one node after the other: " + roll(c, rng, newer)


def roll(c, rng, change):
    order = list(c.nodes())
    rng.shuffle(order)
    watch = c.watch()
    order.sort(key=lambda i: i == watch)
    for i in order:
        c.stop_node(i)
        change(i)
        c.start_node(i)
        c.wait_for(30, lambda i=i: recover.level(c, i))
    return " ".join(f"n{i}" for i in order)


# --- links ---

@nemesis("leader-alone", 2, 15)
def leader_alone(c, rng):
    """the node on watch reaches nobody"""
    watch = the_watch(c)
    token = c.net.isolate(f"n{watch}")
    yield f"n{watch}, on watch, is cut off from everything"
    c.net.undo(token)


@nemesis("leader-from-peers", 2, 15)
def leader_from_peers(c, rng):
    """the node on watch still reaches broker and Postgres, but no other node"""
    watch = the_watch(c)
    token = c.net.cut_many([(f"n{watch}", f"n{i}") for i in c.nodes() if i != watch])
    yield f"n{watch}, on watch, is cut off from the other nodes, not from broker and Postgres"
    c.net.undo(token)


@nemesis("leader-from-broker", 2, 25)
def leader_from_broker(c, rng):
    """the node on watch does not reach the broker"""
    watch = the_watch(c)
    token = c.net.cut(f"n{watch}", "broker")
    yield f"n{watch}, on watch, is cut off from the broker"
    c.net.undo(token)


@nemesis("leader-from-postgres", 2, 25)
def leader_from_postgres(c, rng):
    """the node on watch does not reach Postgres"""
    watch = the_watch(c)
    token = c.net.cut_addresses(f"n{watch}", ("pg", "pg2"), c.pg_address)
    yield f"n{watch}, on watch, is cut off from Postgres"
    c.net.undo(token)


@nemesis("one-way", 2, 15)
def one_way(c, rng):
    """what a node says does not arrive, what the others say does; or the reverse"""
    i = pick(c, rng)
    others = [k for k in c.nodes() if k != i]
    if rng.random() < 0.5:
        token = c.net.cut_one_way_many([(f"n{i}", f"n{k}") for k in others])
        yield f"the other nodes do not hear {node(c, i)}"
    else:
        token = c.net.cut_one_way_many([(f"n{k}", f"n{i}") for k in others])
        yield f"{node(c, i)} does not hear the other nodes"
    c.net.undo(token)


@nemesis("ring", 2, 15)
def ring(c, rng):
    """each node hears its neighbour and not the one behind it (three nodes: one link is cut)"""
    order = list(c.nodes())
    rng.shuffle(order)
    n = len(order)
    if n < 3:
        raise Skip("a ring needs three nodes")
    if n == 3:
        pairs = [(f"n{order[0]}", f"n{order[1]}")]
    else:
        pairs = [(f"n{order[a]}", f"n{order[b]}") for a in range(n) for b in range(a + 1, n)
                 if (b - a) % n not in (1, n - 1)]
    token = c.net.cut_many(pairs)
    yield "no link between " + ", ".join(f"{a} and {b}" for a, b in pairs)
    c.net.undo(token)


@nemesis("loss", 3, 15)
def loss(c, rng):
    """30 % of all packets of one node, or of all nodes, are lost"""
    hosts = [f"n{i}" for i in c.nodes()] if rng.random() < 0.4 else [f"n{pick(c, rng)}"]
    token = c.net.loss(hosts, 300)
    yield f"30 % of the packets of {', '.join(hosts)} are lost"
    c.net.undo(token)


@nemesis("delay", 3, 20)
def delay(c, rng):
    """what nodes send arrives 70 ± 10 ms later"""
    hosts = [f"n{i}" for i in c.nodes()] if rng.random() < 0.6 else [f"n{pick(c, rng)}"]
    token = c.net.delay(hosts, 70, 10)
    yield f"what {', '.join(hosts)} send arrives 70 ± 10 ms later"
    c.net.undo(token)


# --- disks ---

@nemesis("power-cut", 0.5, 5, needs=("disk",))
def power_cut(c, rng):
    """the power of a node goes: what was not synced is lost, torn or kept, at random"""
    i = pick(c, rng)
    text = node(c, i)
    lost = cut_power(c, [i], rng)
    yield f"power cut at {text}: {lost}"
    restore_power(c, i)


@nemesis("power-cut-all", 0.5, 3, needs=("disk",))
def power_cut_all(c, rng):
    """the power of all nodes goes at once"""
    lost = cut_power(c, list(c.nodes()), rng)
    yield f"power cut everywhere: {lost}"
    for i in c.nodes():
        restore_power(c, i)


def cut_power(c, nodes, rng):
    """Half of the cuts come with a sync, when there is most to lose; the others at any time.
    The disk first: nothing that the process still does gets onto it. And no FIN leaves."""
    armed = rng.random() < 0.5
    seeds = {i: rng.randrange(1 << 31) for i in nodes}
    if armed:
        c.disks[nodes[0]].arm("file", seeds[nodes[0]])
        until = time.monotonic() + ARMED_S
        while c.disks[nodes[0]].status()["power"] == "on" and time.monotonic() < until:
            time.sleep(0.001)
    texts = []
    for i in nodes:
        found = {}
        if c.disks[i].status()["power"] == "on":
            found = c.disks[i].cut(seeds[i])
        else:
            found = {"when": "during a sync"}
        texts.append(f"n{i} " + ", ".join(f"{k} {v}" for k, v in found.items() if v))
    for i in nodes:
        c.vanish_node(i)
    return "; ".join(texts)


def restore_power(c, i):
    c.disks[i].on()
    c.return_node(i)


@nemesis("slow-disk", 3, 15, needs=("disk",))
def slow_disk(c, rng):
    """each sync of a node takes so much longer"""
    i = pick(c, rng)
    ms = rng.choice([20, 100, 500])
    text = node(c, i)
    c.disks[i].slow(ms)
    yield f"each sync of {text} takes {ms} ms more"
    c.disks[i].heal()


@nemesis("full-disk", 3, 15, needs=("disk",))
def full_disk(c, rng):
    """a node's disk is full, later it has room again"""
    i = pick(c, rng)
    left = rng.choice([0, 1 << 20, 16 << 20])
    text = node(c, i)
    c.disks[i].full(left)
    yield f"the disk of {text} is full but for {left >> 20} MiB"
    c.disks[i].heal()


@nemesis("failing-disk", 1, 6, needs=("disk",))
def failing_disk(c, rng):
    """each sync of a node fails"""
    i = pick(c, rng)
    text = node(c, i)
    c.disks[i].eio()
    yield f"each sync of {text} fails"
    c.disks[i].heal()


@nemesis("bit-flip", 0, 1, needs=("disk",), exclusive=True)
def bit_flip(c, rng):
    """a bit of a node's log flips while it is down"""
    yield from damage(c, rng, "seg-", lambda c, i: "flipped bit 0x{2:02x} of {0} at {1}".format(
        *c.disks[i].flip_random("seg-", rng.randrange(1 << 31))))


@nemesis("truncate", 0, 1, needs=("disk",), exclusive=True)
def truncate(c, rng):
    """a node's log loses its end while it is down"""
    def cut(c, i):
        name, size = rng.choice([f for f in c.disks[i].files("seg-") if f[1] > 0])
        to = rng.randrange(size)
        c.disks[i].truncate(name, to)
        return f"{name} cut from {size} to {to} bytes"
    yield from damage(c, rng, "seg-", cut)


@nemesis("snapshot-flip", 0, 1, needs=("disk",), exclusive=True)
def snapshot_flip(c, rng):
    """a bit of a node's snapshot flips while it is down"""
    yield from damage(c, rng, "snap-", lambda c, i: "flipped bit 0x{2:02x} of {0} at {1}".format(
        *c.disks[i].flip_random("snap-", rng.randrange(1 << 31))))


def damage(c, rng, prefix, harm):
    """Stop a node, harm its files, start it: it refuses and is seeded anew, or it is well."""
    able = [i for i in c.nodes() if any(s > 0 for _, s in c.disks[i].files(prefix))]
    if not able:
        raise Skip(f"no node has a file {prefix}* yet")
    i = rng.choice(able)
    c.stop_node(i)
    c.damaged.discard(i)
    text = f"n{i}: {harm(c, i)}"
    c.expect_damage(i)
    c.start_node(i)
    c.wait_for(30, lambda: i in c.damaged or recover.level(c, i))
    c.wait_for(2, lambda: i in c.damaged)  # Others may call it level before it has read.
    if i in c.damaged:
        yield f"{text}; it refused to start, and was seeded anew: {recover.reseed(c, i)}"
    else:
        yield f"{text}; it started and caught up"


# --- clocks ---

@nemesis("clock-jump", 3, 15, needs=("faketime",))
def clock_jump(c, rng):
    """a node's wall clock jumps by up to an hour, and back"""
    i = pick(c, rng)
    seconds = rng.choice([-1, 1]) * rng.choice([2, 60, 3600])
    text = node(c, i)
    c.set_clock(i, seconds)
    yield f"the wall clock of {text} jumps by {seconds:+d} s"
    c.set_clock(i, 0)


# --- broker, Postgres, bridges ---

@nemesis("broker-kill", 0.2, 5)
def broker_kill(c, rng):
    """kill -9 of the broker: it loses what it had not saved"""
    c.procs["broker"].kill()
    c.procs["broker"].wait(5)
    yield "kill -9 of the broker"
    c.start_broker()


@nemesis("broker-term", 0.2, 5)
def broker_term(c, rng):
    """the broker is stopped (it saves) and started"""
    c.procs["broker"].kill(signal.SIGTERM)
    if c.procs["broker"].wait(20) is None:
        raise Skip("the broker does not stop")
    yield "SIGTERM to the broker"
    c.start_broker()


@nemesis("postgres-kill", 0.2, 5)
def postgres_kill(c, rng):
    """kill -9 of all of Postgres"""
    server = c.pg
    server.kill()
    yield f"kill -9 of Postgres on {server.host}"
    server.start()


@nemesis("postgres-pause", 1, 30)
def postgres_pause(c, rng):
    """SIGSTOP of all of Postgres, then SIGCONT"""
    server = c.pg
    server.signal(signal.SIGSTOP)
    yield f"SIGSTOP of Postgres on {server.host}"
    server.signal(signal.SIGCONT)


@nemesis("postgres-failover", 1, 4, exclusive=True)
def postgres_failover(c, rng):
    """the machine of Postgres vanishes; a copy that has all that was confirmed takes over"""
    old, new = c.pg, c.pg_spare
    new.follow(old)
    c.net.unplug(old.host)
    old.kill()
    yield f"the machine of Postgres on {old.host} vanishes; its copy on {new.host} takes over"
    c.failover_postgres()
    c.net.renew(old.host)


@nemesis("bridge-restart", 1, 10)
def bridge_restart(c, rng):
    """a bridge dies or is stopped, and is started again"""
    area = rng.randrange(c.areas) + 1
    how = rng.choice(["kill", "term", "silent"])
    c.site(f"/bridge-stop?area={area}&how={how}")
    yield f"the bridge of area {area} ends ({how})"
    c.site(f"/bridge-start?area={area}" + ("&forgot=1" if how == "silent" else ""))


# --- many ---

@nemesis("many", 4, 12)
def many(c, rng):
    """three of the others at once, and their ends in any order"""
    able = [n for n in MIXED if all(c.able(need) for need in TABLE[n].needs)]
    texts, ends = [], []
    for name in rng.sample(able, min(3, len(able))):
        try:
            end, text = TABLE[name].begin(c, rng.randrange(1 << 32))
        except Skip as why:
            texts.append(f"not {name}: {why}")
            continue
        ends.append(end)
        texts.append(text)
    yield "; ".join(texts)
    rng.shuffle(ends)
    for end in ends:
        end()


MIXED = ("kill", "pause", "vanish", "leader-alone", "leader-from-peers", "leader-from-broker",
         "leader-from-postgres", "one-way", "loss", "delay", "slow-disk", "clock-jump",
         "broker-term", "postgres-kill", "bridge-restart")
