"""Filter: judge what is stored. Any verdict can be computed again from the run folder.

Cheap checks come first and each later phase only sees what the ones before let through:

1. checks of the trace's text and geometry, all of them on every trace, so that a report shows every reason; then, on
   those that pass, the checks that open pictures. Both run in worker processes.
2. checks that ask a model, one after the other on what is left, on one event loop; replies come from the runs' cache.
3. checks of the set, in one process, in order.

Between phases verdicts lie in a spool file, a line for each line of traces.jsonl; traces themselves are read again, so
memory does not grow with the run. What has been judged before comes from the verdict cache. A person's marks have the
first and the last word: a dropped trace is no one's duplicate, a kept one is kept whatever the verdicts say.

kept.jsonl and rejected.jsonl hold the stored lines with these verdicts, in the order of traces.jsonl, and are replaced
whole; traces.jsonl itself is never changed.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from dataforge import plugins
from dataforge.ask.budget import Budget, manifest_budget
from dataforge.errors import UsageError
from dataforge.filter.judging import Batch, Jury, Line, extended, passed, set_up_bench, with_verdicts
from dataforge.filter.panel import Panel
from dataforge.filter.verdicts import VerdictCache, check_key, pack, unpack
from dataforge.manifest import Spec
from dataforge.marks import DROPPED, Mark, read_marks
from dataforge.plugins import AskingCheck, Check, Kit, SetCheck
from dataforge.records import BY_HAND, Trace, Verdict
from dataforge.runs import Run, writing
from dataforge.workers import Workers, default_count, in_order


@dataclass
class Sifted:
    """What a filter pass did, and where it stands while it runs."""

    kept: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    """Verdicts reached in this pass, by check; all others had been reached before."""
    stage: str = ""
    done: int = 0
    """Traces that the stage has finished."""

    def count(self, verdicts: Sequence[Verdict], ok: bool) -> None:
        if ok:
            self.kept += 1
            return
        self.rejected += 1
        first = next(verdict for verdict in verdicts if not verdict.ok)
        self.reasons[f"{first.check}: {first.reason}"] += 1


TRACE_TIMEOUT_S = 120.0
BATCH = 128
"""Lines in one job of the checks of text and geometry: enough to make the way to the worker cheap."""

Watch = Callable[[Sifted], None]


def sift(run: Run, checks: Sequence[Spec], watch: Watch = lambda sifted: None, budget: Budget | None = None) -> Sifted:
    """Judge every stored trace; UsageError when there is nothing to judge, or a line doesn't fit, or a check that asks
    a model has none that can see.

    `budget` (the manifest's if none) caps what the run pays, for its traces and for its verdicts; UsageError where it
    is reached, and what was judged before stays judged.
    """
    budget = budget or manifest_budget(run.manifest.budget)
    if not run.traces_path.exists():
        raise UsageError(f"{run.folder} holds no traces: run synth first")
    with writing(run.folder), contextlib.ExitStack() as stack:
        cache = stack.enter_context(VerdictCache(run.folder / "verdicts.sqlite"))
        scratch = run.folder / ".sifting"
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)  # what a kill left there
        scratch.mkdir()
        return Sifting(run, checks, cache, scratch, watch, budget).all()


class Sifting:
    """One filter pass over a run."""

    def __init__(
        self,
        run: Run,
        checks: Sequence[Spec],
        cache: VerdictCache,
        scratch: Path,
        watch: Watch,
        budget: Budget | None,
    ) -> None:
        built: list[Check] = [plugins.build("check", spec) for spec in checks]
        self.run = run
        self.cache = cache
        self.scratch = scratch
        self.watch = watch
        self.sifted = Sifted()
        self.marks = read_marks(run.folder)
        self.set_checks = [check for check in built if isinstance(check, SetCheck)]
        asking = [check for check in built if isinstance(check, AskingCheck)]
        alone = [check for check in built if not isinstance(check, (AskingCheck, SetCheck))]
        alone.sort(key=lambda check: check.opens_pictures)
        numbers = [cache.number(check_key(check)) for check in alone]
        self.jury = Jury(alone, numbers, cache, self.sifted.judged)
        self.panel = Panel(run, asking, cache, self.sifted.judged, budget) if asking else None
        self._spools = 0

    def all(self) -> Sifted:
        spool = asyncio.run(self._judge_alone())
        if self.panel:
            spool = asyncio.run(self._ask(self.panel, spool))
        for check in self.set_checks:
            spool = self._of_the_set(check, spool)
        self._write(spool)
        return self.sifted

    # ------------------------------------------------------------------ files

    def _lines(self) -> Iterator[Line]:
        """The stored lines; a last one that a kill cut short is passed over."""
        with self.run.traces_path.open("rb") as lines:
            for number, text in enumerate(lines, start=1):
                if text.endswith(b"\n"):
                    yield Line(number, text)

    def _new_spool(self) -> Path:
        self._spools += 1
        return self.scratch / f"{self._spools}.jsonl"

    def _stage(self, name: str) -> None:
        self.sifted.stage, self.sifted.done = name, 0

    def _seen(self, count: int = 1) -> None:
        self.sifted.done += count
        self.watch(self.sifted)

    # ------------------------------------------------------------------ 1. each trace alone

    async def _judge_alone(self) -> Path:
        count = self.run.manifest.workers or default_count()
        workers = Workers(count, TRACE_TIMEOUT_S, set_up_bench, (self.jury.specs(), self.run.store.folder))
        spool = self._new_spool()
        self._stage("checking")
        lines = self._lines()
        batches = iter(lambda: list(itertools.islice(lines, BATCH)), [])

        async def judged(batch: list[Line]) -> list[str]:
            told = zip(batch, await Batch(batch, self.jury, workers).verdicts(), strict=True)
            return [extended(one, _marked(False)) if self.mark_of(line) == "drop" else one for line, one in told]

        try:
            with spool.open("w", encoding="utf-8") as verdicts:
                async with aclosing(in_order(batches, judged, 4 * count)) as done:
                    async for texts in done:
                        verdicts.writelines(texts)
                        self._seen(len(texts))
        finally:
            workers.close()
        return spool

    # ------------------------------------------------------------------ 2. asking a model

    async def _ask(self, panel: Panel, before: Path) -> Path:
        spool = self._new_spool()
        self._stage("asking")

        async def examined(pair: tuple[Line, str]) -> str:
            line, verdicts = pair
            return await panel.examine(line.text, line.trace, verdicts) if passed(verdicts) else verdicts

        with before.open(encoding="utf-8") as old, spool.open("w", encoding="utf-8") as new:
            pairs = zip(self._lines(), old, strict=True)
            async with panel.session(), aclosing(in_order(pairs, examined, panel.window)) as done:
                async for verdicts in done:
                    new.write(verdicts)
                    self._seen()
        return spool

    # ------------------------------------------------------------------ 3. the set

    def _of_the_set(self, check: SetCheck, before: Path) -> Path:
        spool = self._new_spool()
        self._stage(check.name)

        def survivors() -> Iterator[Trace]:
            with before.open(encoding="utf-8") as old:
                for line, verdicts in zip(self._lines(), old, strict=True):
                    if passed(verdicts):
                        yield line.trace()

        judged = check.sift(survivors(), Kit(self.run.store))
        with before.open(encoding="utf-8") as old, spool.open("w", encoding="utf-8") as new:
            for verdicts in old:
                new.write(extended(verdicts, unpack(pack(next(judged)), check)) if passed(verdicts) else verdicts)
                self._seen()
        return spool

    # ------------------------------------------------------------------ the result

    def _write(self, spool: Path) -> None:
        self._stage("writing")
        paths = {True: self.scratch / "kept.jsonl", False: self.scratch / "rejected.jsonl"}
        with (
            spool.open(encoding="utf-8") as old,
            paths[True].open("wb") as kept,
            paths[False].open("wb") as rejected,
        ):
            for line, verdicts in zip(self._lines(), old, strict=True):
                told, ok = self._last_word(line, verdicts)
                (kept if ok else rejected).write(with_verdicts(line, told))
                found = [] if ok else [Verdict.model_validate(one) for one in json.loads(told)]
                self.sifted.count(found, ok)
                self._seen()
        for path in paths.values():
            os.replace(path, self.run.folder / path.name)

    def _last_word(self, line: Line, verdicts: str) -> tuple[str, bool]:
        """The verdicts as they go into the line, and whether the trace is kept; a person may overrule the checks."""
        if passed(verdicts):
            return verdicts.rstrip("\n"), True
        kept = self.marks and self.mark_of(line) == "keep"
        return (extended(verdicts, _marked(True)) if kept else verdicts).rstrip("\n"), bool(kept)

    def mark_of(self, line: Line) -> str:
        mark: Mark | None = self.marks.get(json.loads(line.text)["id"]) if self.marks else None
        return mark.mark if mark else "none"


def _marked(keep: bool) -> str:
    verdict = Verdict(check=BY_HAND, ok=keep, reason="" if keep else DROPPED, detail="kept by hand" if keep else "")
    return pack(verdict)
