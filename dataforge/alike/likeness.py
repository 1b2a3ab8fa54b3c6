"""Near-same pictures: their hashes, and an index that finds one among a hundred thousand.

A picture is hashed as a whole and again without its outer 2 % on each side, so that a copy with a trimmed rim agrees in
one of the two. A hash is the signs of 256 cosine waves of the grey picture at 64x64 pixels, in whole numbers, so every
machine gets the same bits.

NEAR_BITS rests on `benchmarks/likeness.py copies` and `files`. Of 100 drawn posters and 20 real pictures, copies that
were encoded again (quality 10), scaled, made grey, darker or harder, or trimmed by 2 % a side differ in 13 bits at
most; two posters differ in 88 or more, two receipts of one shop in 41 or more. 64 bits of a 9x8 picture can't tell
those receipts apart: 2 to 7 bits. Seldom or not found: copies cropped by more than 3 % a side or 2 % on one side alone,
mirrored, turned. Videos and pictures of one flat colour have no hash: only their bytes are compared.
"""

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
CACHE = f"likeness-{PICTURE_HASH}.jsonl"

NONE = -1


class Likeness(Record):
    """A picture by its bytes and its looks; without hashes it is a video or one flat colour."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    whole: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="256 bits")
    core: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="256 bits, of the picture less its rim")

    @property
    def hashes(self) -> tuple[int, ...]:
        return (int(self.whole, 16), int(self.core, 16)) if self.whole else ()


def likeness(image: Image.Image, sha256: str) -> Likeness:
    """The likeness of an upright picture."""
    grey = image.convert("L")
    rim_x, rim_y = RIM * grey.width, RIM * grey.height
    whole, core = (
        grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=box)
        for box in ((0, 0, *grey.size), (rim_x, rim_y, grey.width - rim_x, grey.height - rim_y))
    )
    levels = whole.tobytes()
    if max(levels) - min(levels) < FLAT:
        return Likeness(sha256=sha256)
    return Likeness(sha256=sha256, whole=_signs(whole), core=_signs(core))


def _signs(grey: Image.Image) -> str:
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
        """The likeness of stored media; ExampleError("media", reason) when the picture can't be opened."""
        if media.sha256 in self._known:
            return self._known[media.sha256]
        if media.kind == "video":
            return Likeness(sha256=media.sha256)
        return self._keep(likeness(store.small(media, 2 * SIDE), media.sha256))

    def of_bytes(self, content: bytes, sha256: str, origin: str) -> Likeness:
        """The likeness of an encoded picture; ExampleError("media", reason) when it can't be decoded."""
        if sha256 in self._known:
            return self._known[sha256]
        return self._keep(likeness(decode(content, origin, 2 * SIDE), sha256))

    def _keep(self, made: Likeness) -> Likeness:
        self._known[made.sha256] = made
        if self._path:
            append_line(self._path, made)
        return made


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
    """Finds near-same pictures.

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
            if one.hashes:
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
        best = min((found for bits in one.hashes for found in self._candidates(bits)), default=None)
        return Near(best[1], best[0]) if best else None

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
