"""One trace as an article of the report: the question, the whole picture with every look drawn on it, each step.

Views are cut again from the run's pictures. A picture that is gone, or that no longer fits on the page, leaves an
empty place with a sentence; it never stops the report.
"""

import base64
import json
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MediaStore, cut, fingerprint, to_jpeg
from dataforge.records import Example, Observation, Step, Trace, Verdict, View
from dataforge.report.elements import el

WHOLE = (480, 900)
"""Largest width and height of a whole picture on the page, in CSS pixels."""
PART = (420, 420)
ENLARGED = 4.0
"""A tiny picture is drawn this much larger at most, so that the marks on it can be told apart."""
QUALITY = 72
PAGE_BYTES = 4_000_000
"""JPEG bytes on one page: a third more as base64."""
SIGNED: dict[str, str] = {"mistake": "✗ mistake", "recover": "↺ recover"}
"""Roles that are told apart by more than colour."""

Size = tuple[float, float]


class Pictures:
    """The run's pictures as data: addresses, until the page holds PAGE_BYTES of them."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store
        self._left = PAGE_BYTES

    def whole(self, example: Example, media: int, most: Size) -> tuple[str, str]:
        """The address of a picture scaled into `most`, or "" and a sentence that says why there is none."""
        try:
            image = self._store.open(example.media[media])
        except ExampleError as error:
            return "", _absent(error)
        return self._address(image, most)

    def view(self, example: Example, view: View) -> tuple[str, str]:
        """The address of a view, cut again; the sentence is not empty when it isn't what was recorded."""
        try:
            image = self._store.open(example.media[view.media])
        except ExampleError as error:
            return "", _absent(error)
        shown = cut(image, view.box, (view.width, view.height))
        changed = fingerprint(shown) != view.sha256
        address, sentence = self._address(shown, PART)
        return address, "cut again, these are not the pixels that were recorded" if address and changed else sentence

    def _address(self, image: Image.Image, most: Size) -> tuple[str, str]:
        width, height = scaled(image.size, most)
        jpeg = to_jpeg(image.resize((round(width), round(height)), Image.Resampling.LANCZOS), QUALITY)
        if len(jpeg) > self._left:
            return "", "left out: the page holds enough pictures"
        self._left -= len(jpeg)
        return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"), ""


def _absent(error: ExampleError) -> str:
    return f"no picture: {error.reason.replace('_', ' ')}"


def scaled(size: Size, most: Size, enlarged: float = 1.0) -> Size:
    """The size scaled to fit into `most`, enlarged at most so many times; no side below 1."""
    scale = min(most[0] / size[0], most[1] / size[1], enlarged)
    return max(size[0] * scale, 1.0), max(size[1] * scale, 1.0)


def exhibit(number: int, trace: Trace, pictures: Pictures) -> Element:
    """The trace as an <article> with the id sample-NUMBER."""
    failed = next((verdict for verdict in trace.verdicts if not verdict.ok), None)
    judged = f"rejected, {failed.check}: {failed.reason}" if failed else "kept"
    head = el(
        "header",
        el("h3", f"{number}. ", el("code", trace.id)),
        el("span", trace.kind.replace("_", " "), class_="badge"),
        el("span", judged, class_=f"badge {'rejected' if failed else 'kept'}"),
    )
    steps = el("ol", *(_step(trace, step, pictures) for step in trace.steps), class_="steps")
    talk = el("div", _question(trace), _verdicts(trace.verdicts), steps, class_="talk")
    # the media that anything lies on, and the first
    used = {0} | {region.media for region in trace.regions} | {view.media for view in trace.all_views}
    wholes = el("div", *(_whole(trace, media, pictures) for media in sorted(used)), class_="wholes")
    return el("article", head, wholes, talk, class_="sample", id=f"sample-{number}")


# ------------------------------------------------------------------------------------------------ the whole picture


def _whole(trace: Trace, media: int, pictures: Pictures) -> Element:
    """A source picture with the evidence and every look on it, in the picture's own proportions."""
    source = trace.example.media[media]
    frame = Box(0, 0, source.width, source.height)
    width, height = scaled((source.width, source.height), WHOLE, ENLARGED)
    onto = Box(0, 0, width, height)
    address, sentence = pictures.whole(trace.example, media, WHOLE)
    drawing = el(
        "svg",
        el("title", f"The whole picture, {source.width} by {source.height} pixels, with evidence and looks"),
        viewBox=f"0 0 {width:.2f} {height:.2f}",
        width=width,
        height=height,
        role="img",
    )
    if address:
        drawing.append(el("image", href=address, width=width, height=height, preserveAspectRatio="none"))
    else:
        drawing.append(el("rect", width=width, height=height, class_="absent"))
        drawing.append(el("text", sentence, x=12, y=height / 2, class_="absent"))
    for what, tag, box in _looks(trace, media):
        drawing.append(_mark(box.mapped(frame, onto), onto, tag, what))
    for region in trace.regions:
        if region.media == media:
            drawing.append(_mark(region.box.mapped(frame, onto), onto, "E", "evidence"))
    return el("figure", drawing, _legend(trace, media))


