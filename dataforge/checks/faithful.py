"""Faithful: thoughts say of a view what is in it.

Two things are looked at. After a wrong look, the thought must not claim to see the evidence: a sentence that says so in
plain words (that this is the place, that the answer stands here) is found by rule, and one that only expects, doubts or
denies is left alone. And a number or a name that a thought says it reads off a view must stand there: the words that
the source's OCR has read where the evidence lies count first, then Tesseract's where it is installed, and what neither
holds is shown to a model. Without a model only the rule remains, for what Tesseract misses proves nothing: of 16 true
readings off drawn posters it found 7. Where print is large and plain, `ocr_decides` takes its word.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from pydantic import Field

from dataforge.answers.quantities import quantities, tidy
from dataforge.ask.request import Message, Request
from dataforge.ask.tolerant import parse_object
from dataforge.errors import ExampleError, UsageError
from dataforge.locate import tesseract
from dataforge.plugins import AskingCheck, Kit
from dataforge.records import Trace, Verdict, View
from dataforge.shown import encoded, images, of_view

SCHEMA = {
    "type": "object",
    "properties": {"found": {"type": "array", "items": {"type": "boolean"}}},
    "required": ["found"],
    "additionalProperties": False,
}
TRIES = 2
WHOLE = 0.95
"""Share of a place that a view must show to show its words."""
SENTENCE = re.compile(r"(?<=[.!?;])\s+")
SEEN = re.compile(
    r"\b(?:(?:i|we) (?:can |now |clearly |plainly )*(?:see|read|find|have|get|make out|found|recognise|recognize)"
    r"|(?:this|it|that|here|which|view|part|line|label|legend|table|chart|bar|print|text|title|caption)"
    r" (?:clearly |plainly |really |here |now )*"
    r"(?:is|are|shows?|says?|reads?|gives?|states?|lists?|names?|stands?|holds?|has|contains?))\b",
    re.IGNORECASE,
)
"""Somebody reports what is in view."""
FINDS = re.compile(
    r"\b(?:the answer|what i (?:need|was looking for|am looking for|look for|want|wanted|was after)"
    r"|what (?:is|was) (?:asked|needed|wanted)|the (?:right|correct) (?:place|part|spot)|the evidence"
    r"|the (?:needed|wanted) (?:detail|line|number|value|figure))\b"
    r"|\b(?:found it|here it is|there it is|this is it)\b",
    re.IGNORECASE,
)
"""And calls it what was looked for."""
UNSURE = re.compile(
    r"\b(?:not?|nothing|none|neither|nor|never|without|cannot|isn|hardly|barely|missing|lacks?|elsewhere|instead|wrong"
    r"|other than|different|another|unrelated|something else|beside|off|expected|hoped|mistaken|misjudged"
    r"|should|could|would|might|may|must|can only|will|ought|perhaps|maybe|probably|likely|if|seems?|guess"
    r"|need to|have to|want to|like to|to (?:see|read|check|find|look|study)|let me|next|search|too)\b|n['’]t\b",
    re.IGNORECASE,
)
"""A denial, an expectation, a wish: no claim."""
READS = re.compile(
    r"\b(?:says?|reads?|states?|shows?|gives?|lists?|names?|prints?|labell?ed|titled|marked|written)\b"
    r"|\bi (?:can |now |clearly )*(?:see|read|make out)\b",
    re.IGNORECASE,
)
QUOTED = re.compile(r"[\"“]([^\"”]{2,60})[\"”]")
NUMBER = re.compile(r"(?<![\w.,])[$€£]?\d[\d.,]*\d%?|(?<![\w.,])\d%?(?![\w.,]\d)")
NAME = re.compile(r"(?<=[a-z,:] )(?:[A-Z][a-zà-ÿ]{2,}(?: [A-Z][a-zà-ÿ]{2,})*)")
"""Capitals inside a sentence."""


class Claim(NamedTuple):
    """What a thought says that the last look shows: one view, or several frames of a video."""

    step: int
    views: tuple[View, ...]
    words: str


class Faithful(AskingCheck):
    """No thought claims to see the evidence in a wrong look, or reads from a view what doesn't stand there."""

    most_claims: int = Field(default=12, ge=1, description="numbers and names of one thought that are looked for")
    ocr_decides: bool = Field(
        default=False,
        description="what Tesseract doesn't find isn't there, and no model is asked: for large plain print",
    )

    reasons: ClassVar[tuple[str, ...]] = (*AskingCheck.reasons, "claims_to_see", "not_in_view")
    prompts: ClassVar[tuple[str, ...]] = ("faithful",)
    needs_teacher: ClassVar[bool] = False

    async def examine(self, trace: Trace, kit: Kit) -> Verdict:
        if claimed := claimed_sight(trace):
            number, sentence = claimed
            return self.failed("claims_to_see", f"step {number}, after a wrong look: {sentence[:200]!r}")
        if self.ocr_decides and not shutil.which("tesseract"):
            raise UsageError("check faithful: ocr_decides needs Tesseract, and it isn't installed")
        if kit.ask is None and not self.ocr_decides:
            return self.passed()
        by_view: dict[int, list[Claim]] = {}
        for claim in readings(trace):
            by_view.setdefault(claim.views[-1].number, []).append(claim)
        told = await asyncio.gather(*(self._missing(trace, claims, kit) for claims in by_view.values()))
        missing = [claim for claims in told for claim in claims]
        if missing:
            said = ", ".join(repr(claim.words) for claim in missing)
            where = f"step {missing[0].step}: image {missing[0].views[-1].number}"
            return self.failed("not_in_view", f"{where} doesn't show {said}"[:300])
        return self.passed()

    async def _missing(self, trace: Trace, claims: Sequence[Claim], kit: Kit) -> list[Claim]:
        """Those of one look's claims that neither OCR nor the model finds in it."""
        views = claims[0].views
        read = " ".join(read_before(trace, view) for view in views)
        open_claims = [claim for claim in claims if not stands_in(claim.words, read)]
        if not open_claims:
            return []
        shown = await images(trace.example, [of_view(view) for view in views], kit.store)
        printed = " ".join([word.label for image in shown for word in await asyncio.to_thread(tesseract, image)])
        open_claims = [claim for claim in open_claims if not stands_in(claim.words, printed)][: self.most_claims]
        if not open_claims or self.ocr_decides:
            return open_claims
        listed = "\n".join(f"{number}. {claim.words}" for number, claim in enumerate(open_claims, start=1))
        text = kit.prompt("faithful").fill(claims=listed)
        message = Message("user", (*[await asyncio.to_thread(encoded, image) for image in shown], text))
        assert kit.ask is not None
        for sample in range(TRIES):
            reply = parse_object((await kit.ask(Request("judge", (message,), SCHEMA, sample=sample))).text)
            found = (reply or {}).get("found")
            if isinstance(found, list) and len(found) == len(open_claims) and all(isinstance(f, bool) for f in found):
                return [claim for claim, there in zip(open_claims, found, strict=True) if not there]
        raise ExampleError("teacher", "bad_form", f"{TRIES} replies without {len(open_claims)} times true or false")


