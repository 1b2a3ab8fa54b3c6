"""The numbers of a report: a run's traces and failures counted one by one, so memory does not grow with the run."""

import itertools
from collections import Counter, defaultdict
from typing import Literal, Self

from pydantic import Field, model_validator

from dataforge import plugins
from dataforge.plugins import Teacher
from dataforge.records import Failure, Record, Trace
from dataforge.runs import Run

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Bounds between the bins of the evidence's size, as shares of the picture's area."""
TOKENS = (250, 500, 1000, 2000, 4000, 8000, 16000)
"""Bounds between the bins of one trace's tokens."""
STAGES = ("read", "media", "locate", "compose", "worker", "teacher", "write")
"""In the order of the work."""

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
    funnel: Counts = Field(description="what is left after each stage and check that lost any, from read to kept")
    failures: Counts = Field(description="rows by 'stage: reason'")
    rejections: Counts = Field(description="by 'check: reason' of the first failed verdict")
    reasons_by_kind: dict[str, Counts] = Field(description="rejections of each kind of trace")
    reasons_by_source: dict[str, Counts] = Field(description="rejections of each source")
    unfit: Counts = Field(description="kinds that were drawn but could not be made")
    roles: Counts = Field(description="of steps")
    looks: Counts = Field(description="by number of looks")
    said_by: Counts = Field(description="regions by who said where they are")
    evidence: Counts = Field(description="regions by their share of the picture's area")
    view_sizes: Counts = Field(description="by view tokens of one trace")
    replies: Counts = Field(description="by teacher tokens of one trace, in and out")
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


class Counting:
    """Counts traces and failures one by one."""

    def __init__(self) -> None:
        self.by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sums: Counter[str] = Counter()
        self.most_view_tokens = 0
        self.cost_usd = self.lost_usd = 0.0
        self.reasons_by_kind: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.reasons_by_source: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.lost: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.checks: dict[str, None] = {}

    def see(self, trace: Trace, kept: bool) -> None:
        self.sums["kept" if kept else "rejected"] += 1
        self.checks |= dict.fromkeys(verdict.check for verdict in trace.verdicts)
        if not kept:
            self._see_rejected(trace)
        self.by["kinds"][trace.kind] += 1
        self.by["sources"][trace.example.source] += 1
        self.by["answer_types"][trace.example.answer_type] += 1
        self.by["roles"].update(step.role for step in trace.steps)
        self.by["looks"][str(len(trace.looks))] += 1
        self._see_regions(trace)
        self._see_provenance(trace)

    def _see_rejected(self, trace: Trace) -> None:
        reason = first_reason(trace)
        self.by["rejections"][reason] += 1
        self.by["rejected_kinds"][trace.kind] += 1
        self.reasons_by_kind[trace.kind][reason] += 1
        self.reasons_by_source[trace.example.source][reason] += 1
        self.lost["check"][reason.split(":")[0]] += 1

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
        self.by["view_sizes"][token_bin(tokens)] += 1
        self.by["replies"][token_bin(made.input_tokens + made.output_tokens)] += 1
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
        self.lost["stage"][failure.stage] += 1
        self.cost_usd += failure.cost_usd
        self.lost_usd += failure.cost_usd
        self.sums.update(
            input_tokens=failure.input_tokens,
            output_tokens=failure.output_tokens,
            lost_tokens=failure.input_tokens + failure.output_tokens,
        )

    def _funnel(self, read: int) -> Counts:
        """What is left after each stage in the order of the work, then after each check in the order of judging."""
        left = {"read": read}
        stages = sorted(self.lost["stage"], key=lambda stage: (STAGES.index(stage) if stage in STAGES else 99, stage))
        checks = [check for check in self.checks if check in self.lost["check"]]
        lost = [(stage, self.lost["stage"][stage]) for stage in stages]
        for name, count in lost + [(check, self.lost["check"][check]) for check in checks]:
            read -= count
            left[f"after {name}"] = read
        return left | {"kept": self.sums["kept"]}

    def report(self, run: Run, judged_by: JudgedBy, read: int) -> Report:
        counts = {name for name, known in Report.model_fields.items() if known.annotation == Counts} - {"funnel"}
        sums = {name for name, known in Report.model_fields.items() if known.annotation is int}
        return Report(
            **{name: _sorted(name, self.by[name]) for name in counts},
            **{name: self.sums[name] for name in sums - {"read", "most_view_tokens"}},
            funnel=self._funnel(read),
            reasons_by_kind={kind: _sorted("", reasons) for kind, reasons in sorted(self.reasons_by_kind.items())},
            reasons_by_source={name: _sorted("", reasons) for name, reasons in sorted(self.reasons_by_source.items())},
            name=run.manifest.name,
            digest=run.manifest.digest(),
            judged_by=judged_by,
            read=read,
            most_view_tokens=self.most_view_tokens,
            cost_usd=round(self.cost_usd, 6) if self.cost_usd or _priced(run) else None,
            lost_usd=round(self.lost_usd, 6),
        )


def _sorted(name: str, counts: Counter[str]) -> Counts:
    """Most frequent first; histograms in the order of their bins, empty ones between included."""
    if name == "evidence" and counts:
        return {label: counts[label] for label in BINS}
    if name in ("view_sizes", "replies") and counts:
        used = [index for index, label in enumerate(TOKEN_BINS) if counts[label]]
        return {label: counts[label] for label in TOKEN_BINS[used[0] : used[-1] + 1]}
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


TOKEN_BINS = (
    f"under {TOKENS[0]:,}",
    *(f"{low:,} to {high:,}" for low, high in itertools.pairwise(TOKENS)),
    f"over {TOKENS[-1]:,}",
)


def token_bin(tokens: int) -> str:
    """The bin of a number of tokens."""
    return TOKEN_BINS[sum(tokens >= bound for bound in TOKENS)]


def first_reason(trace: Trace) -> str:
    """Why a rejected trace is rejected: 'check: reason' of its first failed verdict."""
    first = next(verdict for verdict in trace.verdicts if not verdict.ok)
    return f"{first.check}: {first.reason}"


def _priced(run: Run) -> bool:
    """A price is known for the run's teacher, be it none at all."""
    teacher: Teacher = plugins.build("teacher", run.manifest.teacher)
    return teacher.price(0, 0) is not None
