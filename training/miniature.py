"""The learning trap in miniature: the paper's two phases, with and without curiosity, on one or two CPU cores.

The task is the source `miniature`: a tile is framed, the colour of its dot is asked for, and only a look at the tile
shows it; a guess is right six times in ten. A student of 0.7 million random weights learns in three stages, from real
traces of the real pipeline:

    reads    single tiles shown large, answered at once, until they are read: what a base model can do already
    warm     whole pictures: looks, wrong looks with recovery, and guesses, until an operation runs in a quarter of the
             rollouts, while a call still pays clearly less than a guess: able, and clumsy
    rl       `training.rl` as it is, on fresh questions, once with the curiosity bonus and once without

Both supervised stages stop by what the student does on questions kept for that, since the step at which a random
student comes so far depends on its seed.

Further arms: two ablations leave out the second stage, or its traces with wrong looks; and `forced_look` has a tenth of
the rollouts begin with a call instead of paying for looks. Nothing else differs between two runs of a seed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from dataforge import plugins
from dataforge.manifest import Manifest
from dataforge.recipe import Part
from training.miniature_measure import Measured, State, able, asking, evaluate, reading, source_of, student_of

if TYPE_CHECKING:
    from training.encoding import Codec
    from training.shared import Conversation

Arm = Literal["curiosity", "no_curiosity", "no_warm_start", "no_corrections", "forced_look"]
ARMS: tuple[Arm, ...] = ("curiosity", "no_curiosity", "no_warm_start", "no_corrections", "forced_look")
BOTH: tuple[Arm, ...] = ARMS[:2]
Skill = Callable[[Manifest, Path, Path, Any, int], State]
"""What a student under way can do: of (manifest, folder, where it began, student, number of questions)."""

SIZE = {
    "hidden": 64,
    "layers": 3,
    "heads": 2,
    "vision_hidden": 64,
    "vision_layers": 2,
    "vision_heads": 4,
    "vocabulary": 1024,
}
"""Of the student: 0.7 million weights, 0.3 of them in its tower."""


class Stage(Part):
    """A supervised stage: how many traces, how many steps of how many, and when it has been enough."""

    traces: int = Field(ge=1)
    steps: int = Field(ge=1, description="at most")
    until: float = Field(ge=0, le=1, description="what the student must come to: see `Plan`")
    most: float = Field(default=1, ge=0, le=1, description="what a call may pay at most, where the student can call")
    first: int = Field(default=50, ge=1, description="step of the first check of that: no student comes to it earlier")
    every: int = Field(default=5, ge=1, description="steps between two checks")
    checked: int = Field(default=96, ge=1, description="questions of a check")
    batch: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class Plan(Part):
    """Sizes of a miniature; what RL does is the manifest's `train.rl`."""

    reads: Stage = Field(
        default=Stage(traces=2400, steps=200, until=0.95, batch=64, every=10),
        description="until that share of tiles is read",
    )
    warm: Stage = Field(
        default=Stage(traces=1000, steps=200, until=0.25, most=0.45),
        description="until an operation runs in that share of rollouts; a call pays less than a guess (0.6)",
    )
    questions: int = Field(default=560, ge=1, description="asked in RL")
    held_out: int = Field(default=128, ge=1, description="questions of the evaluation")


class Result(NamedTuple):
    """One seed of one arm."""

    arm: Arm
    seed: int
    before: Measured
    after: Measured
    lines: list[dict[str, Any]]
    """metrics.jsonl"""


