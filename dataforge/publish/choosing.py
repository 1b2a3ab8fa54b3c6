"""Which traces of which runs make a set, and into which split each goes; read from the stored lines alone.

What has been filtered goes by its files, what hasn't by its own verdicts; a person's marks win over both. Several runs
with shares give the largest set that has these shares, drawn by the seed. Nothing is left out without a count.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataforge import plugins, report
from dataforge.errors import UsageError
from dataforge.manifest import Push
from dataforge.marks import read_marks
from dataforge.publish.record import Published
from dataforge.publish.splits import Splits, draw
from dataforge.runs import Run


class Stored(NamedTuple):
    """A stored line, and what choosing needs of it."""

    line: bytes
    kept: bool
    entry: dict[str, Any]

    @property
    def pictures(self) -> list[str]:
        return [media["sha256"] for media in self.entry["example"]["media"]]

    @property
    def place(self) -> tuple[str, str]:
        return self.entry["example"]["source"], self.entry["example"]["group"]


class Taken(NamedTuple):
    """A line's fate: its split, and whether its trace and its question are published; one of them at least is."""

    split: str
    trace: bool
    query: bool


class Entry(NamedTuple):
    """What an earlier push of the set holds."""

    id: str
    source: str
    group: str
    pictures: tuple[str, ...]
    split: str
    trace: bool


@dataclass
class Choice:
    """One run's part in a set."""

    run: Run
    share: float | None
    filtered: bool
    kept: int = 0
    fates: list[Taken | None] = field(default_factory=list)
    """For each stored line, in their order; None where neither its trace nor its question is published."""
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        return sum(bool(fate and fate.trace) for fate in self.fates)

    @property
    def queries(self) -> int:
        return sum(bool(fate and fate.query) for fate in self.fates)


def stored(run: Run) -> Iterator[Stored]:
    """A run's lines, the kept before the rejected once it has been filtered; what a person has dropped is not there."""
    marks = {name: mark.mark for name, mark in read_marks(run.folder).items()}
    filtered = report.judged_by(run) == "filter"
    for name, kept in (("kept.jsonl", True), ("rejected.jsonl", False)) if filtered else (("traces.jsonl", None),):
        path = run.folder / name
        if not path.exists():
            continue
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    raise UsageError(f"{path}, line {number} is no JSON: mend or remove the line") from None
                mark = marks.get(entry["id"], "none")
                ok = all(verdict["ok"] for verdict in entry["verdicts"]) if kept is None else kept
                if mark != "drop":
                    yield Stored(line, ok or mark == "keep", entry)


def choose(
    runs: Sequence[Run], push: Push, seed: int, before: Sequence[Entry] = (), force: bool = False
) -> list[Choice]:
    """Each run's part; UsageError where it may not be published, or nothing is left."""
    choices = [Choice(run, _share(run, push), report.judged_by(run) == "filter") for run in runs]
    for choice in choices:
        _refuse(choice, push, force)
    wanted = _wanted(choices, seed)
    splits = Splits(push.splits, seed)
    traces, queries = set[str](), set[str]()
    for entry in before:
        splits.tie(entry.source, entry.group, entry.pictures, entry.split)
        (traces if entry.trace else queries).add(entry.id)
    for choice in choices:
        for line in stored(choice.run):
            splits.tie(*line.place, line.pictures)
    for choice in choices:
        for line in stored(choice.run):
            asked, split = line.kept and line.entry["id"] in wanted[choice.run.folder.name], splits.of(*line.place)
            repeated = line.entry["id"] in traces
            if asked and (repeated or split is None):
                choice.left_out["repeated_id" if repeated else "torn_group"] += 1
            trace = asked and not repeated and split is not None
            query = split is not None and line.entry["example"]["id"] not in queries
            choice.fates.append(Taken(split, trace, query) if split and (trace or query) else None)
            if query:
                queries.add(line.entry["example"]["id"])
            if trace:
                traces.add(line.entry["id"])
    if not any(choice.taken for choice in choices):
        raise UsageError(
            "nothing to publish: no trace is kept" + (" that the set doesn't hold already" if before else "")
        )
    return choices


def _share(run: Run, push: Push) -> float | None:
    if not push.shares:
        return None
    if run.manifest.name not in push.shares:
        named = ", ".join(push.shares)
        raise UsageError(f"shares name {named}, and none is for {run.manifest.name}: add it, or leave the run out")
    return push.shares[run.manifest.name]


def _refuse(choice: Choice, push: Push, force: bool) -> None:
    run = choice.run
    if not choice.filtered and not force:
        why = "has traces that filter hasn't judged" if (run.folder / "kept.jsonl").exists() else "isn't filtered"
        raise UsageError(
            f"{run.folder.name} {why}: dataforge filter {run.folder.name}; or --force, and the card says so"
        )
    if push.pictures != "none" and not redistributable(run):
        raise UsageError(
            f"{run.folder.name}: the pictures of {source_name(run)} may not be passed on: give --reference-only, "
            "which publishes texts, geometry and hashes"
        )


def redistributable(run: Run) -> bool:
    source: plugins.Source = plugins.build("source", run.manifest.source)
    return source.redistributable


def source_name(run: Run) -> str:
    spec = run.manifest.source
    return spec if isinstance(spec, str) else str(spec["name"])


def _wanted(choices: Sequence[Choice], seed: int) -> dict[str, set[str]]:
    """The ids to take of each run: all that are kept, or as many as the shares allow, drawn by the seed."""
    kept = {c.run.folder.name: [line.entry["id"] for line in stored(c.run) if line.kept] for c in choices}
    for choice in choices:
        choice.kept = len(kept[choice.run.folder.name])
    if any(choice.share is None for choice in choices):
        return {name: set(ids) for name, ids in kept.items()}
    # runs of one manifest name make up its share together, in proportion
    held: Counter[str] = Counter()
    for choice in choices:
        held[choice.run.manifest.name] += choice.kept
    shares = {choice.run.manifest.name: choice.share or 0.0 for choice in choices}
    total = min(held[name] / share for name, share in shares.items())
    wanted = {}
    for choice in choices:
        name, ids = choice.run.manifest.name, kept[choice.run.folder.name]
        count = round(total * shares[name] * choice.kept / held[name]) if held[name] else 0
        wanted[choice.run.folder.name] = set(sorted(ids, key=lambda one: draw(seed, one))[:count])
        if left := choice.kept - count:
            choice.left_out["over_its_share"] += left
    return wanted


def same_terms(before: Published, push: Push) -> bool:
    """Whether more can be added to the set without mixing two ways of storing pictures or two sets of splits."""
    terms = (before.pictures, before.encoding, before.quality, before.splits)
    return terms == (push.pictures, push.encoding, push.quality, push.splits)
