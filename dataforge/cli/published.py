"""What a person sees of push, verify and export."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from dataforge.cli.screen import counting_bar, err, note, out
from dataforge.publish import Findings, Plan, Pushed
from dataforge.publish.exporting import Exported
from dataforge.publish.features import CONFIGS
from dataforge.publish.importing import Imported
from dataforge.publish.record import Published, read_record


@contextlib.contextmanager
def push_progress() -> Iterator[Callable[[int, int], None]]:
    with counting_bar("traces") as update:
        yield update


@contextlib.contextmanager
def verify_progress(folder: Path) -> Iterator[Callable[[int], None]]:
    record = read_record(folder)
    total = sum(record.rows(config) for config in CONFIGS)
    with counting_bar("rows") as update:
        yield lambda done: update(done, total)


def show_plan(plan: Plan, as_json: bool) -> None:
    rows = {f"{config}/{split}": count for (config, split), count in sorted(plan.rows.items()) if count}
    sizes = {f"{config}/{split}": plan.bytes[config, split] for (config, split), n in sorted(plan.rows.items()) if n}
    if as_json:
        told = {"to": plan.where, "rows": rows, "bytes": sizes, "exists": plan.there is not None}
        out.print_json(json.dumps(told))
        return
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for name, count in rows.items():
        table.add_row(f"data/{name}", f"{count:,} rows", f"about {_size(sizes[name])}")
    table.add_row("README.md, dataforge.json, plots, samples", "", "")
    out.print(table)
    out.print(f"to {plan.where}: {_there(plan)}", highlight=False)
    for choice in plan.choices:
        for reason, count in choice.left_out.items():
            note(f"{choice.run.folder.name}: {count} left out, {reason.replace('_', ' ')}")
    note("a dry run: nothing was written or uploaded")


def _there(plan: Plan) -> str:
    there = plan.there
    if there is None:
        return "new"
    held = f"a set of {there.record.rows('traces'):,} traces" if there.record else "no set yet"
    return f"holds {held}" + (", public" if there.public else "")


def show_pushed(pushed: Pushed, as_json: bool) -> None:
    record = pushed.record
    if as_json:
        told = {"to": pushed.where, "tag": record.tag, "already": pushed.already, "left_out": record.left_out}
        told |= {"rows": {config: record.rows(config) for config in CONFIGS}, "unverified": record.unverified}
        out.print_json(json.dumps(told))
        return
    for reason, count in record.left_out.items():
        note(f"{count} left out: {reason.replace('_', ' ')}")
    if record.forced:
        note("pushed unfiltered or unverified by --force; the card says so")
    verb = "was there already" if pushed.already else "pushed"
    out.print(f"{_rows(record)} {verb}, tag {record.tag}", highlight=False, soft_wrap=True)
    out.print(pushed.where, highlight=False, soft_wrap=True)


def _rows(record: Published) -> str:
    splits = ", ".join(f"{split} {record.rows('traces', split):,}" for split in record.splits)
    traces, queries, media = (f"{record.rows(config):,} {config}" for config in CONFIGS)
    return f"{traces} ({splits}), {queries}, {media}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def show_findings(findings: Findings, as_json: bool) -> None:
    counts = {"traces": findings.traces, "replayed": findings.replayed, "queries": findings.queries}
    counts |= {"media": findings.media}
    if as_json:
        told = {"ok": findings.ok, **counts, "faults": dict(findings.faults), "first": findings.told}
        out.print_json(json.dumps(told))
        return
    for line in findings.told:
        err.print(f"[red]✗[/] {escape(line)}", highlight=False, soft_wrap=True)
    if findings.replayed < findings.traces and findings.ok:
        note("sources are named by hash alone: --media FOLDER of the originals lets the calls be run again")
    mark = "proven" if findings.ok else _faults(sum(findings.faults.values()))
    told_counts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    out.print(f"{mark}: {told_counts}", highlight=False)


def show_exported(made: Exported, dry: bool, as_json: bool) -> None:
    if as_json:
        told = {"file": str(made.file), "traces": made.traces, "rows": made.rows, "pictures": made.pictures}
        told |= {"left_out": dict(made.left_out), "flags_lost": made.flags_lost}
        out.print_json(json.dumps(told))
        return
    for reason, count in made.left_out.most_common():
        note(f"{count} left out: {reason.replace('_', ' ')}")
    if made.flags_lost:
        note(f"{made.flags_lost} of {made.traces} traces lose `learn` flags: {made.lost}")
    beside = f", {made.pictures:,} pictures beside" if made.pictures else ""
    out.print(f"{made.rows:,} rows of {made.traces:,} traces{beside}", highlight=False)
    if dry:
        note("a dry run: nothing was written")
    else:
        out.print(str(made.file), highlight=False, soft_wrap=True)


def note_crops(made: Imported) -> None:
    if made.crops:
        note(f"{made.alike} of {made.crops} crops look like those that lie in the set")
    if made.crops and made.alike < made.crops / 2:
        note("most crops differ: are --box-unit and --padding those of the set?")


def _faults(count: int) -> str:
    return f"{count:,} fault" + ("s" if count != 1 else "")
