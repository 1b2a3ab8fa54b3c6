"""From stored traces to batches: measured once, then decoded, cut and rendered in worker processes while others train.

`measure` renders every trace without opening a picture: an image's tokens follow from its view's size. So what is too
long, teaches nothing, or has lost its picture is known before a model is loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from dataforge.errors import ExampleError, UsageError
from dataforge.recipe import Sft
from dataforge.records import Learn, Trace
from dataforge.workers import default_count
from training.batches import Batch, Sample, pack, pad
from training.encoding import Codec
from training.plan import Pass
from training.render import pictures, render
from training.trace_set import TraceSet


class Row(NamedTuple):
    """One trace of the set as the plan sees it."""

    place: int
    length: int
    """Tokens, those of its images included."""
    learned: int
    """Tokens that the loss sees."""
    images: int
    patches: int
    """Vision patches of all images."""
    held_out: bool


@dataclass(frozen=True)
class Measured:
    """The rows of a set that can be trained on, and why others can't."""

    rows: tuple[Row, ...]
    dropped: Counter[str]

    @property
    def training(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.held_out)

    @property
    def held_out(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.held_out)


def measure(traces: TraceSet, codec: Codec, recipe: Sft, watch: Callable[[int], None] = lambda done: None) -> Measured:
    """Every trace rendered once, without pixels.

    Too long traces, and those that can't be written or cut for this student, are counted by reason and left out;
    UsageError for one too long where the recipe says `overlong: refuse`, for pictures that are gone, and where nothing
    is left.
    """
    rows, dropped = list[Row](), Counter[str](traces.left_out)
    for place in range(len(traces)):
        try:
            trace = traces.trace(place)
            _refuse_missing(trace, traces)
            encoding = render(trace, codec, recipe.mistakes)
        except ExampleError as error:
            if error.stage == "media":
                raise UsageError(f"trace {place + 1} can't be read: {error}; filter the run again") from None
            dropped[error.reason] += 1
            continue
        learned, patches = sum(encoding.learn), sum(_patches(codec, encoding.views))
        if len(encoding) > recipe.max_length:
            if recipe.overlong == "refuse":
                raise UsageError(
                    f"trace {trace.id} has {len(encoding)} tokens: raise max_length, or set overlong: drop"
                )
            dropped["overlong"] += 1
        elif not learned:
            dropped["nothing_learned"] += 1
        else:
            held_out = _held_out(trace.example.group, recipe)
            rows.append(Row(place, len(encoding), learned, len(encoding.views), patches, held_out))
        watch(place + 1)
    if all(row.held_out for row in rows):
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()) or "all are held out"
        raise UsageError(f"no trace is left to train on: {why}")
    return Measured(tuple(rows), dropped)


def _refuse_missing(trace: Trace, traces: TraceSet) -> None:
    for media in trace.example.media:
        if not traces.store.path(media).is_file():
            raise UsageError(f"trace {trace.id}: its picture {media.origin or media.sha256} is not in {traces.media}")


def _patches(codec: Codec, views: Iterable[Any]) -> Iterable[int]:
    for view in views:
        _, rows, columns = codec.patch_grid(view)
        yield rows * columns


def _held_out(group: str, recipe: Sft) -> bool:
    """By group, so that all questions on one picture are on one side."""
    drawn = hashlib.sha256(f"{recipe.seed}-{group}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < recipe.held_out * 2**64


class Samples(Dataset[Sample | str]):
    """Traces by their place in the set, with pixels; what can't be made is the sentence that says why."""

    def __init__(self, traces: TraceSet, codec: Codec, mistakes: Learn | None) -> None:
        self.traces = traces
        self.codec = codec
        self.mistakes = mistakes

    def __len__(self) -> int:
        return len(self.traces)

    def __getitem__(self, place: int) -> Sample | str:
        try:
            trace = self.traces.trace(place)
            encoding = render(trace, self.codec, self.mistakes)
            shown = pictures(trace, self.traces.store, encoding.views)
            return Sample.of(encoding, [self.codec.pixels(picture) for picture in shown])
        except ExampleError as error:
            return f"trace {place + 1} can't be read any more: {error}"


class Collate:
    """A pass's samples as one batch."""

    def __init__(self, codec: Codec, packed: bool) -> None:
        self.pad_id = codec.pad_id
        self.image_id = codec.image_id
        self.packed = packed

    def __call__(self, samples: Sequence[Sample | str]) -> Batch | str:
        good = [sample for sample in samples if isinstance(sample, Sample)]
        if len(good) < len(samples):
            return next(sample for sample in samples if isinstance(sample, str))
        return pack(good, self.image_id) if self.packed else pad(good, self.pad_id, self.image_id)


def feed(
    samples: Samples, rows: Sequence[Row], passes: Iterable[Pass], recipe: Sft, pin: bool
) -> Iterable[Batch | str]:
    """The passes as batches, in order, made ahead by `recipe.workers` processes, at most one a core."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # each worker is one; threads don't survive their start
    workers = min(recipe.workers, default_count())
    loader: DataLoader[Sample | str] = DataLoader(
        samples,
        batch_sampler=[[rows[row].place for row in one.rows] for one in passes],
        collate_fn=Collate(samples.codec, recipe.packed),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=pin,
        generator=torch.Generator(),  # else it draws from the one that dropout does, and a resumed run would differ
    )
    return loader
