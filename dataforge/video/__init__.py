"""The videos of a run: each described once, each frame decoded once and kept as a file beside the run's media.

What is kept are plain pixels, so a view cut from them is that of a fresh decoding, and a replay compares like with
like. Compressed without loss they would take a third of the room, and three quarters of the time of an overview of key
frames (WebP: 53 ms to write a frame in 720p, 20 to read it; plain: 3 and 3). The folder of frames is a cache: it is
bounded, never published, and may be deleted at any time.
"""

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.records import Frame, Media, Overview, VideoBackend
from dataforge.video import sampling
from dataforge.video.index import Index
from dataforge.video.process import decoder

LIMIT_S = 60.0
"""For one file's description, or for all the frames that are asked of it at once."""
KEPT_BYTES = 16 << 30
"""Of frames on disk, and a quarter of what is free there at most; those of the clips that were decoded longest ago go
first."""
AT_HAND_PIXELS = 16 * 1280 * 720
"""Decoded frames in memory: an overview of 16 in 720p."""
SUFFIX = ".ppm"
INDICES = 256
CUTS = 32
"""A few hundred kilobytes each."""


class Clips:
    """The described videos of a run, and their frames."""

    def __init__(
        self,
        folder: Path,
        limit_s: float = LIMIT_S,
        kept_bytes: int = KEPT_BYTES,
        backend: VideoBackend = "auto",
    ) -> None:
        self.folder = folder
        self._backend = backend
        self._known: OrderedDict[tuple[Path, int, int], Media] = OrderedDict()
        self._cuts: OrderedDict[tuple[object, ...], Image.Image] = OrderedDict()
        self._limit_s = limit_s
        self._kept_bytes = kept_bytes
        self._indices: OrderedDict[str, Index] = OrderedDict()
        self._whole: dict[str, tuple[int, int, int]] = {}
        self._at_hand: OrderedDict[tuple[str, str, int], Image.Image] = OrderedDict()
        self._since_counted = 0

    # ------------------------------------------------------------------ describing

    def media(self, path: Path, found: os.stat_result, licence: str, origin: str) -> Media:
        """The record of a video file; read once, as long as its size and date stay the same."""
        known = (path.resolve(), found.st_size, found.st_mtime_ns)
        if known not in self._known:
            if not found.st_size:
                raise ExampleError("media", "empty_file", path.name)
            sha256 = sha256_of(path)
            index = self.describe(path, sha256)
            # a link to it in the run's folder needs no second reading
            self._whole[sha256] = _signature(found)
            self._known[known] = Media(
                sha256=sha256,
                kind="video",
                suffix=path.suffix.lower(),
                width=index.width,
                height=index.height,
                frames=len(index.pts),
                span_s=index.span_s,
                decoder="pyav" if self._backend == "auto" else self._backend,
                licence=licence,
                origin=origin,
            )
            _bound(self._known, INDICES)
        return self._known[known]

    def describe(self, path: Path, sha256: str) -> Index:
        """The index of a video file with that hash: from memory, from the folder, else from the file itself."""
        if sha256 not in self._indices:
            stored = self.folder / sha256[:2] / sha256 / "index.json"
            try:
                index = Index.model_validate_json(stored.read_bytes())
            except (OSError, ValueError):
                answer = decoder().ask({"job": "describe", "path": str(path)}, self._limit_s)
                index = Index.model_validate(answer["index"])
                _write(stored, index.model_dump_json())
            self._indices[sha256] = index
            _bound(self._indices, INDICES)
        self._indices.move_to_end(sha256)
        return self._indices[sha256]

    def index(self, path: Path, media: Media) -> Index:
        """The index of a stored video; ExampleError where the file is gone or is no longer what was stored."""
        try:
            signature = _signature(path.stat())
            if self._whole.get(media.sha256) != signature:
                if sha256_of(path) != media.sha256:
                    raise ExampleError("media", "media_changed", f"{media.origin}: its bytes are not those stored")
                self._whole[media.sha256] = signature
        except OSError as error:
            raise ExampleError("media", "missing_media", f"{media.origin}: {error.strerror}") from None
        return self.describe(path, media.sha256)

    def overview(self, path: Path, media: Media, settings: Overview) -> list[Frame]:
        """The frames with which a video is first shown, in order of time."""
        index = self.index(path, media)
        if settings.by == "key_frame":
            return sampling.key_frames(index, settings.frames)
        if settings.by == "scene":
            return sampling.of_scenes(index, self._scene_cuts(path, media, index), settings.frames)
        return sampling.evenly(index, settings.frames)

    def _scene_cuts(self, path: Path, media: Media, index: Index) -> list[float]:
        stored = self._home(media).parent / media.sha256 / "scenes.json"
        try:
            cuts: list[float] = json.loads(stored.read_bytes())
        except (OSError, ValueError):
            request = {"job": "scenes", "path": str(path), "index": index.model_dump(mode="json")}
            cuts = decoder().ask(request, self._limit_s)["cuts"]
            _write(stored, json.dumps(cuts))
        return cuts

    # ------------------------------------------------------------------ decoding

    def fetch(self, path: Path, media: Media, frames: Sequence[Frame]) -> None:
        """Have these frames decoded, in one pass over the file, unless they are there already."""
        index, home = self.index(path, media), self._home(media)
        wanted = {index.pts[frame.number] for frame in frames}
        wanted = {pts for pts in wanted if not (home / f"{pts}{SUFFIX}").exists()}
        if not wanted:
            return
        self._decode(path, media, index, wanted)
        self._since_counted += sum((home / f"{pts}{SUFFIX}").stat().st_size for pts in wanted)
        if self._since_counted > self._kept_bytes / 64:
            self._since_counted = 0
            self._forget_oldest(home)

    def _decode(self, path: Path, media: Media, index: Index, wanted: Collection[int]) -> None:
        """Have the frames of these times written as files."""
        home = self._home(media)
        home.mkdir(parents=True, exist_ok=True)
        request = {
            "job": "frames",
            "path": str(path),
            "index": index.model_dump(mode="json"),
            "decoder": media.decoder,
            "wanted": sorted(wanted),
            "folder": str(home),
            "suffix": SUFFIX,
        }
        decoder().ask(request, self._limit_s)

    def open(self, path: Path, media: Media, frame: Frame) -> Image.Image:
        """A frame, upright and in full resolution."""
        key = (media.sha256, media.decoder, frame.number)
        if key not in self._at_hand:
            self._at_hand[key] = self._read(path, media, frame)
            while len(self._at_hand) > 1 and _pixels(self._at_hand.values()) > AT_HAND_PIXELS:
                self._at_hand.popitem(last=False)
        self._at_hand.move_to_end(key)
        return self._at_hand[key]

    def once(self, key: tuple[object, ...], cut: Callable[[], Image.Image]) -> Image.Image:
        """A part of a frame in some size, cut once as long as it is among the last ones."""
        if key not in self._cuts:
            self._cuts[key] = cut()
            _bound(self._cuts, CUTS)
        self._cuts.move_to_end(key)
        return self._cuts[key]

    def _read(self, path: Path, media: Media, frame: Frame) -> Image.Image:
        kept = self._home(media) / f"{self.index(path, media).pts[frame.number]}{SUFFIX}"
        for _ in range(2):
            try:
                with Image.open(kept) as image:
                    image.load()
                    return image
            except OSError:  # not there, or not whole
                kept.unlink(missing_ok=True)
                self.fetch(path, media, [frame])
        raise ExampleError("media", "missing_media", f"{media.origin}: a frame of it was decoded and is gone")

    def _home(self, media: Media) -> Path:
        name = media.sha256 if media.decoder == "pyav" else f"{media.sha256}-{media.decoder}"
        return self.folder / media.sha256[:2] / name

    def _forget_oldest(self, newest: Path) -> None:
        """Delete the frames of the clips that were decoded longest ago, as long as there are too many."""
        sizes = {home: _size(home) for home in self.folder.glob("*/*")}
        total = sum(sizes.values())
        most = min(self._kept_bytes, (total + shutil.disk_usage(self.folder).free) // 4)
        for home in sorted(sizes, key=lambda one: one.stat().st_mtime_ns):
            if total <= most or home == newest:
                return
            shutil.rmtree(home, ignore_errors=True)
            total -= sizes[home]


def _bound(kept: "OrderedDict[Any, Any]", most: int) -> None:
    """Drop what was used longest ago."""
    while len(kept) > most:
        kept.popitem(last=False)


def _signature(found: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file does."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def sha256_of(path: Path) -> str:
    """The hash of a file of any size."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _pixels(images: Iterable[Image.Image]) -> int:
    return sum(image.width * image.height for image in images)


def _size(folder: Path) -> int:
    total = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            total += entry.stat().st_size
    return total


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
