"""What is known of one endpoint: how many calls it takes at once, when it wants none, and at what rate.

The number of calls at once is found out. The first call to an endpoint goes alone, so that a dead key costs one call
(for a second at most: a slow model needn't be waited for); then it starts modest, doubles with every round of replies
while nothing speaks against it, and later grows by a twentieth a round. It goes down by a quarter when an endpoint
refuses for load, and stops growing when replies take twice as long as they did at best (a server whose queue only gets
longer does no more work). One refusal in a crowd of replies is a fault and no limit: without a word from the server on
how long to wait, only a tenth of a round refused counts.

When a server says how long to wait, all calls to it wait, and from the second time on its rate is known: what it took
between two refusals, by the time between them. From then on calls go out at that rate, so that a limit is met about
twice and not once a second. The rate is raised slowly, to find out whether the limit still stands.
"""

import math
import statistics

START, ALONE_S = 32, 1.0
"""Calls at once to begin with, after the first; and for how long that one may be alone."""
FEWER, GROWTH = 0.75, 0.05
CROWD = 0.1
"""Share of a round that must be refused without a word on waiting before it counts as a limit."""
SLOWER, MUCH_SLOWER = 2.0, 3.0
"""Times the best latency: no growth, and fewer calls."""
APART_S, PACING, BURST_S = 0.02, 3.0, 0.005
"""Calls go out at most so far apart, at up to so many times the rate of the replies; a moment's worth at once."""
CAUTION, PROBE_AFTER_S, PROBE_A_SECOND = 0.99, 5.0, 1.01
"""A learned rate is used with caution, and raised by one percent a second once it has held for some."""
ENOUGH = 8
"""Calls taken between two refusals that say something of a rate; of one or two, a fault would make a limit."""
FORGOTTEN_AFTER_S = 600.0
AILING = 6
"""Failures in a row that set an endpoint aside."""
LONGEST_ASIDE_S, LONGEST_GUESS_S, DOUBLINGS = 60.0, 30.0, 10


