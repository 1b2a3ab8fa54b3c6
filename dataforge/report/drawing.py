"""Boxes drawn on pictures: every look and the evidence on the whole picture, and on each view what was cut from it.

Wrong looks are dashed and signed, so that they are told apart by more than colour. A zoom of a zoom is drawn twice:
where it lies on the source, and on the view that the student pointed at.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from dataforge.geometry import Box
from dataforge.records import Step, Trace, View
from dataforge.report.elements import el
from dataforge.report.pictures import Pictures, Size, scaled

WHOLE = (480, 900)
"""Largest width and height of a whole picture on the page, in CSS pixels."""
PART = (420, 420)
ENLARGED = 4.0
"""A tiny picture is drawn this much larger at most, so that the marks on it can be told apart."""


def whole(trace: Trace, media: int, pictures: Pictures) -> Element:
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
        drawing.append(mark(box.mapped(frame, onto), onto, tag, what))
    for region in trace.regions:
        if region.media == media:
            drawing.append(mark(region.box.mapped(frame, onto), onto, "E", "evidence"))
    return el("figure", linked(drawing, pictures.link(trace, media=media)), _legend(trace, media))


def part(trace: Trace, view: View, pictures: Pictures, most: Size = PART) -> Element:
    """A view as the student saw it, scaled down, with the evidence and the looks that were cut from it."""
    address, sentence = pictures.view(trace.example, view, most)
    shows = "blank, a control, instead of" if view.blank else "shows"
    caption = f"image {view.number}, {view.width}×{view.height} pixels, {shows} {_shown(trace, view)}"
    if not address:
        return el("figure", el("div", sentence, class_="absent"), el("figcaption", caption))
    width, height = scaled((view.width, view.height), most)
    size: dict[str, str | float] = {"width": round(width), "height": round(height)}
    picture = el("img", src=address, alt=f"Image {view.number}", decoding="async", **size)
    over = el("svg", viewBox=f"0 0 {width:.2f} {height:.2f}", preserveAspectRatio="none", class_="over")
    over.extend(_marks_on(trace, view, Box(0, 0, width, height)))
    framed = el("div", picture, over if len(over) else None, class_="framed")
    warning = el("b", f" {sentence}", class_="error") if sentence else None
    return el("figure", linked(framed, pictures.link(trace, view=view.number)), el("figcaption", caption, warning))


def _shown(trace: Trace, view: View) -> str:
    """What part of the source a view shows, and of a video at which time."""
    source = trace.example.media[view.media]
    box = ", ".join(f"{side:g}" for side in view.box)
    if view.time_s is None:
        return f"[{box}] of the source"
    whole = view.box == Box(0, 0, source.width, source.height)
    return f"{'the frame' if whole else f'[{box}] of the frame'} at {view.time_s:.2f} s"


def linked(drawing: Element, address: str) -> Element:
    """The drawing as a link to its full size, where there is one."""
    return el("a", drawing, href=address, target="_blank", title="in full size") if address else drawing


def _marks_on(trace: Trace, view: View, onto: Box) -> Iterator[Element]:
    """The evidence that a view shows, without a tag that could hide it, and each look whose call names this view."""
    for region in trace.regions:
        there = region.media == view.media and region.there_at(view.time_s)
        if there and view.box.overlaps(region.box) and not (region.span_s and region.box.contains(view.box)):
            yield mark(region.box.clamp(view.box).mapped(view.box, onto), onto, "", "evidence")
    for step in trace.looks:
        if target(step) == view.number:
            for what, tag, box in _views(step, view.media):
                yield mark(box.clamp(view.box).mapped(view.box, onto), onto, tag, what)


def target(step: Step) -> int | None:
    """The number of the image that a step's call points at."""
    number = step.call.arguments.get("target_image") if step.call else None
    return number if isinstance(number, int) else None


def _looks(trace: Trace, media: int) -> Iterator[tuple[str, str, Box]]:
    """What was looked at on a picture: "look" or "mistake", the tag, the box in source pixels."""
    for step in trace.looks:
        yield from _views(step, media)


def _views(step: Step, media: int) -> Iterator[tuple[str, str, Box]]:
    mistake = step.role == "mistake"
    for view in step.observation.views if step.observation else ():
        if view.media == media:
            yield ("mistake", f"{view.number} ✗", view.box) if mistake else ("look", str(view.number), view.box)


def mark(box: Box, frame: Box, tag: str, what: str) -> Element:
    """A box with its tag: evidence is tagged at its right side, a look above its left end, so both can be read."""
    place = {"x": box.x1, "y": box.y1, "width": max(box.width, 1), "height": max(box.height, 1)}
    drawn = el("g", el("rect", class_="halo", **place), el("rect", class_="line", **place), class_=f"mark {what}")
    if tag:
        wide, high = 10.0 + 8 * len(tag), 17.0
        x, y = (box.x2, box.center[1] - high / 2) if what == "evidence" else (box.x1, box.y1 - high)
        corner = Box(x, y, x + wide, y + high)
        x += max(0.0, frame.x1 - corner.x1) - max(0.0, corner.x2 - frame.x2)
        y += max(0.0, frame.y1 - corner.y1) - max(0.0, corner.y2 - frame.y2)
        drawn.append(el("rect", class_="tag", x=x, y=y, width=wide, height=high, rx=3))
        drawn.append(el("text", tag, x=x + wide / 2, y=y + 12.5))
    return drawn


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
