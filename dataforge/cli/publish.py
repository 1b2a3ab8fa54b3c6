"""Commands that publish: push, verify, pull, export, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataforge.cli.app import RUNS, AsJson, DryRun, ManifestFile, RunsFolder, examples
from dataforge.cli.later import collected
from dataforge.errors import UsageError

if TYPE_CHECKING:
    from dataforge.manifest import Push

commands = collected()

Originals = Annotated[
    Path | None, typer.Option("--media", help="Where the original pictures lie, of a set that names them by hash.")
]


@commands.command(
    epilog=examples(
        "dataforge push --to published/infographics",
        "dataforge push infographics-3fa91c --to hub:me/infographics-traces --dry-run",
        "dataforge push sa1b-11ab42 web_pages-77b0e2 star-90cd10 --manifest set.yaml --to hub:me/pixel-traces",
        "dataforge push infographics-3fa91c --to hub:me/infographics-traces --append",
    ),
)
def push(
    run: Annotated[list[str] | None, typer.Argument(help="Runs by folder or name; the newest if none.")] = None,
    to: Annotated[str | None, typer.Option(help="hub:ORG/NAME or a folder; default: push.to of the manifest.")] = None,
    manifest: ManifestFile = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the set that is there.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put the set in the place of what is there.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Everyone may read it; else private.")] = False,
    reference_only: Annotated[
        bool, typer.Option("--reference-only", help="No pictures: texts, geometry and hashes.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what isn't filtered or doesn't replay; the card says so.")
    ] = False,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish what was kept of one run or several as a data set: parquet with pictures, a card, a proof.

    Every trace is replayed on the way. Options of `push:` in the run's manifest, or in that of --manifest, say how
    pictures are stored, the splits, and the shares of several runs. A new repository of the Hub is private. The token
    comes from HF_TOKEN or `hf auth login`.
    """
    from dataforge import publish
    from dataforge.cli import published
    from dataforge.runs import Run, find_run

    if append and replace:
        raise UsageError("give one of --append and --replace")
    opened = [Run.open(find_run(runs, name)) for name in run or ["latest"]]
    if len({one.folder for one in opened}) < len(opened):
        raise UsageError("a run is named twice")
    terms = _terms(opened[0].manifest.push, manifest, to=to, public=public or None, reference_only=reference_only)
    if not terms.to:
        raise UsageError("where to? give --to hub:ORG/NAME or --to FOLDER, or push.to in the manifest")
    if terms.to.startswith("hub:") and "@" in terms.to:
        raise UsageError(f"{terms.to}: a push makes its own revision; leave @... away")
    where = publish.find_place(terms.to)
    mode: publish.Mode = "append" if append else "replace" if replace else "new"
    if dry_run:
        published.show_plan(publish.plan(opened, terms, where, mode, force), as_json)
        return
    with published.push_progress() as watch:
        pushed = publish.push(opened, terms, where, mode, force, watch)
    published.show_pushed(pushed, as_json)


def _terms(stated: Push, manifest: Path | None, to: str | None, public: bool | None, reference_only: bool) -> Push:
    """The run's own `push`, or that of a manifest file, with flags laid over it."""
    from dataforge import manifest as manifests

    terms = manifests.load(manifest).push if manifest else stated
    laid: dict[str, Any] = {"to": to, "public": public, "pictures": "none" if reference_only else None}
    return terms.model_copy(update={name: value for name, value in laid.items() if value is not None})


@commands.command(
    epilog=examples("dataforge verify hub:me/infographics-traces", "dataforge verify published/infographics --json"),
)
def verify(
    what: Annotated[str, typer.Argument(help="hub:ORG/NAME[@REVISION] or a folder.")],
    media: Originals = None,
    as_json: AsJson = False,
) -> None:
    """Prove a published set: files by hash, columns by the records, pictures by running every call again.

    Exit code 1 where anything is wrong.
    """
    from dataforge import publish
    from dataforge.cli import published

    folder = publish.find_place(what).fetch()
    with published.verify_progress(folder) as watch:
        findings = publish.verify(folder, media, watch)
    published.show_findings(findings, as_json)
    if not findings.ok:
        raise typer.Exit(1)


