"""Near-same pictures and videos: their hashes, and an index that finds one among a hundred thousand.

A picture is hashed as a whole and again without its outer 2 % on each side, so that a copy with a trimmed rim agrees in
one of the two. A hash is the signs of 256 cosine waves of the grey picture at 64x64 pixels, in whole numbers, so every
machine gets the same bits.

NEAR_BITS rests on `benchmarks/likeness.py copies` and `files`. Of 100 drawn posters and 20 real pictures, copies that
were encoded again (quality 10), scaled, made grey, darker or harder, or trimmed by 2 % a side differ in 13 bits at
most; two posters differ in 88 or more, two receipts of one shop in 41 or more. 64 bits of a 9x8 picture can't tell
those receipts apart: 2 to 7 bits. Seldom or not found: copies cropped by more than 3 % a side or 2 % on one side alone,
mirrored, turned. Pictures of one flat colour have no hash: only their bytes are compared.

A video is hashed at eight moments, those of every second frame of the overview of 16 even ones: each frame as a whole,
and what is in it beyond the mean of the eight, which is what moves. Two videos are near-same when three quarters of
their moments agree in both; the second tells clips of one room apart. Of eight rendered clips no two agree in any
moment; copies of three (a third of the size at crf 38, or 10 frames a second) agree in six of eight or more. Not
found: a part of a clip, another speed, a clip with something cut out, one whose moments are mostly of one flat colour.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pydantic import Field

from dataforge.media import MediaStore, decode
from dataforge.records import Media, Record, read_lines
from dataforge.runs import append_line, cut_torn_line

PICTURE_HASH = "dct256"
"""Named in every file of hashes: another way to hash gets another name."""
NEAR_BITS = 27
"""Bits of 256 in which the hashes of near-same pictures may differ."""
SIDE, WAVES, RIM = 64, 16, 0.02
FLAT = 8
"""Grey levels between the darkest and the lightest of 64x64 pixels, below which there is nothing to hash."""
VIDEO_HASH = "dct256x8"
SHOWN, MOMENTS = 16, range(0, 16, 2)
"""The parts of a video, and those of them in whose middle it is hashed."""
MOVES = 24
"""Grey levels by which some place must differ from the mean, else nothing moves."""
AGREE, LEAST_MOMENTS = 0.75, 3
"""The share of moments that must agree, and how many must have a hash on both sides."""
CACHE = f"likeness-{PICTURE_HASH}.jsonl"

NONE = -1


class Likeness(Record):
    """A picture or a video by its bytes and its looks; without hashes it is of one flat colour."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    whole: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="256 bits")
    core: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="256 bits, of the picture less its rim")
    moments: tuple[str, ...] = Field(default=(), description="of a video: 256 bits of each moment; '' for flat ones")
    moved: tuple[str, ...] = Field(default=(), description="of a video: 256 bits of what moves; '' where nothing does")

    @property
    def hashes(self) -> tuple[int, ...]:
        """What the index looks for: the whole and the core of a picture, or the moments of a video."""
        found = self.moments or ((self.whole, self.core) if self.whole else ())
        return tuple(int(one, 16) for one in found if one)


def likeness(image: Image.Image, sha256: str) -> Likeness:
    """The likeness of an upright picture."""
    grey = image.convert("L")
    rim_x, rim_y = RIM * grey.width, RIM * grey.height
    whole, core = (
        grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=box)
        for box in ((0, 0, *grey.size), (rim_x, rim_y, grey.width - rim_x, grey.height - rim_y))
    )
    if _flat(whole):
        return Likeness(sha256=sha256)
    return Likeness(sha256=sha256, whole=_signs(whole), core=_signs(core))


def of_moments(frames: Iterable[Image.Image], sha256: str) -> Likeness:
    """The likeness of a video, by its upright frames at the moments."""
    import numpy

    greys = [frame.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX) for frame in frames]
    levels = numpy.stack([numpy.asarray(grey, dtype=numpy.int64) for grey in greys])
    moving = len(greys) * levels - levels.sum(axis=0)
    still = numpy.abs(moving).max(axis=(1, 2)) < MOVES * len(greys)
    return Likeness(
        sha256=sha256,
        moments=tuple("" if _flat(grey) else _signs(grey) for grey in greys),
        moved=tuple("" if rests else _signs(one) for one, rests in zip(moving, still, strict=True)),
    )


