"""Curiosity-driven reinforcement learning, top to bottom: ask, roll out, reward, check, learn, watch, save.

Each rank asks whole groups of its own, so a group's statistics never cross ranks; the weights of tokens are made over
all ranks, so many ranks and one give the same gradient. All randomness comes from the seed and the step: a run that was
stopped goes on to the same numbers. The loop is the same on one CPU and under `accelerate launch`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from accelerate.utils import gather_object

from dataforge import plugins
from dataforge.dialect import OPEN
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest
from dataforge.recipe import Rl
from training import checkpoints, graded, parity, rewards, rl_state
from training.encoding import Codec
from training.engine import Engine, Lure
from training.engines import engine_for
from training.graded import Graded
from training.passes import Sight
from training.questions import Questions, batches
from training.rollout import Budget, Rollout, Setting, begin, group, seed_of
from training.shared import SharedLikelihood, tree
from training.students import accelerator_for, is_sharded
from training.updates import Updates, parts, rate
from training.watch import Fact, Log, Metrics, Watchman, measure

if TYPE_CHECKING:
    from torch import Tensor


class Progress(NamedTuple):
    """Where the training stands, for whoever watches."""

    step: int
    steps: int
    metrics: Metrics
    alarms: list[str]


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """What is to be trained: all that is known before a model is loaded."""

    checkpoint: str
    manifest: Manifest
    questions: Questions
    codec: Codec
    recipe: Rl

    @property
    def rule(self) -> rewards.Rule:
        return rewards.rule(self.recipe.reward)

    @property
    def setting(self) -> Setting:
        """What the rollouts share."""
        recipe = self.recipe
        lure = Lure(self.codec.encode(OPEN)[0], recipe.forced_look) if recipe.forced_look else None
        budget = Budget(
            turns=recipe.turns,
            turn_tokens=recipe.turn_tokens,
            tokens=recipe.tokens,
            answer_tokens=recipe.answer_tokens,
        )
        answer, digest = plugins.build("check", "answer"), self.manifest.digest()
        return Setting(self.codec, self.manifest.limits, budget, self.questions.store, answer, lure, digest)


def prepare(checkpoint: str, manifest: Manifest, questions: Questions, recipe: Rl) -> Job:
    """Read the student's small files, and see that student, manifest and recipe fit; UsageError says what doesn't."""
    operations = [plugins.build("operation", spec) for spec in manifest.operations]
    codec = Codec.load(checkpoint, manifest.student, operations, system=recipe.system)
    job = Job(checkpoint, manifest, questions, codec, recipe)
    if not job.rule or not questions.examples:
        raise UsageError("no question is left to ask: none has an accepted answer")
    return job


def train(job: Job, out: Path, watch: Watch = lambda progress: None) -> Path:
    """Train, or go on where a run in `out` stopped; returns the folder of the trained student."""
    training = Training(job, out)
    training.run(watch)
    return checkpoints.save_student(out, job.checkpoint, job.codec, training.accelerator, training.learner)


class Training:
    """A student being trained."""

    def __init__(self, job: Job, out: Path, engine: Engine | None = None) -> None:
        self.job, self.recipe, self.out = job, job.recipe, out
        # ranks make different numbers of passes without gradients, so nothing may be exchanged in a forward pass
        self.accelerator = accelerator_for(self.recipe, broadcast_buffers=False)
        if is_sharded(self.accelerator):
            raise UsageError("every GPU samples from whole weights: launch without FSDP and DeepSpeed, and set lora")
        if self.recipe.queries % self.accelerator.num_processes:
            raise UsageError(f"{self.recipe.queries} queries can't be dealt to {self.accelerator.num_processes} ranks")
        checkpoints.agree(out, rl_state.said(job), self.accelerator)
        student = rl_state.load_student(job.checkpoint, self.recipe).to(self.accelerator.device)
        self.sight = Sight(student, job.codec)
        likelihood = SharedLikelihood(student, job.codec, self.sight if self._frozen else None, self.recipe.temperature)
        reference = rl_state.reference(job.checkpoint, self.recipe, job.codec, self.accelerator)
        self.updates = Updates(likelihood, reference, job.codec, self.recipe, self.accelerator)
        self.learner, self.replay = self.updates.learner, self.updates.replay
        self.engine = engine or engine_for(job, self.accelerator, self.learner, self.sight)
        self.watchman = Watchman(self.recipe.alarms)
        self.setting = job.setting
        self.done = rl_state.resume(out, self.accelerator, self.replay, self.watchman)
        """The steps of earlier runs."""

    @property
    def _frozen(self) -> bool:
        return self.recipe.freeze_vision or self.recipe.lora is not None

    # ------------------------------------------------------------------ the loop

    def run(self, watch: Watch = lambda progress: None) -> None:
        """The steps that are left; Breach where sampler and learner differ."""
        self.engine.refresh()  # a server has the weights of another run, or of another step of this one
        asked = batches(len(self.job.questions.examples), self.recipe.queries, self.recipe.seed)
        log = Log(self.out, self.done) if self.accelerator.is_main_process else None
        try:
            for step, indices in enumerate(asked, start=1):
                if step > self.recipe.steps:
                    break
                if step <= self.done:
                    continue
                metrics = self.step(step, indices)
                alarms = self.watchman.see(metrics)
                if log:
                    log.add(step, metrics)
                    watch(Progress(step, self.recipe.steps, metrics, alarms))
                if step % self.recipe.save_every == 0 or step == self.recipe.steps:
                    rl_state.save(self.out, step, self.accelerator, self.replay, self.watchman)
                if alarms and self.recipe.alarms.then == "stop":
                    raise Stopped(f"step {step}: {alarms[0]}")
        finally:
            if log:
                log.close()

    def step(self, step: int, indices: Sequence[int]) -> Metrics:
        """One batch of questions: roll out, reward, check, learn."""
        began = time.perf_counter()
        groups = self.sample(step, indices)
        sampled = time.perf_counter()
        worth, facts = self.grade(groups)
        found = measure(gather_object(facts))
        found |= self._check(step, [one for members in worth for one in members])
        found |= self.updates.learn(step, worth)
        self.engine.refresh()
        self._close(step, worth)
        found["seconds/sample"], found["seconds/learn"] = sampled - began, time.perf_counter() - sampled
        return found

    def sample(self, step: int, indices: Sequence[int]) -> list[list[Rollout]]:
        """This rank's groups of rollouts."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        mine = [self.job.questions.examples[index] for index in indices[rank::ranks]]
        policy = (step - 1) * self.recipe.updates

        async def all_groups() -> list[list[Rollout]]:
            starts = []
            for example in mine:
                try:
                    starts.append(begin(example, self.setting))
                except ExampleError:
                    continue  # its picture is gone, or its opening too long
            seed = seed_of(self.recipe.seed, step)
            return list(
                await asyncio.gather(
                    *(group(start, self.recipe.rollouts, self.engine, self.setting, policy, seed) for start in starts)
                )
            )

        return asyncio.run(all_groups())

    def grade(self, groups: Sequence[Sequence[Rollout]]) -> tuple[list[list[Graded]], list[Fact]]:
        """Rewards and advantages of each group, and what is measured of its members."""
        made = [graded.grade(members, self.job.rule, self.recipe) for members in groups]
        return [members for members, _ in made], [fact for _, facts in made for fact in facts]

    def _check(self, step: int, rollouts: Sequence[Graded]) -> Metrics:
        """The parity gate: on ids and pictures every step, on log-probabilities now and then."""
        parity.check([one.trace for one in rollouts], [one.conversation for one in rollouts], self.job.codec)
        if (step - 1) % self.recipe.parity_every and step != self.done + 1:
            return {}
        self.learner.eval()
        traces, scores = [], []
        with torch.no_grad():
            for part in parts(rollouts, self.recipe.pass_rollouts):
                traces += [one.trace for one in part]
                shared = tree([one.conversation for one in part], self.job.codec).to(self.accelerator.device)
                scores += self._apart(part, self.learner(shared)).tolist()
        most = self.recipe.parity_most * (1 if self.accelerator.mixed_precision == "no" else 20)
        seen = parity.compare(traces, scores, most)
        found = gather_object([seen])
        return {
            "parity/most": max(one.most for one in found),
            "parity/divergence": sum(one.divergence for one in found) / len(found),
        }

    def _apart(self, part: Sequence[Graded], scores: Tensor) -> Tensor:
        """The learner's log-probabilities, and where a turn was lured, that of the mixture that it was drawn from."""
        lure, at = self.setting.lure, 0
        if lure is None:
            return scores
        mixed = scores.clone()
        for one in part:
            first = one.conversation.ids[one.conversation.opening]
            stays = scores[at] + math.log1p(-lure.share)
            looks = torch.logaddexp(stays, torch.tensor(math.log(lure.share), device=scores.device))
            mixed[at] = looks if first == lure.token else stays
            at += one.sampled
        return mixed

    def _close(self, step: int, groups: Sequence[Sequence[Graded]]) -> None:
        """Write rollouts out now and then, and let go of the step's pictures."""
        self.sight.forget()
        if (step - 1) % self.recipe.dump_every and step != self.recipe.steps:
            return
        found = gather_object([one.trace for members in groups for one in members])
        if self.accelerator.is_main_process:
            rl_state.dump(self.out, self.job, found)


class Stopped(Exception):
    """An alarm has stopped the run."""


__all__ = ["Graded", "Job", "Progress", "Stopped", "Training", "prepare", "rate", "train"]
