"""Filter: judge what is stored. Any verdict can be computed again from the run folder, without a model.

Every trace of a run goes through all of the manifest's `filter` checks, in worker processes, and is written to
kept.jsonl or rejected.jsonl with its verdicts, in the order of traces.jsonl. traces.jsonl itself is never changed.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from dataforge import plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Spec
from dataforge.media import MediaStore
from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict, to_line
from dataforge.runs import Run, writing
from dataforge.workers import Workers, default_count, in_order

TRACE_TIMEOUT_S = 120.0


@dataclass
class Sifted:
    """What a filter pass did."""

    kept: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, trace: Trace) -> None:
        if trace.ok:
            self.kept += 1
            return
        self.rejected += 1
        first = next(verdict for verdict in trace.verdicts if not verdict.ok)
        self.reasons[f"{first.check}: {first.reason}"] += 1


def sift(run: Run, checks: Sequence[Spec], watch: Callable[[Sifted], None] = lambda sifted: None) -> Sifted:
    """Judge every stored trace anew; UsageError when there is nothing to judge or a line doesn't fit."""
    if not run.traces_path.exists():
        raise UsageError(f"{run.folder} holds no traces: run synth first")
    return asyncio.run(_sift(run, checks, watch))


async def _sift(run: Run, checks: Sequence[Spec], watch: Callable[[Sifted], None]) -> Sifted:
    count = run.manifest.workers or default_count()
    workers = Workers(count, TRACE_TIMEOUT_S, set_up_bench, (list(checks), run.store.folder))
    sifted = Sifted()
    paths = {True: run.folder / "kept.jsonl", False: run.folder / "rejected.jsonl"}
    temporary = {ok: path.with_suffix(".tmp") for ok, path in paths.items()}

    async def judged(trace: Trace) -> Trace:
        try:
            return await workers.run(trace.example.group, judge_at_bench, trace)
        except ExampleError as error:
            verdict = Verdict(check="filter", ok=False, reason=error.reason, detail=error.detail)
            return trace.model_copy(update={"verdicts": (*trace.verdicts, verdict)})

    try:
        with writing(run.folder), temporary[True].open("w") as kept, temporary[False].open("w") as rejected:
            async with aclosing(in_order(run.traces(), judged, 8 * count)) as traces:
                async for trace in traces:
                    (kept if trace.ok else rejected).write(to_line(trace))
                    sifted.count(trace)
                    watch(sifted)
        for ok, path in paths.items():
            os.replace(temporary[ok], path)
    finally:
        workers.close()
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return sifted


_checks: list[Check] = []
_kit: Kit


def set_up_bench(checks: list[Spec], media: Path) -> None:
    global _kit
    _checks.extend(plugins.build("check", spec) for spec in checks)
    _kit = Kit(MediaStore(media))


def judge_at_bench(trace: Trace) -> Trace:
    return trace.model_copy(update={"verdicts": tuple(check.judge(trace, _kit) for check in _checks)})
