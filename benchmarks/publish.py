"""Publishing: writing shards, their memory, and proving a set, each beside its floor in one run.

    python benchmarks/publish.py write [TRACES]    # rows/s and MB/s beside datasets' own ParquetWriter, the same bytes
    python benchmarks/publish.py memory            # peak memory of writing 1,000 and 10,000 traces
    python benchmarks/publish.py verify [TRACES]   # proving a set beside merely decoding its pictures, on all cores

A trace here has three JPEGs of 100 kB. Bytes are random: what is measured is copying and framing, and no JPEG gets
smaller by compression either. `verify` makes real traces of drawn posters.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

PICTURE_BYTES = 100_000
PICTURES = 3


def traces(count: int) -> Iterator[dict[str, Any]]:
    """Rows of the published features: real columns of one real trace, with pictures of random bytes."""
    from tests import drawn_run

    with tempfile.TemporaryDirectory() as scratch:
        run = drawn_run.make(Path(scratch))
        trace = next(one for one in run.traces() if one.id == "poster-3")
    from dataforge.publish.rows import trace_row

    row = trace_row(trace, trace.provenance.student, "drawn", 0)
    rng = random.Random(0)
    pool = [rng.randbytes(PICTURE_BYTES) for _ in range(64)]
    for number in range(count):
        # a slice of its own each time: pages must not find the same bytes again
        shown = [pool[(number + k) % 64][number % 997 :] + pool[number % 64][: number % 997] for k in range(PICTURES)]
        cells = [{"bytes": content, "path": f"{k}.jpg"} for k, content in enumerate(shown, 1)]
        yield row | {"id": str(number), "number": number, "images": cells}


def ours(count: int, folder: Path) -> None:
    from dataforge.publish.features import schema
    from dataforge.publish.shards import ShardWriter

    writer = ShardWriter(folder, "data/traces/train", schema("traces", "tagged"), 500_000_000)
    for row in traces(count):
        writer.write(row)
    writer.close()


def theirs(count: int, folder: Path) -> None:
    """`datasets`' own writer, as its from_generator(...).to_parquet and push_to_hub use it, 100 rows a group."""
    from datasets.arrow_writer import ParquetWriter

    from dataforge.publish.features import features

    with ParquetWriter(
        path=str(folder / "train.parquet"), features=features("traces", "tagged"), writer_batch_size=100
    ) as writer:
        for row in traces(count):
            writer.write(row)
        writer.finalize()


def nothing(count: int, folder: Path) -> None:
    """The rows alone: what both pay before a byte is written."""
    for _ in traces(count):
        pass


WAYS: dict[str, Callable[[int, Path], None]] = {"rows alone": nothing, "ours": ours, "datasets": theirs}


def child(way: str, count: int) -> None:
    """One way in a process of its own: seconds of wall and CPU, and peak memory."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        WAYS[way](8, folder / "warm") if way != "datasets" else None  # imports are not writing
        (folder / "out").mkdir()
        start, cpu = time.perf_counter(), time.process_time()
        WAYS[way](count, folder / "out")
        told = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        told["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(told))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(way: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "child", way, str(count)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def write(count: int) -> None:
    size = count * PICTURES * PICTURE_BYTES / 1e6
    print(f"{count:,} traces, {size:,.0f} MB of pictures; the best of three, in turn")
    print(f"{'':12} {'wall s':>8} {'CPU s':>8} {'MB/s':>8} {'peak MB':>8}")
    runs = {way: list[dict[str, float]]() for way in WAYS}
    for _ in range(3):
        for way, results in runs.items():
            results.append(measured(way, count))
    for way, results in runs.items():
        best = min(results, key=lambda one: one["wall"])
        print(f"{way:12} {best['wall']:8.2f} {best['cpu']:8.2f} {size / best['wall']:8.0f} {best['rss']:8.0f}")


def memory() -> None:
    print(f"{'traces':>8} {'peak MB':>8} {'MB/s':>8}")
    for count in (1_000, 10_000):
        told = measured("ours", count)
        print(f"{count:8,} {told['rss']:8.0f} {count * PICTURES * PICTURE_BYTES / 1e6 / told['wall']:8.0f}")


# -------------------------------------------------------------------------------------------------------------- verify


def verify(count: int) -> None:
    """A set of drawn posters: its proof, beside decoding each stored picture once in as many processes."""
    from dataforge import publish
    from dataforge.filter import sift
    from dataforge.manifest import load, shipped
    from dataforge.publish.places import Folder
    from dataforge.runs import Run
    from dataforge.synth import synth
    from dataforge.workers import default_count

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Run.start(folder, load(shipped("infographics"), {"limit": count})) as run:
            synth(run)
            sift(run, ["well_formed", "replay"])
        start = time.perf_counter()
        publish.push([run], run.manifest.push, Folder(folder / "set"))
        pushed = time.perf_counter() - start
        start = time.perf_counter()
        findings = publish.verify(folder / "set")
        proven = time.perf_counter() - start
        assert findings.ok
        groups = [
            (str(path), group)
            for path in sorted((folder / "set").glob("data/*/*.parquet"))
            for group in range(_groups(path))
        ]
        lines = (run.folder / "kept.jsonl").read_text().splitlines()
        with ProcessPoolExecutor(default_count()) as pool:
            list(pool.map(len, ["warm"] * 4))
            start = time.perf_counter()
            pictures = sum(pool.map(decode_group, groups))
            decoded = time.perf_counter() - start
            start = time.perf_counter()
            list(pool.map(replay_barely, lines, [str(run.store.folder)] * len(lines), chunksize=4))
            replayed = time.perf_counter() - start
    print(f"{findings.traces} traces, {pictures} stored pictures, {default_count()} processes")
    print(f"push: replay, encode, write                        {pushed:6.2f} s")
    print(
        f"verify: hash, decode, replay, encode, compare      {proven:6.2f} s  {findings.traces / proven:6.1f} traces/s"
    )
    print(f"decoding every stored picture, bare                {decoded:6.2f} s  verify {proven / decoded:.2f}x")
    print(f"decoding sources, cutting and hashing views, bare  {replayed:6.2f} s  verify {proven / replayed:.2f}x")


def _groups(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.ParquetFile(path).num_row_groups)


def decode_group(job: tuple[str, int]) -> int:
    import pyarrow.parquet

    from dataforge.media import decode

    count = 0
    for row in pyarrow.parquet.ParquetFile(job[0]).read_row_group(job[1]).to_pylist():
        for cell in [*(row.get("images") or []), *([row["image"]] if row.get("image") else [])]:
            decode(cell["bytes"])
            count += 1
    return count


def replay_barely(line: str, media: str) -> None:
    """The pixel work of a replay with nothing around it."""
    from dataforge.geometry import Box
    from dataforge.media import cut, decode, fingerprint

    trace = json.loads(line)
    one = trace["example"]["media"][0]
    picture = decode((Path(media) / one["sha256"][:2] / f"{one['sha256']}{one['suffix']}").read_bytes())
    looks = [view for step in trace["steps"] for view in (step["observation"] or {"views": []})["views"]]
    for view in [*trace["views"], *looks]:
        fingerprint(cut(picture, Box(*view["box"]), (view["width"], view["height"])))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "memory", "verify", "child"])
    parser.add_argument("more", nargs="*")
    asked = parser.parse_args()
    if asked.what == "child":
        child(asked.more[0], int(asked.more[1]))
    elif asked.what == "write":
        write(int(asked.more[0]) if asked.more else 3_000)
    elif asked.what == "memory":
        memory()
    else:
        verify(int(asked.more[0]) if asked.more else 200)