class Bucket:
    """So many units a minute, a second's worth at once; a unit more than there is makes the next ones wait."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.most = max(1.0, per_minute / 60)
        # less than asked for by what the bucket holds: no minute has more than the limit
        self.rate = max(per_minute - self.most, per_minute / 2) / 60
        self.level = self.most
        self.filled = now

    def wait_s(self, amount: float, now: float) -> float:
        """Until that much may be taken; more than the bucket holds, when it is full."""
        self.level = min(self.most, self.level + (now - self.filled) * self.rate)
        self.filled = now
        return max(0.0, (min(amount, self.most) - self.level) / self.rate)

    def take(self, amount: float) -> None:
        self.level -= amount


class Lane:
    """What is known of one endpoint."""

    def __init__(self, number: int, most: int) -> None:
        self.number = number
        self.most = most
        self.limit = float(min(START, most))
        self.in_flight = 0
        self.pause_until = self.pause_from = 0.0
        self.failures = self.probes = 0
        self._doubling, self._gingerly, self._untried = True, False, True
        self._next_at = self._alone_until = 0.0
        self._latency = self._best = 0.0
        self._latencies: list[float] = []
        self._done = self._refused = self._refused_in_a_row = 0
        self._round, self._used = self.limit, False
        self._aside_at = 0.0
        self._sent = self._turned_away = 0
        self._last: tuple[float, int] | None = None
        self._rate = self._level = self._depth = self._filled = 0.0

    @property
    def ailing(self) -> bool:
        """Set aside: asked with single calls alone."""
        return self.failures >= AILING

    @property
    def allowed(self) -> int:
        return 1 if self.ailing else max(1, int(self.limit))

    def wait_s(self, now: float) -> float:
        """Until a call may go out; infinite while one must come back first."""
        if self.in_flight >= self.allowed:
            return math.inf
        if self.pause_from and now >= self.pause_until:
            self._resume(now)
        at = max(self.pause_until, self._next_at, self._alone_until)
        if self._rate and now - self.pause_until > FORGOTTEN_AFTER_S:
            self._rate = 0.0
        if self._rate:
            rate = self._rate * PROBE_A_SECOND ** max(0.0, now - self.pause_until - PROBE_AFTER_S)
            self._level = min(self._depth, self._level + (now - self._filled) * rate)
            self._filled = now
            at = max(at, now + (1 - self._level) / rate)
        return max(0.0, at - now)

    def enter(self, now: float) -> None:
        gap = APART_S if self._gingerly else min(APART_S, self._latency / (self.limit * PACING))
        self._next_at = max(self._next_at, now - BURST_S) + gap
        if self._untried and not self.in_flight:
            self._alone_until = now + ALONE_S
        self._level -= 1
        self._sent += 1
        self.in_flight += 1
        self._used |= self.in_flight >= 0.9 * self.limit

    # ------------------------------------------------------------------ what came of a call

    def alive(self) -> None:
        """It takes requests of this key: what is wrong with one of them is not the endpoint."""
        self.failures = self.probes = 0
        self._tried()

    def _tried(self) -> None:
        self._untried, self._alone_until = False, 0.0

    def answered(self, now: float, took_s: float, hold_s: float = 0.0) -> None:
        """A reply; `hold_s` is how long the endpoint will take no more."""
        self.alive()
        self.in_flight -= 1
        self._refused_in_a_row = 0
        self._gingerly = hold_s > 0
        self._latencies.append(took_s)
        self._latency = self._latency or took_s
        self.pause_until = max(self.pause_until, now + hold_s) if hold_s else self.pause_until
        if self._used and self._doubling:
            self.limit = min(self.most, self.limit + 1)
        self._end_of_call()

    def refused(self, now: float, sent_at: float, wait_s: float | None) -> None:
        """Too many calls, says the server, and perhaps for how long none should come."""
        self._tried()
        self.in_flight -= 1
        self._refused += 1
        self._refused_in_a_row += 1
        self._turned_away += 1
        if wait_s is not None:
            if now >= self.pause_until and (self._last is None or sent_at >= self._last[0]):
                # the first of its kind: what was sent before the last one says nothing new
                self._fewer()
                self.pause_from = now
            self.pause_until = max(self.pause_until, now + wait_s)
        elif (times := self._refused_in_a_row / max(3.0, self.limit / 8)) >= 1:
            self.pause_until = max(self.pause_until, now + min(LONGEST_GUESS_S, 0.125 * 2.0 ** min(times, DOUBLINGS)))
        self._end_of_call()

    def failed(self, now: float, sent_at: float) -> None:
        """No reply, or an error of the server."""
        self.in_flight -= 1
        self._alone_until = 0.0
        tried_again = self.ailing and sent_at >= self._aside_at
        self.failures += 1
        self.probes += tried_again
        if tried_again or self.failures == AILING:
            self._aside_at = now
            self.pause_until = max(self.pause_until, now + min(LONGEST_ASIDE_S, 2.0 ** min(self.probes, DOUBLINGS)))
        self._end_of_call()

    def _end_of_call(self) -> None:
        """At the end of a round, which has as many calls as could go at once at its start: more or fewer now?"""
        self._done += 1
        if self._done < self._round:
            return
        crowd = self._refused >= max(2, CROWD * self._done)
        slower = self._slower() if self._latencies else 1.0
        if crowd:
            self._fewer()
        elif slower > SLOWER:
            self._doubling = False
            if slower > MUCH_SLOWER and self.limit > START:
                self.limit = max(START, 0.9 * self.limit)
        elif self._used and not self._doubling:
            self.limit = min(self.most, self.limit + max(1.0, GROWTH * self.limit))
        self._done = self._refused = 0
        self._round, self._used = self.limit, self.in_flight >= 0.9 * self.limit

    def _slower(self) -> float:
        """This round's latency in times of the best; the best is forgotten by a hundredth a round."""
        self._latency = statistics.median(self._latencies)
        self._latencies.clear()
        self._best = min(self._best * 1.01 or self._latency, self._latency)
        return self._latency / self._best if self._best else 1.0

    def _fewer(self) -> None:
        self._doubling = False
        self.limit = max(1.0, self.limit * FEWER)

    def _resume(self, now: float) -> None:
        """After a pause: what was taken since the one before, by the time between them, is the server's rate."""
        taken = self._sent - self._turned_away
        if self._last and self.pause_from > self._last[0] and taken - self._last[1] >= ENOUGH:
            rate = CAUTION * (taken - self._last[1]) / (self.pause_from - self._last[0])
            self._rate = (self._rate + rate) / 2 if self._rate else rate
            self._level, self._filled = self._rate * (now - self.pause_from), now
            self._depth = max(1.0, self._rate, self._level)
        self._last = (self.pause_from, taken)
        self.pause_from = 0.0
        self._gingerly = True  # until one is answered: the server may have room for one call alone
        self._next_at = now
