"""Instruction tuning on traces, top to bottom: measure, plan, load, step, save.

Everything that can be wrong with the traces, the recipe or the student is found before the model is loaded. The loss
of a step is the mean over the learned tokens of all its traces, wherever they were: the plan knows that number before
the step begins, so one GPU and many, few passes and many, give the same gradient.

Distribution is accelerate's, as `accelerate launch` sets it up: nothing here asks for more than the gradient's mean.
What a resumed run needs lies in `state-000100/` and is replaced whole; a kill costs the steps since then.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import set_seed

from dataforge.errors import UsageError
from dataforge.recipe import Sft
from training import checkpoints, plan
from training.batches import Batch
from training.encoding import Codec
from training.feed import Measured, Row, Samples, feed, measure
from training.likelihood import Likelihood
from training.record import Line, Record
from training.students import accelerator_for, is_sharded, load_student
from training.trace_set import TraceSet

BESIDE = {"workers", "evaluate_every", "save_every", "pass_tokens", "checkpointing"}
"""Settings that may change between two runs of one training: no loss depends on them."""


class Progress(NamedTuple):
    """Where the training stands, for whoever watches."""

    stage: str
    """measure, load, step, evaluate or save."""
    done: int
    total: int
    line: Line | None = None
    """The newest line of metrics.jsonl."""


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """What is to be trained on what: all that is known before a model is loaded."""

    checkpoint: str
    traces: TraceSet
    codec: Codec
    recipe: Sft
    measured: Measured

    @property
    def steps(self) -> int:
        return plan.count_steps(len(self.measured.training), self.recipe.batch, self.recipe.epochs)

    @property
    def said(self) -> dict[str, Any]:
        """What this training is, in the words of its folder."""
        recipe = self.recipe.model_dump(mode="json", exclude=BESIDE)
        return {"student": self.checkpoint, "traces": self.traces.digest, "recipe": recipe}


def prepare(checkpoint: str, traces: TraceSet, recipe: Sft, watch: Watch = lambda progress: None) -> Job:
    """Read the student's small files and measure every trace; UsageError says what doesn't fit."""
    traces = traces.for_student(recipe.student)
    codec = Codec.load(checkpoint, traces.student, traces.operations, system=recipe.system)
    measured = measure(traces, codec, recipe, lambda done: watch(Progress("measure", done, len(traces))))
    return Job(checkpoint, traces, codec, recipe, measured)


def train(job: Job, out: Path, watch: Watch = lambda progress: None) -> Path:
    """Train, or go on where a run in `out` stopped; returns the folder of the trained student."""
    if (finished := checkpoints.student_of(out)).exists():
        checkpoints.agree(out, job.said, accelerator_for(job.recipe))
        return finished
    try:
        training = Training(job, out, watch)
        training.run()
    except torch.OutOfMemoryError:
        fix = "set pass_tokens lower, checkpointing: true, or lora; or share the weights by accelerate's FSDP"
        raise UsageError(f"the GPU's memory is full: {fix}") from None
    watch(Progress("save", job.steps, job.steps))
    made = checkpoints.save_student(out, job.checkpoint, job.codec, training.accelerator, training.learner)
    checkpoints.forget(out, training.accelerator)
    return made


class Training:
    """A student being trained."""

    def __init__(self, job: Job, out: Path, watch: Watch = lambda progress: None) -> None:
        self.job = job
        self.recipe = job.recipe
        self.rows = job.measured.training
        self.out = out
        self.watch = watch
        self.accelerator = accelerator_for(self.recipe)
        checkpoints.agree(out, job.said, self.accelerator)
        watch(Progress("load", 0, job.steps))
        set_seed(self.recipe.seed)  # of the adapters' first weights, the same everywhere
        learner: Any = Likelihood(load_student(job.checkpoint, self.recipe, self.accelerator))
        moving = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        optimizer: Any = torch.optim.AdamW(
            moving, self.recipe.learning_rate, self.recipe.betas, weight_decay=self.recipe.weight_decay
        )
        self.learner, self.optimizer = self.accelerator.prepare(learner, optimizer)
        set_seed(self.recipe.seed, device_specific=True)  # of dropout, another on every GPU
        self.done, _ = checkpoints.resume(out, self.accelerator)
        self._samples = Samples(job.traces, job.codec, self.recipe.mistakes)

    def run(self) -> None:
        """The steps that are left."""
        gpu = self.accelerator.process_index
        steps = list(planned_steps(self.rows, self.recipe, self.accelerator.num_processes))[self.done :]
        batches = self._feed([one for step in steps for one in step.passes[gpu]], self.rows)
        with Record(self.out, self.done, main=self.accelerator.is_main_process) as record:
            for step in steps:
                line = self.step(step, batches)
                if self._due(self.recipe.evaluate_every) and self.job.measured.held_out:
                    self.watch(Progress("evaluate", self.done, self.job.steps, line))
                    line = line.model_copy(update={"held_out_loss": self.held_out_loss()})
                record.add(line)
                self.watch(Progress("step", self.done, self.job.steps, line))
                if self._due(self.recipe.save_every) and self.done < self.job.steps:
                    checkpoints.save(self.out, self.done, self.accelerator)

    def _due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.job.steps

    def step(self, step: plan.Step, batches: Iterator[Batch | str]) -> Line:
        """One update from the step's passes on this GPU."""
        began = time.perf_counter()
        self.learner.train()
        now = self.recipe.learning_rate * rate(self.done + 1, self.job.steps, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = now
        learned = sum(self.rows[row].learned for row in step.rows)
        told = self._backward(step.passes[self.accelerator.process_index], batches, learned)
        norm = self.accelerator.clip_grad_norm_(self.learner.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1
        loss, waited = self.accelerator.reduce(told, "sum").tolist()
        return Line(
            step=self.done,
            epoch=round(min(self.done * self.recipe.batch / len(self.rows), self.recipe.epochs), 4),
            loss=loss / learned,
            learning_rate=now,
            gradient_norm=math.nan if norm is None else float(norm),
            tokens=sum(self.rows[row].length for row in step.rows),
            learned=learned,
            gpus=self.accelerator.num_processes,
            seconds=round(time.perf_counter() - began, 4),
            waited=round(waited / self.accelerator.num_processes, 4),
            memory_gb=round(peak_bytes(self.accelerator.device) / 1e9, 3),
        )

    def _backward(self, passes: Sequence[plan.Pass], batches: Iterator[Batch | str], learned: int) -> torch.Tensor:
        """This GPU's part of a step's gradient; float32 [2]: the sum of its losses, and the seconds it waited.

        Gradients are averaged over the GPUs, so each weighs its own by their number.
        """
        accelerator, told = self.accelerator, torch.zeros(2, device=self.accelerator.device)
        for index, one in enumerate(passes):
            asked = time.perf_counter()
            batch = self._next(batches)
            told[1] += time.perf_counter() - asked
            last = index == len(passes) - 1
            accelerator.sync_gradients = last
            # whole gradients of several passes would be kept on every GPU: where they are shared, each pass is summed
            with nullcontext() if last or is_sharded(accelerator) else accelerator.no_sync(self.learner):
                loss = -self.learner(batch).sum() * float(one.counts)
                accelerator.backward(loss * accelerator.num_processes / learned)
            told[0] += loss.detach()
        return told

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss over the learned tokens of the traces that are kept out of training."""
        rows, accelerator = self.job.measured.held_out, self.accelerator
        lengths = [row.length for row in rows]
        every, recipe = range(len(rows)), self.recipe
        dealt = plan.spread(every, lengths, recipe.pass_tokens, accelerator.num_processes, recipe.packed)
        passes = dealt[accelerator.process_index]
        batches = self._feed(passes, rows)
        self.learner.eval()
        total = torch.zeros((), device=accelerator.device)
        for one in passes:
            total -= self.learner(self._next(batches)).sum() * float(one.counts)
        return float(accelerator.reduce(total, "sum")) / sum(row.learned for row in rows)

    def _feed(self, passes: Sequence[plan.Pass], rows: Sequence[Row]) -> Iterator[Batch | str]:
        return iter(feed(self._samples, rows, passes, self.recipe, pin=self.accelerator.device.type == "cuda"))

    def _next(self, batches: Iterator[Batch | str]) -> Batch:
        batch = next(batches)
        if isinstance(batch, str):
            raise UsageError(f"{batch}; filter the run again, then train")
        return batch.to(self.accelerator.device)


def rate(step: int, steps: int, recipe: Sft) -> float:
    """The learning rate at a step, from 1, as a share of the recipe's: a straight rise, then a cosine to 0."""
    rise = math.ceil(recipe.warm_up * steps)
    if step <= rise:
        return step / rise
    if recipe.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise + 1)))


def peak_bytes(device: torch.device) -> int:
    """The most memory held so far: of the GPU, or of the process where there is none."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def planned_steps(rows: Sequence[Row], recipe: Sft, gpus: int) -> Iterator[plan.Step]:
    """The plan of the rows by the recipe."""
    return plan.steps(
        [row.length for row in rows],
        batch=recipe.batch,
        epochs=recipe.epochs,
        pass_tokens=recipe.pass_tokens,
        gpus=gpus,
        packed=recipe.packed,
        seed=recipe.seed,
    )
