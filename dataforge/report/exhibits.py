"""One trace as an article of a page: the question, the whole picture with every look drawn on it, each step.

Views are cut again from the run's pictures. A picture that is gone, or that no longer fits on the page, leaves an
empty place with a sentence; it never stops the page.
"""

import json
from xml.etree.ElementTree import Element

from dataforge.records import Example, Observation, Step, Trace, Verdict
from dataforge.report import drawing, strip
from dataforge.report.elements import el
from dataforge.report.pictures import Pictures

SIGNED: dict[str, str] = {"mistake": "✗ mistake", "recover": "↺ recover"}
"""Roles that are told apart by more than colour."""


def exhibit(number: int, trace: Trace, pictures: Pictures, kept: bool | None = None) -> Element:
    """The trace as an <article> with the id sample-NUMBER; `kept` where a mark has the last word, not the verdicts."""
    failed = next((verdict for verdict in trace.verdicts if not verdict.ok), None)
    kept = failed is None if kept is None else kept
    judged = "kept" if kept else f"rejected, {failed.check}: {failed.reason}" if failed else "rejected"
    head = el(
        "header",
        el("h3", f"{number}. ", el("code", trace.id)),
        el("span", trace.kind.replace("_", " "), class_="badge"),
        el("span", judged, class_=f"badge {'kept' if kept else 'rejected'}"),
    )
    steps = el("ol", *(_step(trace, step, pictures) for step in trace.steps), class_="steps")
    given = (el("dt", "given"), el("dd", trace.answer or "(none)", dir="auto"))
    talk = el("div", question(trace.example, *given), _verdicts(trace.verdicts), steps, class_="talk")
    # the media that anything lies on, and the first
    used = {0, *(region.media for region in trace.regions), *(view.media for view in trace.all_views)}
    there = sorted(used & set(range(len(trace.example.media))))
    wholes = el("div", *(_whole(trace, media, pictures) for media in there), class_="wholes")
    return el("article", head, wholes, talk, class_="sample", id=f"sample-{number}")


def _whole(trace: Trace, media: int, pictures: Pictures) -> Element:
    draw = strip.strip if trace.example.media[media].kind == "video" else drawing.whole
    return draw(trace, media, pictures)


# ------------------------------------------------------------------------------------------------- the conversation


def question(example: Example, *terms: Element) -> Element:
    """What is asked, the choices, the accepted answers, and further terms with their descriptions."""
    choices = el("ol", *(el("li", choice, dir="auto") for choice in example.choices), type="A")
    return el(
        "div",
        el("p", example.question, class_="question", dir="auto"),
        choices if example.choices else None,
        el(
            "dl",
            el("dt", f"accepted ({example.answer_type})"),
            el("dd", " | ".join(example.answers) or "(unknown)", dir="auto"),
            *terms,
        ),
    )


def _verdicts(verdicts: tuple[Verdict, ...]) -> Element:
    return el("ul", *map(_verdict, verdicts), class_="verdicts")


def _verdict(verdict: Verdict) -> Element:
    score = "" if verdict.score is None else f" {verdict.score:.2f}"
    if verdict.ok:
        return el("li", f"✓ {verdict.check}{score}", class_="ok")
    detail = f": {verdict.detail}" if verdict.detail else ""
    return el("li", f"✗ {verdict.check}{score}: {verdict.reason}", el("span", detail), class_="not-ok")


def _step(trace: Trace, step: Step, pictures: Pictures) -> Element:
    learned = {"thought": step.learn in ("both", "thought"), "call": step.learn in ("both", "call")}
    said = None
    if step.call:
        called = {"name": step.call.name, "arguments": step.call.arguments}
        said = _spoken("call", el("code", json.dumps(called, ensure_ascii=False)), learned["call"])
    elif step.role == "answer":
        said = _spoken("answer", el("b", trace.answer, dir="auto"), learned["call"])
    return el(
        "li",
        el(
            "span",
            SIGNED.get(step.role, step.role),
            class_=f"role {step.role}",
        ),
        _spoken("thought", el("span", step.thought, dir="auto"), learned["thought"]),
        said,
        _observed(trace, step.observation, pictures) if step.observation else None,
    )


def _spoken(what: str, content: Element, learned: bool) -> Element:
    """A part of the student's turn, marked as seen by the training loss or masked from it."""
    state = "learned" if learned else "masked"
    return el("div", el("small", f"{what} · {state}"), el("p", content), class_=f"spoken {state}")


def _observed(trace: Trace, observation: Observation, pictures: Pictures) -> Element:
    error = el("b", f"{observation.error} ", class_="error") if observation.error else None
    told = [el("small", "what came back"), el("p", error, observation.text)]
    if any(view.time_s is not None for view in observation.views):
        most = [strip.size_of(view, len(observation.views)) for view in observation.views]
        frames = [drawing.part(trace, view, pictures, one) for view, one in zip(observation.views, most, strict=True)]
        return el("div", *told, el("div", *frames, class_="frames" if len(frames) > 2 else ""), class_="observed")
    shown = [drawing.part(trace, view, pictures) for view in observation.views]
    return el("div", *told, *shown, class_="observed")
