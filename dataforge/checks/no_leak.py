"""No leak: nothing is known before it has been seen."""

import re
from collections.abc import Iterator
from typing import ClassVar

from dataforge.plugins import Check, Kit
from dataforge.records import Example, Trace, Verdict

ANNOTATION_TALK = re.compile(
    r"bounding box|annotat|ground.?truth|crop(ped)? (image|picture|region)|provided (image|picture|crop|box)"
    r"|\bbbox|coordinates|reference answer|correct answer is given|as instructed|the (json|slot|prompt)\b",
    re.IGNORECASE,
)
COORDINATES = re.compile(r"[\[(]\s*\d+(\.\d+)?\s*(,\s*\d+(\.\d+)?\s*){3}[\])]|\b\d+ ?(px|pixels)\b", re.IGNORECASE)


class NoLeak(Check):
    """Before the look that shows the evidence no thought holds the answer; none talks of annotations or coordinates.

    An answer that the question itself names (one of two things to compare) can't leak; an option leaks when it is named
    without the others.
    """

    reasons: ClassVar[tuple[str, ...]] = ("answer_before_evidence", "annotation_talk", "coordinates")

    def complaint(self, verdict: Verdict) -> str:
        if verdict.reason == "answer_before_evidence":
            return "A text before the picture with the evidence already says what is only seen there."
        return super().complaint(verdict)

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        for number, step in enumerate(trace.steps, start=1):
            if found := ANNOTATION_TALK.search(step.thought):
                return self.failed("annotation_talk", f"step {number}: {found.group()!r}")
            if found := COORDINATES.search(step.thought):
                return self.failed("coordinates", f"step {number}: {found.group()!r}")
        for number, thought in _before_evidence(trace):
            if leaked := _leaked(thought, trace.example):
                return self.failed("answer_before_evidence", f"step {number} already says {leaked!r}")
        return self.passed()


def _before_evidence(trace: Trace) -> Iterator[tuple[int, str]]:
    """The thoughts written before any view but a mistake had been shown."""
    if trace.kind == "direct":
        return
    for number, step in enumerate(trace.steps, start=1):
        yield number, step.thought
        if step.role in ("look", "recover"):
            return


def _leaked(thought: str, example: Example) -> str:
    """The answer that a thought gives away, or nothing. Lone letters and digits don't tell."""
    if example.answer_type == "choice":
        said = [choice for choice in example.choices if _says(thought, choice)]
        keys = {letter.strip().upper() for letter in example.answers}
        telling = [choice for index, choice in enumerate(example.choices) if chr(ord("A") + index) in keys]
        return said[0] if len(said) == 1 and said[0] in telling and not _says(example.question, said[0]) else ""
    for answer in example.answers:
        if len(answer.strip()) > 1 and _says(thought, answer) and not _says(example.question, answer):
            return answer
    return ""


def _says(text: str, answer: str) -> bool:
    """Whether the text holds the answer between word bounds, digits grouped in any way."""
    return bool(_plain(answer)) and f" {_plain(answer)} " in f" {_plain(text)} "


def _plain(text: str) -> str:
    ungrouped = re.sub(r"(?<=\d)[,\u00a0\u202f ](?=\d{3}\b)", "", text.casefold())
    return " ".join(re.sub(r"[^\w.%]+|\.(?!\d)", " ", ungrouped).split())
