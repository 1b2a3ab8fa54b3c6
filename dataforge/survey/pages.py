"""The survey's page: the numbers as bars, and pictures with their boxes, in the report's frame and style."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.records import Example, Media, Region, Scene
from dataforge.report.drawing import WHOLE, mark
from dataforge.report.elements import el, whole_page
from dataforge.report.exhibits import question
from dataforge.report.pages import chart
from dataforge.report.pictures import scaled, shrunk

if TYPE_CHECKING:
    from dataforge.survey import Survey

MOST_BOXES = 60
"""Of one picture that are drawn."""


class Exhibits:
    """The first pictures of a sample, each once, with its boxes and questions, drawn while its file is there."""

    def __init__(self, most: int) -> None:
        self.articles: list[Element] = []
        self._most = most
        self._groups: set[str] = set()

    def see(self, found: Example | Scene, store: MediaStore) -> None:
        if found.group in self._groups or len(self._groups) >= self._most:
            return
        self._groups.add(found.group)
        self.articles.append(_article(len(self._groups), found, store))


def page(survey: "Survey", exhibits: Exhibits) -> str:
    """The whole page as HTML."""
    body = el("main", _head(survey), _sums(survey), _charts(survey))
    if exhibits.articles:
        body.append(el("section", el("h2", f"{len(exhibits.articles)} pictures"), *exhibits.articles))
    return whole_page(f"{survey.source}: what is in it", body)


def _head(survey: "Survey") -> Element:
    passed_on = "pictures may be published" if survey.redistributable else "pictures may not be published"
    return el(
        "header",
        el("h1", survey.source),
        el("p", survey.licence, class_="dim"),
        el("p", passed_on, class_="dim" if survey.redistributable else "warn"),
    )


def _sums(survey: "Survey") -> Element:
    rows = "endless" if survey.rows is None else f"{survey.rows:,}"
    pairs = {
        "rows": rows,
        "rows that can't be read": f"{sum(survey.unreadable.values()):,}" if survey.unreadable else "",
        "opened": f"{survey.sampled:,}",
        "examples of them": f"{survey.examples:,}",
        "left to the teacher to ask": f"{survey.posed_by_teacher:,}" if survey.posed_by_teacher else "",
        "pictures": f"{survey.pictures:,}",
        "pictures missing": f"{survey.missing:,}" if survey.missing else "",
        "with boxes": f"{survey.with_boxes:,} of {survey.examples:,}",
        "boxes": f"{survey.boxes:,}",
        "other places": f"{survey.other_places:,}",
    }
    terms = [el("div", el("dt", name), el("dd", value)) for name, value in pairs.items() if value]
    return el("section", el("dl", *terms), class_="card took")


def _charts(survey: "Survey") -> Element:
    charts = [
        chart("Rows that can't be read", survey.unreadable, fill="failed"),
        chart("Opened in vain", survey.failures, fill="failed"),
        chart("Size of pictures", survey.megapixels),
        chart("Length of videos", survey.seconds),
        chart("Boxes, share of the picture", survey.box_shares),
        chart("Who said where", survey.said_by),
        chart("Answer type", survey.answer_types),
        chart("Accepted answers", survey.answers),
        chart("Split", survey.splits),
    ]
    return el("section", *charts, class_="charts")


def _article(number: int, found: Example | Scene, store: MediaStore) -> Element:
    head = el("header", el("h3", f"{number}. ", el("code", found.id)))
    wholes = el("div", *(_whole(found, media, store) for media in range(len(found.media))), class_="wholes")
    talk = el("div", _asked(found), class_="talk")
    return el("article", head, wholes, talk, class_="sample", id=f"sample-{number}")


def _asked(found: Example | Scene) -> Element:
    if isinstance(found, Scene):
        offered = f"{len(found.places)} places to choose from" if found.places else "it finds the place as well"
        return el("p", f"No question: the teacher makes one; {offered}.", class_="question")
    labels = list(dict.fromkeys(region.label or "(no label)" for region in found.evidence))
    boxes = [el("dt", "evidence"), el("dd", ", ".join(labels), dir="auto")] if labels else []
    return question(found, *boxes)


def _whole(found: Example | Scene, media: int, store: MediaStore) -> Element:
    """A picture, or a frame of a video, with its boxes: the evidence, or the places that a question may be about."""
    source = found.media[media]
    frame = Box(0, 0, source.width, source.height)
    width, height = scaled((source.width, source.height), WHOLE)
    onto = Box(0, 0, width, height)
    boxes = [one for one in (found.places if isinstance(found, Scene) else found.evidence) if one.media == media]
    shown, address = _shown(source, boxes, store)
    drawing = el("svg", viewBox=f"0 0 {width:.2f} {height:.2f}", width=width, height=height, role="img")
    if address:
        drawing.append(el("image", href=address, width=width, height=height, preserveAspectRatio="none"))
    else:
        drawing.append(el("rect", width=width, height=height, class_="absent"))
        drawing.append(el("text", shown, x=12, y=height / 2, class_="absent"))
    for number, region in enumerate(boxes[:MOST_BOXES], start=1):
        tag = str(number) if isinstance(found, Scene) else "E"
        drawing.append(mark(region.box.mapped(frame, onto), onto, tag, "evidence"))
    about = " · ".join(
        filter(None, [f"{source.width}×{source.height} pixels", shown if address else "", source.origin])
    )
    return el("figure", drawing, el("figcaption", el("p", about, class_="dim")))


def _shown(source: Media, boxes: Sequence[Region], store: MediaStore) -> tuple[str, str]:
    """What is shown, in words, and its address; of a video, the frame in the middle of the evidence's time.

    Where it can't be opened the words say why, and the address is empty.
    """
    try:
        if source.kind == "image":
            return "", _address(store.open(source))
        start, end = next((one.span_s for one in boxes if one.span_s), source.span_s) or (0.0, 0.0)
        (frame,) = store.frames_at(source, [(start + end) / 2])
        store.fetch(source, [frame])
        length = (source.span_s[1] - source.span_s[0]) if source.span_s else 0.0
        return f"at {frame.time_s:.1f} of {length:.1f} s", _address(store.open(source, frame.time_s))
    except ExampleError as error:
        return f"no picture: {error.reason.replace('_', ' ')}", ""


def _address(image: Image.Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(shrunk(image, WHOLE)).decode("ascii")
