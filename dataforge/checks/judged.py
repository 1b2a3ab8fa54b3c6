"""Judged: a model reads the whole trace with its pictures and scores it by the rubric in `prompts/judge.md`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from dataforge.ask.request import Message, Picture, Request
from dataforge.ask.tolerant import parse_object
from dataforge.chat import question_text
from dataforge.errors import ExampleError
from dataforge.plugins import AskingCheck, Kit
from dataforge.records import Trace, Verdict, View
from dataforge.shown import of_view, pictures

CRITERIA = ("grounding", "honesty", "reasoning", "language")
TRIES = 2
"""Replies drawn before a trace whose scores can't be read is given up."""
SCORE = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
SCHEMA = {
    "type": "object",
    "properties": {**dict.fromkeys(CRITERIA, SCORE), "why": {"type": "string"}},
    "required": [*CRITERIA, "why"],
    "additionalProperties": False,
}
FOUND = re.compile(rf"({'|'.join(CRITERIA)}) ([1-5])\b")


class Judged(AskingCheck):
    """A model gives no criterion of the rubric less than the least, nor their average; its score is the average."""

    least_average: float = Field(default=3.5, ge=1, le=5)
    least: int = Field(default=3, ge=1, le=5, description="of each criterion")

    reasons: ClassVar[tuple[str, ...]] = (*AskingCheck.reasons, "low_score")
    prompts: ClassVar[tuple[str, ...]] = ("judge",)
    thresholds: ClassVar[frozenset[str]] = frozenset({"least_average", "least"})

    async def examine(self, trace: Trace, kit: Kit) -> Verdict:
        assert kit.ask is not None
        shown = await pictures(trace.example, [of_view(view) for view in trace.all_views], kit.store)
        rubric = kit.prompt("judge").fill(question=question_text(trace.example), answer=trace.answer)
        message = Message("user", (rubric, *transcript(trace, shown)))
        for sample in range(TRIES):
            reply = await kit.ask(Request("judge", (message,), SCHEMA, sample=sample))
            scores = read_scores(parse_object(reply.text))
            if scores:
                return self._verdict(scores)
        raise ExampleError("teacher", "bad_form", f"{TRIES} replies without four scores from 1 to 5")

    def again(self, verdict: Verdict) -> Verdict:
        return self._verdict({name: int(value) for name, value in FOUND.findall(verdict.detail)})

    def _verdict(self, scores: Mapping[str, int]) -> Verdict:
        """By the scores, which are the detail of every verdict, the weakest first."""
        weakest_first = sorted(scores, key=lambda name: scores[name])
        average = sum(scores.values()) / len(scores)
        ok = average >= self.least_average and scores[weakest_first[0]] >= self.least
        detail = ", ".join(f"{name} {scores[name]}" for name in weakest_first)
        return Verdict(check=self.name, ok=ok, reason="" if ok else "low_score", score=round(average, 2), detail=detail)


def transcript(trace: Trace, shown: list[Picture]) -> list[str | Picture]:
    """The trace as it went: the first pictures, then each thought with what it led to."""
    pictures = iter(shown)
    parts: list[str | Picture] = ["The whole picture:" if trace.views[0].time_s is None else "Frames of the video:"]
    parts += _told(trace.views, pictures)
    for number, step in enumerate(trace.steps, start=1):
        parts.append(f"Thought {number}: {step.thought}")
        if step.observation and step.observation.views:
            wrong = " (a look that is wrong on purpose)" if step.role == "mistake" else ""
            parts.append(f"Look {number}{wrong}:")
            parts += _told(step.observation.views, pictures)
    return parts


def _told(views: Sequence[View], pictures: Iterator[Picture]) -> Iterator[str | Picture]:
    """The pictures of some views, frames of a video with their times."""
    for view in views:
        if view.time_s is not None:
            yield f"At {view.time_s:.2f} s:"
        yield next(pictures)


def read_scores(reply: Mapping[str, Any] | None) -> dict[str, int] | None:
    """All four scores, or None where one is missing or no whole number from 1 to 5."""
    found = {name: (reply or {}).get(name) for name in CRITERIA}
    if not all(isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5 for value in found.values()):
        return None
    return {name: int(str(value)) for name, value in found.items()}
