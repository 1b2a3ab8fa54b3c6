"""What stands between a run and its teacher: the cache, the gate, the counts.

A request is looked up first; one that is new waits for a free place among the calls in flight, is asked, and its reply
is stored before anyone sees it. Two equal requests at the same time are one call. An error that only the person can
mend (a dead key, a full disk) ends the asking: whatever is asked after it fails at once, so a dead key costs the calls
in flight and not ten thousand.
"""

import asyncio
from dataclasses import dataclass

from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Reply, Request, Teacher
from dataforge.replies import ReplyCache, request_key, summarise

SHOWN = 200
"""Characters of a useless reply that its error shows."""


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

    def __init__(self, teacher: Teacher, replies: ReplyCache | None = None) -> None:
        self.teacher = teacher
        self.counts = Counts()
        self._replies = replies
        self._gate = asyncio.Semaphore(teacher.in_flight)
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
            self._fatal = self._fatal or str(error)
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
                reply = self._replies.put(key, summarise(self.teacher, request), reply)
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
        async with self._gate:
            self._stop_if_fatal()
            self.counts.calls += 1
            self.counts.in_flight += 1
            try:
                reply = await self.teacher.ask(request)
            except UsageError as error:
                self._fatal = str(error)  # at once, before the gate lets the next one through
                self.counts.failed += 1
                raise
            except ExampleError:
                self.counts.failed += 1
                raise
            finally:
                self.counts.in_flight -= 1
        self.counts.input_tokens += reply.input_tokens
        self.counts.output_tokens += reply.output_tokens
        self.counts.cost_usd += reply.cost_usd
        if reply.finish != "stop":
            # paid for, so counted; of no use, so not kept
            self.counts.failed += 1
            raise ExampleError("teacher", reply.finish, reply.text[:SHOWN])
        return reply

    def _stop_if_fatal(self) -> None:
        if self._fatal:
            raise UsageError(self._fatal)