def run(
    manifest: Manifest,
    out: Path,
    plan: Plan,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[Arm] = BOTH,
    workers: int = 2,
    watch: Callable[[str], None] = lambda told: None,
) -> list[Result]:
    """All arms of all seeds, in that many processes; what an earlier call has finished is read from `out`."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        warming = {pool.submit(prepare, manifest, out, plan, seed, tuple(arms)): seed for seed in seeds}
        jobs: dict[Future[Result], tuple[Arm, int]] = {}
        for ready in as_completed(warming):
            seed = warming[ready]
            watch(f"seed {seed}: {ready.result()}")
            jobs |= {pool.submit(learn, manifest, out, plan, seed, arm): (arm, seed) for arm in arms}
        results = []
        for job in as_completed(jobs):
            results.append(job.result())
            watch(f"seed {results[-1].seed}, {results[-1].arm}: {_told(results[-1].after)}")
    order = {arm: at for at, arm in enumerate(arms)}
    results.sort(key=lambda one: (order[one.arm], one.seed))
    (out / "results.json").write_text(json.dumps([_typed(one) for one in results], indent=1) + "\n", encoding="utf-8")
    return results


def draw(results: Sequence[Result], path: Path) -> Path:
    """RaPR, accuracy and calls over the steps, a band over seeds for each arm."""
    from training.plots import curves

    runs = {arm: [one.lines for one in results if one.arm == arm] for arm in ARMS}
    panels = (("rapr", "RaPR"), ("accuracy", "accuracy"), ("called", "rollouts that call"))
    return curves({arm: lines for arm, lines in runs.items() if lines}, path, panels, window=5)


def _told(measured: Measured) -> str:
    worth = measured.worth
    paid = "" if worth.with_calls is None else f", a call pays {worth.with_calls:.2f}"
    return f"accuracy {worth.accuracy:.2f}, RaPR {worth.rapr:.2f}{paid}"


def _typed(result: Result) -> dict[str, Any]:
    typed = result._asdict()
    for when in ("before", "after"):
        typed[when] = {name: one._asdict() for name, one in typed[when]._asdict().items()}
    return typed


# ------------------------------------------------------------------------------------------------------ the stages


def prepare(manifest: Manifest, out: Path, plan: Plan, seed: int, arms: tuple[Arm, ...]) -> str:
    """Draw the traces of a seed and teach its students up to where RL begins; says how well they do."""
    import torch

    torch.set_num_threads(1)
    reads = _traces(manifest, out, plan.reads.traces, seed, "reads", tiles=1, common=0.25, guessed=0.0)
    warm = _traces(manifest, out, plan.warm.traces, seed, "warm")
    single = manifest.model_copy(update={"mix": {"single": 1.0, "direct": manifest.mix.get("direct", 1.0)}})
    plain = _traces(single, out, plan.warm.traces, seed, "plain") if "no_corrections" in arms else None
    base = out / f"seed-{seed}" / "base"
    if not base.exists():
        _build(manifest, base.with_name(".base"), warm, seed)
        teach(manifest, out, base.with_name(".base"), reads, plan.reads, seed, reading)
        base.with_name(".base").rename(base)
    for name, traces in (("warm", warm), ("plain", plain)):
        folder = base.with_name(name)
        if traces is not None and not folder.exists():
            teach(manifest, out, base, traces, plan.warm, seed, able, folder.with_name(f".{name}"))
            folder.with_name(f".{name}").rename(folder)
    return f"warm start: {_told(evaluate(manifest, out, base.with_name('warm'), plan.held_out))}"


def learn(manifest: Manifest, out: Path, plan: Plan, seed: int, arm: Arm) -> Result:
    """Reinforcement learning of one arm, and the student before and after it."""
    import torch

    from dataforge.media import MediaStore
    from training import questions, rl
    from training.watch import read

    torch.set_num_threads(1)
    home = out / f"seed-{seed}"
    start = home / {"no_warm_start": "base", "no_corrections": "plain"}.get(arm, "warm")
    recipe = manifest.train.rl.model_copy(update={"seed": seed})
    if arm in ("no_curiosity", "forced_look"):
        recipe = recipe.model_copy(update={"reward": recipe.reward | {"alpha": 0.0}})
    if arm == "forced_look":
        recipe = recipe.model_copy(update={"forced_look": 0.1})
    asked = asking(manifest, split=f"rl-{seed}")
    made = questions.from_source(asked, MediaStore(home / "questions", keep=64), plan.questions)
    job = rl.prepare(str(start), asked, made, recipe)
    if not (home / arm / "student").exists():
        rl.train(job, home / arm)
    before, after = (evaluate(manifest, out, folder, plan.held_out) for folder in (start, home / arm / "student"))
    return Result(arm, seed, before, after, read(home / arm / "metrics.jsonl"))


def _traces(manifest: Manifest, out: Path, count: int, seed: int, name: str, **changes: Any) -> Path:
    """A run folder of that many traces, made by the ordinary synthesis."""
    from dataforge.runs import Run
    from dataforge.synth import synth

    source = source_of(manifest, split=name, seed=seed, **changes)
    asked = manifest.model_copy(update={"name": f"{name}-{seed}", "source": source, "limit": count, "workers": 1})
    with Run.start(out / "traces", asked) as run:
        synth(run)
    return run.folder


def _build(manifest: Manifest, folder: Path, traces: Path, seed: int) -> None:
    """A tiny Qwen3-VL with random weights, whose tokenizer knows the words of the task."""
    from dataforge import chat
    from dataforge.runs import Run
    from training import tiny

    operations = [plugins.build("operation", spec) for spec in manifest.operations]
    texts = []
    for trace in islice(Run.open(traces).traces(), 100):
        turns = chat.turns(trace, operations, manifest.student, system="You are a helpful assistant.")
        texts += ["".join(part.text for part in turn.parts) for turn in turns]
    tiny.build(folder, "qwen3_vl", size=tiny.Size(**SIZE), seed=seed, texts=texts)
    _see_places(folder, seed)


def _see_places(folder: Path, seed: int) -> None:
    """Draw the tower's position embeddings as large as what it sees: a random tower else hardly tells places apart."""
    import torch
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    student = loader.from_pretrained(folder)
    with torch.no_grad():
        weight = student.model.visual.pos_embed.weight
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    student.save_pretrained(folder)


