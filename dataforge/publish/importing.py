"""Import: the traces of Pixel Reasoner's release.json, so that they can be checked, filtered, viewed and trained with.

Their texts and calls are taken as they are; every call is run here, by our executor under their padding, so that the
views are real, and compared with the crop that lies in their set. What a release doesn't say is inferred from the
calls: the kind, which looks were mistakes, and so what a loss should see. Boxes are in the unit that is stated, never
guessed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import PIL
from PIL import Image, ImageChops, ImageStat

from dataforge import __version__, dialect, plugins
from dataforge.answers.metrics import extract_boxed
from dataforge.dialect import parse_turn
from dataforge.episode import Episode, used
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest, parse
from dataforge.media import MediaStore, decode
from dataforge.plugins import Row
from dataforge.records import BoxUnit, Failure, Kind, Limits, Provenance, Step, Trace, View
from dataforge.runs import Run
from dataforge.sources.pixel_reasoner import PixelReasoner, content_of
from dataforge.workers import Workers, default_count, in_order

ROW_TIMEOUT_S = 120.0
TEACHER = "pixel_reasoner (imported)"
NAMES = {"crop_image", "crop_image_normalized", "zoom_in"}
"""What their sets call a zoom."""
ALIKE = 16.0
"""Mean difference, of 255 at 64x64 pixels, of crops that show the same place: their crops are JPEGs of other sizes."""
CHECKS = ["well_formed", "replay", "duplicate"]
"""What can be judged without an annotation of the evidence."""


class Terms(NamedTuple):
    """How their boxes are to be read."""

    box_unit: BoxUnit = "0..1"
    padding: float = 0.1


@dataclass
class Imported:
    """What became of a release."""

    run: Run
    traces: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    crops: int = 0
    alike: int = 0
    """Crops that look like those of the set; of those that lie there."""


class Made(NamedTuple):
    record: Trace | Failure
    crops: int = 0
    alike: int = 0


def import_release(
    file: Path, images: Path | None, answers: Path | None, terms: Terms, runs: Path, watch: Callable[[int], None]
) -> Imported:
    """Read a release.json into a run folder; UsageError where it can't be read at all."""
    options = {"path": str(file), "images": images and str(images), "answers": answers and str(answers)}
    source = {"name": "pixel_reasoner", **{name: value for name, value in options.items() if value}}
    manifest = parse(
        {
            "name": "pixel_reasoner_release",
            "source": source,
            "student": {"box_unit": terms.box_unit},
            "operations": [{"name": "zoom_in", "padding": terms.padding}],
            "filter": CHECKS,
        },
        str(file),
    )
    if not file.is_file():
        raise UsageError(f"{file} is no file: name a release.json")
    with Run.start(runs, manifest) as run:
        imported = Imported(run)
        asyncio.run(_import(run, imported, watch))
    return imported


async def _import(run: Run, imported: Imported, watch: Callable[[int], None]) -> None:
    done_before, _ = run.finished()
    source: PixelReasoner = plugins.build("source", run.manifest.source)
    workers = Workers(default_count(), ROW_TIMEOUT_S, set_up_import, (run.manifest, run.store.folder))

    def rows() -> Iterator[Row | Failure]:
        return (row for row in source.read() if row.id not in done_before)

    async def made(row: Row | Failure) -> Made:
        if isinstance(row, Failure):
            return Made(row)
        try:
            return await workers.run(row.group, import_row, row)
        except ExampleError as error:
            return Made(Failure(id=row.id, stage=error.stage, reason=error.reason, detail=error.detail))

    try:
        async with aclosing(in_order(rows(), made, 4 * default_count())) as results:
            async for one in results:
                run.append(one.record)
                if isinstance(one.record, Failure):
                    imported.failed[f"{one.record.stage}: {one.record.reason}"] += 1
                imported.traces += isinstance(one.record, Trace)
                imported.crops += one.crops
                imported.alike += one.alike
                watch(imported.traces + imported.failed.total())
    finally:
        workers.close()


# ------------------------------------------------------------------------------------------------ in a worker process


