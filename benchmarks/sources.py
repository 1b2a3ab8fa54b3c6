"""What the sources cost: pictures drawn here, and SA-1B's masks against pycocotools.

python benchmarks/sources.py drawn            # CPU and wall time of one poster, scene, web page
python benchmarks/sources.py masks            # read 120 masks of a 3.4 MP picture; beside pycocotools where installed
"""

import importlib.util
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from dataforge import pages, plugins, posters, scenes
from dataforge.media import MediaStore
from dataforge.pages import chromium
from dataforge.plugins import Row
from dataforge.reading.rle import decoded

SIZE = (2250, 1500)
MASKS = 120
REPEATS = 5


def table(title: str, *columns: str) -> Table:
    made = Table(title=title)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def drawn(count: int = 20) -> None:
    """Each drawn a number of times; wall time stands beside, since the CPU time leaves Chromium's processes out."""
    shown = table("drawn here", "what", "pictures", "megapixels", "CPU a picture", "wall a picture")
    makers: dict[str, Callable[[int], tuple[int, int]]] = {
        "poster": lambda seed: posters.draw(seed).image.size,
        "scene": lambda seed: scenes.draw(seed).image.size,
    }
    if chromium.program():
        makers["web page"] = lambda seed: (sheet := pages.draw(seed).sheet) and (sheet.width, sheet.height)
    for name, make in makers.items():
        make(10_000)  # fonts, icons, a browser: once a process
        wall, cpu = time.perf_counter(), time.process_time()
        sizes = [make(seed) for seed in range(count)]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        area = statistics.mean(width * height / 1e6 for width, height in sizes)
        shown.add_row(name, str(count), f"{area:.1f}", f"{1000 * cpu / count:.0f} ms", f"{1000 * wall / count:.0f} ms")
    Console().print(shown)


def annotations() -> list[dict[str, Any]]:
    """Masks of ellipses with teeth, as SA-1B writes them."""
    from tests.coco import annotation

    rng, found = Random(0), []
    for number in range(MASKS):
        wide, high = rng.randint(20, 260), rng.randint(20, 260)
        x, y = rng.randint(0, SIZE[0] - wide - 1), rng.randint(0, SIZE[1] - high - 1)
        mask = Image.new("L", (wide, high))
        ImageDraw.Draw(mask).ellipse((0, 0, wide - 1, high - 1), 255)
        for row in range(0, high, 5):
            mask.paste(0, (0, row, wide // 3, row + 1))
        found.append(annotation(number, mask, _box(x, y, wide, high), SIZE))
    return found


def _box(x: int, y: int, wide: int, high: int) -> Any:
    from dataforge.geometry import Box

    return Box(x, y, x + wide, y + high)


def timed(work: Callable[[], Any]) -> float:
    """The least CPU time of a few runs, in milliseconds."""
    taken = []
    for _ in range(REPEATS):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return 1000 * min(taken)


def masks() -> None:
    found = annotations()
    rles = [one["segmentation"] for one in found]
    shown = table(f"{MASKS} masks of a {SIZE[0]}x{SIZE[1]} picture", "what", "CPU")
    shown.add_row("ours: runs, area, box", f"{timed(lambda: [(m.area, m.box) for m in map(decoded, rles)]):.0f} ms")
    shown.add_row("ours: and the pixels of each box", f"{timed(lambda: [_cut(one) for one in rles]):.0f} ms")
    if importlib.util.find_spec("pycocotools"):
        from pycocotools import mask as coco

        shown.add_row("pycocotools: area, box", f"{timed(lambda: (coco.area(rles), coco.toBbox(rles))):.0f} ms")
        shown.add_row("pycocotools: all pixels", f"{timed(lambda: [coco.decode(one) for one in rles]):.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        noise = Image.frombytes("RGB", SIZE, Random(1).randbytes(SIZE[0] * SIZE[1] * 3))
        noise.save(Path(folder) / "sa_1.jpg", quality=85)
        (Path(folder) / "sa_1.json").write_text(json.dumps({"annotations": found}))
        source: plugins.Source = plugins.build("source", {"name": "sa1b", "path": folder})
        (row,) = (one for one in source.read() if isinstance(one, Row))
        fresh = iter(range(REPEATS))
        taken = timed(lambda: source.example(row, MediaStore(Path(folder) / f"media{next(fresh)}")))
    shown.add_row("the whole example: picture decoded, masks read and compared", f"{taken:.0f} ms")
    Console().print(shown)


def _cut(rle: Any) -> None:
    mask = decoded(rle)
    assert mask.box is not None
    mask.cut(mask.box)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    {"drawn": drawn, "masks": masks}[sys.argv[1]]()
    print(f"most memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
