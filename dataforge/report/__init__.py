"""Report: what a run has made, as numbers in report.json and as one page in report.html.

Everything is read from the run folder in one stream; what is held is counters and a few sample traces, so memory does
not grow with the run. The same lines give the same bytes: no clock, no path. Filter's verdicts hold where filter has
judged every stored trace; otherwise the verdicts that synth left do, and the page says so.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from dataforge import plugins
from dataforge.plugins import Teacher
from dataforge.records import Failure, Record, Trace, read_lines
from dataforge.report import pages
from dataforge.runs import Run, write_whole

SAMPLES_KEPT = 12
SAMPLES_REJECTED = 6
HELD = 12
"""Traces held of each kind, or of each reason, until it is known how many kinds and reasons there are."""
REASONS_HELD = 12
FAILURES_SHOWN = 20
FAILURES_OF_ONE_REASON = 5
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Bounds between the bins of the evidence's size, as shares of the picture's area."""

JudgedBy = Literal["synth", "filter", "stale"]
Counts = dict[str, int]


class Report(Record):
    """A run in numbers: counts are of traces unless their description says otherwise."""

    name: str
    digest: str
    judged_by: JudgedBy = Field(description="whose verdicts hold; stale: filter's are older than the traces")
    read: int = Field(description="rows of the source")
    kept: int
    rejected: int
    failed: int = Field(description="rows that became no trace")
    kinds: Counts
    rejected_kinds: Counts = Field(description="of these, rejected")
    sources: Counts
    answer_types: Counts
    failures: Counts = Field(description="rows by 'stage: reason'")
    rejections: Counts = Field(description="by 'check: reason' of the first failed verdict")
    unfit: Counts = Field(description="kinds that were drawn but could not be made")
    roles: Counts = Field(description="of steps")
    looks: Counts = Field(description="by number of looks")
    said_by: Counts = Field(description="regions by who said where they are")
    evidence: Counts = Field(description="regions by their share of the picture's area")
    views: int = Field(description="views shown in all traces")
    view_tokens: int = Field(description="patch squares of all views")
    most_view_tokens: int = Field(description="of one trace")
    rewrites: int = Field(description="times that the teacher was sent back")
    teachers: Counts = Field(description="by plug-in and model")
    scripted: int = Field(description="thoughts written from the annotation by rule, no model")
    answer_revealed: int = Field(description="the teacher was told the answer")
    input_tokens: int = Field(description="of the replies behind all rows, failed ones included")
    output_tokens: int
    cost_usd: float | None = Field(description="of these replies, in US dollars; null where no price is known")
    lost_tokens: int = Field(description="of these, in and out, of rows that failed")
    lost_usd: float = Field(description="of the cost, for rows that failed")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.read != self.kept + self.rejected + self.failed:
            raise ValueError(
                f"read {self.read} is not kept {self.kept} + rejected {self.rejected} + failed {self.failed}"
            )
        for part, whole in ((self.failures, self.failed), (self.rejections, self.rejected)):
            if sum(part.values()) != whole:
                raise ValueError(f"the reasons {part} do not add up to {whole}")
        return self