@commands.command(
    epilog=examples("dataforge pull hub:me/infographics-traces", "dataforge pull published/infographics --runs other"),
)
def pull(
    what: Annotated[str, typer.Argument(help="hub:ORG/NAME[@REVISION] or a folder.")],
    media: Originals = None,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Fetch a published set into a run folder: to filter, view, export or train with it."""
    from dataforge import publish, report
    from dataforge.cli import screen

    run = publish.pull(publish.find_place(what).fetch(), runs, media)
    screen.show_run(run, report.write(run), as_json)


@commands.command(
    epilog=examples(
        "dataforge export llama_factory --out llama",
        "dataforge export pixel_reasoner_sft infographics-3fa91c --out pr --set padding=0.1",
        "dataforge export ms_swift --out swift --set box_unit=0..1000 --set 'tools={zoom_in: image_zoom_in_tool}'",
        "dataforge plugins exporter",
    ),
)
def export(
    layout: Annotated[str, typer.Argument(help="An exporter's name; `dataforge plugins exporter` lists them.")],
    run: Annotated[str, typer.Argument(help="A run's folder or name; `latest` is the newest.")] = "latest",
    out: Annotated[Path | None, typer.Option(help="The folder to write; default: the layout's name.")] = None,
    options: Annotated[list[str] | None, typer.Option("--set", help="An option as NAME=VALUE; repeatable.")] = None,
    runs: RunsFolder = RUNS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's kept traces as Pixel Reasoner, TRL, LLaMA-Factory, ms-swift, verl or OpenAI read them.

    Every row is counted as the trainer will count it. A published set is exported after `dataforge pull`.
    """
    from dataforge.cli import published
    from dataforge.publish import exporting
    from dataforge.runs import Run, find_run

    opened = Run.open(find_run(runs, run))
    with published.push_progress() as watch:
        spec, folder = _spec(layout, options or []), out or Path(layout)
        made = exporting.export(opened, spec, folder, lambda done: watch(done, 0), dry_run)
    published.show_exported(made, dry_run, as_json)


def _spec(name: str, options: list[str]) -> dict[str, Any]:
    """NAME=VALUE options as a manifest would have them."""
    import yaml

    spec: dict[str, Any] = {"name": name}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--set {option}: write NAME=VALUE")
        try:
            spec[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {option}: the value is no YAML") from None
    return spec


@commands.command(
    "import",
    epilog=examples(
        "dataforge import pixel-reasoner release.json",
        "dataforge import pixel-reasoner release.json --images unpacked --answers release.parquet --box-unit pixels",
    ),
)
def import_(
    layout: Annotated[str, typer.Argument(help="Whose layout: pixel-reasoner.")],
    file: Annotated[Path, typer.Argument(help="The release.json.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder that pictures' paths start in; default: the file's.")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="A release.parquet with the accepted answers by qid.")] = None,
    box_unit: Annotated[str, typer.Option(help="Of their boxes: 0..1, pixels, 0..1000. Never guessed.")] = "0..1",
    padding: Annotated[float, typer.Option(help="By which their executor widened each box.")] = 0.1,
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Read a release.json of Pixel Reasoner into a run: every call is run anew on its picture.

    Kind, roles and what a loss should see aren't in there: they are inferred from the calls. Videos, which lie there as
    folders of frames, are counted as failed.
    """
    from typing import get_args

    from dataforge import report
    from dataforge.cli import published, screen
    from dataforge.publish import importing
    from dataforge.records import BoxUnit

    if layout != "pixel-reasoner":
        raise UsageError(f"no layout {layout!r}: there is pixel-reasoner")
    unit = next((known for known in get_args(BoxUnit) if known == box_unit), None)
    if unit is None:
        raise UsageError(f"--box-unit {box_unit}: one of {', '.join(get_args(BoxUnit))}")
    with published.push_progress() as watch:
        terms = importing.Terms(unit, padding)
        made = importing.import_release(file, images, answers, terms, runs, lambda done: watch(done, 0))
    screen.show_run(made.run, report.write(made.run), as_json)
    published.note_crops(made)
    if not made.traces:
        raise typer.Exit(1)
