"""Pull: a published set back into a run folder, where it can be filtered, viewed, exported and trained with.

The lines are the records that were published, in the order of the runs they came from; the sources lie in the media
folder under the hashes that the records name.
"""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path

from dataforge import report
from dataforge.errors import UsageError
from dataforge.manifest import parse
from dataforge.publish.checking import ROWS_AT_ONCE, Bench
from dataforge.publish.record import Published, place, read_record, runs_name, slug
from dataforge.publish.verify import adopt, named_by_hash
from dataforge.records import Trace, parse_line
from dataforge.runs import Run, make_folder, point_latest, write_lines, write_whole, writing


def pull(folder: Path, runs: Path, originals: Path | None = None) -> Run:
    """Make a run folder of the set in a folder; UsageError where the set is broken, or the run's folder is taken."""
    record = read_record(folder)
    content = record.runs[0].manifest | {
        "name": slug(record.title) if len(record.runs) > 1 else record.runs[0].manifest["name"]
    }
    target = runs / runs_name(record.title, [run.name for run in record.runs])
    if (target / "manifest.json").exists():
        raise UsageError(f"{target} is there already: move it away, or name another folder with --runs")
    manifest = parse(dict(content), f"the set in {folder}")
    make_folder(target)
    with writing(target):
        run = Run(target, manifest)
        _unpack(folder, record, run, originals)
        write_lines(run.traces_path, _traces(folder, record))
        for name, lines in (("kept.jsonl", run.traces()), ("rejected.jsonl", iter(()))):
            write_lines(target / name, lines)
        stored = manifest.model_dump(mode="json", by_alias=True) | {"digest": manifest.digest()}
        write_whole(target / "manifest.json", json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
        point_latest(runs, target)
    report.write(run)
    return run


def _unpack(folder: Path, record: Published, run: Run, originals: Path | None) -> None:
    import pyarrow.parquet

    bench = Bench(folder, record, run.store.folder)
    for path in record.files:
        if place(path)[0] == "media":
            with pyarrow.parquet.ParquetFile(folder / path) as file:
                counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            for group, count in enumerate(counts):
                for start in range(0, count, ROWS_AT_ONCE):
                    for _, detail in bench.unpack(path, group, start).faults:
                        raise UsageError(f"{path}: {detail}: fetch the set again")
    if originals is not None:
        adopt(originals, named_by_hash(folder, record), run.store.folder)


def _traces(folder: Path, record: Published) -> Iterator[Trace]:
    """The traces of all splits in the order of the runs: each split is in that order, so they are merged."""
    streams = [
        _numbered(folder, [path for path in record.files if place(path)[:2] == ("traces", split)])
        for split in sorted({place(path)[1] for path in record.files})
    ]
    for _, name, line in heapq.merge(*streams):
        yield parse_line(line, Trace, name)


def _numbered(folder: Path, paths: list[str]) -> Iterator[tuple[int, str, str]]:
    import pyarrow.parquet

    for path in paths:
        with pyarrow.parquet.ParquetFile(folder / path) as file:
            for batch in file.iter_batches(batch_size=256, columns=["number", "id", "trace"]):
                yield from ((row["number"], row["id"], row["trace"]) for row in batch.to_pylist())