@dataclass
class Samples:
    """The first few traces of each kind and of each reason for rejection, and the first failures."""

    kept: dict[str, list[Trace]] = field(default_factory=dict)
    rejected: dict[str, list[Trace]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def see(self, trace: Trace) -> None:
        shelf, name = (self.kept, trace.kind) if trace.ok else (self.rejected, first_reason(trace))
        if name in shelf or len(shelf) < REASONS_HELD:
            held = shelf.setdefault(name, [])
            if len(held) < HELD:
                held.append(trace)

    def see_failure(self, failure: Failure) -> None:
        alike = sum((failure.stage, failure.reason) == (other.stage, other.reason) for other in self.failures)
        if len(self.failures) < FAILURES_SHOWN and alike < FAILURES_OF_ONE_REASON:
            self.failures.append(failure)

    def traces(self) -> list[Trace]:
        """What the page shows: kept ones by kind, then rejected ones by reason, as evenly as there are any."""
        return _evenly(self.kept, SAMPLES_KEPT) + _evenly(self.rejected, SAMPLES_REJECTED)


def _evenly(shelf: Mapping[str, Sequence[Trace]], most: int) -> list[Trace]:
    """The firsts of all names, then the seconds, until there are `most`; given back name by name."""
    names = sorted(shelf)
    in_turn = [(depth, name) for depth in range(HELD) for name in names if depth < len(shelf[name])]
    return [shelf[name][depth] for depth, name in sorted(in_turn[:most], key=lambda pick: (pick[1], pick[0]))]


class _Counting:
    """Counts traces and failures one by one."""

    def __init__(self) -> None:
        self.by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sums: Counter[str] = Counter()
        self.most_view_tokens = 0
        self.cost_usd = self.lost_usd = 0.0

    def see(self, trace: Trace) -> None:
        self.sums["kept" if trace.ok else "rejected"] += 1
        if not trace.ok:
            self.by["rejections"][first_reason(trace)] += 1
            self.by["rejected_kinds"][trace.kind] += 1
        self.by["kinds"][trace.kind] += 1
        self.by["sources"][trace.example.source] += 1
        self.by["answer_types"][trace.example.answer_type] += 1
        self.by["roles"].update(step.role for step in trace.steps)
        self.by["looks"][str(len(trace.looks))] += 1
        self._see_regions(trace)
        self._see_provenance(trace)

    def _see_regions(self, trace: Trace) -> None:
        for region in trace.regions:
            media = trace.example.media[region.media]
            self.by["evidence"][share_bin(region.box.area / (media.width * media.height))] += 1
            self.by["said_by"][region.said_by] += 1

    def _see_provenance(self, trace: Trace) -> None:
        made = trace.provenance
        patch = made.student.patch
        tokens = sum((view.width // patch) * (view.height // patch) for view in trace.all_views)
        self.most_view_tokens = max(self.most_view_tokens, tokens)
        self.by["teachers"][made.teacher] += 1
        self.by["unfit"].update(made.unfit)
        self.cost_usd += made.cost_usd
        self.sums.update(
            views=len(trace.all_views),
            view_tokens=tokens,
            scripted=made.scripted,
            answer_revealed=made.answer_revealed,
            rewrites=made.rewrites,
            input_tokens=made.input_tokens,
            output_tokens=made.output_tokens,
        )

    def see_failure(self, failure: Failure) -> None:
        self.sums["failed"] += 1
        self.by["failures"][f"{failure.stage}: {failure.reason}"] += 1
        self.cost_usd += failure.cost_usd
        self.lost_usd += failure.cost_usd
        self.sums.update(
            input_tokens=failure.input_tokens,
            output_tokens=failure.output_tokens,
            lost_tokens=failure.input_tokens + failure.output_tokens,
        )

    def report(self, run: Run, judged_by: JudgedBy, read: int) -> Report:
        counts = {name for name, known in Report.model_fields.items() if known.annotation == Counts}
        sums = {name for name, known in Report.model_fields.items() if known.annotation is int}
        return Report(
            **{name: _sorted(name, self.by[name]) for name in counts},
            **{name: self.sums[name] for name in sums - {"read", "most_view_tokens"}},
            name=run.manifest.name,
            digest=run.manifest.digest(),
            judged_by=judged_by,
            read=read,
            most_view_tokens=self.most_view_tokens,
            cost_usd=round(self.cost_usd, 6) if self.cost_usd or _priced(run) else None,
            lost_usd=round(self.lost_usd, 6),
        )


def _priced(run: Run) -> bool:
    """A price is known for the run's teacher, be it none at all."""
    teacher: Teacher = plugins.build("teacher", run.manifest.teacher)
    return teacher.price(0, 0) is not None


def _sorted(name: str, counts: Counter[str]) -> Counts:
    """Most frequent first; the two histograms in the order of their bins, empty ones between included."""
    if name == "evidence" and counts:
        return {label: counts[label] for label in BINS}
    if name == "looks" and counts:
        return {str(looks): counts[str(looks)] for looks in range(max(map(int, counts)) + 1)}
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


BINS = (
    f"under {_percent(SHARES[0])}",
    *(f"{_percent(low)} to {_percent(high)}" for low, high in itertools.pairwise(SHARES)),
    f"over {_percent(SHARES[-1])}",
)


def share_bin(share: float) -> str:
    """The bin of a share of the picture's area, 0..1."""
    return BINS[sum(share >= bound for bound in SHARES)]


def first_reason(trace: Trace) -> str:
    """Why a rejected trace is rejected: 'check: reason' of its first failed verdict."""
    first = next(verdict for verdict in trace.verdicts if not verdict.ok)
    return f"{first.check}: {first.reason}"


def judged_by(run: Run) -> JudgedBy:
    """Whose verdicts hold. Filter's only if it has judged as many traces as are stored now."""
    if not (run.folder / "kept.jsonl").exists():
        return "synth"
    judged = sum(_count_lines(run.folder / name) for name in ("kept.jsonl", "rejected.jsonl"))
    return "filter" if judged == _count_lines(run.traces_path) else "stale"


def judged(run: Run) -> Iterator[Trace]:
    """All stored traces with the verdicts that hold, one at a time; UsageError where a line doesn't fit."""
    if judged_by(run) != "filter":
        return run.traces()
    return itertools.chain(*(read_lines(run.folder / name, Trace) for name in ("kept.jsonl", "rejected.jsonl")))


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def summarise(run: Run) -> Report:
    """The run in numbers; UsageError where a stored line doesn't fit."""
    return _survey(run)[0]


def _survey(run: Run) -> tuple[Report, Samples]:
    counting, samples = _Counting(), Samples()
    for trace in judged(run):
        counting.see(trace)
        samples.see(trace)
    for failure in run.failures():
        counting.see_failure(failure)
        samples.see_failure(failure)
    # counted apart from the records, so that the identity that Report asserts is worth something
    read = _count_lines(run.traces_path) + _count_lines(run.failed_path)
    return counting.report(run, judged_by(run), read), samples


def write(run: Run) -> Report:
    """Write report.json and report.html into the run folder, and give back the numbers."""
    report, samples = _survey(run)
    text = json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_whole(run.folder / "report.json", text + "\n")
    page = pages.page(report, samples.traces(), samples.failures, run.store)
    write_whole(run.folder / "report.html", page)
    return report
