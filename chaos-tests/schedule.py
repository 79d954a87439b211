"""From a seed to a list of faults: when, what, for how long. The same seed gives the same
list, on every machine; whom it hits is drawn from the same seed when it begins."""

import collections
import random

# seed: of the fault's own random numbers
Event = collections.namedtuple("Event", "at name duration seed")

# Some faults at once, and no two of a kind.
TOGETHER = 3
FIRST_S = 3.0


def plan(seed, seconds, table, every=5.0, together=TOGETHER):
    """table: {name: Nemesis}, with shortest, longest (seconds) and exclusive.

    Each of them comes once before one comes again. An exclusive one begins when all others
    are over, and nothing else begins before it is over."""
    rng = random.Random(f"plan {seed}")
    events, running, bag = [], [], []
    at = FIRST_S
    while True:
        if not bag:
            bag = sorted(table)
            rng.shuffle(bag)
        name = bag.pop()
        nemesis = table[name]
        duration = round(rng.uniform(nemesis.shortest, nemesis.longest), 1)
        event_seed = rng.randrange(1 << 32)
        running = [e for e in running if e.at + e.duration > at]
        at = max([at] + [e.at + e.duration for e in running if stays_alone(e, name, table)])
        running = [e for e in running if e.at + e.duration > at]
        while len(running) >= together:
            at = min(e.at + e.duration for e in running)
            running = [e for e in running if e.at + e.duration > at]
        if at + nemesis.shortest > seconds:
            return events
        duration = min(duration, round(seconds - at, 1))  # All is over when time is.
        event = Event(round(at, 1), name, duration, event_seed)
        events.append(event)
        running.append(event)
        at += every * rng.uniform(0.5, 1.5)


def stays_alone(event, name, table):
    """Must this one be over before `name` may begin?"""
    return event.name == name or table[event.name].exclusive or table[name].exclusive
