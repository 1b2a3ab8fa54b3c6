"""Pictures of the page: cut when a trace is looked at, handed out by the hash of their bytes.

What a browser may ask for is what a page has just named, out of a shelf of bounded size; no address holds a path, and
no path is made from one.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlencode

from PIL import Image

from dataforge.errors import ExampleError
from dataforge.media import MediaStore, to_jpeg
from dataforge.records import Example, Trace, View
from dataforge.report.pictures import Pictures, Size, shrunk

SHELF_BYTES = 32_000_000
"""JPEG bytes that are held for the browser."""
FULL_QUALITY = 88

Shown = tuple[str, str]
"""An address and a sentence, as Pictures gives them."""


class ServedPictures(Pictures):
    """The run's pictures as addresses on this server. Any thread may ask; one picture is decoded at a time."""

    def __init__(self, store: MediaStore) -> None:
        # a large picture takes hundreds of megabytes when it is decoded
        super().__init__(MediaStore(store.folder, keep=1))
        self._lock = threading.RLock()
        self._jpegs: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._shown: OrderedDict[object, Shown] = OrderedDict()

    def whole(self, example: Example, media: int, most: Size) -> Shown:
        return self._once(
            (example.media[media].sha256, most), lambda: super(ServedPictures, self).whole(example, media, most)
        )

    def view(self, example: Example, view: View, most: Size) -> Shown:
        source = example.media[view.media].sha256 if view.media < len(example.media) else ""
        key = (source, view.box, view.width, view.height, view.sha256, most)
        return self._once(key, lambda: super(ServedPictures, self).view(example, view, most))

    def _once(self, key: object, make: Callable[[], Shown]) -> Shown:
        """What was made for this key before, while its picture is still on the shelf."""
        with self._lock:
            found = self._shown.pop(key, ("", ""))
            if _name(found[0]) not in self._jpegs:
                found = make()
            if found[0]:
                self._shown[key] = found
                self._jpegs.move_to_end(_name(found[0]))
            return found

    def _address(self, image: Image.Image, most: Size) -> Shown:
        jpeg = shrunk(image, most)
        name = hashlib.sha256(jpeg).hexdigest()
        if name not in self._jpegs:
            self._bytes += len(jpeg)
        self._jpegs[name] = jpeg
        while self._bytes > SHELF_BYTES and len(self._jpegs) > 1:
            self._bytes -= len(self._jpegs.popitem(last=False)[1])
        while len(self._shown) > 2 * len(self._jpegs):
            self._shown.popitem(last=False)
        return f"/picture/{name}.jpg", ""

    def link(self, trace: Trace, media: int | None = None, view: int | None = None) -> str:
        which = {"media": media} if view is None else {"view": view}
        return "/full?" + urlencode({"id": trace.id, **which})

    # -------------------------------------------------------------------------------------------- what is asked for

    def jpeg(self, name: str) -> bytes | None:
        """A picture that a page has named by its hash, unless it has been thrown out since."""
        with self._lock:
            return self._jpegs.get(name)

    def full(self, trace: Trace, media: str, view: str) -> bytes | None:
        """A source picture or a view in its own size; None where the trace has no such, or it can't be shown."""
        views = {str(one.number): one for one in trace.all_views}
        with self._lock:
            try:
                if view in views:
                    return to_jpeg(self.cut(trace.example, views[view]), FULL_QUALITY)
                if media in map(str, range(len(trace.example.media))):
                    return to_jpeg(self.opened(trace.example, int(media)), FULL_QUALITY)
            except ExampleError:
                return None
        return None


def _name(address: str) -> str:
    return address.removeprefix("/picture/").removesuffix(".jpg")
