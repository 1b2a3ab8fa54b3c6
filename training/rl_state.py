"""What the folder of an RL run holds beside what every training's does (`checkpoints`): questions, replay, rollouts.

checkpoints/poster-rl/
  recipe.json  metrics.jsonl  curves.png  tensorboard/  state-000010/  student/
  rollouts/        a run folder: `dataforge view` and `dataforge filter` read it
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.recipe import Rl
from dataforge.records import Trace
from dataforge.runs import Run, append_line
from training import checkpoints
from training.encoding import Codec
from training.objective import Replay
from training.shared import SharedLikelihood
from training.students import checkpoint_passes, freeze, weights_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.graded import Graded
    from training.rl import Job
    from training.watch import Watchman

BESIDE = {
    *("dump_every", "save_every", "alarms", "parity_every", "parity_most"),
    *("pass_rollouts", "checkpointing", "vllm", "vllm_folder"),
}
"""Settings that may change between two runs of one training: no number depends on them but by rounding."""


def said(job: Job) -> dict[str, Any]:
    """What a training is, in the words of its folder."""
    recipe = job.recipe.model_dump(mode="json", exclude=BESIDE)
    return {"student": job.checkpoint, "questions": digest(job), "recipe": recipe}


def digest(job: Job) -> str:
    """Twelve hex digits over the questions and what the student is shown of them."""
    import hashlib

    manifest = job.manifest
    shape = [[one.id, list(one.answers), [media.sha256 for media in one.media]] for one in job.questions.examples]
    kept = [manifest.student.model_dump(), manifest.limits.model_dump(), str(manifest.operations), shape]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def load_student(checkpoint: str, recipe: Rl) -> Any:
    """The model, ready to be trained: frozen where the recipe says so, adapters in place, all of it float32."""
    student = freeze(weights_of(checkpoint), recipe)
    if recipe.checkpointing:
        checkpoint_passes(student)
    return student


def reference(checkpoint: str, recipe: Rl, codec: Codec, accelerator: Accelerator) -> SharedLikelihood | None:
    """The student at the start, where the recipe keeps the learner near it."""
    if not recipe.kl:
        return None
    start = load_student(checkpoint, recipe.model_copy(update={"lora": None})).to(accelerator.device)
    start.requires_grad_(False)
    return SharedLikelihood(start, codec, None, recipe.temperature).to(accelerator.device).eval()


# ----------------------------------------------------------------------------------------------- saving and resuming


def save(out: Path, step: int, accelerator: Accelerator, replay: Replay[Graded], watchman: Watchman) -> None:
    """Keep what a resumed run needs: with the weights, this rank's replay buffer and what the alarms have seen."""
    checkpoints.save(out, step, accelerator, {"kept": replay.kept, "rows": dict(watchman.rows)})


def resume(out: Path, accelerator: Accelerator, replay: Replay[Graded], watchman: Watchman) -> int:
    """Load the newest saved state; returns the steps that it had done, 0 where there is none."""
    done, own = checkpoints.resume(out, accelerator)
    if own is not None:
        replay.kept, watchman.rows = own["kept"], Counter(own["rows"])
    return done


# ------------------------------------------------------------------------------------------------------- rollouts


def dump(out: Path, job: Job, traces: Sequence[Trace]) -> None:
    """Add rollouts to the run folder beside the training, with their pictures."""
    with Run.start(out, job.manifest.model_copy(update={"name": "rollouts"})) as run:
        there = {trace.id for trace in run.traces()}
        for trace in traces:
            if trace.id not in there:
                for media in trace.example.media:
                    if not run.store.path(media).exists():
                        run.store.add_file(job.questions.store.path(media), media.licence, media.origin)
                append_line(run.traces_path, trace)
