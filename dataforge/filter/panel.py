"""The panel: checks that ask a model, one after the other on a trace that everything before has let through.

The first that fails a trace ends it, so that nobody is paid to judge it further. A teacher is opened when it is first
asked, so a pass in which all is known needs neither a key nor a server; two checks that name the same one share it.
What is asked is paid out of the run's own purse, so its budget holds for its filter too. What a check measured is
remembered without its thresholds: those are laid over it again each time.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from dataforge import plugins
from dataforge.ask.asking import Asking
from dataforge.ask.budget import Budget, BudgetReached, Purse
from dataforge.ask.replies import ReplyCache
from dataforge.ask.request import Ask, Reply, Request
from dataforge.errors import ExampleError, UsageError
from dataforge.filter.judging import extended
from dataforge.filter.verdicts import VerdictCache, check_key, pack, trace_key, unpack
from dataforge.plugins import AskingCheck, Kit, Teacher
from dataforge.records import Trace, Verdict
from dataforge.runs import Run


@dataclass(frozen=True)
class Seat:
    """One check with who answers it, and where its verdicts are kept."""

    check: AskingCheck
    number: int
    kit: Kit


class Panel:
    """The asking checks of one pass. Use `examine` inside `session`."""

    def __init__(
        self,
        run: Run,
        checks: Sequence[AskingCheck],
        cache: VerdictCache,
        judged: Counter[str],
        budget: Budget | None = None,
    ) -> None:
        self.run = run
        self.budget = budget
        self.cache = cache
        self.judged = judged
        self.teachers: dict[str, Teacher] = {}
        self.seats = [self._seat(check) for check in checks]
        self._asking: dict[str, asyncio.Future[Asking]] = {}
        self._stack = contextlib.AsyncExitStack()
        self._replies: ReplyCache | None = None
        self._purse: Purse | None = None

    def _seat(self, check: AskingCheck) -> Seat:
        """UsageError where the check needs a model and there is none that sees."""
        teacher: Teacher | None = plugins.build("teacher", check.teacher or self.run.manifest.teacher)
        if teacher is not None and not teacher.sees:
            if check.needs_teacher or check.teacher:
                raise UsageError(
                    f"check {check.name} asks a model, and the teacher {teacher.name!r} can't see: give the check one,"
                    f" as in {{name: {check.name}, teacher: {{name: openai_api, model: ...}}}}"
                )
            teacher = None
        prompts = self.run.manifest.prompts
        kit = Kit(self.run.store, self._ask_of(teacher) if teacher else None, prompts)
        return Seat(check, self.cache.number(check_key(check, teacher, kit.prompt)), kit)

    def _ask_of(self, teacher: Teacher) -> Ask:
        name = json.dumps([teacher.name, teacher.model_dump(mode="json")], sort_keys=True)
        self.teachers.setdefault(name, teacher)

        async def ask(request: Request) -> Reply:
            return await (await self._opened(name)).ask(request)

        return ask

    @property
    def window(self) -> int:
        """Traces under way at once: enough to keep every teacher busy."""
        return max([4, *(2 * teacher.in_flight for teacher in self.teachers.values())])

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Holds the reply cache, the purse, and the connections that were needed."""
        async with self._stack:
            self._replies = self._stack.enter_context(ReplyCache(self.run.folder.parent / "replies.sqlite"))
            if self.teachers:
                first = next(iter(self.teachers.values()))
                self._purse = self._stack.enter_context(closing(Purse.open(first, self.run.folder, self.budget)))
            yield

    async def _opened(self, name: str) -> Asking:
        """The teacher of that name, opened by whoever comes first; UsageError where it can't be."""
        if name not in self._asking:
            opening = self._asking[name] = asyncio.get_running_loop().create_future()
            try:
                teacher = await self._stack.enter_async_context(self.teachers[name].session())
                opening.set_result(Asking(teacher, self._replies, self._purse))
            except UsageError as error:
                opening.set_exception(error)
        return await asyncio.shield(self._asking[name])

    async def examine(self, line: bytes, read: Callable[[], Trace], verdicts: str) -> str:
        """The spooled verdicts of a line with those of the panel, up to the first that fails."""
        key = trace_key(line)
        (known,) = self.cache.get([key])
        trace: Trace | None = None
        for seat in self.seats:
            told = _stored(seat, known)
            if told is None:
                trace = trace or read()
                told = await self._asked(seat, trace, key)
            verdicts = extended(verdicts, unpack(pack(told), seat.check))
            if not told.ok:
                break
        return verdicts

    async def _asked(self, seat: Seat, trace: Trace, key: bytes) -> Verdict:
        """A verdict reached now, and kept; or that there was no reply, which is not. UsageError at the budget's end."""
        try:
            verdict = await seat.check.examine(trace, seat.kit)
        except BudgetReached as error:
            raise UsageError(
                f"{error}: verdicts so far are kept, and the same command with a higher one goes on"
            ) from None
        except ExampleError as error:
            return seat.check.failed("no_reply", str(error)[:300])
        self.judged[seat.check.name] += 1
        self.cache.put([(key, seat.number, pack(verdict))])
        return verdict


def _stored(seat: Seat, known: Mapping[int, str]) -> Verdict | None:
    """What has been measured before, under the thresholds of now."""
    if seat.number not in known:
        return None
    content: dict[str, Any] = json.loads(unpack(known[seat.number], seat.check))
    return seat.check.again(Verdict.model_validate(content))