def read_before(trace: Trace, view: View) -> str:
    """The words that OCR has read where the evidence lies, as far as a view shows the place."""
    return " ".join(
        region.label
        for region in trace.regions
        if region.said_by == "ocr" and region.media == view.media and view.box.coverage(region.box) >= WHOLE
    )


def claimed_sight(trace: Trace) -> tuple[int, str] | None:
    """The first thought after a wrong look that claims to see the evidence there: step number and sentence.

    A too-large look does hold the evidence, so there only a claim to have read it is one.
    """
    for number, (before, step) in enumerate(zip(trace.steps, trace.steps[1:], strict=False), start=2):
        if before.role != "mistake":
            continue
        labels = [] if trace.kind == "zoom_further" else [region.label for region in trace.regions]
        for sentence in SENTENCE.split(step.thought):
            if SEEN.search(sentence) and not UNSURE.search(sentence) and _names_it(sentence, labels):
                return number, sentence
    return None


def _names_it(sentence: str, labels: Sequence[str]) -> bool:
    """Whether the sentence calls what is in view the thing looked for, by its label (of two words or more) or so."""
    plain = _plain(sentence)
    named = any(len(_plain(label).split()) > 1 and _plain(label) in plain for label in labels)
    return named or bool(FINDS.search(sentence))


def readings(trace: Trace) -> Iterator[Claim]:
    """Numbers, quoted words and names that a thought reads off the view before it and hasn't from the question."""
    last: tuple[View, ...] = ()
    known = " ".join([trace.example.question, *trace.example.choices])
    for number, step in enumerate(trace.steps, start=1):
        for sentence in SENTENCE.split(step.thought) if last else ():
            if READS.search(sentence) and not UNSURE.search(sentence):
                for words in _read_off(sentence):
                    if not stands_in(words, known):
                        yield Claim(number, last, words)
        last = (step.observation.views if step.observation else ()) or last


def _read_off(sentence: str) -> list[str]:
    quoted = [found.strip(" .,;:") for found in QUOTED.findall(sentence)]
    rest = QUOTED.sub(" ", sentence)
    return list(dict.fromkeys([*filter(None, quoted), *NUMBER.findall(rest), *NAME.findall(rest)]))


def stands_in(words: str, printed: str) -> bool:
    """Whether these words stand in a text: as they are, or as the same number."""
    if f" {_plain(words)} " in f" {_plain(printed)} ":
        return True
    wanted = quantities(words)
    return len(wanted) == 1 and any(wanted[0].value == other.value for other in quantities(printed))


def _plain(text: str) -> str:
    ungrouped = re.sub(r"(?<=\d)[, ](?=\d{3}\b)", "", tidy(text).casefold())
    return " ".join(re.sub(r"[^\w.%]+|\.(?!\d)", " ", ungrouped).split())
