"""What a worker process does for `push`: one stored line becomes rows with pictures, and is replayed on the way.

The pictures of a trace are those of its episode, run again: what is published is what the recorded calls show, and a
trace that no longer shows what it says is found out here.
"""

import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dataforge.episode import differences, stage
from dataforge.errors import ExampleError
from dataforge.manifest import Push
from dataforge.media import MediaStore, to_jpeg
from dataforge.publish.rows import Row, image_cells, query_row, trace_row
from dataforge.records import Student, Trace, parse_line
from dataforge.workers import default_count

STORES_KEPT = 4
ITEMS_EACH = 8


def processes(items: int) -> int:
    """How many workers that much is worth: each takes half a second to start."""
    return max(1, min(default_count(), items // ITEMS_EACH))


class Order(NamedTuple):
    """One stored line to be made into rows."""

    media: Path
    run: str
    line: bytes
    kept: bool
    wanted: bool
    """Its trace is published, not its question alone."""
    force: bool
    """Also where its replay differs."""
    number: int


class Prepared(NamedTuple):
    """The rows of a line; none where it can't be published. `fault` is why, or how its replay differs."""

    trace: Row | None
    query: Row | None
    fault: str = ""


_push: Push
_student: Student
_stores: OrderedDict[Path, MediaStore] = OrderedDict()


def set_up_bench(push: Push, student: Student) -> None:
    global _push, _student
    _push, _student = push, student


def prepare(order: Order) -> Prepared:
    """The line's rows with encoded pictures; a trace whose replay differs gets one only when forced."""
    trace = parse_line(order.line.decode("utf-8"), Trace, f"{order.run}, {order.number}")
    try:
        seen, fault = shown(trace, _store(order.media), calls=order.wanted)
        fault = fault and f"replay: {fault}"
    except ExampleError as error:
        seen, fault = [], f"{error.stage}: {error.reason}"
        if _push.pictures != "none":
            return Prepared(None, None, fault)
    cells = [] if _push.pictures == "none" else image_cells(encoded(seen, _push), suffix(_push))
    query = query_row(trace, order.kept, order.run, order.number) | {"images": cells[: len(trace.views)]}
    if not order.wanted or fault == "replay: views" or (fault and not order.force):
        return Prepared(None, query, fault)
    try:
        row = trace_row(trace, _student, order.run, order.number) | {"images": cells}
    except ExampleError as error:
        return Prepared(None, query, f"{error.stage}: {error.reason}")
    return Prepared(row, query, fault)


def shown(trace: Trace, store: MediaStore, calls: bool = True) -> tuple[list[Image.Image], str]:
    """What a trace shows, cut again, and the code of the first difference to its record; the opening views alone where
    its calls aren't asked for.
    """
    episode = stage(trace, store)
    told = [what for what, _ in differences(trace, episode)] if calls else []
    count = len(episode.workspace.views)
    # another number of views than recorded is the gravest: the placeholders would not fit
    fault = "views" if calls and count != len(trace.all_views) else next(iter(told), "")
    return [episode.workspace.picture(number) for number in range(1, count + 1)], fault


def encoded(pictures: Sequence[Image.Image], push: Push) -> list[bytes]:
    """Views as the set stores them."""
    if push.encoding == "jpeg":
        return [to_jpeg(picture, push.quality) for picture in pictures]
    return [_png(picture) for picture in pictures]


def suffix(push: Push) -> str:
    return ".jpg" if push.encoding == "jpeg" else ".png"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _store(folder: Path) -> MediaStore:
    """The store of a run; a set may come from several."""
    if folder not in _stores:
        _stores[folder] = MediaStore(folder)
        while len(_stores) > STORES_KEPT:
            _stores.popitem(last=False)
    _stores.move_to_end(folder)
    return _stores[folder]
