"""The figures of the video part, side by side in one run.

.venv/bin/python benchmarks/video.py                    all tables, about five minutes on two cores
.venv/bin/python benchmarks/video.py exact              frames that are not the ones asked for, ours and decord's
.venv/bin/python benchmarks/video.py frames             16 frames of a 60 s 720p clip (GOP 250), against bare readers
.venv/bin/python benchmarks/video.py examples           1,000 examples on 50 clips: decodings and memory
.venv/bin/python benchmarks/video.py opens              memory of the decoding process over 2,000 files (or opens=200)
.venv/bin/python benchmarks/video.py idle               memory of a decord reader that is left alone
"""

import bisect
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import decord as bare_decord
import numpy
from PIL import Image
from rich.console import Console
from rich.table import Table

from dataforge import manifest
from dataforge.media import MediaStore
from dataforge.records import Frame, Media, Overview
from dataforge.synth.bench import Bench, Ready
from dataforge.video import Clips, pyav, sampling
from dataforge.video.index import Index
from dataforge.video.process import decoder
from dataforge.video.scan import describe
from tests import clips

CONSOLE = Console()
FRAMES = 16


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    return made


def resident_mb(pid: int | None = None) -> float:
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


# -------------------------------------------------------------------------------------------------------- exactness


def exact(folder: Path) -> None:
    """60 frames each, in random order, from clips that show their frames' numbers."""
    x264, milli = "open-gop=1:bframes=3:scenecut=0", Fraction(1, 1000)
    x265 = "log-level=none:open-gop=1:keyint=20:min-keyint=20:bframes=4"
    files = {
        "H.264 in MP4": clips.write(folder / "a.mp4", count=120),
        "H.264, open GOP": clips.write(folder / "b.mp4", count=120, options={"x264-params": x264}),
        "HEVC, open GOP": clips.write(folder / "c.mp4", count=120, codec="libx265", options={"x265-params": x265}),
        "cut with -c copy": clips.cut(clips.write(folder / "d0.mp4", count=180), folder / "d.mp4", 16000),
        "MPEG-TS": clips.write(folder / "e.ts", count=120),
        "variable rate, MKV": clips.write(
            folder / "f.mkv", count=120, times=[at * 40 + at * at * 7 % 37 for at in range(120)], base=milli
        ),
        "MPEG-4 with B, AVI": clips.write(folder / "g.avi", count=120, codec="mpeg4", options={"bf": "2"}),
        "AV1 in MKV": clips.write(
            folder / "h.mkv", count=60, codec="libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}
        ),
    }
    shown = table("frames that are not the one asked for", "file", "dataforge", "bare decord", "dataforge with decord")
    for name, path in files.items():
        index = describe(path)
        ((_, start),) = pyav.decode(path, index, index.pts[:1])
        first = clips.number(start)
        order = random.Random(0).sample(range(len(index.pts)), min(60, len(index.pts)))
        ours = sum(
            clips.number(image) != first + at for at in order for _, image in pyav.decode(path, index, [index.pts[at]])
        )
        shown.add_row(name, f"{ours}/{len(order)}", _decord_wrong(path, order, first), _refusal(path))
    CONSOLE.print(shown)


def _decord_wrong(path: Path, order: list[int], first: int) -> str:
    try:
        reader = bare_decord.VideoReader(str(path), num_threads=1)
        wrong = [clips.number(Image.fromarray(reader[at].asnumpy())) != first + at for at in order]
    except Exception as error:
        return type(error).__name__
    return f"{sum(wrong)}/{len(order)}"


def _refusal(path: Path) -> str:
    from dataforge.errors import ExampleError
    from dataforge.video import decord

    index = describe(path)
    try:
        list(decord.decode(path, index, index.pts[:1]))
    except ExampleError as error:
        return f"refused: {error.reason}"
    return "taken"


# --------------------------------------------------------------------------------------------------- sixteen frames


