"""No leak: nothing is known before it has been seen.

The answer is looked for as it is written and, where it is a number, in other words: "4.7 thousand" or "4,700 units" for
"4700", "12 percent" for "12%". A small whole number without a unit says too little to prove anything: "two places" is
not the answer 2.
"""

import re
from collections.abc import Iterator
from typing import ClassVar

from dataforge.answers.quantities import CARRIER, COUNTS, Quantity, quantities
from dataforge.plugins import Check, Kit
from dataforge.records import Example, Trace, Verdict

ANNOTATION_TALK = re.compile(
    r"bounding box|annotat|ground.?truth|crop(ped)? (image|picture|region)|provided (image|picture|crop|box)"
    r"|\bbbox|coordinates|reference answer|correct answer is given|as instructed|the (json|slot|prompt)\b"
)
"""In folded text, as all patterns here: a search that ignores case takes four times as long."""
TALK_HOLDS = (
    *("bounding", "annotat", "truth", "crop", "provided", "bbox", "coordinates", "reference", "correct answer"),
    *("instructed", "json", "slot", "prompt"),
)
"""One of these stands in any text that ANNOTATION_TALK finds something in: most texts are done with at once."""
COORDINATES_HOLD = ("[", "(", "px", "pixels")
COORDINATES = re.compile(r"[\[(]\s*\d+(\.\d+)?\s*(,\s*\d+(\.\d+)?\s*){3}[\])]|\b\d+ ?(px|pixels)\b")
DIGIT = re.compile(r"\d")
PARTS = re.compile(r"[^\W\d_]+|\d{1,3}(?!\d)")
"""Of a plain answer, what any writing of it holds: its words, and the last figures of its numbers."""
FIGURES = re.compile(r"\d[\d.,]*")
LARGE_WORDS = ("hundred", "thousand", "million", "billion", "trillion")
COUNT_WORDS = re.compile(rf"\b(?:{'|'.join(COUNTS)})\b")
SMALL = 20
"""Whole numbers up to here come up in any talk."""


class NoLeak(Check):
    """Before the look that shows the evidence no thought holds the answer; none talks of annotations or coordinates.

    An answer that the question itself names (one of two things to compare) can't leak; an option leaks when it is named
    without the others.
    """

    reasons: ClassVar[tuple[str, ...]] = (
        "answer_before_evidence",
        "answer_in_other_words",
        "annotation_talk",
        "coordinates",
    )

    def complaint(self, verdict: Verdict) -> str:
        if verdict.reason in ("answer_before_evidence", "answer_in_other_words"):
            return "A text before the picture with the evidence already says what is only seen there."
        return super().complaint(verdict)

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        for number, step in enumerate(trace.steps, start=1):
            folded = step.thought.casefold()
            if found := _found(ANNOTATION_TALK, folded, TALK_HOLDS):
                return self.failed("annotation_talk", f"step {number}: {found!r}")
            if found := _found(COORDINATES, folded, COORDINATES_HOLD):
                return self.failed("coordinates", f"step {number}: {found!r}")
        thoughts = list(_before_evidence(trace))
        if not thoughts:
            return self.passed()
        key = Key(trace.example)
        for number, thought in thoughts:
            if leaked := key.said_in(thought):
                return self.failed("answer_before_evidence", f"step {number} already says {leaked!r}")
            if leaked := key.in_other_words_in(thought):
                return self.failed("answer_in_other_words", f"step {number} already says {leaked}")
        return self.passed()


def _found(pattern: re.Pattern[str], text: str, holds: tuple[str, ...]) -> str:
    """What the pattern finds in a text that may only match where one of `holds` stands in it."""
    found = pattern.search(text) if any(part in text for part in holds) else None
    return found.group() if found else ""


def _before_evidence(trace: Trace) -> Iterator[tuple[int, str]]:
    """The thoughts written before any view but a mistake had been shown."""
    if trace.kind == "direct":
        return
    for number, step in enumerate(trace.steps, start=1):
        yield number, step.thought
        if step.role in ("look", "recover"):
            return


