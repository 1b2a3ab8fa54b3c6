"""The report's page: one file that needs nothing else, with its pictures inside.

`report.html` and `report.css` beside this module hold the frame and the style; what goes into it is built as elements,
so a question that holds markup stays a question.
"""

import itertools
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from dataforge.media import MediaStore
from dataforge.records import Failure, Trace
from dataforge.report.counting import Report
from dataforge.report.elements import el, whole_page
from dataforge.report.exhibits import exhibit
from dataforge.report.pictures import Pictures

COLUMNS = 8
"""Sources in the table of reasons."""
ROWS = 12
"""Bars in one chart; the rest is summed up in one row."""
JUDGED_BY = {
    "synth": "Verdicts are those that synth left; filter has not run.",
    "filter": "Verdicts are filter's, on what is stored.",
    "stale": "Filter's verdicts are older than the traces, so synth's are shown: run filter again.",
}


Sample = tuple[Trace, bool]
"""A trace, and whether it is kept."""


def page(report: Report, samples: Sequence[Sample], failures: Sequence[Failure], store: MediaStore) -> str:
    """The whole page as HTML, with pictures cut from the store."""
    pictures = Pictures(store)
    exhibits = [exhibit(number, trace, pictures, kept) for number, (trace, kept) in enumerate(samples, start=1)]
    body = el("main", _head(report), _funnel(report), _charts(report), _reasons(report), _numbers(report))
    if exhibits:
        body.append(el("section", el("h2", "Sample traces"), _index(samples), _key(), *exhibits))
    if failures:
        body.append(_failures(report, failures))
    return whole_page(f"{report.name} {report.digest[:6]}: run report", body)


def _head(report: Report) -> Element:
    head = el(
        "header",
        el("h1", report.name),
        el("p", "run ", el("code", report.digest), " · teacher ", el("b", ", ".join(report.teachers) or "none yet")),
    )
    traces = report.kept + report.rejected
    if report.scripted:
        part = "" if report.scripted == traces else f" ({report.scripted:,} of {traces:,} traces)"
        head.append(el("p", f"Scripted teacher: thoughts written by rule from the annotation{part}", class_="warn"))
    elif report.answer_revealed:
        head.append(el("p", f"The teacher was told the answer in {report.answer_revealed:,} traces", class_="warn"))
    head.append(el("p", JUDGED_BY[report.judged_by], class_="warn" if report.judged_by == "stale" else "dim"))
    return head


def _funnel(report: Report) -> Element:
    """read = kept + rejected + failed, as numbers and as one bar."""
    parts = {"kept": report.kept, "rejected": report.rejected, "failed": report.failed}
    sums = [_sum("read", report.read, "")]
    for sign, (name, count) in zip("=++", parts.items(), strict=True):
        term = _sum(name, count, _percent(count, report.read))
        sums.append(el("div", el("span", sign, class_="sign"), term, class_="term"))
    bar = el("div", *(_fill(name, count, report.read) for name, count in parts.items()), class_="bar tall")
    return el("section", el("div", *sums, class_="sums"), bar if report.read else None, class_="card funnel")


def _sum(name: str, count: int, share: str) -> Element:
    return el("div", el("b", f"{count:,}"), el("span", f"{name} {share}".strip()), class_=f"sum {name}")


def _fill(name: str, count: int, whole: int) -> Element:
    return el("i", class_=f"fill {name}", style=f"width:{100 * count / max(whole, 1):.2f}%")


def _percent(count: int, whole: int) -> str:
    return f"{100 * count / whole:.1f}%" if whole else ""


def _charts(report: Report) -> Element:
    charts = [
        chart("From read to kept", report.funnel) if report.read else None,
        chart("Kind of trace", report.kinds, report.rejected_kinds),
        chart("Why rejected", report.rejections, report.rejections),
        chart("Why failed", report.failures, fill="failed"),
        chart("Source", report.sources),
        chart("Answer type", report.answer_types),
        chart("Looks in a trace", report.looks),
        chart("View tokens in a trace", report.view_sizes),
        chart("Teacher tokens of a trace", report.replies),
        chart("Evidence, share of the picture", report.evidence),
        chart("Who said where the evidence is", report.said_by),
        chart("Role of steps", report.roles),
        chart("Kinds drawn but unfit", report.unfit),
    ]
    return el("section", *charts, class_="charts")


