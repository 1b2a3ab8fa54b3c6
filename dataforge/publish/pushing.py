"""Push: choose, build beside the run, put in place.

The built set stays in the run's folder until it has arrived. When the same push is made again after a failure, it is
found there by what it was built from, and only what hasn't arrived is sent.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import PIL

from dataforge import __version__
from dataforge.errors import UsageError
from dataforge.manifest import Push
from dataforge.publish import bench, card, plots, samples
from dataforge.publish.building import Building
from dataforge.publish.choosing import Choice, Entry, choose, same_terms, stored
from dataforge.publish.places import Place, There, entries
from dataforge.publish.record import RECORD, Published, read_record
from dataforge.publish.shards import weigh
from dataforge.records import Media, to_line
from dataforge.runs import Run, write_whole, writing

Mode = Literal["new", "append", "replace"]
Watch = Callable[[int, int], None]
"""Called with lines done and lines in all."""

SAMPLED = 16
"""Lines whose pictures are made to estimate sizes."""


@dataclass
class Pushed:
    """What was put where."""

    where: str
    record: Published
    already: bool = False
    """The same set lay there before."""


@dataclass
class Plan:
    """What a push would do."""

    where: str
    there: There | None
    choices: Sequence[Choice]
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By configuration and split."""
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Estimated, but for `media`."""


def push(
    runs: Sequence[Run],
    terms: Push,
    where: Place,
    mode: Mode = "new",
    force: bool = False,
    watch: Watch = lambda done, total: None,
) -> Pushed:
    """Publish the runs as one set; UsageError where that may not be, with what to do."""
    there = where.look()
    staging = runs[0].folder / "push" / where.title.replace("hub:", "").replace("/", "--").strip(".-")
    inputs = _inputs(runs, terms, force)
    built = _built(staging)
    if there and built and there.record == built and _text(staging / ".key").startswith(inputs):
        # it arrived, and perhaps the answer to that was lost
        return Pushed(where.put(staging, built, there, terms.public, False), built, already=True)
    _refuse(there, terms, where, mode)
    before = there.record if there and mode == "append" else None
    held, media = entries(where, there) if there and before else ([], [])
    key = f"{inputs} {before.digest if before else ''}"
    record = built if _text(staging / ".key") == key and built and _is_whole(staging, built, before) else None
    if record is None:
        choices = choose(runs, terms, runs[0].manifest.seed, held, force)
        record = _build(staging, choices, terms, force, before, media, where, watch)
        write_whole(staging / ".key", key)
    seen = where.put(staging, record, there, terms.public, mode == "replace")
    shutil.rmtree(staging / "data", ignore_errors=True)  # the small files stay, to know the set by when asked again
    return Pushed(seen, record)


def plan(runs: Sequence[Run], terms: Push, where: Place, mode: Mode = "new", force: bool = False) -> Plan:
    """What `push` would write, with sizes estimated from some lines; writes nothing."""
    there = where.look()
    _refuse(there, terms, where, mode)
    before = there.record if there and mode == "append" else None
    held, media = entries(where, there) if there and before else (list[Entry](), list[str]())
    made = Plan(where.title, there, choose(runs, terms, runs[0].manifest.seed, held, force))
    done = set(media)
    for choice in made.choices:
        _estimate(made, choice, terms, done)
    return made


def _estimate(made: Plan, choice: Choice, terms: Push, done: set[str]) -> None:
    bench.set_up_bench(terms, choice.run.manifest.student)
    every = max(1, len(choice.fates) * len(made.choices) // SAMPLED)
    sampled = Counter[str]()
    rows = Counter[tuple[str, str]]()
    for place, (line, fate) in enumerate(zip(stored(choice.run), choice.fates, strict=True)):
        if fate is None:
            continue
        rows["queries", fate.split] += fate.query
        rows["traces", fate.split] += fate.trace
        for entry in line.entry["example"]["media"] if terms.pictures == "all" else ():
            media = Media.model_validate(entry)
            path = choice.run.store.path(media)
            if media.sha256 not in done and path.exists():
                done.add(media.sha256)
                rows["media", fate.split] += 1
                made.bytes["media", fate.split] += path.stat().st_size
        if place % every == 0:
            order = bench.Order(choice.run.store.folder, "", line.line, line.kept, fate.trace, True, 0)
            prepared = bench.prepare(order)
            for config, row in (("traces", prepared.trace), ("queries", prepared.query)):
                if row is not None:
                    sampled[config] += 1
                    sampled[f"{config} bytes"] += sum(len(cell["bytes"]) for cell in row["images"]) + len(line.line)
    made.rows += rows
    for (config, split), count in rows.items():
        if sampled[config]:
            made.bytes[config, split] += sampled[f"{config} bytes"] * count // sampled[config]


def _refuse(there: There | None, terms: Push, where: Place, mode: Mode) -> None:
    """UsageError where what lies there forbids it."""
    if there is None or (there.empty and not there.public):
        if mode == "append":
            raise UsageError(f"{where.title} holds no set to append to: push without --append")
        return
    if there.public and not terms.public:
        raise UsageError(
            f"{where.title} is public: --public says that you mean it, or push to another name (private if new)"
        )
    if there.record is None and not there.empty and mode != "replace":
        raise UsageError(f"{where.title} holds something else: choose another place, or give --replace")
    if there.record is not None and mode == "new":
        raise UsageError(f"{where.title} holds a set already: give --append to add to it, or --replace")
    if there.record is not None and mode == "append" and not same_terms(there.record, terms):
        raise UsageError(
            f"{where.title} was pushed with other pictures, encoding, quality or splits: give the same, or --replace"
        )


def _build(
    staging: Path,
    choices: Sequence[Choice],
    terms: Push,
    force: bool,
    before: Published | None,
    media: Sequence[str],
    where: Place,
    watch: Watch,
) -> Published:
    """Everything of the set, in a folder of its own."""
    total = sum(fate is not None for choice in choices for fate in choice.fates)
    with writing(staging):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        building = Building(staging, choices, terms, force, before, media, lambda done: watch(done, total))
        record = building.write()
        drawn = plots.draw_all(record, staging)
        told = samples.write(choices, staging, terms.pictures != "none")
        write_whole(staging / "README.md", card.card(record, drawn, told, where.loads))
        write_whole(staging / RECORD, to_line(record))
    return record


def _built(staging: Path) -> Published | None:
    try:
        return read_record(staging)
    except UsageError:
        return None


def _is_whole(staging: Path, built: Published, before: Published | None) -> bool:
    """The shards still lie there: after an upload they are cleared away."""
    new = set(built.files) - set(before.files if before else ())
    return all((staging / path).exists() for path in new)


def _inputs(runs: Sequence[Run], terms: Push, force: bool) -> str:
    """What a set is built from, as one hash: the same inputs, the same files."""
    files = [run.folder / name for run in runs for name in ("traces", "kept", "rejected", "marks")]
    lines = [weigh(path.with_suffix(".jsonl")).sha256 if path.with_suffix(".jsonl").exists() else "" for path in files]
    told = [
        *(run.folder.name + run.manifest.digest() for run in runs),
        *lines,
        terms.model_dump_json(exclude={"to", "public"}),
        str(force),
        __version__,
        PIL.__version__,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
