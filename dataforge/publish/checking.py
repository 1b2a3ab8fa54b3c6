"""What a worker process does for `verify`: some rows of a group are proven, one by one, from the set alone.

A row's columns are computed again from the record in its last column. Its views are cut again from the sources by the
recorded calls, must have the recorded hashes, and must be what the stored pictures show: byte for byte where the same
encoder is at hand, else the same to the eye.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageChops, ImageStat
from pydantic import ValidationError

from dataforge.errors import ExampleError, UsageError
from dataforge.geometry import Box
from dataforge.manifest import Push
from dataforge.media import MediaStore, cut, decode, fingerprint
from dataforge.publish.bench import encoded, shown, suffix
from dataforge.publish.choosing import Entry
from dataforge.publish.record import Published, place
from dataforge.publish.rows import Row, asked, image_cells, trace_row
from dataforge.records import Example, Media, Trace, parse_line

SAME_TO_THE_EYE = 2.0
"""Mean difference of two pictures, of 255: what two JPEG encoders of one quality differ by."""

ROWS_AT_ONCE = 16
"""Rows in one job: few enough that all cores are busy to the end."""

Fault = tuple[str, str]


class Checked(NamedTuple):
    """What some rows showed."""

    rows: int
    replayed: int
    faults: list[Fault]
    entries: list[Entry]
    openings: dict[str, str]
    """Of traces: example id -> hash over the stored opening views, which its query must show too."""


class Bench:
    """The set in a folder, with the sources of its pictures unpacked."""

    def __init__(self, folder: Path, record: Published, media: Path) -> None:
        self.folder = folder
        self.record = record
        self.store = MediaStore(media)
        terms = record.model_dump(include={"pictures", "encoding", "quality"})
        self.push = Push(**terms)
        self._read: tuple[str, int] | None = None
        self._table: Any = None

    def rows(self, path: str, group: int, start: int) -> list[Row]:
        """The rows of a group from `start` on, as many as a job has; the group last read is kept."""
        import pyarrow.parquet

        if self._read != (path, group):
            self._table = None  # two groups at once would be too many
            with pyarrow.parquet.ParquetFile(self.folder / path) as file:
                self._table = file.read_row_group(group)
            self._read = (path, group)
        read: list[Row] = self._table.slice(start, ROWS_AT_ONCE).to_pylist()
        return read

    # ------------------------------------------------------------------ media

    def unpack(self, path: str, group: int, start: int) -> Checked:
        """Put the sources of some rows into the store, each under the hash that it really has."""
        faults, count = list[Fault](), 0
        for row in self.rows(path, group, start):
            count += 1
            try:
                self._unpack(row)
            except ExampleError as error:
                faults.append((f"{error.stage}: {error.reason}", error.detail))
        return Checked(count, 0, faults, [], {})

    def _unpack(self, row: Row) -> None:
        content = row["video"] if row["image"] is None else row["image"]["bytes"]
        try:
            media = Media(**{name: row[name] for name in ("sha256", "suffix", "width", "height")})
        except ValidationError:
            raise ExampleError("media", "bad_row", str(row["sha256"])) from None
        if content is None or hashlib.sha256(content).hexdigest() != media.sha256:
            raise ExampleError("media", "media_changed", f"{media.sha256}: its bytes have another hash")
        target = self.store.path(media)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    # ------------------------------------------------------------------ traces

    def traces(self, path: str, group: int, start: int) -> Checked:
        split = place(path)[1]
        found = Checked(0, 0, [], [], {})
        for row in self.rows(path, group, start):
            found = found._replace(rows=found.rows + 1)
            name = str(row["id"])
            try:
                trace = parse_line(row["trace"] or "", Trace, name)
                expected = trace_row(trace, self.record.student, row["run"], row["number"])
            except (UsageError, ExampleError) as error:
                found.faults.append(("bad_record", f"{name}: {error}"))
                continue
            found.faults.extend(_other_columns(name, row, expected))
            found.entries.append(_entry(trace.id, trace.example, split, True))
            cells = row["images"] or []
            found.openings[trace.example.id] = _digest(cells[: len(trace.views)])
            faults, replayed = self._pictures(trace, cells)
            found.faults.extend((what, f"{name}: {detail}") for what, detail in faults)
            found = found._replace(replayed=found.replayed + replayed)
        return found

    def _pictures(self, trace: Trace, cells: Sequence[dict[str, Any]]) -> tuple[list[Fault], bool]:
        """What is wrong with a trace's pictures, and whether its calls could be run again."""
        wanted = 0 if self.push.pictures == "none" else len(trace.all_views)
        if len(cells) != wanted:
            return [("images", f"{len(cells)} instead of {wanted}")], False
        here = all(self.store.path(media).exists() for media in trace.example.media)
        if not here and self.push.pictures != "all":
            return list(self._by_themselves(trace, cells)), False
        try:
            seen, fault = shown(trace, self.store)
        except (ExampleError, UsageError) as error:
            return [("replay", str(error))], False
        if fault:
            return [(f"replay: {fault}", f"cut by Pillow {trace.provenance.pillow}")], True
        names = [cell["path"] for cell in image_cells([b""] * len(cells), suffix(self.push))]
        if [cell["path"] for cell in cells] != names:
            return [("images", "their names are not those that push gives")], True
        bad = [number for number, cell in enumerate(cells) if not self._same(cell["bytes"], seen[number])]
        return [("image_differs", f"image {number + 1} isn't what the trace shows") for number in bad], True

    def _by_themselves(self, trace: Trace, cells: Sequence[dict[str, Any]]) -> Iterator[Fault]:
        """Without sources: the stored views have the recorded sizes, and hashes where they are exact."""
        for view, cell in zip(trace.all_views, cells, strict=False):
            try:
                picture = decode(cell["bytes"] or b"")
            except ExampleError as error:
                yield "image_broken", f"image {view.number}: {error}"
                continue
            exact = self.push.encoding == "png"
            if picture.size != (view.width, view.height) or (exact and fingerprint(picture) != view.sha256):
                yield "image_differs", f"image {view.number} isn't what the trace shows"

    def _same(self, content: bytes | None, picture: Image.Image) -> bool:
        """Whether stored bytes show the picture."""
        ours = encoded([picture], self.push)[0]
        if content == ours:
            return True
        try:
            theirs = decode(content or b"")
        except ExampleError:
            return False
        if theirs.size != picture.size:
            return False
        difference = ImageStat.Stat(ImageChops.difference(theirs, decode(ours))).mean
        return max(difference) <= (SAME_TO_THE_EYE if self.push.encoding == "jpeg" else 0)

    # ------------------------------------------------------------------ queries

    def queries(self, path: str, group: int, start: int, openings: Mapping[str, str]) -> Checked:
        """`openings` are those of the traces of these rows' examples."""
        split = place(path)[1]
        found = Checked(0, 0, [], [], {})
        for row in self.rows(path, group, start):
            found = found._replace(rows=found.rows + 1)
            name = str(row["id"])
            try:
                example = parse_line(row["example"] or "", Example, name)
            except UsageError as error:
                found.faults.append(("bad_record", f"{name}: {error}"))
                continue
            found.faults.extend(_other_columns(name, row, asked(example.id, example)))
            found.entries.append(_entry(example.id, example, split, False))
            cells = row["images"] or []
            known = openings.get(example.id)
            if not (known == _digest(cells) if known else self._whole(example, cells)):
                found.faults.append(("image_differs", f"{name}: its pictures aren't the question's"))
        return found

    def _whole(self, example: Example, cells: Sequence[dict[str, Any]]) -> bool:
        """Whether these show the example's media; of a video, or without its source, that they can be opened at all."""
        try:
            pictures = [decode(cell["bytes"] or b"") for cell in cells]
            sources = [self.store.open(media) for media in example.media if self._is_here(media)]
        except ExampleError:
            return False
        if len(sources) != len(pictures):
            return self.push.pictures != "all" or any(media.kind != "image" for media in example.media)
        wholes = [
            cut(source, Box(0, 0, *source.size), shown.size) for source, shown in zip(sources, pictures, strict=True)
        ]
        return all(self._same(cell["bytes"], whole) for cell, whole in zip(cells, wholes, strict=True))

    def _is_here(self, media: Media) -> bool:
        return media.kind == "image" and self.store.path(media).exists()


