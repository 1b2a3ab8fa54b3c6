"""Necessary: the look was needed and was enough, by asking a model.

The question is asked a number of times of the whole view alone, as the student first sees it, and as often of the
evidence alone, with the same words, so that nothing hints at which it is. A question that the whole view answers
teaches to look without need; one that the evidence alone doesn't answer has its evidence in the wrong place.

A video has two controls more, on which its verdict says how it went: the same question with grey frames instead of the
overview (what is right then was known without looking, and fails), and with the evidence's frames in another order
(what is right then doesn't depend on the order of events).

Options of a choice question stand in another order in each sample: one who always says B is right only by chance.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from PIL import Image
from pydantic import Field

from dataforge.answers.metrics import score
from dataforge.ask.asking import together
from dataforge.ask.request import Ask, Message, Picture, Request
from dataforge.ask.tolerant import parse_object
from dataforge.chat import question_text
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import AskingCheck, Kit
from dataforge.prompts import Prompt
from dataforge.records import Example, Trace, Verdict
from dataforge.shown import Part, encoded, evidence, of_view, pictures

GREY = (128, 128, 128)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "description": "the answer alone, or empty"}},
    "required": ["answer"],
    "additionalProperties": False,
}
RATE = re.compile(r"(whole|evidence|blank|shuffled) (\d+)/(\d+)")


class Rates(NamedTuple):
    """Shares of right answers, 0..1; None where it wasn't asked."""

    whole: float | None
    evidence: float | None
    blank: float | None = None
    shuffled: float | None = None


class Necessary(AskingCheck):
    """The question isn't answered from the whole view alone, and is from the evidence alone.

    A trace of kind `direct` must be answered from the whole view. The score is the evidence's rate of right answers
    less that of the whole view.
    """

    samples: int = Field(default=3, ge=1, description="times that each side is asked")
    most_whole: float = Field(default=0.34, ge=0, le=1, description="rate of right answers that is still luck")
    least_evidence: float = Field(default=0.5, ge=0, le=1, description="rate that shows that the evidence is enough")

    reasons: ClassVar[tuple[str, ...]] = (
        *AskingCheck.reasons,
        "answered_from_whole",
        "not_answered_from_evidence",
        "needs_a_look",
        "answered_blind",
    )
    prompts: ClassVar[tuple[str, ...]] = ("necessary",)
    thresholds: ClassVar[frozenset[str]] = frozenset({"most_whole", "least_evidence"})

    async def examine(self, trace: Trace, kit: Kit) -> Verdict:
        example = trace.example
        if not example.answers:
            raise ExampleError("necessary", "no_key", "without an accepted answer nothing can be called right")
        shown = await self._sides(trace, kit)
        assert kit.ask is not None
        prompt = kit.prompt("necessary")
        asked = (right_answers(example, side, self.samples, kit.ask, prompt) for side in shown.values())
        told = await together(asked)
        counts = [f"{side} {right}/{asked}" for side, (right, asked) in zip(shown, told, strict=True)]
        return self._verdict(", ".join(counts))

    async def _sides(self, trace: Trace, kit: Kit) -> dict[str, list[Picture]]:
        """What the question is asked of, by the name under which it is counted."""
        example, store = trace.example, MediaStore(kit.store.folder)
        shown = {"whole": await pictures(example, [of_view(view) for view in trace.views], store)}
        if trace.kind != "direct":
            parts = await asyncio.to_thread(_parts, trace, store)
            shown["evidence"] = await pictures(example, parts, store)
        if any(view.time_s is not None for view in trace.views):
            shown["blank"] = [encoded(Image.new("RGB", (view.width, view.height), GREY)) for view in trace.views]
            order = shown.get("evidence", shown["whole"])
            if len(order) > 1:
                # every second frame first: no two that followed each other still do
                shown["shuffled"] = order[1::2] + order[0::2]
        return shown

    def again(self, verdict: Verdict) -> Verdict:
        return self._verdict(verdict.detail)

    def _verdict(self, counts: str) -> Verdict:
        """By the counts of right answers, which are the detail of every verdict."""
        told = rates(counts)
        whole, evidence = told.whole, told.evidence
        assert whole is not None
        reason = ""
        if told.blank is not None and told.blank > self.most_whole:
            reason = "answered_blind"
        elif evidence is None:
            reason = "needs_a_look" if whole <= self.most_whole else ""
        elif whole > self.most_whole:
            reason = "answered_from_whole"
        elif evidence < self.least_evidence:
            reason = "not_answered_from_evidence"
        measured = round(whole if evidence is None else evidence - whole, 3)
        return Verdict(check=self.name, ok=not reason, reason=reason, score=measured, detail=counts)


async def right_answers(
    example: Example,
    shown: Sequence[Picture],
    samples: int,
    ask: Ask,
    prompt: Prompt,
    truth: Callable[[Example], Mapping[str, Any]] = lambda example: {},
) -> tuple[int, int]:
    """Of that many replies to the question about what is shown: right answers, and replies that could be read.

    ExampleError("teacher", "bad_form") where none could be read. `truth` is what a teacher without eyes may know.
    """

    async def asked(sample: int) -> bool | None:
        moved = rotated(example, sample)
        text = prompt.fill(question=question_text(moved))
        request = Request("answer", (Message("user", (*shown, text)),), SCHEMA, truth(moved), sample)
        answer = (parse_object((await ask(request)).text) or {}).get("answer")
        if not isinstance(answer, str):
            return None
        return score(answer, moved.answers, moved.answer_type, moved.choices).ok

    told = [right for right in await together(map(asked, range(samples))) if right is not None]
    if not told:
        raise ExampleError("teacher", "bad_form", "no reply was the JSON object that was asked for")
    return sum(told), len(told)


def rates(detail: str) -> Rates:
    """The rates in a verdict's detail."""
    found = {side: int(right) / int(asked) for side, right, asked in RATE.findall(detail)}
    return Rates(found.get("whole"), found.get("evidence"), found.get("blank"), found.get("shuffled"))


def _parts(trace: Trace, store: MediaStore) -> list[Part]:
    student = trace.provenance.student
    return [part for region in trace.regions for part in evidence(region, trace.example, student, store)]


def rotated(example: Example, by: int) -> Example:
    """The example with its options moved on by so many places, and its letters with them."""
    count = len(example.choices)
    if example.answer_type != "choice" or not count or by % count == 0:
        return example
    choices = tuple(example.choices[(index + by) % count] for index in range(count))
    return example.model_copy(
        update={"choices": choices, "answers": tuple(_moved(answer, count, by) for answer in example.answers)}
    )


def _moved(answer: str, count: int, by: int) -> str:
    """An answer's letter after the options have moved; the text of an option stays."""
    letter = answer.strip().upper()
    place = ord(letter) - ord("A") if len(letter) == 1 else -1
    return chr(ord("A") + (place - by) % count) if 0 <= place < count else answer
