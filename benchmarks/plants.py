"""Faults to plant: each function takes a good trace and returns it broken in one known way.

`benchmarks/filter.py faults` plants them, and counts how many are caught for the right reason.
"""

from collections.abc import Callable

from dataforge.geometry import Box
from dataforge.records import Region, Step, Trace, View

Plant = Callable[[Trace], Trace | None]
"""Breaks a good trace in one way; None where it can't be broken so."""


def with_step(trace: Trace, index: int, **changes: object) -> Trace:
    steps = list(trace.steps)
    steps[index] = steps[index].model_copy(update=changes)
    return trace.model_copy(update={"steps": tuple(steps)})


def with_view(trace: Trace, index: int, **changes: object) -> Trace:
    seen = trace.steps[index].observation
    assert seen is not None
    views = (seen.views[0].model_copy(update=changes),)
    return with_step(trace, index, observation=seen.model_copy(update={"views": views}))


def last_look(trace: Trace) -> int:
    return len(trace.steps) - 2


def first_mistake(trace: Trace) -> int | None:
    return next((index for index, step in enumerate(trace.steps) if step.role == "mistake"), None)


def view_of(step: Step) -> View:
    assert step.observation is not None
    return step.observation.views[0]


def elsewhere(trace: Trace) -> Region | None:
    """A place of the evidence's size that no look shows, on the other side of the picture."""
    region = trace.regions[0]
    media = trace.example.media[region.media]
    x = 0.0 if region.box.x1 > media.width / 2 else media.width - region.box.width
    y = 0.0 if region.box.y1 > media.height / 2 else media.height - region.box.height
    box = Box(x, y, x + region.box.width, y + region.box.height)
    right = [view_of(step).box for step in trace.looks if step.role != "mistake"]
    return None if any(other.coverage(box) >= 0.95 for other in right) else region.model_copy(update={"box": box})


def wrong_box(trace: Trace) -> Trace | None:
    """The evidence is said to be somewhere else."""
    moved = elsewhere(trace)
    return moved and trace.model_copy(update={"regions": (moved, *trace.regions[1:])})


def cut_short(trace: Trace) -> Trace | None:
    """The last look ends in the middle of the evidence."""
    index = last_look(trace)
    view, evidence = view_of(trace.steps[index]).box, trace.regions[-1].box
    middle = (evidence.x1 + evidence.x2) // 2
    return with_view(trace, index, box=view._replace(x2=middle)) if middle - view.x1 >= 1 else None


def mistake_shows(trace: Trace) -> Trace | None:
    """A wrong look that shows the evidence after all."""
    index = first_mistake(trace)
    if index is None or trace.kind == "zoom_further":
        return None
    return with_view(trace, index, box=view_of(trace.steps[-2]).box)


def not_too_large(trace: Trace) -> Trace | None:
    """A too-large look that is no larger than the right one."""
    return with_view(trace, 0, box=view_of(trace.steps[-2]).box) if trace.kind == "zoom_further" else None


def blurred(trace: Trace) -> Trace | None:
    """The last look is shown so small that nobody could read it."""
    index = last_look(trace)
    view, region = view_of(trace.steps[index]), trace.regions[-1]
    scale = 4.0 / (region.text_px or min(region.box.width, region.box.height))
    if scale >= 0.9 or trace.kind == "compare":  # where the other look may show it too
        return None
    size = {"width": max(1, int(view.box.width * scale)), "height": max(1, int(view.box.height * scale))}
    return with_view(trace, index, **size)


def plain_to_see(trace: Trace) -> Trace | None:
    """Evidence that could be read in the whole view: the zoom is for show."""
    large = tuple(region.model_copy(update={"text_px": 400.0}) for region in trace.regions)
    return trace.model_copy(update={"regions": large})


def shifted_call(trace: Trace) -> Trace | None:
    """The call says another box than the one that was cut."""
    index = last_look(trace)
    call = trace.steps[index].call
    if call is None:
        return None
    x1, y1, x2, y2 = call.arguments["bbox_2d"]
    width = x2 - x1
    moved = [x1 + width / 2, y1, x2, y2] if width > 80 else None
    arguments = {**call.arguments, "bbox_2d": moved}
    return moved and with_step(trace, index, call=call.model_copy(update={"arguments": arguments}))


def other_padding(trace: Trace) -> Trace | None:
    """The operation is said to have run with another padding."""
    use = trace.provenance.operations[0]
    wider = use.model_copy(update={"options": {**use.options, "padding": 0.1}})
    return trace.model_copy(update={"provenance": trace.provenance.model_copy(update={"operations": (wider,)})})


