"""How fast to ask: how many calls at once, how many a minute, and which endpoint next.

The number of calls at once is found out. The first call to an endpoint goes alone, so that a dead key costs one call;
then it starts modest, doubles with every round of replies while nothing speaks against it, and later grows by a
twentieth a round. It goes down by a quarter when an endpoint refuses for load, and stops growing when replies take
twice as long as they did at best (a server whose queue only gets longer does no more work). One refusal in a crowd of
replies is a fault and no limit: without a word from the server on how long to wait, only a tenth of a round refused
counts.

When a server says how long to wait, all calls to it wait, and from the second time on its rate is known: what it took
between two refusals, by the time between them. From then on calls go out at that rate, so that a limit is met about
twice and not once a second. The rate is raised slowly, to find out whether the limit still stands.

Calls go out a little apart, not in bursts, so that a limit is noticed after one refusal. The least loaded endpoint is
asked; one that fails six times in a row is set aside and tried again with single calls, later and later; when all of
them stay silent for as many tries as a call has, those who wait are told so.
"""

import asyncio
import math
import statistics
import time
from collections import deque
from typing import NamedTuple

from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Setback

START = 32
"""Calls at once to begin with, after the first."""
FEWER, GROWTH = 0.75, 0.05
CROWD = 0.1
"""Share of a round that must be refused without a word on waiting before it counts as a limit."""
SLOWER, MUCH_SLOWER = 2.0, 3.0
"""Times the best latency: no growth, and fewer calls."""
APART_S, PACING, BURST_S = 0.02, 3.0, 0.005
"""Calls go out at most so far apart, at up to so many times the rate of the replies; a moment's worth at once."""
CAUTION, PROBE_AFTER_S, PROBE_A_SECOND = 0.97, 5.0, 1.01
"""A learned rate is used with caution, and raised by one percent a second once it has held for some."""
FORGOTTEN_AFTER_S = 600.0
AILING = 6
"""Failures in a row that set an endpoint aside."""
LONGEST_ASIDE_S, LONGEST_GUESS_S, DOUBLINGS = 60.0, 30.0, 10
LONGEST_PAUSE_S = 900.0
"""A server that wants a longer one ends the run: it is continued later."""


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
        self._next_at = 0.0
        self._latency = self._best = 0.0
        self._latencies: list[float] = []
        self._done = self._refused = self._refused_in_a_row = 0
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
        return 1 if self.ailing or self._untried else max(1, int(self.limit))

    def wait_s(self, now: float) -> float:
        """Until a call may go out; infinite while one must come back first."""
        if self.in_flight >= self.allowed:
            return math.inf
        if self.pause_from and now >= self.pause_until:
            self._resume(now)
        at = max(self.pause_until, self._next_at)
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
        self._level -= 1
        self._sent += 1
        self.in_flight += 1

    # ------------------------------------------------------------------ what came of a call

    def alive(self) -> None:
        """It takes requests of this key: what is wrong with one of them is not the endpoint."""
        self.failures = self.probes = 0
        self._untried = False

    def answered(self, now: float, took_s: float, hold_s: float = 0.0) -> None:
        """A reply; `hold_s` is how long the endpoint will take no more."""
        self.alive()
        used = self.in_flight >= 0.9 * self.limit
        self.in_flight -= 1
        self._refused_in_a_row = 0
        self._gingerly = hold_s > 0
        self._latencies.append(took_s)
        self._latency = self._latency or took_s
        self.pause_until = max(self.pause_until, now + hold_s) if hold_s else self.pause_until
        if used and self._doubling:
            self.limit = min(self.most, self.limit + 1)
        self._end_of_call(used)

    def refused(self, now: float, sent_at: float, wait_s: float | None) -> None:
        """Too many calls, says the server, and perhaps for how long none should come."""
        self._untried = False
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
        self._end_of_call(used=False)

    def failed(self, now: float, sent_at: float) -> None:
        """No reply, or an error of the server."""
        self.in_flight -= 1
        tried_again = self.ailing and sent_at >= self._aside_at
        self.failures += 1
        self.probes += tried_again
        if tried_again or self.failures == AILING:
            self._aside_at = now
            self.pause_until = max(self.pause_until, now + min(LONGEST_ASIDE_S, 2.0 ** min(self.probes, DOUBLINGS)))
        self._end_of_call(used=False)

    def _end_of_call(self, used: bool) -> None:
        """At the end of a round, which has as many calls as may go at once: more or fewer from now on?"""
        self._done += 1
        if self._done < self.limit:
            return
        crowd = self._refused >= max(2, CROWD * self._done)
        slower = self._slower() if self._latencies else 1.0
        if crowd:
            self._fewer()
        elif slower > SLOWER:
            self._doubling = False
            if slower > MUCH_SLOWER and self.limit > START:
                self.limit = max(START, 0.9 * self.limit)
        elif used and not self._doubling:
            self.limit = min(self.most, self.limit + max(1.0, GROWTH * self.limit))
        self._done = self._refused = 0

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
        if self._last and self.pause_from > self._last[0]:
            rate = CAUTION * (taken - self._last[1]) / (self.pause_from - self._last[0])
            self._rate = (self._rate + rate) / 2 if self._rate else rate
            self._level, self._filled = self._rate * (now - self.pause_from), now
            self._depth = max(1.0, self._rate, self._level)
        self._last = (self.pause_from, taken)
        self.pause_from = 0.0
        self._gingerly = True  # until one is answered: the server may have room for one call alone
        self._next_at = now


