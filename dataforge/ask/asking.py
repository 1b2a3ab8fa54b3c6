"""What stands between a run and its teacher: the cache, the gate, the counts.

A request is looked up first; one that is new waits for a place in flight (`pace`), is asked, and its reply is stored
before anyone sees it. Two equal requests at the same time are one call. An attempt that came to nothing is made again
after a while, a bounded number of times and by nobody but this module; the call gives its place back meanwhile. An
error that only the person can mend (a dead key, a full disk) ends the asking: whatever is asked after it fails at once,
so a dead key costs the calls in flight and not ten thousand.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from dataforge.ask.budget import Purse
from dataforge.ask.pace import Pace
from dataforge.ask.replies import ReplyCache, request_key, summarise
from dataforge.ask.request import Reply, Request, Setback
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Teacher

T = TypeVar("T")

SHOWN = 200
"""Characters of a useless reply that its error shows."""
BACK_OFF_S, LONGEST_BACK_OFF_S = 0.25, 30.0
"""Before the first further attempt; twice as long before each one after it."""
SECONDS: ContextVar[list[float] | None] = ContextVar("SECONDS", default=None)
"""Where a task that sets it finds how long each of its answered calls took; what comes from the cache notes nothing."""


@dataclass
class Counts:
    """What has been asked so far, for a progress line. Tokens and cost are the calls': what the cache gave is free."""

    calls: int = 0
    cached: int = 0
    failed: int = 0
    in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class Asking:
    """Asks one teacher, whose session is open, on one event loop. `counts` can be read at any time."""

    def __init__(self, teacher: Teacher, replies: ReplyCache | None = None, purse: Purse | None = None) -> None:
        self.teacher = teacher
        self.purse = purse
        if purse:
            purse.admit(teacher)
        self.counts = Counts()
        self.resting = 0
        """Calls that wait by themselves before another attempt, without a place in flight."""
        self._replies = replies
        self.pace = Pace(
            teacher.endpoints,
            teacher.in_flight,
            teacher.requests_per_minute,
            teacher.tokens_per_minute,
            patience=teacher.retries,
        )
        self._asked: dict[str, asyncio.Future[Reply]] = {}
        self._fatal = ""

    async def ask(self, request: Request) -> Reply:
        """The reply, from the cache or the teacher.

        ExampleError("teacher", reason) when this request has no usable reply; UsageError when none will have one.
        """
        self._stop_if_fatal()
        try:
            if not self.teacher.cached:
                return await self._call(request)
            return await self._shared(request_key(self.teacher, request), request)
        except UsageError as error:
            self._end(error)
            raise

    async def _shared(self, key: str, request: Request) -> Reply:
        """The reply of an equal request in flight, of the cache, or of a call."""
        while (other := self._asked.get(key)) is not None:
            await asyncio.wait([other])
            if not other.cancelled():
                self.counts.cached += other.exception() is None
                return other.result()
        if self._replies and (stored := self._replies.get(key)):
            self.counts.cached += 1
            return stored
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._call(request)
            if self._replies:
                reply = await self._replies.keep(key, summarise(self.teacher, request), reply)
            asked.set_result(reply)
            return reply
        except Exception as error:
            asked.set_exception(error)
            asked.exception()  # seen: nobody else may be waiting for it
            raise
        finally:
            del self._asked[key]
            asked.cancel()  # takes effect only where this request was cancelled: one that waits asks in its place

    async def _call(self, request: Request) -> Reply:
        """The usable reply to a new request."""
        try:
            reply = await self._attempts(request)
        except (ExampleError, UsageError):
            self.counts.failed += 1
            raise
        self.counts.input_tokens += reply.input_tokens
        self.counts.output_tokens += reply.output_tokens
        self.counts.cost_usd += reply.cost_usd
        if reply.finish != "stop" and request.purpose != "play":
            # paid for, so counted; of no use, so not kept
            self.counts.failed += 1
            usage = (reply.input_tokens, reply.output_tokens, reply.cost_usd)
            raise ExampleError("teacher", reply.finish, reply.text[:SHOWN], usage)
        return reply

    async def _attempts(self, request: Request) -> Reply:
        """One attempt after the other, until one succeeds or the last has failed."""
        tokens = float(sum(self.teacher.forecast(request))) if self.teacher.tokens_per_minute else 0.0
        after: int | None = None

        async def attempt(asked: Request) -> Reply:
            return await self._attempt(asked, tokens, after)

        for number in range(self.teacher.retries + 1):
            try:
                return await (self.purse.pay(request, attempt, self.teacher) if self.purse else attempt(request))
            except Setback as setback:
                if number == self.teacher.retries:
                    raise
                after = setback.endpoint
                self.resting += 1
                try:
                    await asyncio.sleep(_back_off_s(setback, number))
                finally:
                    self.resting -= 1
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, request: Request, tokens: float, after: int | None) -> Reply:
        """Ask once, from a place in flight."""
        place = await self.pace.enter(tokens, after)
        endpoint = place.lane.number
        self.counts.in_flight += 1
        try:
            self._stop_if_fatal()
            self.counts.calls += 1
            began = time.monotonic()
            reply = await self.teacher.ask(replace(request, endpoint=endpoint) if endpoint else request)
            if (noted := SECONDS.get()) is not None:
                noted.append(time.monotonic() - began)
        except Setback as setback:
            setback.endpoint = endpoint
            self.pace.set_back(place, setback)
            raise
        except UsageError as error:
            self._end(error)  # before the pace lets the next one through
            self.pace.leave(place)
            raise
        except BaseException as error:
            self.pace.leave(place, alive=isinstance(error, ExampleError))
            raise
        finally:
            self.counts.in_flight -= 1
        self.pace.done(place, reply.input_tokens + reply.output_tokens, reply.hold_s)
        return reply

    def _end(self, error: UsageError) -> None:
        """Nothing that is asked from now on can succeed, and what waits for a place need not."""
        self._fatal = self._fatal or str(error)
        self.pace.end(error)

    def _stop_if_fatal(self) -> None:
        if self._fatal:
            raise UsageError(self._fatal)


async def together(asked: Iterable[Awaitable[T]]) -> list[T]:
    """What several calls give, in order, once all have ended; then the first error among them is raised.

    None is left on its way: in a batch, a call that has to wait is gathered, and so must be those beside it.
    """
    told = await asyncio.gather(*asked, return_exceptions=True)
    for one in told:
        if isinstance(one, BaseException):
            raise one
    return [one for one in told if not isinstance(one, BaseException)]


def _back_off_s(setback: Setback, number: int) -> float:
    """How long this call waits by itself; where the server has named a time, the pace holds all calls back."""
    if setback.busy and setback.wait_s:
        return 0.0
    back_off = min(LONGEST_BACK_OFF_S, BACK_OFF_S * 2.0 ** min(number, 10)) * random.uniform(0.75, 1.25)
    return max(back_off, setback.wait_s or 0.0)