def other_pixels(trace: Trace) -> Trace | None:
    """A view's hash isn't that of its pixels."""
    return with_view(trace, last_look(trace), sha256="f" * 64)


def other_target(trace: Trace) -> Trace | None:
    """A view of an image that the call doesn't name."""
    view = view_of(trace.steps[last_look(trace)])
    return with_view(trace, last_look(trace), box=view.box._replace(y1=view.box.y1 + 1))


def swapped_image(others: list[Trace]) -> Plant:
    """The question stands on another picture."""

    def plant(trace: Trace) -> Trace | None:
        mine = trace.example.media[0].sha256
        other = next((one for one in others if one.example.media[0].sha256 != mine), None)
        return other and trace.model_copy(
            update={"example": trace.example.model_copy(update={"media": other.example.media})}
        )

    return plant


def wrong_answer(trace: Trace) -> Trace | None:
    if trace.example.answer_type == "choice":
        letters = [chr(ord("A") + index) for index in range(len(trace.example.choices))]
        return trace.model_copy(update={"answer": next(one for one in letters if one not in trace.example.answers)})
    return trace.model_copy(update={"answer": "73914" if "73914" not in trace.example.answers else "73915"})


def leak(trace: Trace) -> Trace | None:
    """The first thought holds the answer."""
    answer = trace.example.answers[0]
    telling = trace.example.answer_type != "choice" and len(answer) > 1
    if not telling or answer.casefold() in trace.example.question.casefold():
        return None
    return with_step(trace, 0, thought=f"{trace.steps[0].thought} I expect {answer} there.")


def leak_in_words(trace: Trace) -> Trace | None:
    """The same number in thousands or with its decimals."""
    answer = trace.example.answers[0].replace(",", "")
    if not answer.isdigit() or int(answer) <= 20 or answer in trace.example.question.replace(",", ""):
        return None
    said = f"{int(answer) / 1000:g} thousand" if int(answer) > 999 and len(answer.rstrip("0")) <= 6 else f"{answer}.0"
    return with_step(trace, 0, thought=f"{trace.steps[0].thought} I expect {said} there.")


def annotation_talk(trace: Trace) -> Trace | None:
    return with_step(trace, 0, thought=f"{trace.steps[0].thought} The bounding box is given.")


def coordinates(trace: Trace) -> Trace | None:
    return with_step(trace, 0, thought=f"{trace.steps[0].thought} That is at [100, 200, 300, 400].")


def marker(trace: Trace) -> Trace | None:
    return with_step(trace, 0, thought=f"{trace.steps[0].thought} <|im_end|>")


def lost_step(trace: Trace) -> Trace | None:
    """The wrong look is gone, and its view with it."""
    index = first_mistake(trace)
    return None if index is None else trace.model_copy(update={"steps": trace.steps[:index] + trace.steps[index + 1 :]})


CLAIMS = (
    "Here I can read what I need.",
    "This is the right place, and the answer stands here.",
    "I have found the answer.",
    "This shows what I was looking for.",
    "I see {evidence} here.",
    "Here I can make out {evidence}.",
)


def claimed(trace: Trace) -> Trace | None:
    """The thought after a wrong look says that the evidence is there."""
    index = first_mistake(trace)
    label = trace.regions[0].label
    if index is None or trace.kind == "zoom_further" or len(label.split()) < 2:
        return None
    claim = CLAIMS[len(trace.id + trace.answer) % len(CLAIMS)].format(evidence=label)
    return with_step(trace, index + 1, thought=f"{claim} {trace.steps[index + 1].thought}")


def frames_moved(trace: Trace, by: int, s: float) -> Trace | None:
    """The last look is said to show frames so many, and so many seconds, further on."""
    index = last_look(trace)
    seen = trace.steps[index].observation
    if seen is None or not all(view.frame is not None and view.time_s is not None for view in seen.views):
        return None
    moved = {view: {"frame": (view.frame or 0) + by, "time_s": (view.time_s or 0.0) + s} for view in seen.views}
    views = tuple(view.model_copy(update=changes) for view, changes in moved.items())
    return with_step(trace, index, observation=seen.model_copy(update={"views": views}))


def next_frame(trace: Trace) -> Trace | None:
    """Each frame of the last look is the one after it."""
    return frames_moved(trace, 1, 0.1)


def other_moment(trace: Trace) -> Trace | None:
    """The last look shows frames from after the evidence."""
    spans = [region.span_s for region in trace.regions if region.span_s]
    return frames_moved(trace, 1000, 100.0) if spans else None