def apart(one: Likeness, other: Likeness, near_bits: int) -> float | None:
    """The mean difference in bits of the moments in which two videos agree; None where these are too few."""
    compared, agreed = 0, []
    for look, other_look, move, other_move in zip(one.moments, other.moments, one.moved, other.moved, strict=True):
        if not (look and other_look):
            continue
        compared += 1
        # what moves is less of a picture: a frame more or less changes more of it
        moves_alike = not (move and other_move) or _differing(move, other_move) <= 2 * near_bits
        if (bits := _differing(look, other_look)) <= near_bits and moves_alike:
            agreed.append(bits)
    if compared < LEAST_MOMENTS or len(agreed) < AGREE * compared:
        return None
    return sum(agreed) / len(agreed)


def _differing(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _flat(grey: Image.Image) -> bool:
    levels = grey.tobytes()
    return max(levels) - min(levels) < FLAT


def _signs(grey: Any) -> str:
    """The 256 bits of SIDE x SIDE levels: a grey picture, or whole numbers."""
    import numpy

    waves, order = _waves()
    found = waves @ numpy.asarray(grey, dtype=numpy.int64) @ waves.T > 0
    return numpy.packbits(found.ravel()[order]).tobytes().hex()


@lru_cache(maxsize=1)
def _waves() -> tuple[Any, Any]:
    """Sixteen cosine waves over SIDE pixels, scaled to whole numbers, and the order of their products' bits."""
    import numpy

    place, wave = numpy.arange(SIDE), numpy.arange(1, WAVES + 1)
    waves = numpy.rint(1024 * numpy.cos(numpy.pi * numpy.outer(wave, 2 * place + 1) / (2 * SIDE)))
    # dealt out with a stride, so that every band of the index holds slow and fast waves
    return waves.astype(numpy.int64), (67 * numpy.arange(WAVES**2)) % WAVES**2


class Likenesses:
    """The likenesses of pictures by the hash of their bytes, kept in a file, so that none is decoded twice.

    Each is one appended line: a kill costs at most the line that it tore.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = folder / CACHE if folder else None
        self._known: dict[str, Likeness] = {}
        if self._path:
            cut_torn_line(self._path)
            self._known = {one.sha256: one for one in read_lines(self._path, Likeness)}

    def of(self, media: Media, store: MediaStore) -> Likeness:
        """The likeness of stored media; ExampleError("media", reason) when it can't be opened."""
        if media.sha256 in self._known:
            return self._known[media.sha256]
        if media.kind == "video":
            return self._keep(of_moments(_moments(media, store), media.sha256))
        return self._keep(likeness(store.small(media, 2 * SIDE), media.sha256))

    def of_bytes(self, content: bytes, sha256: str, origin: str) -> Likeness:
        """The likeness of an encoded picture; ExampleError("media", reason) when it can't be decoded."""
        if sha256 in self._known:
            return self._known[sha256]
        return self._keep(likeness(decode(content, origin, 2 * SIDE), sha256))

    def of_video(self, path: Path) -> Likeness:
        """The likeness of a video file; ExampleError("media", reason) when it can't be decoded."""
        with tempfile.TemporaryDirectory() as folder:
            store = MediaStore(Path(folder))
            return self.of(store.add_video(path), store)

    def _keep(self, made: Likeness) -> Likeness:
        self._known[made.sha256] = made
        if self._path:
            append_line(self._path, made)
        return made


def _moments(media: Media, store: MediaStore) -> Iterator[Image.Image]:
    """A video's frames at the moments; one may come more than once."""
    first, last = media.span_s or (0.0, 0.0)
    step = (last - first) * (1 + 1 / max(1, media.frames - 1)) / SHOWN  # the last frame lasts as long as the others
    frames = [store.frames_at(media, [first + (moment + 0.5) * step])[0] for moment in MOMENTS]
    store.fetch(media, frames)
    for frame in frames:
        yield store.open(media, frame.time_s)


# ---------------------------------------------------------------------------------------------------- pictures


class Near(NamedTuple):
    """What an index found: the number it was added under, and how near it is."""

    number: int
    nearness: float


class Buckets:
    """Hash tables side by side, one for each band, in flat arrays: four bytes an entry and band."""

    def __init__(self, bands: int, width: int) -> None:
        self.heads = [array("i", [NONE]) * (1 << width) for _ in range(bands)]
        self.links = [array("i") for _ in range(bands)]

    def add(self, keys: Iterable[int]) -> None:
        """The next entry, by its key in each band."""
        for heads, links, key in zip(self.heads, self.links, keys, strict=True):
            links.append(heads[key])
            heads[key] = len(links) - 1


class Pictures:
    """Finds near-same pictures, and near-same videos.

    Where fewer bits differ than twice the number of bands, some band holds at most one of them: so looking up each
    band as it is, and with each of its bits turned, misses nothing.
    """

    def __init__(self, near_bits: int = NEAR_BITS) -> None:
        self._near_bits = near_bits
        bands = max(14, near_bits // 2 + 1)
        self._edges = [256 * band // bands for band in range(bands + 1)]
        self._width = max(end - start for start, end in pairwise(self._edges))
        self._buckets = Buckets(bands, self._width)
        self._hashes: list[int] = []
        self._numbers = array("i")
        self._videos: dict[int, Likeness] = {}
        self._by_hashes: dict[tuple[int, ...], int] = {}
        self._by_bytes: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, one: Likeness) -> int:
        """Take a picture in; its number, which is an earlier one's where that has the same bytes or hashes."""
        key = _short(one.sha256)
        if key not in self._by_bytes:
            self._by_bytes[key] = self._by_hashes.get(one.hashes, self._count)
        number = self._by_bytes[key]
        if number == self._count:
            self._count += 1
            for bits in one.hashes:
                self._buckets.add(bits >> start & (1 << end - start) - 1 for start, end in self._bands())
                self._hashes.append(bits)
                self._numbers.append(number)
            if one.moments:
                self._videos[number] = one
            elif one.hashes:
                self._by_hashes[one.hashes] = number
        return number

    def place(self, one: Likeness) -> int:
        """The number of the nearest picture, or a new one; the same ever after, so that questions can lie under it."""
        near = self.find(one)
        if near is None:
            return self.add(one)
        self._by_bytes.setdefault(_short(one.sha256), near.number)
        return near.number

    def find(self, one: Likeness) -> Near | None:
        """The nearest picture within `near_bits`, the first of several; nearness counts differing bits."""
        if (number := self._by_bytes.get(_short(one.sha256))) is not None:
            return Near(number, 0)
        candidates = (found for bits in one.hashes for found in self._candidates(bits))
        if one.moments:
            return self._find_video(one, {number for _, number in candidates})
        best = min((found for found in candidates if found[1] not in self._videos), default=None)
        return Near(best[1], best[0]) if best else None

    def _find_video(self, one: Likeness, candidates: set[int]) -> Near | None:
        others = [(number, self._videos[number]) for number in candidates if number in self._videos]
        found = [(bits, number) for number, other in others if (bits := apart(one, other, self._near_bits)) is not None]
        return Near(min(found)[1], min(found)[0]) if found else None

    def _candidates(self, bits: int) -> Iterator[tuple[int, int]]:
        """(differing bits, number) of all that are near; one may come more than once."""
        hashes, numbers, near_bits = self._hashes, self._numbers, self._near_bits
        for (start, end), heads, links in zip(self._bands(), self._buckets.heads, self._buckets.links, strict=True):
            key = bits >> start & (1 << end - start) - 1
            for turned in (0, *(1 << bit for bit in range(end - start))):
                entry = heads[key ^ turned]
                while entry != NONE:
                    if (differing := (hashes[entry] ^ bits).bit_count()) <= near_bits:
                        yield differing, numbers[entry]
                    entry = links[entry]

    def _bands(self) -> Iterator[tuple[int, int]]:
        return pairwise(self._edges)


def _short(sha256: str) -> int:
    return int(sha256[:16], 16)
