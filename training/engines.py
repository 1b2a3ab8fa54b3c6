"""Which engine samples for a learner: its own model in this process, or vLLM's servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine import Engine, LocalEngine

if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.passes import Sight
    from training.rl import Job
    from training.shared import SharedLikelihood


def engine_for(job: Job, accelerator: Accelerator, learner: SharedLikelihood, sight: Sight | None = None) -> Engine:
    """The engine that the recipe names; `learner` is as `accelerator` has prepared it, `sight` is shared with it."""
    recipe = job.recipe
    if not recipe.vllm:
        student: Any = accelerator.unwrap_model(learner).student
        return LocalEngine(student, job.codec, sight, recipe.temperature, accelerator.autocast)
    from training.vllm_engine import VllmEngine

    shared = Path(recipe.vllm_folder) if recipe.vllm_folder else None
    return VllmEngine(recipe.vllm, job.codec, learner, accelerator, recipe.tokens, shared)
