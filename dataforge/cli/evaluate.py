"""Commands that try a model on benchmarks: eval, eval report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataforge.cli.app import RUNS, AsJson, DryRun, ManifestFile, RunsFolder, examples
from dataforge.cli.later import collected
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataforge.ask.budget import Budget
    from dataforge.evaluate.plan import Model
    from dataforge.manifest import Arm, Manifest
    from dataforge.runs import Run

commands = collected(
    epilog=examples(
        "dataforge eval --benchmark vstar --model Qwen2.5-VL-7B --base-url http://localhost:8000/v1",
        "dataforge eval --benchmark infographicvqa --path InfographicVQA --model gpt-4.1-mini --controls --budget 20",
        "dataforge eval --benchmark hrbench --path HR-Bench --local students/sft --local students/rl",
        "dataforge eval --benchmark tallyqa --path TallyQA --model gpt-4.1-mini --limit 200 --dry-run",
        "dataforge eval report",
        "dataforge eval report vstar-sft-with-1a2b3c vstar-rl-with-4d5e6f --out board",
    ),
)


@commands.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="vstar, hrbench, ...; repeatable.")
    ] = None,
    manifest: ManifestFile = None,
    path: Annotated[Path | None, typer.Option(help="The benchmark's folder or file; else its Hub data set.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model name at an endpoint; repeatable.")] = None,
    base_url: Annotated[
        list[str] | None,
        typer.Option(help="The OpenAI-compatible endpoint; one for all models, or one for each, or several for one."),
    ] = None,
    key_env: Annotated[str | None, typer.Option(help="The variable that holds the endpoint's key.")] = None,
    local: Annotated[list[Path] | None, typer.Option(help="A transformers model's folder; repeatable.")] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="with, without, blank, elsewhere; repeatable. Default: with, without.")
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Also the arms blank and elsewhere.")] = False,
    calls: Annotated[str | None, typer.Option(help="How the model calls: tagged (in its text) or native.")] = None,
    box_unit: Annotated[str | None, typer.Option(help="Of the model's boxes: pixels, 0..1, 0..1000.")] = None,
    patch: Annotated[int | None, typer.Option(min=1, help="Pixels a side that cost one token: 28, or 32.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Cap of a first view's area, in all arms.")] = None,
    temperature: Annotated[
        str, typer.Option(help="0 takes the likeliest word; none where the model takes none.")
    ] = "0",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one turn.")] = 2048,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Questions to read.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another draw of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that cut pictures; default one a core.")] = None,
    budget: Annotated[str | None, typer.Option(help="Hard cap over all runs of the command: 20, 20usd, 5Mtok.")] = None,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Play a benchmark's questions with a model, with operations and without them, and lay the scores side by side.

    Each arm is a run of its own that view, show, diff and filter read; the same command goes on where it stopped.
    """
    if context.invoked_subcommand is not None:
        return
    from dataforge.ask.budget import parse_budget
    from dataforge.cli import screen
    from dataforge.evaluate import estimate
    from dataforge.manifest import Manifest

    student = {"calls": calls, "box_unit": box_unit, "patch": patch, "max_pixels": max_pixels}
    changes: dict[str, Any] = {"limit": limit, "seed": seed, "workers": workers}
    changes["student"] = {key: value for key, value in student.items() if value is not None}
    changes = {key: value for key, value in changes.items() if value not in (None, {})}
    settings: dict[str, Any] = {"temperature": _temperature(temperature), "max_tokens": max_tokens}
    settings |= {"key_env": key_env} if key_env else {}
    wanted = _arms(arm or [], controls)
    planned = [
        one
        for file in _files(benchmark or [], manifest)
        for who in _models(model or [], base_url or [], local or [], settings)
        for one in _planned(file, path, changes, who, wanted)
    ]
    if twice := [one.name for one in planned if [*map(Manifest.digest, planned)].count(one.digest()) > 1]:
        raise UsageError(f"{twice[0]} would be two runs at once: name each model once")
    cap = parse_budget(budget) if budget else None
    if dry_run:
        screen.show_evaluation_plan([estimate.estimate(one) for one in planned], cap, as_json)
        return
    _play(planned, runs, cap, as_json)


