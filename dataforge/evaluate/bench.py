"""What happens in a worker process: a row is opened, and a call is run.

The calls so far *are* an episode's state: any worker can play it up to where it stands and run the next call, a kill
loses none, and what a model is shown can't differ from what replay will find. A worker has the last few episodes at
hand, which saves cutting the first views again; that is all that it saves.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dataforge import plugins
from dataforge.ask.request import Picture
from dataforge.episode import Episode
from dataforge.errors import ExampleError
from dataforge.manifest import Manifest
from dataforge.media import MediaStore, to_jpeg, to_png
from dataforge.plugins import Operation, Row, Source
from dataforge.records import Call, Control, Example, Observation, View

AT_HAND = 16
"""Episodes that a worker keeps; one of a megapixel and a look takes about 6 MB."""
JPEG_QUALITY = 95
"""With full colour: a benchmark may ask for the colour of a thing of twenty pixels."""


@dataclass(frozen=True)
class Opened:
    """A question with its first views, encoded in their order."""

    example: Example
    views: tuple[View, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Acted:
    """What a call gave, with its views encoded in their order."""

    observation: Observation
    pictures: tuple[Picture, ...]


class Bench:
    """What a worker process needs to open rows and to run calls."""

    def __init__(self, manifest: Manifest, media: Path) -> None:
        self.manifest = manifest
        self.store = MediaStore(media)
        self.source: Source = plugins.build("source", manifest.source)
        self.operations = offered(manifest)
        self.lossless = plugins.build("teacher", manifest.teacher).lossless
        self._at_hand: OrderedDict[str, tuple[tuple[Call, ...], Episode]] = OrderedDict()

    def open(self, row: Row) -> Opened:
        example = self.source.example(row, self.store)
        if not isinstance(example, Example):
            raise ExampleError("read", "no_question", "a picture without a question can't be asked about")
        example = example.model_copy(update={"context": ()})
        episode = self._episode(example)
        self._keep(episode, ())
        return Opened(example, episode.opening, self._encoded(episode, episode.opening))

    def act(self, example: Example, before: tuple[Call, ...], call: Call) -> Acted:
        """Run a call after those before it."""
        made, episode = self._at_hand.pop(example.id, ((), None))
        if episode is None or made != before:
            episode = self._episode(example)
            for earlier in before:
                episode.act(earlier)
        observation = episode.act(call)
        self._keep(episode, (*before, call))
        return Acted(observation, self._encoded(episode, observation.views))

    def _keep(self, episode: Episode, calls: tuple[Call, ...]) -> None:
        self._at_hand[episode.example.id] = (calls, episode)
        while len(self._at_hand) > AT_HAND:
            self._at_hand.popitem(last=False)

    def _episode(self, example: Example) -> Episode:
        manifest = self.manifest
        made_with = (manifest.student, manifest.limits, control(manifest), manifest.seed)
        return Episode(example, self.store, self.operations, *made_with)

    def _encoded(self, episode: Episode, views: Sequence[View]) -> tuple[Picture, ...]:
        return tuple(encoded(episode.workspace.picture(view.number), self.lossless) for view in views)


def encoded(image: Image.Image, lossless: bool) -> Picture:
    """A view as a model gets it, with its hash."""
    content = to_png(image) if lossless else to_jpeg(image, JPEG_QUALITY, subsampling=0)
    return Picture(content, hashlib.sha256(content).hexdigest())


def offered(manifest: Manifest) -> list[Operation]:
    """The operations that the manifest's arm offers."""
    assert manifest.evaluate is not None
    if manifest.evaluate.arm == "without":
        return []
    return [plugins.build("operation", spec) for spec in manifest.operations]


def control(manifest: Manifest) -> Control:
    """What the arm's looks give instead of what was asked for."""
    assert manifest.evaluate is not None
    arm = manifest.evaluate.arm
    return arm if arm in ("blank", "elsewhere") else ""


_bench: Bench


def set_up_bench(manifest: dict[str, Any], media: Path) -> None:
    global _bench
    _bench = Bench(Manifest(**manifest), media)


def at_bench(job: str, *arguments: Any) -> Any:
    """Run a method of this worker's bench."""
    return getattr(_bench, job)(*arguments)
