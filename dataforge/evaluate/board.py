"""The board: one row a run, one gap a pair of runs over the same questions, and what forbids a comparison.

A score stands with its n and its 95 % interval. Whether operations help is the gap between two arms of one model;
whether it was the *looking* that helped is the gap to the arms whose looks came back blank or from elsewhere. Scores of
two protocols (another pixel cap, prompt, set of questions, option order) are never compared: a note says so.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import Field

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.evaluate import intervals
from dataforge.evaluate.plan import protocol, way
from dataforge.evaluate.scoring import Result, results
from dataforge.manifest import Arm
from dataforge.plugins import Teacher
from dataforge.records import Record
from dataforge.runs import Run


class Mean(Record):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int = Field(description="values that it is the mean of")


class Row(Record):
    """One model on one benchmark in one arm."""

    run: str
    benchmark: str
    metric: str
    model: str
    arm: Arm
    protocol: str = Field(description="equal where scores may be compared")
    way: str = Field(description="equal where the model was asked in the same way: temperature, dialect")
    score: Mean = Field(description="the benchmark's metric, 0..1, over the questions played")
    groups: int = Field(description="pictures, or other groups of questions that rise and fall together")
    failed: int = Field(description="questions that could not be played, by no failing of the model")
    unanswered: int = Field(description="episodes that ended without an answer: wrong, and in n")
    rapr: Mean = Field(description="share of questions with at least one look: the rate of pixel-space reasoning")
    looks: float = Field(description="a question")
    error_rate: float | None = Field(description="share of calls that could not be run; null without a call")
    errors: dict[str, int] = Field(description="such calls by reason")
    with_look: Mean | None = Field(description="score of the questions with a look")
    without_look: Mean | None = Field(description="score of the others")
    saw_evidence: float | None = Field(description="of the questions with a look and a known place, shown by a look")
    all_orders: Mean | None = Field(description="questions right in every order of their options, where several are")
    input_tokens: float = Field(description="a question, over all turns")
    output_tokens: float
    seconds: float | None = Field(description="of the model, median of the questions that were timed")
    timed: int
    smaller: int = Field(description="questions of which a picture was sent at half its size")
    rescored: int = Field(description="questions whose stored verdict was another one")
    categories: dict[str, Mean]


class Gap(Record):
    """How far two runs lie apart, over the questions that both have played."""

    benchmark: str
    model: str
    arm: Arm
    over_model: str = Field(description="whom it is compared with")
    over_arm: Arm
    gain: Mean = Field(description="its score less the other's, by a paired bootstrap of groups")
    gained: int = Field(description="questions that only it has right")
    lost: int = Field(description="questions that only the other has right")

    @property
    def over(self) -> str:
        """The other run, by its arm alone where the model is the same."""
        return self.over_arm if self.over_model == self.model else f"{self.over_model}, {self.over_arm}"


class Board(Record):
    """All rows in order of benchmark, model and arm, their gaps, and what a reader must know."""

    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def board(runs: Sequence[Run]) -> Board:
    """Score these runs anew and lay them side by side; UsageError where one is no evaluation, or none has a trace."""
    read = [(run, list(results(_evaluation(run)))) for run in runs]
    scored = [(row(run, found), found) for run, found in read if found]
    if not scored:
        raise UsageError("no run of these has a played question: run dataforge eval first")
    scored = _told_apart(scored)
    order = {name: place for place, name in enumerate(dict.fromkeys(one.model for one, _ in scored))}
    arms: list[Arm] = ["without", "with", "blank", "elsewhere"]
    scored.sort(key=lambda pair: (pair[0].benchmark, order[pair[0].model], arms.index(pair[0].arm)))
    rows = [one for one, _ in scored]
    empty = [f"{run.folder.name}: no question has been played" for run, found in read if not found]
    return Board(rows=tuple(rows), gaps=tuple(_gaps(scored)), notes=(*_notes(rows), *empty))


def _told_apart(scored: Sequence[tuple[Row, list[Result]]]) -> list[tuple[Row, list[Result]]]:
    """Rows of a model that was asked in several ways (two temperatures, say) get the way after the model's name."""
    ways: dict[str, set[str]] = {}
    for one, _ in scored:
        ways.setdefault(one.model, set()).add(one.way)
    return [
        (one.model_copy(update={"model": f"{one.model} {one.way}"}) if len(ways[one.model]) > 1 else one, found)
        for one, found in scored
    ]


def _evaluation(run: Run) -> Run:
    if run.manifest.evaluate is None:
        raise UsageError(f"{run.folder.name} is no evaluation: its manifest has no part `evaluate`")
    return run