class Key:
    """What an example's thoughts may not give away: its answers, less what the question itself names."""

    def __init__(self, example: Example) -> None:
        letters = {chr(ord("A") + index): choice for index, choice in enumerate(example.choices)}
        self.question = example.question
        self.options = [_plain(choice) for choice in example.choices] if example.answer_type == "choice" else []
        if self.options:
            told = [letters.get(answer.strip().upper(), "") for answer in example.answers]
        else:  # lone letters and digits don't tell
            told = [answer for answer in example.answers if len(answer.strip()) > 1]
        self.answers = [(answer, plain) for answer in told if (plain := _plain(answer))]
        self.parts = [PARTS.findall(plain) for _, plain in self.answers]
        self.figures = [_figures(answer) for answer, _ in self.answers]
        self.counts = [_may_be_a_count(answer) for answer, _ in self.answers]

    def said_in(self, thought: str) -> str:
        """The answer that a thought holds between word bounds, or nothing; an option only tells without the others."""
        folded = thought.casefold()
        if not any(all(part in folded for part in parts) for parts in self.parts):
            return ""
        text, asked = f" {_plain(thought)} ", f" {_plain(self.question)} "
        said = [answer for answer, plain in self.answers if f" {plain} " in text and f" {plain} " not in asked]
        if self.options and sum(f" {plain} " in text for plain in self.options) != 1:
            return ""
        return said[0] if said else ""

    def in_other_words_in(self, thought: str) -> str:
        """The number of a thought that is the answer's, or nothing."""
        figures, folded = _figures(thought), thought.casefold()
        in_words = any(word in folded for word in LARGE_WORDS)
        for (answer, _), wanted, count in zip(self.answers, self.figures, self.counts, strict=True):
            if not figures & wanted and not ((count or (wanted and in_words)) and COUNT_WORDS.search(folded)):
                continue  # neither the same figures nor a number in words
            if number := _telling_number(answer):
                said = next((said for said in quantities(thought) if _same(said, number)), None)
                if said and not any(said.value == other.value for other in quantities(self.question)):
                    return f"{said.value} {' '.join(said.unit)}".strip()
        return ""


def _may_be_a_count(answer: str) -> bool:
    """Whether the answer is as small as the numbers that people write out, or is one in words itself."""
    figures = re.findall(r"\d+", answer)
    if not figures:
        return COUNT_WORDS.search(answer.casefold()) is not None
    return all(len(number) < 3 and int(number) <= SMALL for number in figures)


def _figures(text: str) -> set[str]:
    """The significant figures of each number, however it is scaled: 4,700 and 4.7 have the same."""
    return {re.sub(r"\D", "", number).strip("0") for number in FIGURES.findall(text)}


def _telling_number(answer: str) -> Quantity | None:
    """The answer as one number that isn't said by chance, or None: a small count needs a unit to tell anything."""
    if (
        len(answer) > 40
        or not (DIGIT.search(answer) or COUNT_WORDS.search(answer.casefold()))
        or len(answer.split()) > 3
    ):
        return None
    found = quantities(CARRIER.sub("", answer))
    return None if len(found) != 1 or (_small(found[0]) and not found[0].unit) else found[0]


def _small(number: Quantity) -> bool:
    return number.value.denominator == 1 and abs(number.value) <= SMALL


def _same(said: Quantity, answer: Quantity) -> bool:
    if said.value != answer.value:
        return False
    return said.unit == answer.unit if _small(answer) else not (said.unit and answer.unit) or said.unit == answer.unit


def _plain(text: str) -> str:
    ungrouped = re.sub(r"(?<=\d)[,\u00a0\u202f ](?=\d{3}\b)", "", text.casefold())
    return " ".join(re.sub(r"[^\w.%]+|\.(?!\d)", " ", ungrouped).split())