def _other_columns(name: str, row: Row, expected: Row) -> Iterator[Fault]:
    """Columns that don't say what the record does; the record itself is what all others are measured by."""
    for column, value in expected.items():
        if column != "trace" and not _agrees(row.get(column), value):
            yield "column_differs", f"{name}: {column} isn't what its record says"


def _agrees(stored: Any, value: Any) -> bool:
    """Equal, but for keys that a set of an older version doesn't have."""
    if isinstance(stored, dict) and isinstance(value, dict):
        return all(key in value and _agrees(held, value[key]) for key, held in stored.items())
    if isinstance(stored, list) and isinstance(value, list):
        return len(stored) == len(value) and all(_agrees(one, other) for one, other in zip(stored, value, strict=True))
    return bool(stored == value)


def _entry(name: str, example: Example, split: str, trace: bool) -> Entry:
    return Entry(name, example.source, example.group, tuple(m.sha256 for m in example.media), split, trace)


def _digest(cells: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(cell["bytes"] or b"").digest() for cell in cells)).hexdigest()


_bench: Bench


def set_up_checking(folder: Path, record: Published, media: Path) -> None:
    global _bench
    _bench = Bench(folder, record, media)


def check_rows(path: str, group: int, start: int, openings: Mapping[str, str]) -> Checked:
    config = place(path)[0]
    if config == "media":
        return _bench.unpack(path, group, start)
    if config == "traces":
        return _bench.traces(path, group, start)
    return _bench.queries(path, group, start, openings)
