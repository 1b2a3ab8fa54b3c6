"""What is counted of two runs: flips of verdicts and other shifts, each with a few examples that can be read."""

import itertools
from collections import Counter
from typing import Any, Literal

from pydantic import Field

from dataforge.records import Failure, Record, Trace, Verdict
from dataforge.report import Report

EXAMPLES = 3
"""Examples of one change."""
SHOWN = 400
"""Characters of a text in an example."""

Outcome = Literal["kept", "rejected", "failed"]


class Change(Record):
    """A key of the manifest that differs; None where a manifest does not have it."""

    key: str
    a: str | None
    b: str | None


class Pair(Record):
    """One trace in both runs, as an example of a change: what each said, and why it was judged so."""

    id: str
    question: str
    answer_a: str = ""
    answer_b: str = ""
    thought_a: str = Field(default="", description="the last thought")
    thought_b: str = ""
    detail_a: str = Field(default="", description="of the verdict, or of the failure")
    detail_b: str = ""


class Flip(Record):
    """Traces in both runs that one check judges otherwise: reason code before and after, "ok" where it passed."""

    check: str
    a: str
    b: str
    count: int
    examples: tuple[Pair, ...] = ()


class Shift(Record):
    """Traces in both runs of which something else changed: the outcome, the kind, the answer or the thoughts."""

    what: Literal["outcome", "kind", "answer", "thoughts"]
    a: str = ""
    b: str = ""
    count: int
    examples: tuple[Pair, ...] = ()


class Diff(Record):
    """Two runs side by side."""

    run_a: str
    run_b: str
    manifest: tuple[Change, ...]
    report_a: Report
    report_b: Report
    in_both: int = Field(description="ids that ended as trace or failure in both runs")
    only_a: int
    only_b: int
    checks_only_a: tuple[str, ...] = Field(description="checks with verdicts in the first run alone")
    checks_only_b: tuple[str, ...]
    flips: tuple[Flip, ...]
    shifts: tuple[Shift, ...]


class Counting:
    """Counts changes with a few examples of each."""

    def __init__(self) -> None:
        self.flips: Counter[tuple[str, str, str]] = Counter()
        self.shifts: Counter[tuple[str, str, str]] = Counter()
        self.examples: dict[tuple[str, ...], list[Pair]] = {}
        self.checks: tuple[dict[str, None], dict[str, None]] = ({}, {})

    def see(self, a: tuple[Outcome, Trace | Failure], b: tuple[Outcome, Trace | Failure]) -> None:
        (outcome_a, one), (outcome_b, other) = a, b
        if outcome_a != outcome_b:
            self._shift("outcome", outcome_a, outcome_b, _pair(one, other))
        for side, record in zip(self.checks, (one, other), strict=True):
            if isinstance(record, Trace):
                side.update(dict.fromkeys(verdict.check for verdict in record.verdicts))
        if isinstance(one, Trace) and isinstance(other, Trace):
            self._see_traces(one, other)

    def _see_traces(self, a: Trace, b: Trace) -> None:
        if a.kind != b.kind:
            self._shift("kind", a.kind, b.kind, _pair(a, b))
        if a.answer != b.answer:
            self._shift("answer", "", "", _pair(a, b))
        if [step.thought for step in a.steps] != [step.thought for step in b.steps]:
            self._shift("thoughts", "", "", _pair(a, b))
        after = {verdict.check: verdict for verdict in b.verdicts}
        for before in a.verdicts:
            now = after.get(before.check)
            if now and (before.ok, before.reason) != (now.ok, now.reason):
                key = (before.check, _judgement(before), _judgement(now))
                self.flips[key] += 1
                self._example(("flip", *key), _pair(a, b, before, now))

    def _shift(self, what: str, a: str, b: str, pair: Pair) -> None:
        self.shifts[what, a, b] += 1
        self._example(("shift", what, a, b), pair)

    def _example(self, key: tuple[str, ...], pair: Pair) -> None:
        held = self.examples.setdefault(key, [])
        if len(held) < EXAMPLES:
            held.append(pair)

    def made(self) -> dict[str, Any]:
        """The fields of Diff that were counted: most frequent changes first."""
        flips = [
            Flip(check=key[0], a=key[1], b=key[2], count=count, examples=tuple(self.examples["flip", *key]))
            for key, count in _ordered(self.flips)
        ]
        shifts = [
            Shift.model_validate(
                {"what": key[0], "a": key[1], "b": key[2], "count": count, "examples": self.examples["shift", *key]}
            )
            for key, count in _ordered(self.shifts)
        ]
        only_a, only_b = (tuple(x for x in one if x not in other) for one, other in itertools.permutations(self.checks))
        return {"flips": flips, "shifts": shifts, "checks_only_a": only_a, "checks_only_b": only_b}


def _ordered(counts: Counter[tuple[str, str, str]]) -> list[tuple[tuple[str, str, str], int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _judgement(verdict: Verdict) -> str:
    return "ok" if verdict.ok else verdict.reason


def _pair(a: Trace | Failure, b: Trace | Failure, before: Verdict | None = None, after: Verdict | None = None) -> Pair:
    """What both runs say of one id, cut to a length that can be read side by side."""
    said: dict[str, str] = {}
    for side, record, verdict in (("a", a, before), ("b", b, after)):
        if isinstance(record, Failure):
            said[f"detail_{side}"] = f"{record.stage}: {record.reason} {record.detail}".strip()[:SHOWN]
            continue
        failed = verdict or next((one for one in record.verdicts if not one.ok), None)
        said[f"detail_{side}"] = (failed.detail or failed.reason)[:SHOWN] if failed else ""
        said[f"answer_{side}"] = record.answer[:SHOWN]
        said[f"thought_{side}"] = record.steps[-1].thought[:SHOWN] if record.steps else ""
        said["question"] = record.example.question[:SHOWN]
    return Pair(id=a.id, **({"question": ""} | said))
