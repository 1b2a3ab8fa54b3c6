"""The folder of an RL run: what it trains, what a resumed run goes on from, its rollouts and the trained student.

checkpoints/poster-rl/
  recipe.json      what was trained on what; a run that says otherwise is refused
  metrics.jsonl  curves.png  tensorboard/
  state-000010/    weights, optimizer, replay buffer of the newest save
  rollouts/        a run folder: `dataforge view` and `dataforge filter` read it
  student/         the trained checkpoint
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataforge.errors import UsageError
from dataforge.recipe import Rl
from dataforge.records import Trace
from dataforge.runs import Run, append_line, write_whole, writing
from training.encoding import Codec
from training.objective import Replay
from training.shared import SharedLikelihood
from training.students import freeze

if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.rl import Graded, Job
    from training.watch import Watchman

BESIDE = {"dump_every", "save_every", "alarms", "parity_every", "parity_most", "pass_rollouts", "vllm"}
"""Settings that may change between two runs of one training: no number depends on them but by rounding."""


def agree(out: Path, job: Job, accelerator: Accelerator) -> None:
    """Write what this training is, or see that the one in the folder is the same; UsageError where it isn't."""
    recipe = job.recipe.model_dump(mode="json", exclude=BESIDE)
    said: dict[str, Any] = {"student": job.checkpoint, "questions": digest(job), "recipe": recipe}
    path = out / "recipe.json"
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UsageError(f"{path} is broken: move the folder away and train again") from None
        if stored != json.loads(json.dumps(said)):
            was, now = stored.get("recipe") or {}, said["recipe"]
            changed = [key for key in ("student", "questions") if stored.get(key) != said[key]]
            changed += [f"{key}: {was.get(key)} there, {now[key]} here" for key in now if was.get(key) != now[key]]
            raise UsageError(f"{out} belongs to another training ({'; '.join(changed)}): use another --out")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    accelerator.wait_for_everyone()


def digest(job: Job) -> str:
    """Twelve hex digits over the questions and what the student is shown of them."""
    import hashlib

    manifest = job.manifest
    shape = [[one.id, list(one.answers), [media.sha256 for media in one.media]] for one in job.questions.examples]
    kept = [manifest.student.model_dump(), manifest.limits.model_dump(), str(manifest.operations), shape]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def load_student(checkpoint: str, recipe: Rl) -> Any:
    """The model, ready to be trained: frozen where the recipe says so, adapters in place."""
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    try:
        student = loader.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{checkpoint} can't be loaded: {' '.join(str(error).split())[:200]}") from None
    return freeze(student, recipe)


def reference(checkpoint: str, recipe: Rl, codec: Codec, accelerator: Accelerator) -> SharedLikelihood | None:
    """The student at the start, where the recipe keeps the learner near it."""
    if not recipe.kl:
        return None
    start = load_student(checkpoint, recipe.model_copy(update={"lora": None})).to(accelerator.device)
    start.requires_grad_(False)
    return SharedLikelihood(start, codec, None, recipe.temperature).to(accelerator.device).eval()


# ----------------------------------------------------------------------------------------------- saving and resuming


def save(out: Path, step: int, accelerator: Accelerator, replay: Replay[Graded], watchman: Watchman) -> None:
    """Keep what a resumed run needs, then drop the one before."""
    folder, unfinished = out / f"state-{step:06d}", out / ".state"
    with writing(out):
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        own = {"kept": replay.kept, "rows": dict(watchman.rows)}
        torch.save(own, unfinished / f"rank-{accelerator.process_index}.pt")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
            for old in states(out):
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def states(out: Path) -> list[Path]:
    """The saved states, the newest last."""
    return sorted(folder for folder in out.glob("state-*") if folder.is_dir())


def resume(out: Path, accelerator: Accelerator, replay: Replay[Graded], watchman: Watchman) -> int:
    """Load the newest saved state; returns the steps that it had done, 0 where there is none."""
    found = states(out)
    if not found:
        return 0
    try:
        accelerator.load_state(str(found[-1]))
        # our own file, beside the weights that are trusted as well
        own = torch.load(found[-1] / f"rank-{accelerator.process_index}.pt", weights_only=False)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UsageError(f"{found[-1]} can't be loaded ({error}): delete it to begin again") from None
    replay.kept, watchman.rows = own["kept"], Counter(own["rows"])
    return int(found[-1].name.removeprefix("state-"))


def save_student(out: Path, codec: Codec, accelerator: Accelerator, learner: Any) -> Path:
    """Write the trained student as a checkpoint, adapters merged; returns its folder."""
    folder, unfinished = out / "student", out / ".student"
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        student = accelerator.unwrap_model(learner).student
        with writing(out):
            shutil.rmtree(unfinished, ignore_errors=True)
            if hasattr(student, "merge_and_unload"):
                student.save_pretrained(out / "adapter")
                student = student.merge_and_unload()
            student.save_pretrained(unfinished)
            codec.tokenizer.save_pretrained(unfinished)
            codec.image_processor.save_pretrained(unfinished)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
    accelerator.wait_for_everyone()
    return folder


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
