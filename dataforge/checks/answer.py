"""Answer: the trace's answer is right by the standard metric of its answer type."""

from typing import ClassVar

from pydantic import Field

from dataforge.answers.metrics import score
from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict


class Answer(Check):
    """The answer agrees with an accepted one: ANLS, number with tolerance and unit, choice, exact, VQA, or list."""

    tolerance: float = Field(default=0.0, ge=0, description="relative, for numbers; 0.05 is ChartQA's")

    reasons: ClassVar[tuple[str, ...]] = ("no_key", "wrong")

    def complaint(self, verdict: Verdict) -> str:
        return "The final answer is wrong. Look at the last picture again and read it closely."

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        example = trace.example
        if not example.answers:
            return self.failed("no_key", "the example has no accepted answer")
        result = score(trace.answer, example.answers, example.answer_type, example.choices, self.tolerance)
        if result.ok:
            return self.passed(result.value)
        detail = f"{trace.answer!r} is not {' or '.join(map(repr, example.answers[:3]))} ({result.reason})"
        return self.failed("wrong", detail[:300], result.value)
