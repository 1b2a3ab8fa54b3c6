"""The only file that opens, cuts and encodes pictures; frames of videos come through it from the folder `video`.

Pictures are kept by the hash of their bytes in the run's media folder, so a trace names what it shows without a path.
Whatever a file holds, what comes out is one upright RGB picture: first frame, EXIF orientation applied, transparency on
white, 16 bits scaled down; or an ExampleError with a reason code. Boxes are pixels of that upright picture.
"""

import hashlib
import io
import math
import os
import shutil
import stat
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dataforge.errors import ExampleError
from dataforge.geometry import Box
from dataforge.records import Frame, Media, Overview, VideoBackend

if TYPE_CHECKING:
    from dataforge.video import Clips

MAX_PIXELS = 120_000_000
"""The largest picture that is decoded: 480 MB, since Pillow keeps four bytes a pixel."""
MAX_BYTES = 512 * 1024 * 1024
MAX_VIDEO_BYTES = 32 * 1024**3
MAX_ASPECT = 200
"""Longer strips are refused, as Qwen's own preprocessor does."""
REDUCING_GAP = 1.5
"""Shrink by whole steps first, then filter: a third of the cost, 0.4 of 255 from the exact filter on average."""


class MediaStore:
    """The run's pictures and videos by content, with the last few decoded pictures at hand."""

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        video_backend: VideoBackend = "auto",
        video_limit_s: float | None = None,
    ) -> None:
        self.folder = folder
        self._keep = keep
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()
        self._backend = video_backend
        self._video_limit_s = video_limit_s

    @cached_property
    def clips(self) -> "Clips":
        """The videos' descriptions and frames, in a folder of their own."""
        from dataforge.video import LIMIT_S, Clips

        return Clips(self.folder / "frames", self._video_limit_s or LIMIT_S, backend=self._backend)

    def add_file(self, path: Path, licence: str = "", origin: str = "") -> Media:
        """Take a picture file in: linked where the file system allows it, else copied."""
        with _hostile_path(path):
            _regular(path, MAX_BYTES)
            content = path.read_bytes()
        return self._add(content, path.suffix.lower(), licence, origin or path.name, path)

    def add_video(self, path: Path, licence: str = "", origin: str = "") -> Media:
        """Take a video file in, as `add_file` does, and describe it; ExampleError("media", reason) where it is none."""
        with _hostile_path(path):
            media = self.clips.media(path, _regular(path, MAX_VIDEO_BYTES), licence, origin or path.name)
            if not self.path(media).exists():
                self.path(media).parent.mkdir(parents=True, exist_ok=True)
                _place(b"", self.path(media), path)
        return media

    def add_bytes(self, content: bytes, suffix: str, licence: str = "", origin: str = "") -> Media:
        """Take an encoded picture in."""
        return self._add(content, suffix, licence, origin, None)

    def _add(self, content: bytes, suffix: str, licence: str, origin: str, link: Path | None) -> Media:
        sha256 = hashlib.sha256(content).hexdigest()
        image = self._decode(sha256, content, origin)
        media = Media(
            sha256=sha256,
            suffix=suffix,
            width=image.width,
            height=image.height,
            licence=licence,
            origin=origin,
        )
        target = self.path(media)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(content, target, link)
        return media

    def orientation(self, media: Media) -> int:
        """The EXIF orientation of the file as stored, 1 to 8: how it was turned to become upright."""
        with _hostile_input(media.origin), Image.open(self.path(media)) as image:
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            return turn if turn in range(1, 9) else 1

    def path(self, media: Media) -> Path:
        return self.folder / media.sha256[:2] / f"{media.sha256}{media.suffix}"

    def overview(self, media: Media, settings: Overview) -> list[Frame]:
        """The frames with which a video is first shown, in order of time."""
        return self.clips.overview(self.path(media), media, settings)

    def frames_at(self, media: Media, times_s: Sequence[float]) -> list[Frame]:
        """The frames of a video that are on screen at these times, each once, in order of time."""
        index = self.clips.index(self.path(media), media)
        return sorted({index.at(time_s) for time_s in times_s})

    def fetch(self, media: Media, frames: Sequence[Frame]) -> None:
        """Have frames decoded in one pass, before they are opened one by one."""
        self.clips.fetch(self.path(media), media, frames)

    def open(self, media: Media, time_s: float | None = None) -> Image.Image:
        """The upright RGB picture, of a video that of a presentation time.

        ExampleError when the file is gone, is no longer what was stored, or has no frame of that time.
        """
        if media.kind == "video" or time_s is not None:
            return self._open_frame(media, time_s)
        if media.sha256 in self._decoded:
            self._decoded.move_to_end(media.sha256)
            return self._decoded[media.sha256]
        return self._decode(media.sha256, self._read(media), media.origin)

    def cut(self, media: Media, box: Box, size: tuple[int, int], time_s: float | None = None) -> Image.Image:
        """The part of a picture, or of a frame of a video, inside `box` (whole pixels), in that size."""
        if media.kind == "image":
            return cut(self.open(media), box, size)
        # all questions on a clip begin with the same overview
        key = (media.sha256, media.decoder, time_s, box, size)
        return self.clips.once(key, lambda: cut(self.open(media, time_s), box, size))

    def _open_frame(self, media: Media, time_s: float | None) -> Image.Image:
        if media.kind != "video" or time_s is None:
            raise ExampleError("media", "no_such_frame", f"{media.origin}: a {media.kind} at {time_s}")
        frame = self.clips.index(self.path(media), media).exactly(time_s)
        return self.clips.open(self.path(media), media, frame)

    def small(self, media: Media, least: int) -> Image.Image:
        """The picture, as `open`, but a JPEG may come smaller: its sides no shorter than `least` pixels."""
        return self._decoded.get(media.sha256) or decode(self._read(media), media.origin, least)

    def content(self, media: Media) -> bytes:
        """The file's bytes as they were stored; errors as those of `open`."""
        return self._read(media)

    def _read(self, media: Media) -> bytes:
        try:
            content = self.path(media).read_bytes()
        except OSError as error:
            raise ExampleError("media", "missing_media", f"{media.origin}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != media.sha256:
            raise ExampleError("media", "media_changed", f"{media.origin}: its bytes are not those that were stored")
        return content

    def _decode(self, sha256: str, content: bytes, origin: str) -> Image.Image:
        if sha256 not in self._decoded:
            self._decoded[sha256] = decode(content, origin)
            while len(self._decoded) > self._keep:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(sha256)
        return self._decoded[sha256]


@contextmanager
def _hostile_path(path: Path) -> Iterator[None]:
    """What the file system says of a path becomes a reason code."""
    try:
        yield
    except FileNotFoundError:
        raise ExampleError("media", "missing_media", path.name) from None
    except (OSError, ValueError) as error:
        # ValueError: a name with a null in it
        reason = getattr(error, "strerror", None) or str(error)
        raise ExampleError("media", "unreadable_media", f"{path.name}: {reason}") from None


def _regular(path: Path, most: int) -> os.stat_result:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        # reading a pipe or a device may never end
        raise ExampleError("media", "unreadable_media", f"{path.name}: not a file")
    if found.st_size > most:
        raise ExampleError("media", "file_too_large", f"{path.name}: over {most} bytes")
    return found


def _place(content: bytes, target: Path, link: Path | None) -> None:
    """Put the file there whole or not at all."""
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        if link is None:
            temporary.write_bytes(content)
        else:
            temporary.unlink(missing_ok=True)
            try:
                # a link to what a symbolic link points to: the Hub's cache is made of those
                os.link(link.resolve(), temporary)
            except OSError:
                shutil.copyfile(link, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def decode(content: bytes, origin: str = "", least: int = 0) -> Image.Image:
    """Encoded bytes as an upright RGB picture; ExampleError("media", reason) for any that can't be.

    With `least`, a JPEG may be decoded at 1/2, 1/4 or 1/8, its sides no shorter than that: a fraction of the time.
    """
    if not content:
        raise ExampleError("media", "empty_file", origin)
    with _hostile_input(origin):
        image = Image.open(io.BytesIO(content))
        width, height = image.size
        if width < 1 or height < 1:
            raise ExampleError("media", "no_pixels", f"{origin}: {width}x{height}")
        if width * height > MAX_PIXELS:
            raise ExampleError("media", "too_many_pixels", f"{origin}: {width}x{height}")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise ExampleError("media", "extreme_aspect", f"{origin}: {width}x{height}")
        if least:
            image.draft(None, (least, least))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image, origin)


@contextmanager
def _hostile_input(origin: str) -> Iterator[None]:
    """Pillow's decoders raise nearly anything on a broken file; here every one of them gets a reason code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ExampleError:
        raise
    except UnidentifiedImageError:
        raise ExampleError("media", "not_a_picture", origin) from None
    except Image.DecompressionBombError as error:
        raise ExampleError("media", "too_many_pixels", f"{origin}: {error}") from None
    except Exception as error:
        raise ExampleError("media", "broken_picture", f"{origin}: {type(error).__name__}: {error}") from None


def _to_rgb(image: Image.Image, origin: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image, origin)
    if image.mode == "F":
        raise ExampleError("media", "unsupported_mode", f"{origin}: floating point pixels")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        # no more copies than these two: at MAX_PIXELS each is half a gigabyte
        upper = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", upper.size, "white")
        paper.paste(upper, mask=upper)
        return paper
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, origin: str) -> Image.Image:
    """Pillow's own conversion cuts 16 bits off at 255, which turns a scan white."""
    wide = image.convert("I")
    low, high = wide.getextrema()
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float)) and 0 <= low <= high <= 65535):
        raise ExampleError("media", "unsupported_mode", f"{origin}: values from {low} to {high}")
    return wide.point(lambda value: value * (1 / 256)).convert("L").convert("RGB")


