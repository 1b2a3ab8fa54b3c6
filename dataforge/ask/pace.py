"""How fast to ask: how many calls at once, how many a minute, and which endpoint next.

What an endpoint bears is found out for each of them (`lane`); limits that the manifest sets hold for all together.
Calls go out a little apart, not in bursts, so that a limit is noticed after one refusal. The least loaded endpoint is
asked; one that fails six times in a row is set aside and tried again with single calls, later and later; when all of
them stay silent for as many tries as a call has, those who wait are told so.
"""

import asyncio
import math
import time
from collections import deque
from typing import NamedTuple

from dataforge.ask.lane import Bucket, Lane
from dataforge.ask.request import Setback
from dataforge.errors import ExampleError, UsageError

LONGEST_PAUSE_S = 900.0
"""A server that wants a longer one ends the run: it is continued later."""


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
