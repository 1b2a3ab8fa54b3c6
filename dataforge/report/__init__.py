"""Report: what a run has made, as numbers in report.json and as one page in report.html.

Everything is read from the run folder in one stream; what is held is counters and a few sample traces, so memory does
not grow with the run. The same lines give the same bytes: no clock, no path. Filter's verdicts hold where filter has
judged every stored trace; otherwise the verdicts that synth left do, and the page says so.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from dataforge.records import Trace, read_lines
from dataforge.report import pages
from dataforge.report.counting import Counting, JudgedBy, Report, first_reason
from dataforge.report.samples import Samples
from dataforge.runs import Run, write_whole

__all__ = ["Report", "count_lines", "first_reason", "judged", "judged_by", "sorted_out", "summarise", "write"]


def judged_by(run: Run) -> JudgedBy:
    """Whose verdicts hold. Filter's only if it has judged as many traces as are stored now."""
    if not (run.folder / "kept.jsonl").exists():
        return "synth"
    judged = sum(count_lines(run.folder / name) for name in ("kept.jsonl", "rejected.jsonl"))
    return "filter" if judged == count_lines(run.traces_path) else "stale"


def judged(run: Run) -> Iterator[Trace]:
    """All stored traces with the verdicts that hold, one at a time; UsageError where a line doesn't fit."""
    return (trace for trace, _ in sorted_out(run))


def sorted_out(run: Run) -> Iterator[tuple[Trace, bool]]:
    """All stored traces, and whether each is kept: after a filter its file says so, for a mark outdoes verdicts."""
    if judged_by(run) != "filter":
        for trace in run.traces():
            yield trace, trace.ok
        return
    for name, kept in (("kept.jsonl", True), ("rejected.jsonl", False)):
        for trace in read_lines(run.folder / name, Trace):
            yield trace, kept


def count_lines(path: Path) -> int:
    """The whole lines of a file; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as lines:
        return sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))


def summarise(run: Run) -> Report:
    """The run in numbers; UsageError where a stored line doesn't fit."""
    return _survey(run)[0]


def _survey(run: Run) -> tuple[Report, Samples]:
    counting, samples = Counting(), Samples()
    for trace, kept in sorted_out(run):
        counting.see(trace, kept)
        samples.see(trace, kept)
    for failure in run.failures():
        counting.see_failure(failure)
        samples.see_failure(failure)
    # counted apart from the records, so that the identity that Report asserts is worth something
    read = count_lines(run.traces_path) + count_lines(run.failed_path)
    return counting.report(run, judged_by(run), read), samples


def write(run: Run) -> Report:
    """Write report.json and report.html into the run folder, and give back the numbers."""
    report, samples = _survey(run)
    text = json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_whole(run.folder / "report.json", text + "\n")
    page = pages.page(report, samples.traces(), samples.failures, run.store)
    write_whole(run.folder / "report.html", page)
    return report