def fit(width: float, height: float, patch: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size at which a student's preprocessor leaves a picture alone.

    Sides are multiples of `patch`; the area lies in [min_pixels, max_pixels]; the aspect is kept as near as that
    allows. The rule is Qwen's `smart_resize` (qwen-vl-utils), which maps the result to itself.
    """
    across, down = max(patch, round(width / patch) * patch), max(patch, round(height / patch) * patch)
    if across * down > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        across = max(patch, math.floor(width / shrink / patch) * patch)
        down = max(patch, math.floor(height / shrink / patch) * patch)
    elif across * down < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        across, down = math.ceil(width * grow / patch) * patch, math.ceil(height * grow / patch) * patch
    return across, down


def cut(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """The part of the picture inside `box` (whole pixels), in that size.

    It is cropped before it is scaled: a filter given the box alone would let the pixels just outside of it bleed in.
    """
    corners = (int(box.x1), int(box.y1), int(box.x2), int(box.y2))
    part = image if corners == (0, 0, *image.size) else image.crop(corners)
    return part if part.size == size else part.resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)


def blank(size: tuple[int, int]) -> Image.Image:
    """A view without pixels of a source: plain middle grey."""
    return Image.new("RGB", size, (128, 128, 128))


def fingerprint(image: Image.Image) -> str:
    """Hash of a view: its size and its RGB bytes."""
    return hashlib.sha256(b"%dx%d:" % image.size + image.tobytes()).hexdigest()


def to_jpeg(image: Image.Image, quality: int = 90, subsampling: int = -1) -> bytes:
    """The picture as JPEG, for a request or a page; subsampling 0 keeps the colour of small things."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def to_png(image: Image.Image) -> bytes:
    """The picture as PNG, pixel for pixel, for a model in this process."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def shrink(jpeg: bytes, factor: float, quality: int = 90) -> bytes:
    """A JPEG with its sides in that proportion; as it is where it can't be opened."""
    try:
        image = decode(jpeg)
    except ExampleError:
        return jpeg
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return to_jpeg(image.resize(size, Image.Resampling.LANCZOS), quality)
