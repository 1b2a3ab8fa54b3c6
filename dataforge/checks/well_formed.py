"""Well formed: the trace is whole, and a student that is taught its text can be read."""

import re
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
        wanted = {"recrop_once": 1, "recrop_twice": 2, "zoom_further": 1, "reselect": 1}.get(trace.kind, 0)
        looks = len(trace.looks)
        direct = looks == 0 and trace.kind != "rollout"  # which may look or not
        if mistakes != wanted or direct != (trace.kind == "direct"):
            return self.failed("kind_mismatch", f"{trace.kind} with {looks} looks, {mistakes} of them mistakes")
        return self._reads_back(trace)

    def _reads_back(self, trace: Trace) -> Verdict:
        """Chat markup in the question, a thought or the answer breaks the student's own turns."""
        if _is_plain(trace):
            return self.passed()
        try:
            chat.turns(trace, (), trace.provenance.student, system=None)
        except ExampleError as error:
            return self.failed(error.reason, error.detail)
        return self.passed()


SPECIAL = re.compile(r"[<\\{}\ud800-\udfff]")
"""Every marker, tag, box and escape begins with one of these."""
MOST_CHOICES = 26
LARGEST = 1e15
"""Beyond it (or where it is no number) a student's argument is read as text."""


def _is_plain(trace: Trace) -> bool:
    """Nothing in the trace could be read as markup, so it needn't be rendered to know that it reads back.

    A fifth of the time, and true of nearly every trace.
    """
    example = trace.example
    texts = [example.question, *example.choices, trace.answer]
    for step in trace.steps:
        texts.append(step.thought)
        if step.observation:
            texts.append(step.observation.text)
        if step.call:
            texts.append(step.call.name)
            if step.call.name != step.call.name.strip() or not all(map(_is_plain_value, step.call.arguments.items())):
                return False
    return len(example.choices) <= MOST_CHOICES and not SPECIAL.search("\n".join(texts))


def _is_plain_value(argument: tuple[str, object]) -> bool:
    """A number, or a list of numbers, under a plain name."""
    name, value = argument
    numbers = value if isinstance(value, list) else [value]
    return name.isidentifier() and all(isinstance(one, (int, float)) and abs(one) < LARGEST for one in numbers)
