"""A video as a film strip: the frames of its overview, and below them a time line with the evidence and every look.

What is compared is time. Each row of the line is one thing: the overview's frames, each stretch of evidence, each look
with its frames; a wrong look is dashed and signed, so that it is told apart by more than colour.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from dataforge.records import Span, Trace, View
from dataforge.report.elements import el
from dataforge.report.pictures import Pictures, scaled

WIDTH = 480.0
ACROSS = 4
GAP = 4.0
LEFT = 64.0
"""Where the time line begins: what stands before it names the row."""
ROW = 22.0


def strip(trace: Trace, media: int, pictures: Pictures) -> Element:
    """The overview of a video with the evidence and the looks on a time line."""
    views = [view for view in trace.views if view.media == media and view.time_s is not None]
    cell = (WIDTH - (ACROSS - 1) * GAP) / ACROSS
    shape = views[0].height / views[0].width if views else 0.5
    high = cell * shape + 15
    sheet = -(-len(views) // ACROSS) * (high + GAP)
    rows = [*_rows(trace, media)]
    height = sheet + ROW * (len(rows) + 1) + 6
    drawing = el(
        "svg",
        el("title", "Frames of the video, and a time line with evidence and looks"),
        viewBox=f"0 0 {WIDTH:.0f} {height:.2f}",
        width=WIDTH,
        height=height,
        role="img",
        class_="strip",
    )
    for place, view in enumerate(views):
        x, y = place % ACROSS * (cell + GAP), place // ACROSS * (high + GAP)
        drawing.append(_frame(trace, view, pictures, (x, y, cell, cell * shape)))
    span = trace.example.media[media].span_s or (0.0, 0.0)
    drawing.extend(_axis(span, sheet, len(rows)))
    for number, (what, name, spans, times) in enumerate(rows):
        drawing.append(_row(what, name, spans, times, span, sheet + ROW * (number + 0.5)))
    return el("figure", drawing, _legend(trace, media))


def _rows(trace: Trace, media: int) -> Iterator[tuple[str, str, list[Span], list[float]]]:
    """What stands on the time line: sort, name, stretches, and the times of single frames."""
    yield "overview", "overview", [], _times(trace.views, media)
    for region in trace.regions:
        if region.media == media and region.span_s:
            yield "evidence", "evidence", [region.span_s], []
    for number, step in enumerate(trace.looks, start=1):
        times = _times(step.observation.views if step.observation else (), media)
        wrong = step.role == "mistake"
        yield ("mistake" if wrong else "look"), f"look {number}{' ✗' if wrong else ''}", [], times


def _times(views: tuple[View, ...], media: int) -> list[float]:
    return [view.time_s for view in views if view.media == media and view.time_s is not None]


def _frame(trace: Trace, view: View, pictures: Pictures, place: tuple[float, float, float, float]) -> Element:
    """One frame with its number and time, framed where evidence is there to be seen, linked to its full size."""
    x, y, width, height = place
    address, sentence = pictures.view(trace.example, view, (2 * width, 2 * height))
    there = any(region.media == view.media and region.there_at(view.time_s) for region in trace.regions)
    drawn = el("g", class_="frame evident" if there else "frame")
    box = {"x": x, "y": y, "width": width, "height": height}
    if address:
        drawn.append(el("image", href=address, preserveAspectRatio="none", **box))
    else:
        drawn.append(el("rect", el("title", sentence), class_="absent", **box))
    drawn.append(el("rect", class_="edge", **box))
    drawn.append(el("text", f"{view.number} · {view.time_s:.1f} s", x=x + 2, y=y + height + 12))
    link = pictures.link(trace, view=view.number)
    return el("a", drawn, href=link, target="_blank") if link else drawn


def _axis(span: Span, top: float, rows: int) -> Iterator[Element]:
    """Upright lines at whole seconds, not too near each other, with their times below."""
    length = max(span[1] - span[0], 1e-6)
    step = next((step for step in (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900) if length / step <= 8), 3600)
    bottom = top + ROW * rows
    at = -(-span[0] // step) * step
    while at <= span[1] + 1e-9:
        x = _x(at, span)
        yield el("line", x1=x, x2=x, y1=top + 4, y2=bottom + 2, class_="tick")
        yield el("text", f"{at:g} s", x=x, y=bottom + 16, class_="second")
        at += step


def _row(what: str, name: str, spans: list[Span], times: list[float], whole: Span, y: float) -> Element:
    drawn = el("g", el("text", name, x=0, y=y + 4, class_="name"), class_=f"line {what}")
    if times:
        first, last = _x(min(times), whole), _x(max(times), whole)
        drawn.append(el("line", x1=first, x2=max(last, first + 0.1), y1=y, y2=y))
    for start, end in spans:
        x = _x(start, whole)
        drawn.append(el("rect", x=x, y=y - 6, width=max(_x(end, whole) - x, 3), height=12, rx=2))
    for time in times:
        drawn.append(el("circle", el("title", f"{time:.2f} s"), cx=_x(time, whole), cy=y, r=4))
    return drawn


def _x(time: float, whole: Span) -> float:
    length = max(whole[1] - whole[0], 1e-6)
    return LEFT + min(max((time - whole[0]) / length, 0.0), 1.0) * (WIDTH - LEFT - 14)


def _legend(trace: Trace, media: int) -> Element:
    labels = list(dict.fromkeys(region.label for region in trace.regions if region.media == media and region.label))
    source = trace.example.media[media]
    length = (source.span_s[1] - source.span_s[0]) if source.span_s else 0.0
    facts = f"{source.width}×{source.height} pixels, {source.frames} frames in {length:.1f} s"
    about = " · ".join(filter(None, [facts, source.origin, source.licence]))
    said = el("p", el("i", "E", class_="key evidence"), "evidence: ", el("bdi", ", ".join(labels))) if labels else None
    return el("figcaption", said, el("p", about, class_="dim"))


def size_of(view: View, beside: int) -> tuple[float, float]:
    """How large a view of a video is drawn among so many of its look."""
    return scaled((view.width, view.height), (420, 420) if beside < 3 else (204, 204))
