"""One row becomes one trace, or one failure with its reason: what `synth` does with each.

What needs pixels goes to a worker process, what needs words to the teacher; between them lies only the order of the
steps: prepare, locate (the teacher looking and looking again), write, validate, write again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import PIL

from dataforge import __version__, plugins
from dataforge.answers.metrics import score
from dataforge.ask.asking import Asking
from dataforge.ask.budget import NotYet
from dataforge.ask.replies import reply_digest
from dataforge.ask.request import Ask, Message, Picture, Reply, Request
from dataforge.ask.tolerant import parse_object
from dataforge.chat import question_text
from dataforge.compose import Draft
from dataforge.episode import describe, used
from dataforge.errors import ExampleError
from dataforge.locate import LOCATE_SCHEMA, LOCATE_VIDEO_SCHEMA, VERIFY_SCHEMA, said_box, said_stretch
from dataforge.manifest import Manifest
from dataforge.media import MediaStore
from dataforge.plugins import Check, Kit, Row
from dataforge.prompts import find_prompt
from dataforge.records import Example, Failure, Provenance, Region, Scene, Step, Trace, Verdict
from dataforge.synth.bench import Ready, Unlocated, at_bench
from dataforge.synth.posing import Poser, Unposed
from dataforge.synth.solve import right_ones, samples
from dataforge.workers import Workers
from dataforge.write import again, complaint_about, request, steps


class Maker:
    """Turns rows into traces: what needs pixels goes to a worker, what needs words to the teacher.

    Requests are put to `ask` where one is given, which may have an example wait; else to `asking`.
    """

    def __init__(
        self,
        manifest: Manifest,
        workers: Workers,
        asking: Asking,
        store: MediaStore,
        solving: Asking | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.manifest = manifest
        self.solving = solving
        self.workers = workers
        self.asking = asking
        self._put = ask or asking.ask
        self.kit = Kit(store)
        self.checks: list[Check] = [plugins.build("check", spec) for spec in manifest.validate_]
        operations = [plugins.build("operation", spec) for spec in manifest.operations]
        self._provenance = Provenance(
            version=__version__,
            manifest=manifest.digest(),
            prompts={
                name: manifest.prompt(name).fingerprint for name in manifest.shaping_prompts if name in manifest.prompts
            },
            operations=used(operations),
            student=manifest.student,
            limits=manifest.limits,
            teacher=asking.teacher.title,
            scripted=not asking.teacher.sees,
            answer_revealed=manifest.write.reveal_answer or not asking.teacher.sees,
            seed=manifest.seed,
            pillow=PIL.__version__,
        )

    async def make(self, row: Row | Failure) -> Trace | Failure | None:
        """The trace of a row, with its verdicts; the failure that it ended in; or None where it has to wait."""
        if isinstance(row, Failure):
            return row
        replies: list[Reply] = []
        try:
            ready = await self.workers.run(row.group, at_bench, "prepare", row)
            author: dict[str, Any] = {}
            if isinstance(ready, Unposed):
                example = await self._pose(row.group, ready, replies)
                ready = await self.workers.run(row.group, at_bench, "draft", example, example.evidence)
                author = {"posed": True}
            if isinstance(ready, Unlocated):
                ready = await self._ground(row.group, ready, replies)
            if ready.example is not None:
                if solved := await self._solve(ready, replies, author):
                    return solved
                job = ("draft", ready.example, ready.draft.regions, (*ready.draft.unfit, "direct"))
                ready = await self.workers.run(row.group, at_bench, *job)
            return await self._write(ready, replies, author)
        except ExampleError as error:
            return failure(row.id, error, replies)
        except NotYet:
            return None

    # ------------------------------------------------------------------ posing

    async def _pose(self, group: str, unposed: Unposed, replies: list[Reply]) -> Example:
        """A question of the teacher's on a scene, tried and found sound."""

        async def ask(request: Request) -> Reply:
            return await self._ask(request, replies)

        async def cut(scene: Scene, region: Region) -> Picture | None:
            if not self.asking.teacher.sees:
                return None
            return await self.workers.run(group, at_bench, "part", scene, region)

        return await Poser(self.manifest, ask, cut).pose(unposed)

    # ------------------------------------------------------------------ locating by the teacher

    async def _ground(self, group: str, unlocated: Unlocated, replies: list[Reply]) -> Ready:
        """Ask for a box until its part alone is answered rightly, a bounded number of times."""
        example, hint = unlocated.example, ""
        for _ in range(self.manifest.locate.tries):
            said = await self._ask(locate_request(unlocated, hint, self.manifest), replies)
            region = said_place(parse_object(said.text), unlocated)
            if region is None:
                hint = f"An earlier try gave no usable {'rectangle' if unlocated.is_image else 'frames'}."
                continue
            parts = await self.workers.run(group, at_bench, "parts", example, region)
            verified = parse_object((await self._ask(self._verify_request(example, parts), replies)).text) or {}
            answer = verified.get("answer")
            if verified.get("answerable") is True and isinstance(answer, str) and _right(answer, example):
                return await self.workers.run(group, at_bench, "draft", example, (region,))
            hint = f"The place called {region.label!r} was tried ({_where(region)}): it doesn't answer the question."
        if self.manifest.locate.order[-1] != "teacher":
            return await self.workers.run(group, at_bench, "locate_after_teacher", example)
        raise ExampleError("locate", "not_verified", f"{self.manifest.locate.tries} tries; {unlocated.located.reason}")

    def _verify_request(self, example: Example, parts: Sequence[Picture]) -> Request:
        name = "verify_video" if example.media[0].kind == "video" else "verify"
        text = self.manifest.prompt(name).fill(question=question_text(example))
        return Request("verify", (Message("user", (text, *parts)),), VERIFY_SCHEMA)

    async def _ask(self, question: Request, replies: list[Reply]) -> Reply:
        reply = await self._put(question)
        replies.append(reply)
        return reply

    # ------------------------------------------------------------------ solving without a look

    async def _solve(self, ready: Ready, replies: list[Reply], posing: Mapping[str, Any]) -> Trace | None:
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
            **posing,
            "teacher": self.solving.teacher.title,
            "scripted": False,
            "answer_revealed": False,
            "prompts": {"guideline_plain": find_prompt("guideline_plain").fingerprint},
            "solved": (len(right), settings.samples),
        }
        traces = (self._judged(self._trace(draft, (step,), answer, replies, author)) for step, answer in right)
        return next((trace for trace in traces if trace.ok), None)

    # ------------------------------------------------------------------ writing and validating

    async def _write(self, ready: Ready, replies: list[Reply], author: Mapping[str, Any]) -> Trace:
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
                trace = self._judged(
                    self._trace(draft, *steps(draft, filled), replies, {**author, "rewrites": rewrites})
                )
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
                "smaller": sum(reply.scale < 1 for reply in replies),
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


