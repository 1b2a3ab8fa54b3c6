"""What a training will take, told before it begins: tokens, steps, and memory on each GPU.

Memory is an estimate from the configuration alone: weights, gradients and Adam's two moments are exact; activations
are what the layers of a Qwen-VL keep for the backward pass, counted for the widest pass of the plan.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from training import plan
from training.sft import Job, planned_steps
from training.students import skeleton

KEPT = 10
"""Hidden-sized vectors that a layer keeps of a token for its backward pass, its feed-forward aside: inputs of two norms
and their float32 copies, inputs of the projections, queries, keys, values, what attention gives."""


class Memory(BaseModel):
    """Bytes on one GPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations

    def sharded(self, gpus: int) -> int:
        """On each of several GPUs that share all but the activations, as FSDP and ZeRO-3 do."""
        return (self.weights + self.gradients + self.optimizer) // gpus + self.activations


class Estimate(BaseModel):
    """A training in numbers."""

    traces: int
    held_out: int
    dropped: dict[str, int]
    tokens: int
    """Of an epoch, those of images included."""
    image_tokens: int
    learned: int
    longest: int
    steps: int
    passes: int
    """Forward passes of all steps, over all GPUs."""
    padding: float
    """Share of the passes' tokens that is padding."""
    weights: int
    trained_weights: int
    memory: Memory


def estimate(job: Job, gpus: int = 1, bf16: bool = True) -> Estimate:
    """The numbers of a training on that many GPUs; nothing is loaded but the configuration."""
    rows, recipe = job.measured.training, job.recipe
    lengths = [row.length for row in rows]
    widest = passes = padded = 0
    for step in planned_steps(rows, recipe, gpus):
        for one in (one for mine in step.passes for one in mine):
            cost = plan.cost(one.rows, lengths, recipe.packed)
            widest, passes, padded = max(widest, cost), passes + 1, padded + cost
    trained = sum(lengths[row] for step in planned_steps(rows, recipe, gpus) for row in step.rows)
    student = skeleton(job.checkpoint, recipe)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in student.parameters()]
    moving = sum(size for size, moves in sizes if moves)
    merge = job.codec.image_processor.merge_size**2
    return Estimate(
        traces=len(rows),
        held_out=len(job.measured.held_out),
        dropped=dict(job.measured.dropped),
        tokens=sum(lengths),
        image_tokens=sum(row.patches for row in rows) // merge,
        learned=sum(row.learned for row in rows),
        longest=max(lengths),
        steps=job.steps,
        passes=passes,
        padding=1 - trained / padded,
        weights=sum(size for size, _ in sizes),
        trained_weights=moving,
        memory=_memory(job, student.config, sizes, widest, bf16),
    )


def _memory(job: Job, config: Any, sizes: list[tuple[int, bool]], widest: int, bf16: bool) -> Memory:
    moving, still = sum(n for n, moves in sizes if moves), sum(n for n, moves in sizes if not moves)
    width = 2 if bf16 else 4
    # in bf16 every float32 weight has a second, cast copy while a pass runs
    weights = moving * (4 + (2 if bf16 else 0)) + still * width
    return Memory(
        weights=weights,
        gradients=4 * moving,
        optimizer=8 * moving,
        activations=_activations(job, config, widest, width),
    )


def _activations(job: Job, config: Any, widest: int, width: int) -> int:
    text, vision, recipe = config.text_config, config.vision_config, job.recipe
    layer = _layer(text.hidden_size, text.intermediate_size) * widest * width
    layers: int = text.num_hidden_layers
    kept = text.hidden_size * widest * width * layers + layer if recipe.checkpointing else layer * layers
    share = max(row.patches / row.length for row in job.measured.training)
    patches = int(share * widest)
    seen = _layer(vision.hidden_size, vision.intermediate_size) * patches * width
    if not (recipe.freeze_vision or recipe.lora or recipe.checkpointing):
        seen *= vision.depth
    scores = 3 * 4 * min(512, widest) * text.vocab_size
    return int(kept + seen + scores)


def _layer(hidden: int, intermediate: int) -> int:
    """Numbers that one layer keeps of a token for its backward pass."""
    return KEPT * hidden + 4 * intermediate
