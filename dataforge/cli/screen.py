"""What a person sees in the terminal: results on stdout, progress and messages on stderr, a bar only on a terminal."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dataforge import plugins
from dataforge.ask.budget import Budget
from dataforge.ask.cache import Held, size_bytes
from dataforge.doctor import Finding
from dataforge.evaluate import tables
from dataforge.evaluate.board import Board
from dataforge.evaluate.estimate import Estimate as EvaluationEstimate
from dataforge.filter import Sifted
from dataforge.manifest import Manifest, Spec
from dataforge.report import Report, count_lines
from dataforge.runs import Run
from dataforge.survey import Survey
from dataforge.synth import Progress as SynthProgress
from dataforge.synth.estimate import Estimate

KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", dict: "mapping"}

WIDEST = 10_000
"""Characters of a line, where a table is as wide as it is."""

out = Console()
err = Console(stderr=True)


def note(text: str) -> None:
    err.print(f"[dim]note:[/] {escape(text)}", highlight=False, soft_wrap=True)


def print_whole(table: Table) -> None:
    """Print a table as wide as it is: no name is broken over lines, so that each can be copied."""
    narrow = out.width
    out.width = max(narrow, Measurement.get(out, out.options.update(max_width=WIDEST), table).maximum)
    try:
        out.print(table)
    finally:
        out.width = narrow


@contextlib.contextmanager
def bar(total: int | None, unit: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr, only where that is a terminal; called with the count done, a status text, and a new total."""
    columns = (
        TextColumn(f"[bold]{unit}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as shown:
        task = shown.add_task(unit, total=total, status="")
        yield lambda done, status, total=total: shown.update(task, completed=done, status=status, total=total)


@contextlib.contextmanager
def counting_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar whose total is told with each step."""
    columns = (TextColumn(f"[bold]{unit}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def stage_progress(unit: str) -> Iterator[Callable[[int, str, int], None]]:
    """A bar whose total changes from stage to stage."""
    with bar(None, unit) as update:
        yield update


@contextlib.contextmanager
def synth_progress(total: int | None) -> Iterator[Callable[[SynthProgress], None]]:
    with bar(total, "examples") as update:
        yield lambda progress: update(progress.read + progress.skipped, _synth_status(progress))


def _synth_status(progress: SynthProgress) -> str:
    asking = progress.asking
    parts = [f"[green]{progress.kept} kept[/]", f"[yellow]{progress.rejected} rejected[/]"]
    parts += [f"[red]{count} {escape(reason)}[/]" for reason, count in progress.reasons.most_common(2)]
    if asking is not None and asking.teacher.sees:
        counts = asking.counts
        tokens = (counts.input_tokens + counts.output_tokens) / 1000
        parts.append(f"{counts.in_flight} in flight, {tokens:.0f}k tokens, {_money(progress, counts.cost_usd)}")
    return ", ".join([*parts, escape(progress.status)] if progress.status else parts)


def _money(progress: SynthProgress, cost_usd: float) -> str:
    """This invocation's dollars; under a budget, what of it the run has spent, calls in flight in full."""
    asking, purse = progress.asking, progress.purse
    if purse is not None and purse.budget is not None:
        spent = purse.spent
        if purse.budget.usd is not None:
            return f"${spent.usd:.2f} of {purse.budget}"
        return f"{(spent.input_tokens + spent.output_tokens) / 1000:.0f}k of {purse.budget}"
    priced = asking is not None and asking.teacher.price(0, 0) is not None
    return f"${cost_usd:.2f}" if priced else "no price"


@contextlib.contextmanager
def filter_progress(run: Run) -> Iterator[Callable[[Sifted], None]]:
    with bar(count_lines(run.traces_path), "traces") as update:
        yield lambda sifted: update(sifted.done, sifted.stage)


@contextlib.contextmanager
def survey_progress(total: int) -> Iterator[Callable[[int], None]]:
    with bar(total, "rows") as update:
        yield lambda done: update(done, "")


def show_survey(survey: Survey, page: Path, as_json: bool) -> None:
    """A source in numbers, and where its page lies."""
    if as_json:
        out.print_json(json.dumps(survey.model_dump(mode="json") | {"page": str(page)}))
        return
    rows = "endless" if survey.rows is None else f"{survey.rows:,}"
    missing = f", {survey.missing:,} pictures missing" if survey.missing else ""
    out.print(f"{survey.source}: {rows} rows; {survey.examples:,} examples of {survey.sampled:,} opened{missing}")
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_row("licence", "", escape(survey.licence))
    table.add_row("may be published", "", "yes" if survey.redistributable else "no")
    table.add_row("pictures", "", f"{survey.pictures:,} in {survey.groups:,} groups")
    table.add_row("with boxes", "", f"{survey.with_boxes:,} examples, {survey.boxes:,} boxes")
    if survey.posed_by_teacher:
        table.add_row("no question", "", f"{survey.posed_by_teacher:,}: the teacher makes it")
    named = {"can't be read": survey.unreadable, "in vain": survey.failures, "size": survey.megapixels}
    named |= {"length": survey.seconds}
    named |= {"box of picture": survey.box_shares, "answer type": survey.answer_types, "answers": survey.answers}
    for what, counts in named.items():
        for name, count in counts.items():
            table.add_row(what, escape(name), f"{count:,}")
    out.print(table)
    out.print(str(page), highlight=False, soft_wrap=True)


def show_run(run: Run, summary: Report, as_json: bool) -> None:
    """The run's counts and where it lies."""
    if as_json:
        typed = summary.model_dump(mode="json") | {"folder": str(run.folder)}
        out.print_json(json.dumps(typed))
        return
    counts = f"read {summary.read} = kept {summary.kept} + rejected {summary.rejected} + failed {summary.failed}"
    out.print(counts, highlight=False)
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    _rows(table, "kind", summary.kinds)
    _rows(table, "rejected", summary.rejections)
    _rows(table, "failed", summary.failures)
    if summary.cost_usd or summary.input_tokens:
        tokens = f"{summary.input_tokens:,} in, {summary.output_tokens:,} out"
        table.add_row("tokens", tokens, "no price" if summary.cost_usd is None else f"${summary.cost_usd:.2f}")
    if table.row_count:
        out.print(table)
    for name in ("traces.jsonl", "kept.jsonl", "report.html"):
        if (run.folder / name).exists():
            out.print(str(run.folder / name), highlight=False, soft_wrap=True)


def _rows(table: Table, what: str, counts: Mapping[str, int]) -> None:
    for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        table.add_row(what, escape(name), str(count))


def show_estimate(estimate: Estimate, budget: Budget | None, as_json: bool) -> None:
    if as_json:
        out.print_json(estimate.model_dump_json())
        return
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_row("run", estimate.run)
    table.add_row("teacher", escape(estimate.teacher))
    table.add_row("examples", f"{estimate.rows:,} ({estimate.unreadable:,} more can't be read)")
    table.add_row("sampled", f"{estimate.sampled}: {_counts(estimate.kinds | estimate.sample_failures)}")
    table.add_row("teacher calls", f"about {estimate.calls:,}")
    table.add_row("tokens", f"about {estimate.input_tokens:,} in, {estimate.output_tokens:,} out")
    table.add_row("cost", _cost(estimate))
    if budget is not None:
        table.add_row("budget", f"{budget}, over all invocations of the run")
    out.print(table)
    note("a dry run: nothing was written, and no teacher was asked")


def _cost(estimate: Estimate) -> str:
    if estimate.cost_usd is None:
        return "no price: set the teacher's input_usd and output_usd in the manifest"
    of = f" ({estimate.prices})" if estimate.prices else ""
    return f"about ${estimate.cost_usd:.2f}{of}" if estimate.cost_usd else f"nothing{of}"


@contextlib.contextmanager
def evaluation_progress(manifest: Manifest) -> Iterator[Callable[[SynthProgress], None]]:
    with bar(manifest.limit, manifest.name) as update:
        yield lambda progress: update(progress.read + progress.skipped, _evaluation_status(progress))


def _evaluation_status(progress: SynthProgress) -> str:
    parts = [f"[green]{progress.kept} right[/]", f"[yellow]{progress.rejected} wrong[/]"]
    parts += [f"[red]{count} {escape(reason)}[/]" for reason, count in progress.reasons.most_common(2)]
    if progress.asking is not None:
        counts = progress.asking.counts
        tokens = (counts.input_tokens + counts.output_tokens) / 1000
        parts.append(f"{counts.in_flight} in flight, {tokens:.0f}k tokens, {_money(progress, counts.cost_usd)}")
    return ", ".join(parts)


def show_board(board: Board, as_json: bool, folders: Sequence[Path]) -> None:
    """The board, then where its runs lie."""
    if as_json:
        out.print_json(board.model_dump_json())
        return
    for part in tables.render(board).renderables:
        print_whole(part) if isinstance(part, Table) else out.print(part)
    for folder in folders:
        out.print(str(folder), highlight=False, soft_wrap=True)


def show_evaluation_plan(plans: Sequence[EvaluationEstimate], budget: Budget | None, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps([plan.model_dump() for plan in plans]))
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("run", "model", "questions", "calls", "tokens in", "out", "cost"):
        table.add_column(column, justify="left" if column in ("run", "model") else "right")
    for plan in plans:
        cost = "no price" if plan.cost_usd is None else f"${plan.cost_usd:.2f}"
        tokens = (f"{plan.input_tokens:,}", f"{plan.output_tokens:,}")
        table.add_row(plan.run, escape(plan.model), f"{plan.questions:,}", f"{plan.calls:,}", *tokens, cost)
    print_whole(table)
    for plan in plans:
        if plan.unreadable or plan.sample_failures:
            lost = _counts(plan.sample_failures)
            note(f"{plan.run}: {plan.unreadable} rows can't be read; of the first {plan.sampled}: {lost}")
    if budget is not None:
        note(f"budget: {budget}, over all these runs and all their invocations")
    note("a dry run, with one look a question foreseen: nothing was written, and no model was asked")


def show_filter_plan(run: Run, checks: Sequence[Spec], as_json: bool) -> None:
    traces = count_lines(run.traces_path)
    names = [spec if isinstance(spec, str) else str(spec["name"]) for spec in checks]
    plan = {"run": run.folder.name, "traces": traces, "checks": names}
    if as_json:
        out.print_json(json.dumps(plan))
    else:
        out.print(f"{run.folder.name}: {traces} traces through {', '.join(names)}", highlight=False)
        note("a dry run: nothing was written")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {escape(name)}" for name, count in counts.items()) or "nothing"


def show_plugins(families: Sequence[plugins.Family], as_json: bool) -> None:
    """Each plug-in with its first docstring line and its options."""
    listed = {family: {name: _described(family, name) for name in plugins.names(family)} for family in families}
    if as_json:
        out.print_json(json.dumps(listed))
        return
    for family, found in listed.items():
        out.print(f"\n[bold]{family}[/]")
        for name, described in found.items():
            out.print(f"  [cyan]{name}[/]  {escape(described['help'])}", highlight=False, soft_wrap=True)
            for option, text in described["options"].items():
                out.print(f"      {option}: {escape(text)}", highlight=False, style="dim", soft_wrap=True)


def _described(family: plugins.Family, name: str) -> dict[str, Any]:
    plugin = plugins.find(family, name)
    help_text = (plugin.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
    options = {field.alias or key: _option(field) for key, field in plugin.model_fields.items()}
    return {"help": help_text, "options": options}


def _option(field: FieldInfo) -> str:
    """Its type, default and description in a line, as a manifest writes them."""
    default = "required" if field.is_required() else f"default {_in_yaml(field.default)}"
    default = "optional" if field.default is None else default
    described = f"{_kind(field.annotation)}, {default}"
    return described + (f"; {field.description}" if field.description else "")


def _in_yaml(value: object) -> str:
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, default=str, ensure_ascii=False)


def _kind(annotation: Any) -> str:
    """A type in words: `text`, `number`, `list of text`, `one of a, b`."""
    origin, inner = get_origin(annotation), [one for one in get_args(annotation) if one not in (type(None), ...)]
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (tuple, list, set, frozenset):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "mapping"
    if origin is not None:  # a union, or an annotated type
        kinds = dict.fromkeys(_kind(one) for one in (inner[:1] if origin is Annotated else inner))
        return " or ".join(kinds)
    return KINDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def show_cache(path: Path, found: Sequence[Held], as_json: bool) -> None:
    """Replies by teacher and purpose, in the order in which the first of each was stored."""
    size = size_bytes(path)
    if as_json:
        typed = {"path": str(path), "bytes": size, "held": [one._asdict() for one in found]}
        out.print_json(json.dumps(typed))
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("teacher", "purpose", "replies", "tokens in", "tokens out", "dollars", "numbered"):
        table.add_column(column, justify="left" if column in ("teacher", "purpose") else "right")
    for one in found:
        tokens = (f"{one.input_tokens:,}", f"{one.output_tokens:,}", f"{one.cost_usd:,.2f}")
        table.add_row(escape(one.teacher), one.purpose, f"{one.replies:,}", *tokens, f"{one.first:,} to {one.last:,}")
    if found:
        print_whole(table)
    replies, dollars = sum(one.replies for one in found), sum(one.cost_usd for one in found)
    out.print(f"{path}: {replies:,} replies, ${dollars:,.2f}, {size / 1e6:,.1f} MB", highlight=False, soft_wrap=True)


def show_pruned(path: Path, gone: int, dry_run: bool, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps({"path": str(path), "deleted": 0 if dry_run else gone, "chosen": gone}))
    else:
        what = "would be deleted" if dry_run else "deleted"
        out.print(f"{gone:,} replies {what}; {size_bytes(path) / 1e6:,.1f} MB on disk", highlight=False)


def show_findings(findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps([finding.model_dump() for finding in findings]))
        return
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]missing[/]" if finding.needed else "[dim]-[/]"
        table.add_row(mark, escape(finding.what), escape(finding.says), escape(finding.fix))
    out.print(table)
