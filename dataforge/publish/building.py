"""Build: the files of a set, written as a stream from the chosen lines.

Each line goes to the worker that has its picture and comes back as rows; they are written in the lines' order, so the
same runs give the same bytes whatever worker was first. Memory holds one row group for each file being written.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from dataforge import __version__, report
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Push
from dataforge.publish import features
from dataforge.publish.bench import Order, Prepared, prepare, processes, set_up_bench
from dataforge.publish.choosing import Choice, Stored, Taken, redistributable, stored
from dataforge.publish.record import Published, RunPart, place, public_manifest
from dataforge.publish.rows import media_row
from dataforge.publish.shards import ShardWriter
from dataforge.records import Media
from dataforge.report import Report
from dataforge.runs import Run
from dataforge.workers import Workers, in_order

ROW_TIMEOUT_S = 300.0
Watch = Callable[[int], None]


class Job(NamedTuple):
    """A line that is published, and where it goes."""

    choice: Choice
    line: Stored
    fate: Taken
    number: int


class Building:
    """One set on its way into a folder; with `before`, what is added to that set."""

    def __init__(
        self,
        folder: Path,
        choices: Sequence[Choice],
        push: Push,
        force: bool = False,
        before: Published | None = None,
        media_before: Sequence[str] = (),
        watch: Watch = lambda done: None,
    ) -> None:
        self.folder = folder
        self.choices = choices
        self.push = push
        self.force = force
        self.before = before
        self.watch = watch
        self.student = before.student if before else choices[0].run.manifest.student
        self._media_done = set(media_before)
        self._writers: dict[tuple[str, str], ShardWriter] = {}
        self._first = Counter[tuple[str, str]]()
        for path in before.files if before else ():
            config, split, number = place(path)
            self._first[config, split] = max(self._first[config, split], number + 1)
        self._left_out = Counter[str]()
        self._unverified = Counter[str]()
        self._by: dict[str, defaultdict[str, Counter[str]]] = {
            name: defaultdict(Counter) for name in ("kinds", "sources", "licences", "rows")
        }

    def write(self) -> Published:
        """Write all shards and give the record of the whole set; UsageError where no trace could be published."""
        asyncio.run(self._write_rows())
        for writer in self._writers.values():
            writer.close()
        if not sum(rows["traces"] for rows in self._by["rows"].values()):
            why = ", ".join(f"{count} {reason}" for reason, count in self._left_out.most_common())
            raise UsageError(
                f"nothing to publish: {why}. Views are cut by Pillow, and another version may give other pixels: "
                "filter the run again here; or --force, and the card says so"
            )
        return self._record()

    def _jobs(self) -> Iterator[Job]:
        number = self.before.rows("queries") + self.before.rows("traces") if self.before else 0
        for choice in self.choices:
            for line, fate in zip(stored(choice.run), choice.fates, strict=True):
                if fate is not None:
                    yield Job(choice, line, fate, number)
                    number += 1

    async def _write_rows(self) -> None:
        count = processes(sum(fate is not None for choice in self.choices for fate in choice.fates))
        workers = Workers(count, ROW_TIMEOUT_S, set_up_bench, (self.push, self.student))

        async def prepared(job: Job) -> tuple[Job, Prepared]:
            run = job.choice.run
            order = Order(
                run.store.folder, run.folder.name, job.line.line, job.line.kept, job.fate.trace, self.force, job.number
            )
            try:
                return job, await workers.run(" ".join(job.line.place), prepare, order)
            except ExampleError as error:
                return job, Prepared(None, None, f"{error.stage}: {error.reason}")

        try:
            async with aclosing(in_order(self._jobs(), prepared, 4 * count)) as done:
                number = 0
                async for job, rows in done:
                    self._put(job, rows)
                    number += 1
                    self.watch(number)
        finally:
            workers.close()

    def _put(self, job: Job, prepared: Prepared) -> None:
        """Write a line's rows, and those of its pictures that aren't in the set yet."""
        split, run = job.fate.split, job.choice.run
        if prepared.fault and job.fate.trace:
            (self._unverified if prepared.trace else self._left_out)[prepared.fault] += 1
        if prepared.query is None:
            return
        if job.fate.query:
            self._write("queries", split, prepared.query, run)
        if prepared.trace is not None:
            self._write("traces", split, prepared.trace, run)
            self._by["kinds"][split][str(prepared.trace["kind"])] += 1
            self._by["sources"][split][str(prepared.trace["source"])] += 1
        for entry in job.line.entry["example"]["media"]:
            media = Media.model_validate(entry)
            self._by["licences"][run.folder.name][media.licence or "unknown"] += prepared.trace is not None
            if self.push.pictures == "all" and media.sha256 not in self._media_done:
                self._media_done.add(media.sha256)
                self._write("media", split, media_row(media, run.store.content(media)), run)

    def _write(self, config: str, split: str, row: dict[str, object], run: Run) -> None:
        if (config, split) not in self._writers:
            self._writers[config, split] = ShardWriter(
                self.folder,
                f"data/{config}/{split}",
                features.schema(config, self.student.calls),
                self.push.shard_mb * 1_000_000,
                self._first[config, split],
            )
        self._writers[config, split].write(row)
        self._by["rows"][run.folder.name][config] += 1

    # ------------------------------------------------------------------ what the set says of itself

    def _record(self) -> Published:
        before = self.before
        files = dict(before.files) if before else {}
        for writer in self._writers.values():
            files |= writer.shards
        choices = self.choices
        left_out = self._left_out + sum((choice.left_out for choice in choices), Counter[str]())
        title = choices[0].run.manifest.name
        return Published(
            version=__version__,
            title=self.push.title or (before.title if before else title),
            seed=choices[0].run.manifest.seed,
            student=self.student,
            pictures=self.push.pictures,
            encoding=self.push.encoding,
            quality=self.push.quality,
            licence=self.push.licence or (before.licence if before else ""),
            splits=self.push.splits,
            runs=(*(before.runs if before else ()), *(self._part(choice) for choice in choices)),
            kinds=_added(self._by["kinds"], before.kinds if before else {}),
            sources=_added(self._by["sources"], before.sources if before else {}),
            left_out=_sorted(left_out + Counter(before.left_out if before else {})),
            unverified=_sorted(self._unverified + Counter(before.unverified if before else {})),
            forced=bool(
                self._unverified or (before and before.forced) or not all(choice.filtered for choice in choices)
            ),
            files=dict(sorted(files.items())),
        )

    def _part(self, choice: Choice) -> RunPart:
        run = choice.run
        rows = self._by["rows"][run.folder.name]
        return RunPart(
            name=run.folder.name,
            digest=run.manifest.digest(),
            manifest=public_manifest(run.manifest),
            report=_report(run),
            filtered=choice.filtered,
            checks=_checks(run),
            share=choice.share,
            kept=choice.kept,
            taken=rows["traces"],
            queries=rows["queries"],
            licences=_sorted(+self._by["licences"][run.folder.name]),
            redistributable=redistributable(run),
        )


def _report(run: Run) -> Report:
    """The numbers that the run's last command left; counted anew where they aren't of the lines that lie there."""
    path = run.folder / "report.json"
    try:
        stated = Report.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return report.summarise(run)
    lines = report.count_lines(run.traces_path) + report.count_lines(run.failed_path)
    fresh = stated.read == lines and stated.judged_by == report.judged_by(run)
    return stated if fresh else report.summarise(run)


def _checks(run: Run) -> tuple[str, ...]:
    """The checks whose verdicts the run's first published line carries."""
    first = next(stored(run), None)
    return tuple(verdict["check"] for verdict in first.entry["verdicts"]) if first else ()


def _added(counts: dict[str, Counter[str]], before: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    splits = sorted({*counts, *before})
    return {split: _sorted(Counter(before.get(split, {})) + counts.get(split, Counter())) for split in splits}


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
