"""Synthesis: source -> locate -> compose -> execute -> write -> validate, example by example, into a run folder.

Pictures are opened and cut in worker processes; the teacher is asked from one event loop; results are written in the
source's order. Every row read ends as exactly one line: a trace (kept, or rejected by its verdicts) or a failure with
its stage and reason.

A failure that says nothing about the example (the endpoint was busy, slow or away) is made again when the run is
continued. A row whose next call the budget does not pay for, or whose batch is not back yet, leaves no line: it is made
when the run goes on. Either way the lines end in the source's order, as if nothing had happened.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import dataclass, field
from typing import Protocol

from dataforge import plugins
from dataforge.ask.asking import Asking
from dataforge.ask.batch import Batches
from dataforge.ask.budget import Budget, Purse, manifest_budget
from dataforge.ask.gathering import Gathering
from dataforge.ask.replies import ReplyCache
from dataforge.ask.request import TRANSIENT
from dataforge.errors import UsageError
from dataforge.manifest import Manifest
from dataforge.ordering import REPEATED
from dataforge.plugins import Row, Source, Teacher
from dataforge.records import Failure, Trace
from dataforge.runs import Run
from dataforge.synth.bench import set_up_bench
from dataforge.synth.maker import Maker
from dataforge.teachers.openai_api import OpenaiApi
from dataforge.workers import Workers, default_count, in_order

EXAMPLE_TIMEOUT_S = 300.0
"""A worker that needs longer for one example hangs."""

ROUNDS_AHEAD = 16
"""Times the calls in flight by which results may run ahead of the slowest example."""


class Makes(Protocol):
    """Turns a row into what is stored of it, or into None where it has to wait."""

    asking: Asking

    async def make(self, row: Row | Failure) -> Trace | Failure | None: ...


@dataclass
class Progress:
    """Where a run stands; read live by whoever shows it."""

    total: int | None = None
    skipped: int = 0
    kept: int = 0
    rejected: int = 0
    retried: int = 0
    waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    asking: Asking | None = None
    purse: Purse | None = None
    status: str = ""
    stopped: str = ""

    @property
    def read(self) -> int:
        return self.kept + self.rejected + self.failed

    @property
    def failed(self) -> int:
        return sum(self.reasons.values())

    def count(self, record: Trace | Failure) -> None:
        if isinstance(record, Failure):
            self.reasons[f"{record.stage}: {record.reason}"] += 1
        elif record.ok:
            self.kept += 1
        else:
            self.rejected += 1


def synth(
    run: Run,
    watch: Callable[[Progress], None] = lambda progress: None,
    budget: Budget | None = None,
    retry: Collection[str] = (),
    batch: bool = False,
) -> Progress:
    """Make the traces of an open run folder's manifest, going on where it stands.

    `watch` is called after each finished example. `budget` (the manifest's if none) caps what the run pays over all its
    invocations; `retry` names reasons of failures that are made again, beside those in TRANSIENT. Raises UsageError
    when no example can succeed (a dead key). A run of `stop_after` failures of one reason in a row, or one that has
    reached its budget, ends early with the reason in `stopped`.
    """
    manifest = run.manifest
    source: Source = plugins.build("source", manifest.source)
    if source.missing:
        raise UsageError(source.missing)
    if manifest.limit is None and source.endless:
        raise UsageError("this source never ends: give --limit N")
    budget = budget or manifest_budget(manifest.budget)
    retried = drop_failures(run, retry)
    progress = asyncio.run(_synth(run, source, watch, budget, retry, batch))
    progress.retried = retried
    run.sort(item.id for item in itertools.islice(source.read(), manifest.limit))
    return progress


def drop_failures(run: Run, retry: Collection[str]) -> int:
    """Take out the failures that are to be made again; UsageError where a reason that was asked for isn't there."""
    reasons = {failure.reason for failure in run.failures()} if retry else set()
    for reason in retry:
        if reason not in reasons:
            raise UsageError(f"no failure has the reason {reason!r}: there are {', '.join(sorted(reasons)) or 'none'}")
    return run.drop_failures(
        lambda failure: failure.reason in retry or (failure.stage == "teacher" and failure.reason in TRANSIENT)
    )


async def _synth(
    run: Run,
    source: Source,
    watch: Callable[[Progress], None],
    budget: Budget | None,
    retry: Collection[str],
    batch: bool,
) -> Progress:
    manifest = run.manifest
    teacher: Teacher = plugins.build("teacher", manifest.teacher)
    count = manifest.workers or default_count()
    progress = Progress(total=manifest.limit)
    arguments = (manifest.model_dump(mode="json", by_alias=True), run.store.folder)
    workers = Workers(count, EXAMPLE_TIMEOUT_S, set_up_bench, arguments)
    try:
        with (
            ReplyCache(run.folder.parent / "replies.sqlite") as cache,
            closing(Purse.open(teacher, run.folder, budget)) as progress.purse,
        ):
            async with teacher.session(), AsyncExitStack() as stack:
                progress.asking = Asking(teacher, cache, progress.purse)
                solving = await _base_model(manifest, cache, progress, stack)
                if batch:
                    parts = _batches(run, teacher, cache, progress.purse, retry)
                    gathering = Gathering(parts)
                    maker = Maker(manifest, workers, progress.asking, run.store, solving, gathering.ask)
                    await make_in_rounds(run, source, maker, gathering, progress, watch)
                else:
                    maker = Maker(manifest, workers, progress.asking, run.store, solving)
                    await make_all(run, source, maker, progress, watch)
    finally:
        workers.close()
    return progress


async def _base_model(
    manifest: Manifest, cache: ReplyCache, progress: Progress, stack: AsyncExitStack
) -> Asking | None:
    """Who writes the text-space traces, its session open on the stack; none where the manifest names no one.

    It is paid out of the run's budget, and counted with the teacher.
    """
    if manifest.direct is None:
        return None
    model: Teacher = plugins.build("teacher", manifest.direct.teacher)
    solving = Asking(await stack.enter_async_context(model.session()), cache, progress.purse)
    if progress.asking:
        solving.counts = progress.asking.counts
    return solving


def _batches(run: Run, teacher: Teacher, cache: ReplyCache, purse: Purse, retry: Collection[str]) -> Batches:
    if not isinstance(teacher, OpenaiApi):
        raise UsageError(f"--batch needs a model behind the openai_api teacher: {teacher.title} takes no batches")
    return Batches(run.folder / "batches", run.folder.name, teacher, cache, purse, retry)


async def make_in_rounds(
    run: Run,
    source: Source,
    maker: Maker,
    gathering: Gathering,
    progress: Progress,
    watch: Callable[[Progress], None],
) -> None:
    """Pass after pass over the rows that are not finished, with a batch of what they wait for between two passes."""

    def tell(status: str) -> None:
        progress.status = status
        watch(progress)

    while True:
        await gathering.batches.settle(tell)
        progress.status = progress.stopped = ""
        gathering.batches.purse.reopen()
        await make_all(run, source, maker, progress, watch)
        if (progress.stopped and not gathering.batches.purse.reached) or not gathering.next_round():
            return


async def make_all(
    run: Run,
    source: Source,
    maker: Makes,
    progress: Progress,
    watch: Callable[[Progress], None],
) -> None:
    """One pass over the rows that are not finished. A row that has to wait is passed over, and counted in `waiting`.

    Examples are prepared for the calls that may be in flight and a few more, so memory goes with those; results wait in
    memory for their turn, which is cheap, so one slow example holds the others up only after many.
    """
    progress.skipped = progress.waiting = 0
    streak = Streak(run.manifest.stop_after)
    asking, ahead = maker.asking, 4 * (run.manifest.workers or default_count())
    window = ahead + ROUNDS_AHEAD * asking.teacher.in_flight

    def at_once() -> int:
        limit = asking.pace.limit
        return limit + min(limit, asking.resting) + max(ahead, limit // 4)

    rows = _rows_to_do(source, run, progress)
    async with aclosing(in_order(rows, maker.make, window, at_once)) as records:
        async for record in records:
            if record is None:
                run.disorder()
                progress.waiting += 1
                continue
            run.append(record)
            progress.count(record)
            watch(progress)
            progress.stopped = streak.see(record)
            if progress.stopped:
                return
    if progress.purse and progress.purse.reached:
        progress.stopped = progress.purse.reached


def _rows_to_do(source: Source, run: Run, progress: Progress) -> Iterator[Row | Failure]:
    """The source's rows up to the limit, less those that are finished; a repeated id is a failure of its own.

    Nothing more is read once the budget is reached.
    """
    (done, repeated), seen = run.finished(), set[str]()
    for item in itertools.islice(source.read(), run.manifest.limit):
        if progress.purse and progress.purse.reached:
            return
        again = item.id in seen
        seen.add(item.id)
        if repeated[item.id] > 0 if again else item.id in done:
            repeated[item.id] -= again
            progress.skipped += 1
        else:
            yield Failure(id=item.id, stage="read", reason=REPEATED) if again else item


class Streak:
    """Watches for failures of one reason in a row."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reason = ""
        self._length = 0

    def see(self, record: Trace | Failure) -> str:
        """What to say when the streak is too long, else nothing."""
        reason = f"{record.stage}: {record.reason}" if isinstance(record, Failure) else ""
        self._length = self._length + 1 if reason and reason == self._reason else 1
        self._reason = reason
        if not reason or self._length < self._most:
            return ""
        detail = f" ({record.detail})" if isinstance(record, Failure) and record.detail else ""
        return f"{self._length} examples in a row failed with {reason}{detail}"
