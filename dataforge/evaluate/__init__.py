"""Evaluate: a benchmark's questions, played by a model through the same operations as synthesis and training.

One run folder holds one benchmark, one model, one *arm*: with operations, without them, or with looks that come back
blank or from elsewhere. The arms share everything else: questions, pixel cap, system text, limits, and the first turn's
reply where they ask the same. What is stored are traces, so `view`, `show`, `diff`, `filter` and `report` read an
evaluation as they read any run, and its scores are counted again from the folder without a model.

This needs no torch, so it lies here and not in `training`: a model behind an endpoint is asked by the teacher's
machinery (pace, faults, cache, budget), and one in this process is a teacher plug-in of `training`.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import closing

from dataforge import plugins
from dataforge.ask.asking import Asking
from dataforge.ask.budget import Budget, Purse
from dataforge.ask.replies import ReplyCache
from dataforge.errors import UsageError
from dataforge.evaluate.bench import set_up_bench
from dataforge.evaluate.player import PROMPTS, Player
from dataforge.plugins import Source, Teacher
from dataforge.runs import Run, make_folder, write_whole
from dataforge.synth import EXAMPLE_TIMEOUT_S, Progress, drop_failures, make_all
from dataforge.workers import Workers, default_count

Watch = Callable[[Progress], None]


def evaluate(run: Run, watch: Watch = lambda progress: None, budget: Budget | None = None) -> Progress:
    """Play the questions of an open run folder's manifest, going on where it stands.

    `kept` counts right answers, `rejected` wrong ones. `budget` caps what the run pays over all its invocations.
    UsageError when no question can be asked (a dead key); what stops a run early is said in `stopped`.
    """
    manifest = run.manifest
    if manifest.evaluate is None:
        raise UsageError(f"{manifest.name}: its manifest has no `evaluate`; use dataforge synth")
    source: Source = plugins.build("source", manifest.source)
    if manifest.limit is None and source.endless:
        raise UsageError("this source never ends: give --limit N")
    keep_prompts(run)
    retried = drop_failures(run, ())
    progress = asyncio.run(_evaluate(run, source, watch, budget))
    progress.retried = retried
    run.sort(item.id for item in itertools.islice(source.read(), manifest.limit))
    return progress


def keep_prompts(run: Run) -> None:
    """Write the texts that the model reads beside the question into the run folder."""
    folder = run.folder / "prompts"
    make_folder(folder)
    for name in PROMPTS:
        write_whole(folder / f"{name}.md", run.manifest.prompts[name])


async def _evaluate(run: Run, source: Source, watch: Watch, budget: Budget | None) -> Progress:
    manifest = run.manifest
    model: Teacher = plugins.build("teacher", manifest.teacher)
    progress = Progress(total=manifest.limit)
    arguments = (manifest.model_dump(mode="json", by_alias=True), run.store.folder)
    workers = Workers(manifest.workers or default_count(), EXAMPLE_TIMEOUT_S, set_up_bench, arguments)
    try:
        with (
            ReplyCache(run.folder.parent / "replies.sqlite") as cache,
            closing(Purse.open(model, run.folder, budget)) as progress.purse,
        ):
            async with model.session():
                progress.asking = Asking(model, cache, progress.purse)
                await make_all(run, source, Player(run, workers, progress.asking), progress, watch)
    finally:
        workers.close()
    return progress