def sixty_seconds(path: Path) -> Path:
    """A 60 s clip in 720p30, about 3 Mbit/s, a key frame every 250 frames: texture that moves, and noise."""
    rng = numpy.random.default_rng(0)
    base = numpy.kron(rng.integers(0, 255, (130, 360, 3), dtype=numpy.uint8), numpy.ones((8, 8, 1), numpy.uint8))
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "sc_threshold": "0", "threads": "2"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate, stream.gop_size = (
            1280,
            720,
            "yuv420p",
            3_000_000,
            250,
        )
        for number in range(1800):
            x, y = number * 2 % 1000, number // 2 % 200
            noise = rng.integers(0, 12, (180, 320, 1), dtype=numpy.uint8).repeat(4, 0).repeat(4, 1)
            pixels = base[y : y + 720, x : x + 1280] // 2 + 60 + noise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def bare_pyav(path: Path) -> list[Image.Image]:
    """The fastest exact reader in bare PyAV that we know but for skipping: packet times, then from key frame on."""
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    times, keys = sorted(pts for pts, _ in packets), sorted(pts for pts, key in packets if key)
    wanted = [times[int((place + 0.5) * len(times) / FRAMES)] for place in range(FRAMES)]
    images: list[Image.Image] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        at = None
        frames = iter(())
        for pts in wanted:
            key = keys[bisect.bisect_right(keys, pts) - 1]
            if at is None or key > at:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            for frame in frames:
                at = frame.pts
                if at == pts:
                    images.append(frame.to_image())
                    break
    return images


def sequential_pyav(path: Path) -> list[Image.Image]:
    wanted = {int((place + 0.5) * 1800 / FRAMES) for place in range(FRAMES)}
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [frame.to_image() for at, frame in enumerate(container.decode(video=0)) if at in wanted]


def bare_decord_batch(path: Path) -> list[Image.Image]:
    reader = bare_decord.VideoReader(str(path), num_threads=1)
    numbers = [int((place + 0.5) * len(reader) / FRAMES) for place in range(FRAMES)]
    return [Image.fromarray(pixels) for pixels in reader.get_batch(numbers).asnumpy()]


def ours_bare(path: Path, sample: Callable[[Index, int], list[Frame]] = sampling.evenly) -> list[Image.Image]:
    index = describe(path)
    wanted = [index.pts[frame.number] for frame in sample(index, FRAMES)]
    return [image for _, image in pyav.decode(path, index, wanted)]


def ours_stored(path: Path, by: Any = "time") -> list[Image.Image]:
    """Through the store: hashed, described, decoded in the other process, kept as lossless files, read back."""
    with tempfile.TemporaryDirectory() as folder:
        store = MediaStore(Path(folder))
        media = store.add_video(path)
        frames = store.overview(media, Overview(frames=FRAMES, by=by))
        store.fetch(media, frames)
        return [store.open(media, frame.time_s) for frame in frames]


def cpu_s() -> float:
    """Processor time of this process and of the decoding one: it holds on a busy machine, where the clock doesn't."""
    ticks = Path(f"/proc/{decoder().pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return time.process_time() + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def frames(folder: Path, rounds: int = 2) -> None:
    path = sixty_seconds(folder / "sixty.mp4")
    readers: dict[str, Callable[[Path], list[Image.Image]]] = {
        "bare PyAV, packet times and key frames": bare_pyav,
        "bare PyAV, one after the other": sequential_pyav,
        "bare decord, get_batch": bare_decord_batch,
        "dataforge, decoding alone": ours_bare,
        "dataforge, through the store": ours_stored,
        "dataforge, key frames, decoding alone": lambda path: ours_bare(path, sampling.key_frames),
        "dataforge, key frames, through the store": lambda path: ours_stored(path, "key_frame"),
    }
    ours_stored(path, "key_frame")  # the decoding process is up
    taken: dict[str, list[float]] = {name: [] for name in readers}
    counts = {}
    for _ in range(rounds):
        for name, read in readers.items():
            began = cpu_s()
            counts[name] = len(read(path))
            taken[name].append(cpu_s() - began)
            gc.collect()
    size = path.stat().st_size / 60 * 8 / 1e6
    best = min(statistics.median(taken[name]) for name in list(readers)[:3])
    title = f"16 frames of a 60 s 720p clip, {size:.1f} Mbit/s, GOP 250"
    shown = table(title, "reader", "frames", "median CPU s", "min", "max", "to the fastest bare")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f}", f"{max(seconds):.2f}"
        shown.add_row(name, str(counts[name]), f"{median:.2f}", *spread, f"{median / best:.2f}x")
    CONSOLE.print(shown)


# ------------------------------------------------------------------------------------------------ a thousand examples


