"""Export: a run's kept traces in another trainer's layout.

Rows are made in worker processes, with pictures that are cut again from the sources. Each row goes through the
trainer's own counting rule before it is written; what a layout can't hold is left out with its reason, and what becomes
of the `learn` flags is counted.
"""

import asyncio
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dataforge import plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Spec
from dataforge.media import MediaStore, to_jpeg
from dataforge.plugins import Exporter
from dataforge.publish.bench import processes, shown
from dataforge.publish.choosing import Stored, stored
from dataforge.publish.shards import ShardWriter
from dataforge.records import Trace, parse_line
from dataforge.report import count_lines
from dataforge.runs import Run, make_folder, writing
from dataforge.transcript import Shot, transcribe
from dataforge.workers import Workers, in_order

ROW_TIMEOUT_S = 300.0


@dataclass
class Exported:
    """What was laid out where."""

    folder: Path
    file: Path
    traces: int = 0
    rows: int = 0
    pictures: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    flags_lost: int = 0
    """Traces of which the trainer learns something else than their flags say."""
    lost: str = ""


class Laid(NamedTuple):
    """One trace laid out."""

    rows: list[dict[str, Any]]
    shots: tuple[Shot, ...]
    carried: bool
    fault: str = ""


def export(
    run: Run, spec: Spec, folder: Path, watch: Callable[[int], None] = lambda done: None, dry: bool = False
) -> Exported:
    """Lay the run's kept traces out in a folder; UsageError where it isn't empty, or nothing could be laid out.

    A dry export makes and counts every row, and writes none.
    """
    exporter: Exporter = plugins.build("exporter", spec)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} isn't an empty folder: name another with --out")
    exported = Exported(folder, folder / exporter.file, lost=exporter.lost)
    if dry:
        asyncio.run(_export(run, exporter, exported, _Nowhere(), watch))
        return exported
    make_folder(folder, "--out")
    with writing(folder, "--out"):
        asyncio.run(_export(run, exporter, exported, _writer(exporter, exported), watch))
        for name, text in exporter.beside().items():
            (folder / name).write_text(text, encoding="utf-8")
    if not exported.rows:
        why = ", ".join(f"{count} {reason}" for reason, count in exported.left_out.most_common())
        shutil.rmtree(folder)
        raise UsageError(f"{run.folder.name}: no trace could be laid out: {why or 'none is kept'}")
    return exported


async def _export(
    run: Run, exporter: Exporter, exported: Exported, writer: "Writer", watch: Callable[[int], None]
) -> None:
    count = processes(count_lines(run.traces_path))
    spec = {"name": exporter.name, **exporter.model_dump(mode="json")}
    workers = Workers(count, ROW_TIMEOUT_S, set_up_layout, (spec, run.store.folder))

    async def laid(line: Stored) -> Laid:
        try:
            return await workers.run(" ".join(line.place), lay_out, line.line)
        except ExampleError as error:
            return Laid([], (), True, f"{error.stage}: {error.reason}")

    try:
        async with aclosing(in_order(_kept(run, exporter), laid, 4 * count)) as done:
            async for one in done:
                if one.fault:
                    exported.left_out[one.fault] += 1
                    continue
                exported.traces += 1
                exported.flags_lost += not one.carried
                exported.rows += len(one.rows)
                if not exporter.embeds and not isinstance(writer, _Nowhere):
                    exported.pictures += _save(one.shots, exported.folder / "images")
                for row in one.rows:
                    writer.write(row)
                watch(exported.traces)
    finally:
        workers.close()
        writer.close()


def _kept(run: Run, exporter: Exporter) -> Iterator[Stored]:
    asked = set[str]()
    for line in stored(run):
        name = line.entry["example"]["id"]
        if line.kept and not (exporter.once_a_question and name in asked):
            asked.add(name)
            yield line


def _save(shots: tuple[Shot, ...], folder: Path) -> int:
    """Write pictures under their content's name; returns how many were new."""
    folder.mkdir(exist_ok=True)
    new = [shot for shot in shots if not (folder / shot.name).exists()]
    for shot in new:
        (folder / shot.name).write_bytes(shot.content)
    return len({shot.name for shot in new})


# --------------------------------------------------------------------------------------------------- files of rows


class Writer(Protocol):
    def write(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


def _writer(exporter: Exporter, exported: Exported) -> Writer:
    if exported.file.suffix == ".parquet":
        return _Parquet(exported.file, exporter)
    return (_List if exported.file.suffix == ".json" else _Lines)(exported.file)


class _Nowhere:
    def write(self, row: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _List(_Lines):
    """A JSON list, an item a line."""

    _before = "[\n"

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(self._before + json.dumps(row, ensure_ascii=False))
        self._before = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._file.close()


class _Parquet:
    """One parquet file; where the exporter states no columns, they are those of the first row."""

    def __init__(self, path: Path, exporter: Exporter) -> None:
        self._path = path
        self._exporter = exporter
        self._writer: ShardWriter | None = None

    def write(self, row: dict[str, Any]) -> None:
        if self._writer is None:
            import pyarrow

            columns = self._exporter.features()
            schema = columns.arrow_schema if columns else pyarrow.Table.from_pylist([row]).schema
            self._writer = ShardWriter(self._path.parent, self._path.stem, schema, 1 << 62)
        self._writer.write(row)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            for name in self._writer.shards:
                os.replace(self._path.parent / name, self._path)


# ------------------------------------------------------------------------------------------------ in a worker process


class _Layout:
    def __init__(self, exporter: Exporter, store: MediaStore) -> None:
        self.exporter = exporter
        self.store = store

    def lay_out(self, trace: Trace) -> Laid:
        exporter = self.exporter
        told = transcribe(trace, exporter.tools, exporter.box_unit, exporter.padding)
        pictures, sources = self._pictures(trace)
        told = told._replace(pictures=pictures, sources=sources)
        rows = list(exporter.rows(told))
        for row in rows:
            if fault := exporter.fault(row):
                raise ExampleError("export", "miscounted", fault)
        return Laid(rows, told.sources if exporter.shows_sources else told.pictures, exporter.carries(told))

    def _pictures(self, trace: Trace) -> tuple[tuple[Shot, ...], tuple[Shot, ...]]:
        """The views and the sources, as far as the layout shows them."""
        stills = all(media.kind == "image" for media in trace.example.media)
        if self.exporter.shows_sources and stills:
            sources = [self.store.content(media) for media in trace.example.media]
            named = zip(trace.example.media, sources, strict=True)
            return (), tuple(Shot(f"{media.sha256}{media.suffix}", content) for media, content in named)
        seen, fault = shown(trace, self.store)
        if fault == "views":
            raise ExampleError("export", "replay", "its calls no longer give the views that it records")
        shots = tuple(_shot(to_jpeg(picture, self.exporter.quality)) for picture in seen)
        return shots, shots[: len(trace.views)]


def _shot(content: bytes) -> Shot:
    return Shot(f"{hashlib.sha256(content).hexdigest()[:24]}.jpg", content)


_layout: _Layout


def set_up_layout(spec: dict[str, Any], media: Path) -> None:
    global _layout
    _layout = _Layout(plugins.build("exporter", spec), MediaStore(media))


def lay_out(line: bytes) -> Laid:
    return _layout.lay_out(parse_line(line.decode("utf-8"), Trace, "kept.jsonl"))
