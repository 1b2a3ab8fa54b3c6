"""Synthesis: source -> locate -> compose -> execute -> write -> validate, example by example, into a run folder.

Pictures are opened and cut in worker processes; the teacher is asked from one event loop; results are written in the
source's order. Every row read ends as exactly one line: a trace (kept, or rejected by its verdicts) or a failure with
its stage and reason.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

import PIL

from dataforge import __version__, plugins
from dataforge.asking import Asking
from dataforge.bench import Ready, Unlocated, at_bench, set_up_bench
from dataforge.chat import question_text
from dataforge.compose import Draft
from dataforge.episode import used
from dataforge.errors import ExampleError, UsageError
from dataforge.locate import LOCATE_SCHEMA, VERIFY_SCHEMA, said_box
from dataforge.manifest import PROMPTS, Manifest
from dataforge.media import MediaStore
from dataforge.metrics import score
from dataforge.plugins import Check, Kit, Message, Picture, Reply, Request, Row, Source, Teacher
from dataforge.prompts import find_prompt
from dataforge.records import Example, Failure, Provenance, Step, Trace, Verdict
from dataforge.replies import ReplyCache, reply_digest
from dataforge.runs import Run
from dataforge.solve import right_ones, samples
from dataforge.tolerant import parse_object
from dataforge.workers import Workers, default_count, in_order
from dataforge.write import again, complaint_about, request, steps

EXAMPLE_TIMEOUT_S = 300.0
"""A worker that needs longer for one example hangs."""


@dataclass
class Progress:
    """Where a run stands; read live by whoever shows it."""

    total: int | None = None
    skipped: int = 0
    kept: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    asking: Asking | None = None
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


def synth(run: Run, watch: Callable[[Progress], None] = lambda progress: None) -> Progress:
    """Make the traces of an open run folder's manifest, going on where it stands.

    `watch` is called after each finished example. Raises UsageError when no example can succeed (a dead key); a run of
    `stop_after` failures of one reason in a row ends early, with the reason in `stopped`.
    """
    manifest = run.manifest
    if manifest.limit is None and plugins.build("source", manifest.source).endless:
        raise UsageError("this source never ends: give --limit N")
    return asyncio.run(_synth(run, watch))


async def _synth(run: Run, watch: Callable[[Progress], None]) -> Progress:
    manifest = run.manifest
    teacher: Teacher = plugins.build("teacher", manifest.teacher)
    count = manifest.workers or default_count()
    progress = Progress(total=manifest.limit)
    arguments = (manifest.model_dump(mode="json", by_alias=True), run.store.folder)
    workers = Workers(count, EXAMPLE_TIMEOUT_S, set_up_bench, arguments)
    try:
        with ReplyCache(run.folder.parent / "replies.sqlite") as cache:
            async with teacher.session(), AsyncExitStack() as stack:
                progress.asking = Asking(teacher, cache)
                solving = await _base_model(manifest, cache, stack)
                maker = Maker(manifest, workers, progress.asking, run.store, solving)
                rows = _rows_to_do(plugins.build("source", manifest.source), run, progress)
                window = max(4 * count, 2 * teacher.in_flight)
                async with aclosing(in_order(rows, maker.make, window)) as records:
                    streak = Streak(manifest.stop_after)
                    async for record in records:
                        run.append(record)
                        progress.count(record)
                        watch(progress)
                        progress.stopped = streak.see(record)
                        if progress.stopped:
                            break
    finally:
        workers.close()
    return progress


async def _base_model(manifest: Manifest, cache: ReplyCache, stack: AsyncExitStack) -> Asking | None:
    """Who writes the text-space traces, its session open on the stack; none where the manifest names no one."""
    if manifest.direct is None:
        return None
    model: Teacher = plugins.build("teacher", manifest.direct.teacher)
    return Asking(await stack.enter_async_context(model.session()), cache)


def _rows_to_do(source: Source, run: Run, progress: Progress) -> Iterator[Row | Failure]:
    """The source's rows up to the limit, less those that are finished; a repeated id is a failure of its own."""
    done, seen = run.finished(), set[str]()
    for item in itertools.islice(source.read(), run.manifest.limit):
        if done[item.id] > 0:
            done[item.id] -= 1
            progress.skipped += 1
        elif item.id in seen:
            yield Failure(id=item.id, stage="read", reason="duplicate_id")
        else:
            yield item
        seen.add(item.id)


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