class Counting(Clips):
    """Counts the passes over each clip, and how often each frame was decoded."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.passes: Counter[str] = Counter()
        self.frames: Counter[tuple[str, int]] = Counter()

    def _decode(self, path: Path, media: Media, index: Index, wanted: Collection[int]) -> None:
        self.passes[media.sha256] += 1
        self.frames.update((media.sha256, pts) for pts in wanted)
        super()._decode(path, media, index, wanted)


def examples(folder: Path, on: int = 50, each: int = 20) -> None:
    """STAR's release layout with clips of bars; windows that the overview shows, as most of STAR's are."""
    home = folder / "star"
    (home / "Charades_v1_480").mkdir(parents=True)
    rng, rows = random.Random(0), []
    for clip in range(on):
        clips.write(
            home / "Charades_v1_480" / f"C{clip:03d}.mp4",
            count=750,
            size=(480, 272),
            options={"g": "250", "preset": "ultrafast", "crf": f"{18 + clip / 4}"},
        )
    for number in range(on * each):
        start = rng.uniform(0, 22)
        choices = [
            {"choice_id": at, "choice": f"{word}."} for at, word in enumerate("The door,The box,The bag".split(","))
        ]
        rows.append(
            {
                "question_id": f"Q{number}",
                "video_id": f"C{number % on:03d}",
                "start": start,
                "end": start + rng.uniform(3, 7),
                "question": f"Which object was put down by the person in case {number}?",
                "answer": "The box.",
                "choices": choices,
                "situations": {},
            }
        )
    (home / "STAR_train.json").write_text(json.dumps(rows))
    bench = Bench(manifest.load(manifest.shipped("star"), source_path=home), folder / "media")
    bench.store.clips = counting = Counting(folder / "media" / "frames")
    shown = table(f"{on * each} examples on {on} clips of 30 s", "examples", "seconds", "MB here", "MB decoding")
    began, kinds = time.perf_counter(), Counter[str]()
    for done, row in enumerate(bench.source.read(), start=1):
        ready = bench.prepare(row)
        assert isinstance(ready, Ready)
        kinds[ready.draft.kind] += 1
        if done % (on * each // 4) == 0:
            gc.collect()
            seconds = time.perf_counter() - began
            shown.add_row(str(done), f"{seconds:.1f}", f"{resident_mb():.0f}", f"{resident_mb(decoder().pid):.0f}")
    CONSOLE.print(shown)
    CONSOLE.print(
        f"kinds {dict(kinds)}; passes over a clip: {dict(Counter(counting.passes.values()))}; "
        f"times that a frame was decoded: {dict(Counter(counting.frames.values()))}"
    )


# ------------------------------------------------------------------------------------------------------------ memory


def opens(folder: Path, count: int = 2000) -> None:
    """Clips of four sorts in turn, each described and then asked for eight frames, in one decoding process."""
    paths = (
        clips.write(folder / "small.mp4", count=250, size=(480, 272)),
        clips.write(folder / "tiny.mkv", count=60),
        clips.write(folder / "old.avi", count=80, size=(384, 216), codec="mpeg4"),
        clips.write(folder / "wide.ts", count=60, size=(640, 360)),
    )
    asked = [({"job": "describe", "path": str(path)}, _eight_frames(path, folder)) for path in paths]
    shown = table(f"memory of the decoding process over {count} files, 8 frames each", "files", "MB")
    for done in range(1, count + 1):
        for request in asked[done % len(asked)]:
            decoder().ask(request, 60)
        if done in {50, 250, 500, 1000, count}:
            shown.add_row(str(done), f"{resident_mb(decoder().pid):.1f}")
    CONSOLE.print(shown)


def _eight_frames(path: Path, folder: Path) -> dict[str, Any]:
    index = describe(path)
    return {
        "job": "frames",
        "path": str(path),
        "index": index.model_dump(mode="json"),
        "decoder": "pyav",
        "wanted": index.pts[:: len(index.pts) // 8][:8],
        "folder": str(folder),
        "suffix": ".ppm",
    }


def idle(folder: Path) -> None:
    """What decord decodes ahead while it is left alone."""
    sixty = sixty_seconds(folder / "idle.mp4")
    before = resident_mb()
    reader = bare_decord.VideoReader(str(sixty), num_threads=1)
    reader[0]
    time.sleep(6)
    more = resident_mb() - before
    del reader
    CONSOLE.print(f"a bare decord reader, idle for 6 s after one frame of a 720p clip: {more:.0f} MB more")


TABLES: dict[str, Callable[..., None]] = {
    "exact": exact,
    "frames": frames,
    "examples": examples,
    "opens": opens,
    "idle": idle,
}


def main() -> None:
    for asked in sys.argv[1:] or list(TABLES):
        name, _, count = asked.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            TABLES[name](Path(folder), *([int(count)] if count else []))


if __name__ == "__main__":
    main()