def _temperature(text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--temperature takes a number or none, not {text!r}") from None


def _files(names: Sequence[str], manifest: Path | None) -> list[Path]:
    from dataforge.evaluate import plan

    if bool(names) == (manifest is not None):
        raise UsageError(f"give --benchmark NAME (one of {', '.join(plan.shipped())}) or --manifest FILE")
    return [manifest] if manifest else [file for name in names for file in plan.files(name)]


def _arms(named: Sequence[str], controls: bool) -> list[Arm]:
    from typing import get_args

    from dataforge.evaluate import plan
    from dataforge.manifest import Arm

    for name in named:
        if name not in get_args(Arm):
            raise UsageError(f"no arm {name!r}: there are {', '.join(get_args(Arm))}")
    chosen: list[Any] = [*(named or plan.ARMS), *(plan.CONTROLS if controls else ())]
    return list(dict.fromkeys(chosen))


def _models(
    names: Sequence[str], urls: Sequence[str], folders: Sequence[Path], settings: dict[str, Any]
) -> list[Model]:
    """Whom the flags name; one model alone takes all addresses."""
    from dataforge.evaluate import plan

    if not names and not folders:
        raise UsageError("give --model NAME (with --base-url URL) or --local DIR: who is to be tried?")
    if urls and not names:
        raise UsageError("--base-url needs --model NAME: which model answers there?")
    if len(names) > 1 and len(urls) not in (0, 1, len(names)):
        raise UsageError(f"{len(names)} models and {len(urls)} addresses: give one --base-url for all, or one for each")
    found = []
    for at, name in enumerate(names):
        spec = {"name": "openai_api", "model": name, **settings}
        if urls:
            spec["base_url"] = list(urls) if len(names) == 1 else urls[at % len(urls)]
        found.append(plan.Model(plan.slug(name), spec))
    return found + [_local(folder, name, settings) for folder, name in zip(folders, _names(folders), strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """What local models are called: their folder's name, with its own folder's where two have the same."""
    places = [folder.resolve() for folder in folders]
    last = [place.name for place in places]
    return [f"{place.parent.name}-{place.name}" if last.count(place.name) > 1 else place.name for place in places]


def _local(folder: Path, name: str, settings: dict[str, Any]) -> Model:
    """A model that is run in this process, and what its weights are."""
    from dataforge.cli.train import need_torch
    from dataforge.evaluate import plan

    need_torch()
    from training import policy

    return plan.Model(plan.slug(name), policy.spec(folder, name, settings))


def _planned(
    file: Path, path: Path | None, changes: dict[str, Any], who: Model, wanted: Sequence[Arm]
) -> list[Manifest]:
    from dataforge.evaluate import plan

    if who.spec["name"] == "training.policy":
        from training import policy

        changes = {**changes, "student": {**policy.dialect(Path(who.spec["path"])), **changes.get("student", {})}}
    return plan.arms(plan.load(file, path, changes | {"teacher": who.spec}), who, wanted)


def _play(planned: Sequence[Manifest], runs: Path, cap: Budget | None, as_json: bool) -> None:
    """One run after the other, then the board of all of them."""
    from dataforge.cli import screen
    from dataforge.evaluate import board, plan

    folders, stopped = [], False
    for manifest in planned:
        rest = plan.left(cap, runs, [one for one in planned if one is not manifest]) if cap else None
        if cap and rest is None:
            screen.note(f"budget reached: nothing of {cap} is left for {manifest.name}")
            stopped = True
            continue
        stopped |= _play_one(manifest, runs, rest)
        folders.append(plan.folder_of(runs, manifest))
    opened = _opened(folders)
    if not any(True for run in opened for _ in run.traces()):
        reasons = [f"{one.stage}: {one.reason} ({one.detail})" for run in opened for one in run.failures()]
        screen.note("no question could be played" + (f"; first: {reasons[0]}" if reasons else ""))
        raise typer.Exit(1)
    screen.show_board(board.board(opened), as_json, [run.folder for run in opened])
    if stopped:
        raise typer.Exit(1)


def _play_one(manifest: Manifest, runs: Path, rest: Budget | None) -> bool:
    """Whether it stopped early."""
    from dataforge import report
    from dataforge.cli import screen
    from dataforge.evaluate import evaluate as play
    from dataforge.runs import Run

    with Run.start(runs, manifest) as run:
        try:
            with screen.evaluation_progress(manifest) as watch:
                progress = play(run, watch, rest)
        except KeyboardInterrupt:
            screen.note("interrupted: all that was finished is kept; the same command goes on from there")
            raise typer.Exit(130) from None
        finally:
            report.write(run)
    if progress.stopped:
        screen.note(f"{manifest.name} stopped early: {progress.stopped}")
    return bool(progress.stopped)


def _opened(folders: Sequence[Path]) -> list[Run]:
    from dataforge.runs import Run

    return [Run.open(folder) for folder in folders]


@commands.command(
    "report",
    short_help="Lay evaluations side by side.",
    epilog=examples("dataforge eval report", "dataforge eval report A B C --out board --markdown"),
)
def report(
    run: Annotated[list[str] | None, typer.Argument(help="Runs of dataforge eval; all in the folder if none.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for board.json, board.md and the plots.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Score stored evaluations anew, without a model, and print one table of all of them.

    Every score has its n and 95 % interval, every difference is paired over the same questions.
    """
    from dataforge.cli import screen
    from dataforge.evaluate import board, plots, tables
    from dataforge.runs import find_run, write_whole

    folders = [find_run(runs, name) for name in run] if run else _evaluations(runs)
    made = board.board(_opened(folders))
    if out is not None:
        written = plots.draw(made, out)
        write_whole(out / "board.json", made.model_dump_json(indent=1) + "\n", "--out")
        write_whole(out / "board.md", tables.markdown(made), "--out")
        screen.note(f"wrote {', '.join(path.name for path in written)}, board.json and board.md into {out}")
    if markdown:
        typer.echo(tables.markdown(made), nl=False)
    else:
        screen.show_board(made, as_json, [])


def _evaluations(runs: Path) -> list[Path]:
    """All evaluations in a folder of runs; UsageError where there is none."""
    import json

    manifests = sorted(path for path in runs.glob("*/manifest.json") if path.parent.name != "latest")
    found = [path.parent for path in manifests if json.loads(path.read_text(encoding="utf-8")).get("evaluate")]
    if not found:
        raise UsageError(f"no evaluation in {runs}: run dataforge eval first")
    return found
