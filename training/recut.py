"""A trace for another student than the one it was made for: the same places of the source, in views that fit it.

What was looked at and said stays. Every call is run again by the episode, as synthesis ran it, with its boxes moved to
the new views by their share of the old ones; so a set that was made for a Qwen2.5-VL teaches a Qwen3-VL too.
"""

from __future__ import annotations

from dataforge.chat import from_student, to_student
from dataforge.episode import Episode, operations_of
from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.records import Student, Trace

SHARES = Student(box_unit="0..1")
"""Boxes as shares of their view: what stays the same when the view's size changes."""


def fits(made_for: Student, student: Student) -> bool:
    """A trace's views are what this student would be shown: its dialect may be another."""
    spoken = {"box_unit", "calls"}
    return made_for.model_dump(exclude=spoken) == student.model_dump(exclude=spoken)


def recut(trace: Trace, store: MediaStore, student: Student) -> Trace:
    """The trace with its views cut for the student; without verdicts, which were given for other views.

    ExampleError("recut", reason) where the student is shown another number of views, or a call ends otherwise.
    """
    made, operations = trace.provenance, operations_of(trace)
    episode = Episode(trace.example, store, operations, student, made.limits)
    if len(episode.opening) != len(trace.views):
        raise ExampleError("recut", "other_opening", f"{len(episode.opening)} views, not {len(trace.views)}")
    old, steps = list(trace.views), []
    for number, step in enumerate(trace.steps, start=1):
        recorded = step.observation
        if step.call is None or recorded is None:
            steps.append(step)
            continue
        new = episode.workspace.views
        moved = from_student(to_student(step.call, operations, old, SHARES), operations, new, SHARES)
        call = from_student(to_student(moved, operations, new, student), operations, new, student)
        seen = episode.act(call)
        if (seen.error, len(seen.views)) != (recorded.error, len(recorded.views)):
            raise ExampleError("recut", "other_result", f"step {number}: {seen.text}")
        steps.append(step.model_copy(update={"call": call, "observation": seen}))
        old += recorded.views
    provenance = made.model_copy(update={"student": student})
    laid = {"views": episode.opening, "steps": tuple(steps), "verdicts": (), "provenance": provenance}
    return trace.model_copy(update=laid)