class Maker:
    """Turns rows into traces: what needs pixels goes to a worker, what needs words to the teacher."""

    def __init__(
        self, manifest: Manifest, workers: Workers, asking: Asking, store: MediaStore, solving: Asking | None
    ) -> None:
        self.manifest = manifest
        self.solving = solving
        self.workers = workers
        self.asking = asking
        self.kit = Kit(store)
        self.checks: list[Check] = [plugins.build("check", spec) for spec in manifest.validate_]
        operations = [plugins.build("operation", spec) for spec in manifest.operations]
        self._provenance = Provenance(
            version=__version__,
            manifest=manifest.digest(),
            prompts={name: manifest.prompt(name).fingerprint for name in PROMPTS if name in manifest.prompts},
            operations=used(operations),
            student=manifest.student,
            limits=manifest.limits,
            teacher=asking.teacher.title,
            scripted=not asking.teacher.sees,
            answer_revealed=manifest.write.reveal_answer or not asking.teacher.sees,
            seed=manifest.seed,
            pillow=PIL.__version__,
        )

    async def make(self, row: Row | Failure) -> Trace | Failure:
        """The trace of a row, with its verdicts; or the failure that it ended in."""
        if isinstance(row, Failure):
            return row
        try:
            ready = await self.workers.run(row.group, at_bench, "prepare", row)
            replies: list[Reply] = []
            if isinstance(ready, Unlocated):
                ready = await self._ground(row.group, ready, replies)
            if ready.example is not None:
                if solved := await self._solve(ready, replies):
                    return solved
                job = ("draft", ready.example, ready.draft.regions, (*ready.draft.unfit, "direct"))
                ready = await self.workers.run(row.group, at_bench, *job)
            return await self._write(ready, replies)
        except ExampleError as error:
            return Failure(id=row.id, stage=error.stage, reason=error.reason, detail=error.detail[:500])

    # ------------------------------------------------------------------ locating by the teacher

    async def _ground(self, group: str, unlocated: Unlocated, replies: list[Reply]) -> Ready:
        """Ask for a box until its part alone is answered rightly, a bounded number of times."""
        example, hint = unlocated.example, ""
        for _ in range(self.manifest.locate.tries):
            said = await self._ask(self._locate_request(example, unlocated.whole, hint), replies)
            region = said_box(parse_object(said.text), example)
            if region is None:
                hint = "An earlier try gave no usable rectangle."
                continue
            part = await self.workers.run(group, at_bench, "part", example, region)
            verified = parse_object((await self._ask(self._verify_request(example, part), replies)).text) or {}
            answer = verified.get("answer")
            if verified.get("answerable") is True and isinstance(answer, str) and _right(answer, example):
                return await self.workers.run(group, at_bench, "draft", example, (region,))
            box = [round(value) for value in (region.box.x1, region.box.y1, region.box.x2, region.box.y2)]
            hint = f"The place called {region.label!r} was tried ({box} in pixels): it doesn't answer the question."
        if self.manifest.locate.order[-1] != "teacher":
            return await self.workers.run(group, at_bench, "locate_after_teacher", example)
        raise ExampleError("locate", "not_verified", f"{self.manifest.locate.tries} tries; {unlocated.located.reason}")

    def _locate_request(self, example: Example, whole: Picture | None, hint: str) -> Request:
        text = self.manifest.prompt("locate").fill(question=question_text(example), hint=hint)
        parts = (text, whole) if whole else (text,)
        return Request("locate", (Message("user", parts),), LOCATE_SCHEMA)

    def _verify_request(self, example: Example, part: Picture) -> Request:
        text = self.manifest.prompt("verify").fill(question=question_text(example))
        return Request("verify", (Message("user", (text, part)),), VERIFY_SCHEMA)

    async def _ask(self, question: Request, replies: list[Reply]) -> Reply:
        reply = await self.asking.ask(question)
        replies.append(reply)
        return reply

    # ------------------------------------------------------------------ solving without a look

    async def _solve(self, ready: Ready, replies: list[Reply]) -> Trace | None:
        """The base model's own answer as a trace, or None where too few of its samples are right."""
        settings, draft = self.manifest.direct, ready.draft
        assert self.solving is not None
        assert settings is not None
        told = await samples(draft, ready.pictures, self.manifest.student, settings, self.solving)
        replies += told
        right = right_ones(told, draft.example)
        if len(right) < settings.least * settings.samples:
            return None
        author = {
            "teacher": self.solving.teacher.title,
            "scripted": False,
            "answer_revealed": False,
            "prompts": {"guideline_plain": find_prompt("guideline_plain").fingerprint},
            "solved": (len(right), settings.samples),
        }
        traces = (self._judged(self._trace(draft, (step,), answer, replies, author)) for step, answer in right)
        return next((trace for trace in traces if trace.ok), None)

    # ------------------------------------------------------------------ writing and validating

    async def _write(self, ready: Ready, replies: list[Reply]) -> Trace:
        """Have the thoughts written; send a faulty text back with the reason, a bounded number of times."""
        draft = ready.draft
        question = request(draft, ready.pictures, self.manifest)
        trace: Trace | None = None
        complaint = ""
        for rewrites in range(self.manifest.write.rewrites + 1):
            reply = await self._ask(question, replies)
            filled = parse_object(reply.text)
            complaint = complaint_about(filled, draft)
            if not complaint and filled is not None:
                trace = self._judged(self._trace(draft, *steps(draft, filled), replies, {"rewrites": rewrites}))
                complaint = self._complaint(trace)
                if not complaint:
                    return trace
            question = again(question, reply.text, complaint, self.manifest)
        if trace is None:
            raise ExampleError("write", "bad_form", complaint)
        return trace

    def _trace(
        self, draft: Draft, made: tuple[Step, ...], answer: str, replies: list[Reply], written: Mapping[str, Any]
    ) -> Trace:
        provenance = self._provenance.model_copy(
            update={
                "replies": tuple(reply_digest(reply) for reply in replies),
                "input_tokens": sum(reply.input_tokens for reply in replies),
                "output_tokens": sum(reply.output_tokens for reply in replies),
                "cost_usd": round(sum(reply.cost_usd for reply in replies), 8),
                "unfit": draft.unfit,
                **written,
            }
        )
        return Trace(
            id=draft.example.id,
            example=draft.example,
            views=draft.views,
            regions=draft.regions,
            steps=made,
            answer=answer,
            kind=draft.kind,
            provenance=provenance,
        )

    def _judged(self, trace: Trace) -> Trace:
        return trace.model_copy(update={"verdicts": tuple(judge(self.checks, trace, self.kit))})

    def _complaint(self, trace: Trace) -> str:
        """What the teacher could mend, quoted; nothing when all is well or when it isn't the teacher's to mend."""
        failed = {verdict.check: verdict for verdict in trace.verdicts if not verdict.ok}
        complaints = [check.complaint(failed[check.name]) for check in self.checks if check.name in failed]
        return "" if not all(complaints) else "\n".join(complaints)


def _right(answer: str, example: Example) -> bool:
    return score(answer, example.answers, example.answer_type, example.choices).ok


def judge(checks: list[Check], trace: Trace, kit: Kit) -> Iterator[Verdict]:
    """Every check's verdict on a trace."""
    for check in checks:
        yield check.judge(trace, kit)
