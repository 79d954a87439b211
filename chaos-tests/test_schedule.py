"""The same seed gives the same plan, and a plan keeps its rules."""

import unittest

import nemeses
import schedule


class TestSchedule(unittest.TestCase):
    def plan(self, seed, seconds=3600, **more):
        return schedule.plan(seed, seconds, nemeses.TABLE, **more)

    def test_same_seed_same_plan(self):
        self.assertEqual(self.plan(7), self.plan(7))
        self.assertNotEqual(self.plan(7), self.plan(8))

    def test_a_longer_plan_begins_as_the_shorter_one(self):
        short = self.plan(7, 300)
        self.assertEqual(short, self.plan(7, 3600)[:len(short)])

    def test_seed_1_is_what_it_was(self):
        """A seed that found something must find it tomorrow, too."""
        first = [(e.at, e.name, e.seed) for e in schedule.plan(
            1, 60, {n: nemeses.TABLE[n] for n in ("kill", "pause", "one-way")})][:3]
        self.assertEqual(first, FIRST)

    def test_each_comes_before_one_comes_again(self):
        names = [e.name for e in self.plan(3)]
        self.assertEqual(set(names[:len(nemeses.TABLE)]), set(nemeses.TABLE))

    def test_rules(self):
        for seed in range(50):
            events = self.plan(seed, 1200)
            self.assertGreater(len(events), 50)
            for k, e in enumerate(events):
                self.assertLessEqual(e.at + e.duration, 1200)
                beside = [o for o in events[:k] if o.at + o.duration > e.at + 0.1]
                self.assertLess(len(beside), schedule.TOGETHER)
                self.assertNotIn(e.name, [o.name for o in beside])
                if beside:
                    self.assertFalse(nemeses.TABLE[e.name].exclusive)
                    self.assertFalse(any(nemeses.TABLE[o.name].exclusive for o in beside))


FIRST = [(3.0, 'one-way', 633648690), (7.7, 'pause', 2654353763), (11.3, 'kill', 3977354504)]

if __name__ == "__main__":
    unittest.main()
