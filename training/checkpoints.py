"""A training's folder: the recipe it belongs to, what a resumed run goes on from, and the trained student.

checkpoints/poster-7b/
  recipe.json      what was trained on what; a run that says otherwise is refused
  metrics.jsonl    and curves, and tensorboard/
  state-000100/    weights, optimizer, random states of the newest save
  student/         the trained checkpoint, as the one it began from: weights, tokenizer, template, processor
  adapter/         with LoRA: the adapters alone
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataforge.errors import UsageError
from dataforge.runs import make_folder, write_whole, writing
from training.encoding import files_of
from training.students import own_dtype

if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.encoding import Codec


def agree(out: Path, said: Mapping[str, Any], accelerator: Accelerator) -> None:
    """Write what this training is, or see that the one in the folder is the same; UsageError where it isn't.

    `said` names the student, what it is trained on, and, under `recipe`, the settings that its numbers depend on.
    """
    path = out / "recipe.json"
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UsageError(f"{path} is broken: move the folder away and train again") from None
        if stored != json.loads(json.dumps(said)):
            raise UsageError(f"{out} belongs to another training ({_difference(stored, said)}): use another --out")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        make_folder(out, "--out")
        write_whole(path, json.dumps(said, indent=1, ensure_ascii=False) + "\n", "--out")
    accelerator.wait_for_everyone()


def _difference(stored: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    changed = [key for key in said if key != "recipe" and stored.get(key) != said[key]]
    was, now = stored.get("recipe") or {}, said["recipe"]
    changed += [f"{key}: {was.get(key)} there, {now[key]} here" for key in now if was.get(key) != now[key]]
    return "; ".join(changed) or "of another version"


# ----------------------------------------------------------------------------------------------- saving and resuming


def save(out: Path, step: int, accelerator: Accelerator, own: Any = None) -> None:
    """Keep what a resumed run needs, then drop the one before; `own` is what this rank needs beside the weights."""
    folder, unfinished = out / f"state-{step:06d}", out / ".state"
    with writing(out, "--out"):
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        if own is not None:
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


def resume(out: Path, accelerator: Accelerator) -> tuple[int, Any]:
    """Load the newest saved state; returns the steps that it had done, 0 where there is none, and what was `own`."""
    found = states(out)
    if not found:
        return 0, None
    try:
        accelerator.load_state(str(found[-1]))
        path = found[-1] / f"rank-{accelerator.process_index}.pt"
        # our own file, beside the weights that are trusted as well
        own = torch.load(path, weights_only=False) if path.exists() else None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UsageError(f"{found[-1]} can't be loaded ({error}): delete it to begin again") from None
    return int(found[-1].name.removeprefix("state-")), own


def forget(out: Path, accelerator: Accelerator) -> None:
    """Drop the saved states of a training that is done."""
    if accelerator.is_main_process:
        for state in states(out):
            shutil.rmtree(state, ignore_errors=True)
    accelerator.wait_for_everyone()


# ------------------------------------------------------------------------------------------------ the trained student


def student_of(out: Path) -> Path:
    """Where the trained student is, once it is there: it is moved in whole."""
    return out / "student"


def save_student(out: Path, checkpoint: str, codec: Codec, accelerator: Accelerator, learner: Any) -> Path:
    """Write the trained student as a checkpoint in the precision of the one it began from; returns its folder."""
    weights = accelerator.get_state_dict(learner)
    folder, unfinished = student_of(out), out / ".student"
    if accelerator.is_main_process:
        inside = {name.removeprefix("student."): weight for name, weight in weights.items()}
        student = accelerator.unwrap_model(learner).student
        with writing(out, "--out"):
            shutil.rmtree(unfinished, ignore_errors=True)
            _write(checkpoint, codec, student, inside, unfinished, out / "adapter")
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
    accelerator.wait_for_everyone()
    return folder


def _write(
    checkpoint: str, codec: Codec, student: Any, weights: dict[str, torch.Tensor], folder: Path, adapter: Path
) -> None:
    dtype = own_dtype(checkpoint)
    if not hasattr(student, "merge_and_unload"):
        cast = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in weights.items()}
        student.config.dtype = dtype
        student.save_pretrained(folder, state_dict=cast)
    else:
        student.save_pretrained(adapter, state_dict=weights)
        merged(checkpoint, adapter, dtype).save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)
    codec.image_processor.save_pretrained(folder)
    for path in files_of(checkpoint).iterdir():  # what servers look for beside these, such as a video processor's
        small = path.suffix in (".json", ".jinja", ".txt") and not path.name.endswith(".index.json")
        if small and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)


def merged(checkpoint: str, adapter: Path, dtype: torch.dtype) -> Any:
    """The checkpoint with an adapter added into its weights, computed in float32."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    alone: Any = unset_hf_deepspeed_config
    alone()  # under ZeRO-3 loading would wait for the other processes
    loader: Any = AutoModelForImageTextToText
    base = loader.from_pretrained(checkpoint, dtype=torch.float32)
    whole: Any = PeftModel.from_pretrained(base, str(adapter))
    return whole.merge_and_unload().to(dtype)
