"""One question's result, counted from its stored trace: no model is asked, and an older run gets today's metric."""

from collections.abc import Iterator
from typing import NamedTuple

from dataforge import plugins
from dataforge.checks.answer import Answer
from dataforge.evaluate.player import Timing, timings_path
from dataforge.plugins import Kit
from dataforge.records import Trace, read_lines
from dataforge.runs import Run

SEEN = 0.5
"""Least share of an evidence region inside a view that counts as having looked at it."""
NO_CALL = frozenset({"no_answer", "cut_off", "refused", "empty_reply"})
"""Errors of a turn in which nothing was called."""


class Result(NamedTuple):
    """What a model did with one question, in numbers."""

    id: str
    group: str
    question: str
    """The same in every order of its options."""
    category: str
    value: float
    """The benchmark's metric, 0..1."""
    ok: bool
    looks: int
    errors: tuple[str, ...]
    """Reasons of calls that could not be run, those that could not be read included."""
    answered: bool
    saw_evidence: bool | None
    """A look showed the greater part of some evidence; None without a look or without a known place."""
    input_tokens: int
    output_tokens: int
    smaller: bool
    """Some picture had to be sent at half its size."""
    seconds: float | None
    """That the model took; None where a reply came from the cache."""
    rescored: bool
    """The stored verdict says otherwise."""


def results(run: Run) -> Iterator[Result]:
    """A result for each stored trace, judged anew by the manifest's `answer` check."""
    specs = (plugins.build("check", spec) for spec in run.manifest.validate_)
    check = next((one for one in specs if isinstance(one, Answer)), Answer())
    times = {timing.id: timing.seconds for timing in read_lines(timings_path(run), Timing)}
    for trace in run.traces():
        verdict = check.judge(trace, Kit(run.store))
        stored = next((one for one in trace.verdicts if one.check == check.name), None)
        made, seen = trace.provenance, [step.observation for step in trace.steps if step.observation]
        yield Result(
            id=trace.id,
            group=trace.example.group,
            question=f"{trace.example.group}\n{trace.example.question}",
            category=trace.example.category,
            value=verdict.score or 0.0,
            ok=verdict.ok,
            looks=len(trace.looks),
            errors=tuple(one.error for one in seen if one.error and one.error not in NO_CALL),
            answered=bool(trace.answer.strip()),
            saw_evidence=_saw_evidence(trace),
            input_tokens=made.input_tokens,
            output_tokens=made.output_tokens,
            smaller=made.smaller > 0,
            seconds=times.get(trace.id),
            rescored=stored is not None and (stored.ok, stored.score) != (verdict.ok, verdict.score),
        )


def _saw_evidence(trace: Trace) -> bool | None:
    views = [view for view in trace.all_views[len(trace.views) :] if not view.blank]
    if not (trace.regions and trace.looks):
        return None
    return any(
        view.media == region.media and region.there_at(view.time_s) and view.box.coverage(region.box) >= SEEN
        for view in views
        for region in trace.regions
    )