class _Reader:
    def __init__(self, manifest: Manifest, store: MediaStore) -> None:
        self.source: PixelReasoner = plugins.build("source", manifest.source)
        self.store = store
        self.student = manifest.student
        self.limits = Limits()
        self.operations = [plugins.build("operation", spec) for spec in manifest.operations]
        self.digest = manifest.digest()

    def read(self, row: Row) -> Made:
        messages = row.content["messages"]
        if messages is None:
            raise ExampleError("import", "no_trace", "a question alone: read it with the source pixel_reasoner")
        example = self.source.example(row, self.store)
        episode = Episode(example, self.store, self.operations, self.student, self.limits)
        steps, crops, alike = list[Step](), 0, 0
        asked = next(place for place, message in enumerate(messages) if message.get("role") == "user")
        for place in range(asked + 1, len(messages)):
            if messages[place].get("role") != "assistant":
                continue
            step = self._step(messages[place], episode)
            steps.append(step)
            theirs = _crop(messages[place + 1]) if step.observation and place + 1 < len(messages) else ""
            if theirs and step.observation and step.observation.views:
                crops += 1
                alike += self._looks_like(theirs, episode.workspace.picture(len(episode.workspace.views)))
        if not steps or steps[-1].call:
            raise ExampleError("import", "no_answer", "the last turn is no answer")
        return Made(self._trace(row.id, episode, steps, _final(messages)), crops, alike)

    def _step(self, message: dict[str, Any], episode: Episode) -> Step:
        text = "\n".join(part["text"] for part in content_of(message) if part.get("text"))
        turn = parse_turn(text, self.operations, episode.workspace.views, self.student)
        if turn.call is None:
            if turn.answer is None:
                raise ExampleError("import", "unreadable", turn.error.text if turn.error else "")
            return Step(thought=turn.thought, role="answer")
        if turn.call.name not in NAMES:
            raise ExampleError("import", "unknown_operation", turn.call.name)
        # read once more under our name, or its box would not be translated
        named = dialect.read(text).call
        assert named is not None
        ours = named.model_copy(update={"name": "zoom_in"})
        call = dialect.from_student(ours, self.operations, episode.workspace.views, self.student)
        return Step(thought=turn.thought, call=call, observation=episode.act(call))

    def _looks_like(self, theirs: str, ours: Image.Image) -> bool:
        path = (self.source.images or self.source.path.parent) / theirs
        try:
            picture = decode(path.read_bytes())
        except (OSError, ExampleError):
            return False
        one, other = (image.resize((64, 64)) for image in (picture, ours))
        return max(ImageStat.Stat(ImageChops.difference(one, other)).mean) <= ALIKE

    def _trace(self, name: str, episode: Episode, steps: Sequence[Step], answer: str) -> Trace:
        kind, inferred = infer(steps)
        return Trace(
            id=name,
            example=episode.example,
            views=episode.opening,
            steps=inferred,
            answer=answer,
            kind=kind,
            provenance=Provenance(
                version=__version__,
                manifest=self.digest,
                operations=used(self.operations),
                student=self.student,
                limits=self.limits,
                teacher=TEACHER,
                pillow=PIL.__version__,
            ),
        )


def infer(steps: Sequence[Step]) -> tuple[Kind, tuple[Step, ...]]:
    """Kind and roles by the templates of the paper: the last look is right, those before it are mistakes."""
    looks = [place for place, step in enumerate(steps) if step.call]
    shown: list[View] = [view for step in steps if step.observation for view in step.observation.views]
    nested = any(before.box.contains(after.box) for before, after in pairwise(shown))
    kinds: dict[int, Kind] = {0: "direct", 1: "single", 2: "zoom_further" if nested else "recrop_once"}
    told = list(steps)
    for place in looks[:-1]:
        told[place] = steps[place].model_copy(update={"role": "mistake", "learn": "thought"})
    if len(looks) > 1:
        told[looks[-1]] = steps[looks[-1]].model_copy(update={"role": "recover"})
    return kinds.get(len(looks), "recrop_twice"), tuple(told)


def _crop(message: dict[str, Any]) -> str:
    return next((str(part["image"]) for part in content_of(message) if part.get("image")), "")


def _final(messages: Sequence[dict[str, Any]]) -> str:
    text = "\n".join(part["text"] for part in content_of(messages[-1]) if part.get("text"))
    return extract_boxed(text) or ""


_reader: _Reader


def set_up_import(manifest: Manifest, media: Path) -> None:
    global _reader
    _reader = _Reader(manifest, MediaStore(media))


def import_row(row: Row) -> Made:
    return _reader.read(row)