class Place(NamedTuple):
    """A call's place in flight."""

    lane: Lane
    since: float
    tokens: float


class Waiting(NamedTuple):
    """A call without a place yet; `after` is the endpoint that has just failed it."""

    future: asyncio.Future[Place]
    tokens: float
    after: int | None


class Pace:
    """Gives places in flight to calls, in the order in which they come. One event loop."""

    def __init__(
        self,
        endpoints: int,
        most: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        patience: int = 5,
    ) -> None:
        now = time.monotonic()
        self.lanes = [Lane(number, max(1, math.ceil(most / endpoints))) for number in range(endpoints)]
        self._most = most
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute else None
        self._patience = patience
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes)

    @property
    def limit(self) -> int:
        """Calls that may be in flight at present."""
        return min(self._most, sum(lane.allowed for lane in self.lanes))

    async def enter(self, tokens: float = 0.0, after: int | None = None) -> Place:
        """A place for a call of about so many tokens; it must be given to one of `done`, `set_back`, `leave`."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(future, tokens, after))
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(future.result())
            raise

    def done(self, place: Place, tokens: float, hold_s: float = 0.0) -> None:
        """The call has a reply, of so many tokens; for `hold_s` the endpoint will take no more."""
        now = time.monotonic()
        place.lane.answered(now, now - place.since, hold_s)
        if self._tokens:
            self._tokens.take((tokens or place.tokens) - place.tokens)
        self._pump()

    def set_back(self, place: Place, setback: Setback) -> None:
        """The call came to nothing; UsageError when every endpoint wants a pause that is too long to sit out."""
        now = time.monotonic()
        if not setback.busy:
            place.lane.failed(now, place.since)
        else:
            place.lane.refused(now, place.since, setback.wait_s)
        shortest = min(lane.pause_until for lane in self.lanes) - now
        if shortest > LONGEST_PAUSE_S:
            raise UsageError(f"no call is wanted for {shortest / 60:.0f} minutes ({setback}): run again after that")
        if all(lane.ailing and lane.probes >= self._patience for lane in self.lanes):
            # no endpoint answers: whoever waits need not wait on
            self.end(ExampleError(setback.stage, setback.reason, setback.detail))
        self._pump()

    def leave(self, place: Place, alive: bool = False) -> None:
        """The call has ended in a way that says nothing about the endpoint's load; perhaps that it is `alive`."""
        place.lane.in_flight -= 1
        if alive:
            place.lane.alive()
        self._pump()

    def end(self, error: Exception) -> None:
        """Turn away all who wait."""
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(error)

    def _pump(self) -> None:
        """Let in whom the limits allow, and look again when time alone will allow more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        while self._waiting:
            first = self._waiting[0]
            if first.future.done():
                self._waiting.popleft()
                continue
            lane, wait_s = self._next(first, now)
            if wait_s > 0:
                if wait_s < math.inf:
                    self._timer = asyncio.get_running_loop().call_later(wait_s, self._pump)
                return
            self._waiting.popleft()
            lane.enter(now)
            for bucket, amount in ((self._requests, 1.0), (self._tokens, first.tokens)):
                if bucket:
                    bucket.take(amount)
            first.future.set_result(Place(lane, now, first.tokens))

    def _next(self, waiting: Waiting, now: float) -> tuple[Lane, float]:
        """The endpoint to ask, and in how many seconds."""
        wait_s = math.inf if self.in_flight >= self._most else 0.0
        for bucket, amount in ((self._requests, 1.0), (self._tokens, waiting.tokens)):
            if bucket:
                wait_s = max(wait_s, bucket.wait_s(amount, now))
        waits = {lane: lane.wait_s(now) for lane in self.lanes}
        lane = min(self.lanes, key=lambda lane: (waits[lane], lane.number == waiting.after, lane.in_flight))
        return lane, max(wait_s, waits[lane])