def teach(
    manifest: Manifest,
    out: Path,
    start: Path,
    traces: Path,
    stage: Stage,
    seed: int,
    skill: Skill,
    folder: Path | None = None,
) -> None:
    """Instruction tuning on the traces of a run, until the skill is there; written to `folder` (in place if none).

    What is written is the student as it was at the last check at which a call didn't pay more than the stage's `most`.

    The loss is that of `training.sft`, the mean over learned tokens; what all traces begin with, most of each, is read
    once a step, which is what makes this bearable on a CPU.
    """
    import torch

    from training.shared import SharedLikelihood, tree

    student, codec = student_of(manifest, start, freeze_vision=False), _codec(manifest, start)
    learner = SharedLikelihood(student, codec)
    optimizer = torch.optim.AdamW(learner.parameters(), stage.learning_rate, (0.9, 0.99), weight_decay=0.0)
    lessons, rng, order = _lessons(traces, codec), random.Random(seed), list[int]()
    seen: list[dict[str, float | None]] = []
    kept: dict[str, torch.Tensor] = {}
    for step in range(1, stage.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * min(1.0, step / 20)
        if len(order) < stage.batch:
            order = rng.sample(range(len(lessons)), len(lessons))
        chosen = [lessons[order.pop()] for _ in range(stage.batch)]
        optimizer.zero_grad()
        (-learner(tree(chosen, codec)).mean()).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        if step < stage.first or (step - stage.first) % stage.every:
            continue
        state = skill(manifest, out, start, student, stage.checked)
        seen.append({"step": step, "can": state.can, "pays": state.pays})
        if state.pays is None or state.pays <= stage.most:
            kept = {name: value.clone() for name, value in student.state_dict().items()}
        if state.can >= stage.until:
            break
    if kept:
        student.load_state_dict(kept)
    target = folder or start
    student.save_pretrained(target)
    codec.tokenizer.save_pretrained(target)
    codec.image_processor.save_pretrained(target)
    told = target.with_name(f"{target.name.lstrip('.')}-taught.json")
    told.write_text(json.dumps({"checks": seen}) + "\n", encoding="utf-8")


def _codec(manifest: Manifest, checkpoint: Path) -> Codec:
    from training.encoding import Codec

    operations = [plugins.build("operation", spec) for spec in manifest.operations]
    return Codec.load(str(checkpoint), manifest.student, operations)


def _lessons(traces: Path, codec: Codec) -> list[Conversation]:
    """The run's traces as conversations, with their pictures cut again."""
    from dataforge.runs import Run
    from training.render import pictures, render
    from training.shared import Conversation

    run, lessons = Run.open(traces), []
    for trace in run.traces():
        if trace.ok:
            shown = zip(trace.all_views, pictures(trace, run.store), strict=True)
            lessons.append(Conversation.of(trace.id, render(trace, codec), {view.sha256: one for view, one in shown}))
    return lessons


__all__ = ["ARMS", "Arm", "Measured", "Plan", "Result", "Stage", "run"]
