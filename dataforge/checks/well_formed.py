"""Well formed: the trace is whole, and its text can be trained on."""

import re
from typing import ClassVar

from dataforge.plugins import Check, Kit
from dataforge.records import Trace, Verdict

MARKUP = re.compile(r"</?tool_call>|</?tool_response>|<\|[a-z_]+\|>|<(image|video)>|\\boxed\s*\{|```")
"""Marks of chat templates and answers: inside a thought they would break the student's own parsing."""


class WellFormed(Check):
    """One answer at the end, every call with its observation, views numbered without gaps, no chat markup."""

    reasons: ClassVar[tuple[str, ...]] = (
        "no_steps",
        "no_answer",
        "answer_not_last",
        "call_without_observation",
        "failed_call",
        "views_not_numbered",
        "empty_thought",
        "markup",
        "kind_mismatch",
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
            if found := MARKUP.search(step.thought):
                return self.failed("markup", f"step {number} holds {found.group()!r}")
            if (step.call is None) != (step.observation is None):
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
        return self.passed()
