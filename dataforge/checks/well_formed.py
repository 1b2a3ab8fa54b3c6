"""Well formed: the trace is whole, and a student that is taught its text can be read."""

from typing import ClassVar

from dataforge import chat
from dataforge.errors import ExampleError
from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict


class WellFormed(Check):
    """One answer at the end, every call with its observation, views numbered without gaps, text that reads back."""

    reasons: ClassVar[tuple[str, ...]] = (
        "no_steps",
        "no_answer",
        "answer_not_last",
        "call_without_observation",
        "failed_call",
        "views_not_numbered",
        "empty_thought",
        "kind_mismatch",
        "marker",
        "unreadable",
        "too_many_choices",
    )

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        if not trace.steps:
            return self.failed("no_steps")
        if not trace.answer.strip():
            return self.failed("no_answer")
        roles = [step.role for step in trace.steps]
        if roles[-1] != "answer" or "answer" in roles[:-1]:
            return self.failed("answer_not_last", " ".join(roles))
        if [view.number for view in trace.all_views] != list(range(1, len(trace.all_views) + 1)):
            return self.failed("views_not_numbered")
        for number, step in enumerate(trace.steps, start=1):
            if not step.thought.strip():
                return self.failed("empty_thought", f"step {number}")
            if (step.call is None) != (step.observation is None) or (step.call is None) != (step.role == "answer"):
                return self.failed("call_without_observation", f"step {number}")
            if step.observation and step.observation.error:
                return self.failed("failed_call", f"step {number}: {step.observation.error}")
        return self._of_its_kind(trace)

    def _of_its_kind(self, trace: Trace) -> Verdict:
        mistakes = sum(step.role == "mistake" for step in trace.steps)
        wanted = {"recrop_once": 1, "recrop_twice": 2, "zoom_further": 1}.get(trace.kind, 0)
        looks = len(trace.looks)
        if mistakes != wanted or (looks == 0) != (trace.kind == "direct"):
            return self.failed("kind_mismatch", f"{trace.kind} with {looks} looks, {mistakes} of them mistakes")
        return self._reads_back(trace)

    def _reads_back(self, trace: Trace) -> Verdict:
        """Chat markup in the question, a thought or the answer breaks the student's own turns."""
        try:
            chat.turns(trace, (), trace.provenance.student, system=None)
        except ExampleError as error:
            return self.failed(error.reason, error.detail)
        return self.passed()