def _mark(box: Box, frame: Box, tag: str, what: str) -> Element:
    """A box with its tag: evidence is tagged at its right side, a look above its left end, so both can be read."""
    place = {"x": box.x1, "y": box.y1, "width": max(box.width, 1), "height": max(box.height, 1)}
    wide, high = 10.0 + 8 * len(tag), 17.0
    x, y = (box.x2, box.center[1] - high / 2) if what == "evidence" else (box.x1, box.y1 - high)
    corner = Box(x, y, x + wide, y + high)
    x += max(0.0, frame.x1 - corner.x1) - max(0.0, corner.x2 - frame.x2)
    y += max(0.0, frame.y1 - corner.y1) - max(0.0, corner.y2 - frame.y2)
    return el(
        "g",
        el("rect", class_="halo", **place),
        el("rect", class_="line", **place),
        el("rect", class_="tag", x=x, y=y, width=wide, height=high, rx=3),
        el("text", tag, x=x + wide / 2, y=y + 12.5),
        class_=f"mark {what}",
    )


def _legend(trace: Trace, media: int) -> Element:
    """What the marks mean, with the labels of the evidence; only for marks that are there."""
    # each label once: a list question has a region for every item
    labels = list(dict.fromkeys(region.label or "(no label)" for region in trace.regions if region.media == media))
    rows = []
    if labels:
        rows.append(el("li", el("i", "E", class_="key evidence"), "evidence: ", el("bdi", ", ".join(labels))))
    for what, meaning in (("look", "look"), ("mistake", "deliberate mistake (dashed)")):
        keys = [el("i", tag, class_=f"key {what}") for mark, tag, _ in _looks(trace, media) if mark == what]
        if keys:
            rows.append(el("li", *keys, f"{meaning}, with the number of its image"))
    source = trace.example.media[media]
    about = " · ".join(filter(None, [f"{source.width}×{source.height} pixels", source.origin, source.licence]))
    return el("figcaption", el("ul", *rows) if rows else None, el("p", about, class_="dim"))


def _looks(trace: Trace, media: int) -> Iterator[tuple[str, str, Box]]:
    """What was looked at on a picture: "look" or "mistake", the tag, the box in source pixels."""
    for step in trace.looks:
        mistake = step.role == "mistake"
        for view in step.observation.views if step.observation else ():
            if view.media == media:
                yield ("mistake", f"{view.number} ✗", view.box) if mistake else ("look", str(view.number), view.box)


# ------------------------------------------------------------------------------------------------- the conversation


def _question(trace: Trace) -> Element:
    example = trace.example
    choices = el("ol", *(el("li", choice, dir="auto") for choice in example.choices), type="A")
    accepted = " | ".join(example.answers) or "(unknown)"
    return el(
        "div",
        el("p", example.question, class_="question", dir="auto"),
        choices if example.choices else None,
        el(
            "dl",
            el("dt", f"accepted ({example.answer_type})"),
            el("dd", accepted, dir="auto"),
            el("dt", "given"),
            el("dd", trace.answer or "(none)", dir="auto"),
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
            {"mistake": "✗ mistake", "recover": "↺ recover"}.get(step.role, step.role),
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
    shown = [_view(trace, view, pictures) for view in observation.views]
    return el("div", el("small", "what came back"), el("p", error, observation.text), *shown, class_="observed")


def _view(trace: Trace, view: View, pictures: Pictures) -> Element:
    """A view as the student saw it, scaled down, with what of the source it shows."""
    address, sentence = pictures.view(trace.example, view)
    width, height = (round(side) for side in scaled((view.width, view.height), PART))
    picture = el("div", sentence, class_="absent", style=f"width:{width}px;height:{height}px")
    if address:
        picture = el("img", src=address, width=width, height=height, alt=f"Image {view.number}", decoding="async")
    box = ", ".join(f"{side:g}" for side in view.box)
    caption = f"image {view.number}, {view.width}×{view.height} pixels, shows [{box}] of the source"
    warning = el("b", f" {sentence}", class_="error") if address and sentence else None
    return el("figure", picture, el("figcaption", caption, warning))
