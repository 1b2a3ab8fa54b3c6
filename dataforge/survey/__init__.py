"""Survey: what a source holds before anything is made of it, as numbers and as one page.

All rows are read and counted, which opens no picture; a sample of them, spread evenly over all, becomes examples with
its pictures opened. A source that never ends is sampled from its start. Pictures are taken into a folder that is thrown
away group by group, so a survey needs no space that grows with the source.
"""

import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from dataforge.errors import ExampleError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure, Scene
from dataforge.survey.pages import Exhibits, page

EDGES_MP = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
EDGES_S = (5.0, 15.0, 30.0, 60.0, 180.0, 600.0)
EDGES_PERCENT = (0.01, 0.1, 1.0, 5.0, 20.0, 50.0)
SHOWN = 10


class Survey(BaseModel):
    """A source in numbers. `rows` is None for a source that never ends; counts below `sampled` are of the sample."""

    source: str
    licence: str
    redistributable: bool
    rows: int | None
    unreadable: dict[str, int]
    sampled: int
    examples: int
    posed_by_teacher: int
    failures: dict[str, int] = {}
    pictures: int
    missing: int
    groups: int
    splits: dict[str, int] = {}
    answer_types: dict[str, int] = {}
    answers: dict[str, int] = {}
    megapixels: dict[str, int] = {}
    seconds: dict[str, int] = {}
    with_boxes: int
    boxes: int
    box_shares: dict[str, int] = {}
    said_by: dict[str, int] = {}
    other_places: int


def survey(source: Source, limit: int, watch: Callable[[int], None] = lambda done: None) -> tuple[Survey, str]:
    """The numbers and the page of a source; at most `limit` rows are opened. UsageError where it can't be read."""
    rows, unreadable = _count(source)
    counting, exhibits = Counting(), Exhibits(SHOWN)
    step = 1 if rows is None else max(1, -(-rows // limit))
    chosen = itertools.islice((item for item in source.read() if isinstance(item, Row)), 0, step * limit, step)
    for done, (row, found, store) in enumerate(_examples(source, chosen), start=1):
        counting.see(row, found)
        if not isinstance(found, Failure):
            exhibits.see(found, store)
        watch(done)
    numbers = counting.survey(source, rows, unreadable)
    return numbers, page(numbers, exhibits)


def _count(source: Source) -> tuple[int | None, dict[str, int]]:
    """How many rows there are, and how many can't be read by reason."""
    if source.endless:
        return None, {}
    rows, unreadable = 0, Counter[str]()
    for item in source.read():
        if isinstance(item, Row):
            rows += 1
        else:
            unreadable[f"{item.stage}: {item.reason}"] += 1
    return rows, dict(unreadable)


def _examples(source: Source, rows: Iterator[Row]) -> Iterator[tuple[Row, Example | Scene | Failure, MediaStore]]:
    """What becomes of each row, with the store that holds its pictures until the next group."""
    for _, group in itertools.groupby(rows, key=lambda row: row.group):
        with tempfile.TemporaryDirectory() as folder:
            store = MediaStore(Path(folder))
            for row in group:
                try:
                    yield row, source.example(row, store), store
                except ExampleError as error:
                    yield row, Failure(id=row.id, stage=error.stage, reason=error.reason, detail=error.detail), store


class Counting:
    """Counts what a sample of rows becomes."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._pictures: set[str] = set()
        self._missing: set[str] = set()
        self._groups: set[str] = set()

    def see(self, row: Row, found: Example | Scene | Failure) -> None:
        self.seen["sampled"] += 1
        self._groups.add(row.group)
        if isinstance(found, Failure):
            self.counts["failures"][f"{found.stage}: {found.reason}"] += 1
            if found.reason == "missing_media":
                self._missing.add(row.group)
            return
        self.seen["examples"] += 1
        self.counts["splits"][found.split or "(none)"] += 1
        for media in found.media:
            if media.sha256 not in self._pictures:
                self._pictures.add(media.sha256)
                self.counts["megapixels"][_bin(media.width * media.height / 1e6, EDGES_MP, " MP")] += 1
                if media.span_s:
                    self.counts["seconds"][_bin(media.span_s[1] - media.span_s[0], EDGES_S, " s")] += 1
        if isinstance(found, Scene):
            self.seen["posed"] += 1
        else:
            self.counts["answer_types"][found.answer_type] += 1
            self.counts["answers"][_many(len(found.answers))] += 1
        self._see_boxes(found)

    def _see_boxes(self, found: Example | Scene) -> None:
        boxes = found.places if isinstance(found, Scene) else found.evidence
        self.seen["with_boxes"] += bool(boxes)
        self.seen["boxes"] += len(boxes)
        self.seen["context"] += len(found.context)
        for region in boxes:
            media = found.media[region.media]
            share = region.box.area / (media.width * media.height)
            self.counts["box_shares"][_bin(100 * share, EDGES_PERCENT, " %")] += 1
            self.counts["said_by"][region.said_by] += 1

    def survey(self, source: Source, rows: int | None, unreadable: dict[str, int]) -> Survey:
        ordered = {name: dict(counts.most_common()) for name, counts in self.counts.items()}
        scales = (("megapixels", EDGES_MP, " MP"), ("seconds", EDGES_S, " s"), ("box_shares", EDGES_PERCENT, " %"))
        for name, edges, unit in scales:
            counts = self.counts[name]
            ordered[name] = {label: counts[label] for label in _bins(edges, unit) if counts[label]}
        return Survey(
            source=source.name,
            licence=source.licence,
            redistributable=source.redistributable,
            rows=rows,
            unreadable=unreadable,
            sampled=self.seen["sampled"],
            examples=self.seen["examples"],
            posed_by_teacher=self.seen["posed"],
            pictures=len(self._pictures),
            missing=len(self._missing),
            groups=len(self._groups),
            with_boxes=self.seen["with_boxes"],
            boxes=self.seen["boxes"],
            other_places=self.seen["context"],
            **ordered,
        )


def _bins(edges: tuple[float, ...], unit: str) -> list[str]:
    between = [f"{low:g} to {high:g}{unit}" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]:g}{unit}", *between, f"over {edges[-1]:g}{unit}"]


def _bin(value: float, edges: tuple[float, ...], unit: str) -> str:
    """The name of the bin that holds a value; a value on an edge belongs to the bin above it."""
    return _bins(edges, unit)[sum(value >= edge for edge in edges)]


def _many(count: int) -> str:
    return {0: "none", 1: "1"}.get(count, "2 to 5" if count <= 5 else "6 or more")
