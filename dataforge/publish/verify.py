"""Verify: a published set proven from itself.

First the files against their hashes, then the sources into a folder that is thrown away afterwards, then every row in
worker processes; last what only shows over all rows: ids that come twice, pictures in two
splits, numbers that don't add up.
"""

import asyncio
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dataforge.errors import ExampleError, UsageError
from dataforge.publish.bench import processes
from dataforge.publish.checking import ROWS_AT_ONCE, Checked, Fault, check_rows, set_up_checking
from dataforge.publish.choosing import Entry
from dataforge.publish.record import Published, place, read_record
from dataforge.publish.shards import weigh
from dataforge.workers import Workers, in_order

ROWS_TIMEOUT_S = 600.0
FAULTS_TOLD = 20
LARGEST_GROUP = 286 * 1024 * 1024
"""Bytes of a row group, uncompressed, that the Hub's viewer takes."""

Watch = Callable[[int], None]


@dataclass
class Findings:
    """What was proven and what was found wrong."""

    record: Published
    traces: int = 0
    queries: int = 0
    media: int = 0
    replayed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    """The first faults in words."""

    @property
    def ok(self) -> bool:
        return not self.faults

    def fault(self, what: str, detail: str) -> None:
        self.faults[what] += 1
        if len(self.told) < FAULTS_TOLD:
            self.told.append(f"{what}: {detail}")


def verify(folder: Path, originals: Path | None = None, watch: Watch = lambda rows: None) -> Findings:
    """Prove the set in a folder; `originals` is where sources lie that the set names by hash alone.

    UsageError where there is no set, or a shard can't be read at all.
    """
    record = read_record(folder)
    findings = Findings(record)
    for fault in _files(folder, record):
        findings.fault(*fault)
    if findings.faults:
        return findings  # what lies there isn't the set that the record speaks of
    with tempfile.TemporaryDirectory(prefix="dataforge-") as scratch:
        media = Path(scratch)
        if originals is not None:
            adopt(originals, named_by_hash(folder, record), media)
        asyncio.run(_Verifying(folder, record, media, findings, watch).all())
    return findings


def _files(folder: Path, record: Published) -> Iterator[Fault]:
    there = {path.relative_to(folder).as_posix() for path in folder.glob("data/*/*.parquet")}
    for path in sorted(there - set(record.files)):
        yield "unknown_file", path
    for path, shard in record.files.items():
        if path not in there:
            yield "missing_file", path
        elif weigh(folder / path).sha256 != shard.sha256:
            yield "file_changed", path


def adopt(originals: Path, wanted: set[str], media: Path) -> int:
    """Link the files of a folder whose hashes are wanted into a media folder; returns how many were found."""
    if not originals.is_dir():
        raise UsageError(f"{originals} is no folder: --media names where the original pictures lie")
    found = 0
    suffixes = {name.partition(".")[0]: "." + name.partition(".")[2] if "." in name else "" for name in wanted}
    for path in sorted(originals.rglob("*")):
        if not path.is_file():
            continue
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 in suffixes:
            target = media / sha256[:2] / f"{sha256}{suffixes[sha256]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.symlink(path.resolve(), target)
                found += 1
    return found


def named_by_hash(folder: Path, record: Published) -> set[str]:
    """File names, hash and suffix, of all sources that the set's questions name."""
    import pyarrow.parquet

    names = set[str]()
    for path in record.files:
        if place(path)[0] == "queries":
            table = pyarrow.parquet.read_table(folder / path, columns=["media"])
            names |= {f"{one['sha256']}{one['suffix']}" for row in table["media"].to_pylist() for one in row}
    return names


class Job(NamedTuple):
    """Some rows of a row group, and for questions what their traces show first."""

    path: str
    group: int
    start: int
    openings: dict[str, str]


class _Verifying:
    def __init__(self, folder: Path, record: Published, media: Path, findings: Findings, watch: Watch) -> None:
        self.folder = folder
        self.record = record
        self.media = media
        self.findings = findings
        self.watch = watch
        self._openings: dict[str, str] = {}
        self._entries: list[Entry] = []
        self._done = 0

    async def all(self) -> None:
        count = processes(sum(shard.rows for shard in self.record.files.values()) // 2)
        workers = Workers(count, ROWS_TIMEOUT_S, set_up_checking, (self.folder, self.record, self.media))

        async def checked(job: Job) -> Checked:
            where = f"{job.path}, row group {job.group}, from row {job.start}"
            try:
                return await workers.run(where, check_rows, *job)
            except ExampleError as error:
                return Checked(0, 0, [(f"{error.stage}: {error.reason}", where)], [], {})

        try:
            for config in ("media", "traces", "queries"):  # in this order, each needs the one before
                async with aclosing(in_order(self._jobs(config), checked, 2 * count)) as done:
                    async for found in done:
                        self._see(config, found)
        finally:
            workers.close()
        self._over_all()

    def _jobs(self, config: str) -> Iterator[Job]:
        import pyarrow.parquet

        for path in self.record.files:
            if place(path)[0] != config:
                continue
            with pyarrow.parquet.ParquetFile(self.folder / path) as file:
                for group in range(file.num_row_groups):
                    if file.metadata.row_group(group).total_byte_size > LARGEST_GROUP:
                        self.findings.fault("row_group_too_large", f"{path}, row group {group}")
                    ids = file.read_row_group(group, ["id"])["id"].to_pylist() if config == "queries" else []
                    for start in range(0, file.metadata.row_group(group).num_rows, ROWS_AT_ONCE):
                        asked = set(ids[start : start + ROWS_AT_ONCE]) & self._openings.keys()
                        yield Job(path, group, start, {name: self._openings[name] for name in asked})

    def _see(self, config: str, found: Checked) -> None:
        findings = self.findings
        setattr(findings, config, getattr(findings, config) + found.rows)
        findings.replayed += found.replayed
        for fault in found.faults:
            findings.fault(*fault)
        self._entries += found.entries
        self._openings |= found.openings
        self._done += found.rows
        self.watch(self._done)

    def _over_all(self) -> None:
        """What no row shows by itself."""
        findings, record = self.findings, self.record
        for trace in (True, False):
            names = Counter(entry.id for entry in self._entries if entry.trace == trace)
            for name, count in names.items():
                if count > 1:
                    findings.fault("repeated_id", f"{name}, {count} times")
        splits: dict[str, str] = {}
        for entry in self._entries:
            for name in (f"{entry.source}/{entry.group}", *entry.pictures):
                if splits.setdefault(name, entry.split) != entry.split:
                    findings.fault("torn_group", f"{name} is in {splits[name]} and in {entry.split}")
        for config, count in (("traces", findings.traces), ("queries", findings.queries), ("media", findings.media)):
            if count != record.rows(config):
                findings.fault("count", f"{count} {config} instead of {record.rows(config)}")
        told = sum(sum(kinds.values()) for kinds in record.kinds.values())
        if not findings.traces == told == sum(run.taken for run in record.runs):
            findings.fault("count", f"{findings.traces} traces, and the record speaks of {told}")