def chart(
    title: str, counts: Mapping[str, int], rejected: Mapping[str, int] | None = None, fill: str = "plain"
) -> Element | None:
    """Bars with their counts; where it is known, the rejected part in its own colour. None when nothing is counted."""
    if not counts:
        return None
    rows = list(counts.items())
    if len(rows) > ROWS:
        rows = [*rows[: ROWS - 1], (f"{len(rows) - ROWS + 1} others", sum(count for _, count in rows[ROWS - 1 :]))]
    longest, total = max(count for _, count in rows), sum(counts.values())
    bars = []
    for name, count in rows:
        bad = (rejected or {}).get(name, 0)
        good = _fill("kept" if rejected is not None else fill, count - bad, longest)
        bar = el("div", good, _fill("rejected", bad, longest) if bad else None, class_="bar")
        some = f", {bad:,} rejected" if 0 < bad < count else ""
        label = f"{count:,}{some}"
        bars.append(el("li", el("span", name), bar, el("b", label, title=_percent(count, total))))
    return el("div", el("h2", title), el("ul", *bars), class_="card chart")


def _reasons(report: Report) -> Element | None:
    """Why rejected, by kind and by source: one row a reason."""
    if not report.rejections:
        return None
    sources = dict(itertools.islice(report.sources.items(), COLUMNS))
    columns = [(kind.replace("_", " "), report.reasons_by_kind.get(kind, {})) for kind in report.kinds]
    columns += [(source, report.reasons_by_source.get(source, {})) for source in sources]
    groups = [("", 2, ""), ("kind", len(report.kinds), "kind"), ("source", len(sources), "source")]
    over = el("tr", *(el("th", name, colspan=span, class_=f"group {class_}") for name, span, class_ in groups))
    names = el(
        "tr", *(el("th", name, scope="col") for name in ("check: reason", "all", *(name for name, _ in columns)))
    )
    rows = []
    for reason, count in report.rejections.items():
        cells = [el("td", f"{counts[reason]:,}" if reason in counts else "·") for _, counts in columns]
        rows.append(el("tr", el("th", reason, scope="row"), el("td", el("b", f"{count:,}")), *cells))
    table = el("table", el("thead", over, names), el("tbody", *rows), class_="counts")
    return el("section", el("h2", "Why rejected, by kind and source"), el("div", table, class_="scroll"), class_="card")


def _numbers(report: Report) -> Element | None:
    traces = report.kept + report.rejected
    if not traces and not report.lost_tokens:
        return None
    rows = {
        "views shown": f"{report.views:,}",
        "view tokens": f"{report.view_tokens:,}",
        "view tokens a trace": f"{report.view_tokens / max(1, traces):,.0f}, at most {report.most_view_tokens:,}",
        "rewrites": f"{report.rewrites:,}",
        "teacher tokens in": f"{report.input_tokens:,}",
        "teacher tokens out": f"{report.output_tokens:,}",
        "cost": "no price" if report.cost_usd is None else f"${report.cost_usd:,.2f}",
        "cost a kept trace": f"${report.cost_usd / report.kept:,.4f}" if report.kept and report.cost_usd else "",
        "in vain": f"{report.lost_tokens:,} tokens, ${report.lost_usd:,.2f}" if report.lost_tokens else "",
    }
    pairs = [el("div", el("dt", name), el("dd", value)) for name, value in rows.items() if value]
    note = "Tokens and cost are of the replies behind all rows; in vain: those of rows that became no trace."
    return el("section", el("h2", "What it took"), el("dl", *pairs), el("p", note, class_="dim"), class_="card took")


def _index(samples: Sequence[Sample]) -> Element:
    links = []
    for number, (trace, kept) in enumerate(samples, start=1):
        what = trace.kind.replace("_", " ") + ("" if kept else " ✗")
        links.append(el("li", el("a", f"{number} {what}", href=f"#sample-{number}")))
    return el("nav", el("ul", *links), aria_label="Sample traces")


def _key() -> Element:
    return el(
        "p",
        "What the student learns to write is ",
        el("span", "learned", class_="spoken learned inline"),
        "; what it only reads past is ",
        el("span", "masked", class_="spoken masked inline"),
        ". Boxes on a whole picture are what was really cut.",
    )


def _failures(report: Report, failures: Sequence[Failure]) -> Element:
    rows = [
        el(
            "tr",
            el("td", el("code", failure.id)),
            el("td", f"{failure.stage}: {failure.reason}"),
            el("td", failure.detail, dir="auto"),
        )
        for failure in failures
    ]
    head = el("tr", *(el("th", name, scope="col") for name in ("example", "stage: reason", "detail")))
    table = el("table", el("thead", head), el("tbody", *rows))
    title = f"Failures: {len(failures)} of {report.failed:,}"
    return el("section", el("h2", title), el("div", table, class_="scroll"), class_="card")