def locate_request(unlocated: Unlocated, hint: str, manifest: Manifest) -> Request:
    """Asks for the box of the evidence on the whole view, or for frames of a video; `hint` says what was tried."""
    question = question_text(unlocated.example)
    if unlocated.is_image:
        text = manifest.prompt("locate").fill(question=question, hint=hint)
        return Request("locate", (Message("user", (text, *unlocated.shown)),), LOCATE_SCHEMA)
    parts: list[str | Picture] = []
    for view, picture in zip(unlocated.views, unlocated.shown, strict=True):
        parts += [describe([view]), picture]
    text = manifest.prompt("locate_video").fill(question=question, hint=hint)
    return Request("locate", (Message("user", (*parts, text)),), LOCATE_VIDEO_SCHEMA)


def said_place(reply: dict[str, Any] | None, unlocated: Unlocated) -> Region | None:
    """The region that a reply to `locate_request` names; None when there is none in it."""
    if unlocated.is_image:
        return said_box(reply, unlocated.example)
    return said_stretch(reply, unlocated.example, unlocated.views)


def _where(region: Region) -> str:
    if region.span_s:
        return f"{region.span_s[0]:.2f} s to {region.span_s[1]:.2f} s"
    return f"{[round(edge) for edge in region.box]} in pixels"


def failure(name: str, error: ExampleError, replies: list[Reply]) -> Failure:
    """The failure that an example ended in, with what its replies have cost in vain."""
    input_tokens, output_tokens, cost_usd = error.usage
    return Failure(
        id=name,
        stage=error.stage,
        reason=error.reason,
        detail=error.detail[:500],
        input_tokens=input_tokens + sum(reply.input_tokens for reply in replies),
        output_tokens=output_tokens + sum(reply.output_tokens for reply in replies),
        cost_usd=round(cost_usd + sum(reply.cost_usd for reply in replies), 8),
    )


def _right(answer: str, example: Example) -> bool:
    return score(answer, example.answers, example.answer_type, example.choices).ok


def judge(checks: list[Check], trace: Trace, kit: Kit) -> Iterator[Verdict]:
    """Every check's verdict on a trace."""
    for check in checks:
        yield check.judge(trace, kit)
