"""The main job's figures, side by side in one run.

    .venv/bin/python benchmarks/main_job.py                 all three tables, about half an hour on two cores
    .venv/bin/python benchmarks/main_job.py startup pixels  the quick ones
    .venv/bin/python benchmarks/main_job.py scale --counts 200 1000 --per-poster 1

startup  a whole process of `dataforge --help` against a Python that imports only typer
pixels   CPU of the pixel path of one trace (decode one 12-megapixel JPEG, whole view, two crops, encode) against a
         straight script of bare Pillow calls, in the fastest form we know, and in the naive one
scale    drawn examples with the scripted teacher, eight questions a poster: cores kept busy, and peak memory of 500
         against 5,000 examples
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from dataforge.episode import Episode
from dataforge.media import MediaStore, to_jpeg
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import Call, Example, Limits, Student

CONSOLE = Console()


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    return made


# ---------------------------------------------------------------------------------------------- start-up


def startup(pairs: int = 15) -> None:
    """Whole processes in pairs, so that the ratio holds when the machine's speed drifts."""
    commands = {
        "python -c 'import typer'": [sys.executable, "-c", "import typer"],
        "dataforge --help": [str(Path(sys.executable).parent / "dataforge"), "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(pairs + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if turn:  # the first pair warms the disk cache
                times[name].append(time.perf_counter() - began)
    ratios = [ours / theirs for theirs, ours in zip(*times.values(), strict=True)]
    shown = table("start-up, whole process", "command", "median ms", "min", "max", "ratio")
    for name, taken in times.items():
        ratio = f"{statistics.median(ratios):.2f}" if "dataforge" in name else "1"
        shown.add_row(name, *(f"{1000 * f(taken):.0f}" for f in (statistics.median, min, max)), ratio)
    CONSOLE.print(shown)


# ---------------------------------------------------------------------------------------------- pixel path

CROPS = [(300, 400, 1300, 1200), (2200, 1500, 3400, 2500)]
WHOLE, PART = (1148, 868), (980, 784)


def photo(path: Path) -> None:
    """12 megapixels of something like a photograph: smooth forms under film grain."""
    forms = Image.effect_noise((125, 94), 90).resize((4000, 3000), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((4000, 3000), 18)
    red = Image.blend(forms, grain, 0.25)
    green = Image.blend(forms.transpose(Image.Transpose.FLIP_LEFT_RIGHT), grain, 0.25)
    Image.merge("RGB", (red, green, forms)).save(path, quality=85)


def straight_fast(path: Path) -> None:
    """Decode once, shrink by whole steps before filtering: what a careful person writes by hand."""
    image = Image.open(path)
    image.load()
    pictures = [image.resize(WHOLE, Image.Resampling.LANCZOS, reducing_gap=1.5)]
    pictures += [image.crop(box).resize(PART, Image.Resampling.LANCZOS, reducing_gap=1.5) for box in CROPS]
    for picture in pictures:
        picture.save(BytesIO(), "JPEG", quality=90)


def straight_naive(path: Path) -> None:
    """The same as most scripts have it: a decode for each picture, a plain filter."""
    for box, size in [(None, WHOLE), *((box, PART) for box in CROPS)]:
        image = Image.open(path).convert("RGB")
        part = image.crop(box) if box else image
        part.resize(size, Image.Resampling.LANCZOS).save(BytesIO(), "JPEG", quality=90)


def ours(path: Path) -> None:
    """Through the store, an episode and its two calls: hashes of the file and of each view included."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        store = MediaStore(Path(folder))
        example = Example(id="e", group="g", source="b", question="?", answers=("1",), media=(store.add_file(path),))
        episode = Episode(example, store, [ZoomIn()], Student(), Limits())
        view = episode.opening[0]
        for box in CROPS:
            scale_x, scale_y = view.width / 4000, view.height / 3000
            asked = [box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y]
            assert not episode.act(Call(name="zoom_in", arguments={"bbox_2d": asked, "target_image": 1})).error
        for number in (1, 2, 3):
            to_jpeg(episode.workspace.picture(number))


def cpu(job: Callable[[], None]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def pixels(rounds: int = 15) -> None:
    ways = {"bare Pillow, fastest": straight_fast, "bare Pillow, naive": straight_naive, "dataforge": ours}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        photo(path)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, way in ways.items():
                taken = cpu(lambda way=way: way(path))  # type: ignore[misc]
                if turn:
                    times[name].append(taken)
    floor = times["bare Pillow, fastest"]
    shown = table("pixel path of one trace, 12 MP JPEG", "way", "median CPU ms", "min", "ratio to the fastest")
    for name, taken in times.items():
        ratio = statistics.median(one / base for one, base in zip(taken, floor, strict=True))
        shown.add_row(name, f"{1000 * statistics.median(taken):.0f}", f"{1000 * min(taken):.0f}", f"{ratio:.2f}")
    CONSOLE.print(shown)


# ---------------------------------------------------------------------------------------------- scale

RUN = """
import json, sys, time
from pathlib import Path
from dataforge import manifest
from dataforge.runs import Run
from dataforge.synth import synth
began = time.perf_counter()
folder, count, per_poster = sys.argv[1:]
changes = {"limit": int(count), "source": {"name": "infographics", "per_poster": int(per_poster)}}
with Run.start(Path(folder), manifest.load(manifest.shipped("infographics"), changes)) as run:
    progress = synth(run)
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "kept": progress.kept, "read": progress.read}))
"""


def tree_memory(root: int) -> tuple[int, float]:
    """Memory (kB, shared pages counted once) and CPU seconds of a process and all its descendants, now."""
    children: dict[int, list[int]] = {}
    cpu_s: dict[int, float] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        cpu_s[int(entry.name)] = (int(fields[11]) + int(fields[12])) / tick
    todo, memory, spent = [root], 0, 0.0
    while todo:
        process = todo.pop()
        todo += children.get(process, [])
        spent += cpu_s.get(process, 0.0)
        try:
            rollup = (Path("/proc") / str(process) / "smaps_rollup").read_text()
            memory += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
        except (OSError, StopIteration):
            continue
    return memory, spent


def measured_run(count: int, per_poster: int, folder: Path) -> dict[str, float]:
    """Run in a process of its own, watched from outside: peak of the whole tree, cores busy between start and end."""
    command = [sys.executable, "-c", RUN, str(folder), str(count), str(per_poster)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, spent = 0, 0.0
    began = time.perf_counter()
    while process.poll() is None:
        memory, cpu_now = tree_memory(process.pid)
        peak, spent = max(peak, memory), max(spent, cpu_now)
        time.sleep(0.5)
    wall = time.perf_counter() - began
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    return said | {"peak_mb": peak / 1024, "cores": spent / wall, "wall": wall}


def scale(counts: Sequence[int], per_poster: int) -> None:
    shown = table(
        f"drawn examples, {per_poster} a poster, scripted teacher, {os.cpu_count()} cores",
        "examples",
        "kept",
        "wall s",
        "examples/s",
        "cores busy",
        "peak MB (PSS, all processes)",
    )
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            result = measured_run(count, per_poster, Path(folder))
        rate = count / result["wall"]
        cells = [result["wall"], rate, result["cores"], result["peak_mb"]]
        shown.add_row(
            str(count), f"{result['kept']:.0f}", *(f"{cell:.{n}f}" for cell, n in zip(cells, (0, 2, 2, 0), strict=True))
        )
    CONSOLE.print(shown)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("tables", nargs="*", metavar="TABLE", help="startup, pixels, scale; all three when left out")
    asked.add_argument("--counts", type=int, nargs="+", default=[500, 2000, 5000], help="of scale: examples a run")
    asked.add_argument("--per-poster", type=int, default=8, help="of scale: questions on one poster")
    given = asked.parse_args()
    tables = {"startup": startup, "pixels": pixels, "scale": lambda: scale(given.counts, given.per_poster)}
    if unknown := set(given.tables) - set(tables):
        asked.error(f"no table {', '.join(sorted(unknown))}")
    for name in given.tables or tables:
        tables[name]()


if __name__ == "__main__":
    main()