def row(run: Run, found: Sequence[Result]) -> Row:
    """One run in numbers."""
    settings = run.manifest.evaluate
    assert settings is not None
    model: Teacher = plugins.build("teacher", run.manifest.teacher)
    looked = [one for one in found if one.looks]
    errors = Counter(error for one in found for error in one.errors)
    calls = errors.total() + sum(one.looks for one in found)
    known = [one.saw_evidence for one in found if one.saw_evidence is not None]
    times = [one.seconds for one in found if one.seconds is not None]
    return Row(
        run=run.folder.name,
        benchmark=settings.title,
        metric=settings.metric,
        model=model.title.partition(" ")[2] or model.title,
        arm=settings.arm,
        protocol=protocol(run.manifest),
        way=way(run.manifest),
        score=_score(found),
        groups=len({one.group for one in found}),
        failed=sum(1 for _ in run.failures()),
        unanswered=sum(not one.answered for one in found),
        rapr=_estimate([float(one.looks > 0) for one in found], found),
        looks=math.fsum(one.looks for one in found) / len(found),
        error_rate=errors.total() / calls if calls else None,
        errors=dict(sorted(errors.items(), key=lambda one: (-one[1], one[0]))),
        with_look=_score(looked) if looked else None,
        without_look=_score(rest) if (rest := [one for one in found if not one.looks]) else None,
        saw_evidence=sum(known) / len(known) if known else None,
        all_orders=_all_orders(found),
        input_tokens=sum(one.input_tokens for one in found) / len(found),
        output_tokens=sum(one.output_tokens for one in found) / len(found),
        seconds=statistics.median(times) if times else None,
        timed=len(times),
        smaller=sum(one.smaller for one in found),
        rescored=sum(one.rescored for one in found),
        categories=_categories(found),
    )


def _estimate(values: Sequence[float], of: Sequence[Result]) -> Mean:
    found = intervals.mean(values, [one.group for one in of])
    return Mean(mean=found.mean, low=found.low, high=found.high, n=len(values))


def _score(found: Sequence[Result]) -> Mean:
    return _estimate([one.value for one in found], found)


def _categories(found: Sequence[Result]) -> dict[str, Mean]:
    names = sorted({one.category for one in found if one.category})
    return {name: _score([one for one in found if one.category == name]) for name in names}


def _all_orders(found: Sequence[Result]) -> Mean | None:
    """Right in every order: what a model that likes the letter A can't have."""
    together: dict[str, list[Result]] = {}
    for one in found:
        together.setdefault(one.question, []).append(one)
    if all(len(orders) == 1 for orders in together.values()):
        return None
    return _estimate(
        [float(all(one.ok for one in orders)) for orders in together.values()],
        [orders[0] for orders in together.values()],
    )


# ------------------------------------------------------------------------------------------------------------- pairs


def _gaps(scored: Sequence[tuple[Row, list[Result]]]) -> Iterator[Gap]:
    """What operations give, what looking gives, and how the other models stand to the first one."""
    places = {(one.benchmark, one.protocol, one.model, one.arm): place for place, (one, _) in enumerate(scored)}
    first: dict[tuple[str, str, Arm], str] = {}
    for one, _ in scored:
        first.setdefault((one.benchmark, one.protocol, one.arm), one.model)
    for (benchmark, used, model, arm), place in places.items():
        others: list[tuple[str, Arm]] = []
        if arm == "with":
            others = [(model, "without"), (model, "blank"), (model, "elsewhere")]
        if model != first[benchmark, used, arm] and arm in ("with", "without"):
            others.append((first[benchmark, used, arm], arm))
        for other in others:
            if (known := places.get((benchmark, used, *other))) is not None:
                yield gap(scored[known], scored[place])


def gap(a: tuple[Row, Sequence[Result]], b: tuple[Row, Sequence[Result]]) -> Gap:
    """How far the run b lies over the run a."""
    before = {one.id: one for one in a[1]}
    pairs = [(before[one.id], one) for one in b[1] if one.id in before]
    found = intervals.difference(
        [one.value for one, _ in pairs], [two.value for _, two in pairs], [two.group for _, two in pairs]
    )
    return Gap(
        benchmark=b[0].benchmark,
        model=b[0].model,
        arm=b[0].arm,
        over_model=a[0].model,
        over_arm=a[0].arm,
        gain=Mean(mean=found.mean, low=found.low, high=found.high, n=len(pairs)),
        gained=sum(two.ok and not one.ok for one, two in pairs),
        lost=sum(one.ok and not two.ok for one, two in pairs),
    )


# ------------------------------------------------------------------------------------------------------------- notes


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """What forbids a comparison, or bends a score."""
    for benchmark in dict.fromkeys(one.benchmark for one in rows):
        of_it = [one for one in rows if one.benchmark == benchmark]
        protocols = list(dict.fromkeys(one.protocol for one in of_it))
        if len(protocols) > 1:
            yield (
                f"{benchmark}: its runs follow {len(protocols)} protocols ({', '.join(protocols)}), which differ in "
                "questions, pixel cap, prompts or limits: scores of one can't be compared with those of another"
            )
        for used in protocols:
            counts = {one.score.n for one in of_it if one.protocol == used}
            if len(counts) > 1:
                played = f"{min(counts)} to {max(counts)} questions"
                yield f"{benchmark}: its runs have played {played}; a difference is over those that both have"
    for one in rows:
        for count, what in (
            (one.failed, "could not be played (failed.jsonl) and are not in n"),
            (one.smaller, "were sent with pictures at half their size, below the stated pixel cap"),
            (one.rescored, "have another score today than when they were played"),
        ):
            if count:
                yield f"{one.run}: {count} questions {what}"
