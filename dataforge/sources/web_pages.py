"""Web pages: screenshots with questions and the box of the element that answers them, or pages drawn here.

Pixel Reasoner took pages from VISA's FineWeb part, screenshots with an answer box each, which nobody has published. Its
like are folders in the layouts of WebSRC, ScreenQA and Textract (`path`); without one, long pages are written from a
seed and drawn by Chromium, with boxes from the browser's own layout (`dataforge.pages`).
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes, web
from dataforge.records import Example, Failure, Media, Region
from dataforge.sources.infographics import words_of

if TYPE_CHECKING:
    from dataforge.pages import Page

LONGEST_LABEL = 120
LEAST_PLACE, MOST_PLACE = 0.00005, 0.2
"""Of the page: what is smaller or larger is no place to look at by mistake."""


class WebPages(Source):
    """Pages with questions: a folder as of WebSRC, ScreenQA or Textract (`path`); without it, drawn by Chromium."""

    path: Path | None = Field(default=None, description="folder of screenshots with questions")
    layout: web.Layout | None = Field(default=None, description="of the folder; default: by what lies in it")
    split: str = "train"
    seed: int = Field(default=0, description="of the pages drawn")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: all, endless when drawn")
    per_page: int = Field(default=1, ge=1, le=8, description="questions asked of each page drawn")

    @property
    def drawn(self) -> bool:
        """The pages are this program's own."""
        return self.path is None

    @property
    def licence(self) -> str:
        return "Apache-2.0" if self.path is None else web.LICENCES[self.layout or web.recognised(self.path)]

    @property
    def redistributable(self) -> bool:
        return self.drawn

    @property
    def endless(self) -> bool:
        return self.drawn and self.count is None

    @property
    def missing(self) -> str:
        from dataforge.pages.chromium import program

        here = not self.drawn or program() is not None
        return "" if here else "no Chromium to draw pages with: apt-get install chromium, or give a folder as `path`"

    def read(self) -> Iterator[Row | Failure]:
        """Rows in the order of the files; a page's questions one after the other. UsageError for no data."""
        if self.path is None:
            yield from reading.drawn_rows(f"page-{self.split}-{self.seed}", self.per_page, self.start, self.count)
            return
        layout = self.layout or web.recognised(self.path)
        entries = web.entries(self.path, layout, self.split)
        make = partial(_row, layout)
        yield from reading.rows(f"{layout}-{self.path.name}", entries, make, self.start, self.count)

    def example(self, row: Row, store: MediaStore) -> Example:
        if self.drawn:
            return self._drawn_example(row, store)
        found = row.content
        media = store.add_file(found["picture"], found["licence"], row.group)
        _refuse_other_size(found["size"], media)
        convention = found["convention"]
        places = [boxes.placed(box, convention, media.width, media.height) for box in boxes.listed(found["boxes"])]
        evidence = tuple(Region(box=box) for box in places)
        words = words_of(found["words"], media.width, media.height)
        return self.asked(row, media, split=self.split, evidence=evidence, context=words)

    def _drawn_example(self, row: Row, store: MediaStore) -> Example:
        page = _page(reading.seed_of(row.group))
        if row.content >= len(page.asked):
            raise ExampleError("read", "no_question", f"{row.group} has {len(page.asked)} questions")
        asked = page.asked[row.content]
        text_px = page.places[asked.key].text_px
        evidence = tuple(
            Region(box=page.places[key].box, label=label, text_px=text_px) for key, label in asked.places.items()
        )
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            question=asked.question,
            answers=(asked.answer,),
            answer_type=asked.answer_type,
            media=(store.add_bytes(page.sheet.png, ".png", self.licence, f"{row.group}, {page.sheet.drawn_by}"),),
            evidence=evidence,
            context=tuple(_other_places(page, evidence)),
        )


def _row(layout: web.Layout, number: int, entry: dict[str, Any]) -> Row:
    return Row(f"{layout}-{entry['id']}", f"{layout}/{entry['group']}", entry | {"licence": web.LICENCES[layout]})


def _refuse_other_size(stated: tuple[int | None, int | None], media: Media) -> None:
    """ExampleError where boxes are stated for a picture of another size: they would lie elsewhere."""
    for side, there in zip(stated, (media.width, media.height), strict=True):
        if side is not None and abs(side - there) > boxes.ROUNDING_PX:
            raise ExampleError("read", "size_mismatch", f"{stated} stated, {media.width}x{media.height} found")


@lru_cache(maxsize=1)
def _page(seed: int) -> "Page":
    """The page; kept until the next, since its questions come one after the other."""
    from dataforge import pages

    return pages.draw(seed)


def _other_places(page: "Page", evidence: tuple[Region, ...]) -> Iterator[Region]:
    """Elements of the page that could hold an answer and don't."""
    whole = Box(0, 0, page.sheet.width, page.sheet.height)
    for one in page.sheet.printed:
        fits = LEAST_PLACE * whole.area <= one.box.area <= MOST_PLACE * whole.area
        if fits and one.text and not any(one.box.overlaps(region.box) for region in evidence):
            yield Region(box=one.box, label=one.text[:LONGEST_LABEL], text_px=one.text_px)
