"""The questions that RL asks: from a source, from a run folder, or from the queries of a published set."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dataforge import plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, parse_line
from dataforge.runs import Run


class Questions(NamedTuple):
    """Examples with their pictures' store."""

    examples: list[Example]
    store: MediaStore
    refused: int = 0
    """Rows that became no example."""


def from_source(manifest: Manifest, store: MediaStore, limit: int | None) -> Questions:
    """The manifest's source read in order; UsageError for an endless one without a limit."""
    source: Source = plugins.build("source", manifest.source)
    limit = limit or manifest.limit
    if limit is None and source.endless:
        raise UsageError("this source never ends: say how many questions with --limit")
    examples, refused = [], 0
    for row in islice(source.read(), limit):
        try:
            if not isinstance(row, Row):
                raise ExampleError(row.stage, row.reason)
            found = source.example(row, store)
            if not isinstance(found, Example):
                raise ExampleError("read", "no_question", f"{row.id} has none: make a run of it, and ask that")
            examples.append(_bare(found))
        except ExampleError:
            refused += 1
    return Questions(answered(examples), store, refused + len(examples) - len(answered(examples)))


def from_run(folder: Path, limit: int | None = None) -> Questions:
    """The questions of a run's traces, each once."""
    run = Run.open(folder)
    found = {trace.example.id: trace.example for trace in run.traces()}
    examples = answered(list(found.values()))[:limit]
    return Questions(examples, run.store, len(found) - len(examples))


def from_set(name: str, store: MediaStore, limit: int | None = None, split: str = "train") -> Questions:
    """The `queries` of a published set, a folder or a name on the Hub, with their pictures from its `media`."""
    from datasets import Image, load_dataset

    try:
        asked = load_dataset(name, "queries", split=split)
        pictures = load_dataset(name, "media")
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{name} is no set with queries and media: {' '.join(str(error).split())[:200]}") from None
    lines = asked.select(range(min(limit or len(asked), len(asked))))["example"]
    found = [parse_line(line, Example, f"{name}, query {number}") for number, line in enumerate(lines, start=1)]
    wanted = {media.sha256: media for example in found for media in example.media}
    for part in pictures.values():
        for row in part.cast_column("image", Image(decode=False)):
            if (media := wanted.get(row["sha256"])) is not None and not store.path(media).exists():
                store.add_bytes(row["image"]["bytes"], media.suffix, media.licence, media.origin)
    examples = [one for one in answered(found) if all(store.path(media).exists() for media in one.media)]
    return Questions(examples, store, len(found) - len(examples))


def answered(examples: Sequence[Example]) -> list[Example]:
    """Those with a key: a reward needs one."""
    return [one for one in examples if one.answers]


def _bare(example: Example) -> Example:
    """Without the words of the page, which no reward reads."""
    return example.model_copy(update={"context": ()})


def batches(count: int, size: int, seed: int) -> Iterator[list[int]]:
    """Indices of questions, a batch after the other, each epoch in an order of its own; never ends."""
    if count < 1:
        raise UsageError("no question is left to ask: none has an accepted answer")
    epoch, order = 0, list[int]()
    while True:
        while len(order) < size:
            drawn = list(range(count))
            random.Random(f"{seed}/{epoch}").shuffle(drawn)
            order += drawn
            epoch += 1
        yield order[:size]
        order = order[size:]
