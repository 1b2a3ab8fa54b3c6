"""Curiosity-driven reinforcement learning, top to bottom: ask, roll out, reward, check, learn, watch, save.

Each rank asks whole groups of its own, so a group's statistics never cross ranks; the weights of tokens are made over
all ranks, so many ranks and one give the same gradient. All randomness comes from the seed and the step: a run that was
stopped goes on to the same numbers. The loop is the same on one CPU and under `accelerate launch`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accelerate.utils import gather_object

from dataforge import plugins
from dataforge.dialect import OPEN
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest
from dataforge.recipe import Rl
from dataforge.records import Trace
from training import checkpoints, parity, rewards, rl_state
from training.encoding import Codec
from training.engine import Engine, LocalEngine, Lure
from training.objective import Clip, Kept, Replay, advantages, objective, uniform, weights
from training.passes import Sight
from training.questions import Questions, batches
from training.rollout import Budget, Rollout, Setting, begin, group, right, seed_of, whole
from training.shared import Conversation, SharedLikelihood, tree
from training.students import accelerator_for
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


class Graded(NamedTuple):
    """A rollout with what the learner needs of it."""

    trace: Trace
    conversation: Conversation

    @property
    def sampled(self) -> int:
        return int(self.conversation.learn.sum())


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
        if self.recipe.queries % self.accelerator.num_processes:
            raise UsageError(f"{self.recipe.queries} queries can't be dealt to {self.accelerator.num_processes} ranks")
        checkpoints.agree(out, rl_state.said(job), self.accelerator)
        student = rl_state.load_student(job.checkpoint, self.recipe).to(self.accelerator.device)
        self.sight = Sight(student, job.codec)
        likelihood = SharedLikelihood(student, job.codec, self.sight if self._frozen else None, self.recipe.temperature)
        moving = [parameter for parameter in likelihood.parameters() if parameter.requires_grad]
        optimizer: Any = torch.optim.AdamW(
            moving, self.recipe.learning_rate, self.recipe.betas, weight_decay=self.recipe.weight_decay
        )
        self.learner, self.optimizer = self.accelerator.prepare(likelihood, optimizer)
        self.reference = rl_state.reference(job.checkpoint, self.recipe, job.codec, self.accelerator)
        self.engine = engine or self._engine(student)
        replay = self.recipe.replay
        self.replay: Replay[Graded] = Replay(replay.size, replay.power, replay.age)
        self.watchman = Watchman(self.recipe.alarms)
        self.setting = job.setting
        self.done = rl_state.resume(out, self.accelerator, self.replay, self.watchman)

    @property
    def _frozen(self) -> bool:
        return self.recipe.freeze_vision or self.recipe.lora is not None

    def _engine(self, student: Any) -> Engine:
        if not self.recipe.vllm:
            precision = self.accelerator.autocast
            return LocalEngine(student, self.job.codec, self.sight, self.recipe.temperature, precision)
        from training.vllm_engine import VllmEngine

        return VllmEngine(self.recipe.vllm, self.job.codec, student, self.recipe.temperature, self.accelerator)

    # ------------------------------------------------------------------ the loop

    def run(self, watch: Watch = lambda progress: None) -> None:
        """The steps that are left; Breach where sampler and learner differ."""
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
        graded, facts = self.grade(groups)
        found = measure(gather_object(facts))
        found |= self._check(step, [one for group in graded for one in group])
        found |= self.learn(step, graded)
        self._close(step, graded)
        found["seconds/sample"], found["seconds/learn"] = sampled - began, time.perf_counter() - sampled
        self.done = step
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
        """Rewards and advantages; rollouts that don't count are in no statistic and have no advantage."""
        graded, facts = [], []
        for members in groups:
            counted = [one for one in members if self._counts(one.trace)]
            outcomes = [rewards.outcome(one.trace, right(one.trace)) for one in counted]
            worth = rewards.rewards(self.job.rule, outcomes)
            gains = advantages([one.total for one in worth], self.recipe.advantage)
            told = {one.trace.id: (reward, gain) for one, reward, gain in zip(counted, worth, gains, strict=True)}
            made = []
            for one in members:
                reward, gain = told.get(one.trace.id, (None, 0.0))
                made.append(_graded(one, reward, gain))
                facts.append(_fact(made[-1], counts=reward is not None))
            graded.append(made)
        return graded, facts

    def _counts(self, trace: Trace) -> bool:
        return self.recipe.broken == "wrong" or whole(trace)

    def _check(self, step: int, graded: Sequence[Graded]) -> Metrics:
        """The parity gate: on ids and pictures every step, on log-probabilities now and then."""
        parity.check([one.trace for one in graded], [one.conversation for one in graded], self.job.codec)
        if (step - 1) % self.recipe.parity_every and step != self.done + 1:
            return {}
        self.learner.eval()
        traces, scores = [], []
        with torch.no_grad():
            for part in _parts(graded, self.recipe.pass_rollouts):
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

    # ------------------------------------------------------------------ learning

    def learn(self, step: int, graded: Sequence[Sequence[Graded]]) -> Metrics:
        """Drop groups that agree, fill up from the replay, and update the weights."""
        rng = random.Random(f"{self.recipe.seed}/{step}/{self.accelerator.process_index}")
        telling = [[one for one in members if self._counts(one.trace)] for members in graded]
        fresh = [one for members in telling if not uniform([_gain(one) for one in members]) for one in members]
        dropped = sum(map(len, telling)) - len(fresh)
        replayed = self.replay.draw(dropped, step, rng)
        self.replay.add([(one, _gain(one)) for one in fresh], step)
        chosen = [*fresh, *(kept.item for kept in replayed)]
        totals = {"loss": 0.0, "clipped": 0.0, "kl": 0.0, "gradient_norm": 0.0}
        shares = _dealt(chosen, self.recipe.updates)
        made = 0
        for update, share in enumerate(shares):
            self._set_rate((step - 1) * self.recipe.updates + update)
            seen = self._update(share, chosen or [one for members in graded for one in members])
            made += seen is not None
            for name, value in (seen or {}).items():
                totals[name] += value
        self.engine.refresh()
        found = {name: value / max(made, 1) for name, value in totals.items()}
        counts = gather_object([(len(fresh), len(replayed), dropped)])
        names = ("rollouts/fresh", "rollouts/replayed", "rollouts/dropped")
        found |= {name: float(sum(one[at] for one in counts)) for at, name in enumerate(names)}
        return found | {"learning_rate": self.optimizer.param_groups[0]["lr"], "updates": float(made)}

    def _set_rate(self, update: int) -> None:
        for one in self.optimizer.param_groups:
            one["lr"] = self.recipe.learning_rate * rate(update + 1, self.recipe)

    def _update(self, share: Sequence[Graded], filler: Sequence[Graded]) -> Metrics | None:
        """One update from these rollouts, over all ranks; None where no rank has any."""
        accelerator, recipe = self.accelerator, self.recipe
        parts = _parts(share, recipe.pass_rollouts)
        lengths = [one.sampled for one in share]
        told = gather_object([(len(parts), sum(lengths), sum(length > 0 for length in lengths))])
        tokens, filled = sum(one[1] for one in told), sum(one[2] for one in told)
        if not tokens:
            return None
        # a rank with fewer passes makes some without weight, so that all ranks meet in each
        parts += [list(filler[:1])] * (max(one[0] for one in told) - len(parts))
        weight = iter(weights(lengths, recipe.level, tokens if recipe.level == "token" else filled))
        self.learner.train()
        sums = torch.zeros(3, device=accelerator.device)
        for at, part in enumerate(parts):
            last = at == len(parts) - 1
            with nullcontext() if last else accelerator.no_sync(self.learner):
                loss, seen = self._loss(part, [next(weight, 0.0) for _ in part])
                accelerator.backward(loss * accelerator.num_processes)
            sums += seen
        norm = accelerator.clip_grad_norm_(self.learner.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss, clipped, kl = accelerator.reduce(sums, "sum").tolist()
        return {"loss": loss, "clipped": clipped, "kl": kl, "gradient_norm": 0.0 if norm is None else float(norm)}

    def _loss(self, part: Sequence[Graded], weight: Sequence[float]) -> tuple[Tensor, Tensor]:
        """The objective over the sampled tokens of some rollouts, and its parts for the metrics."""
        device = self.accelerator.device
        shared = tree([one.conversation for one in part], self.job.codec).to(device)
        now = self.learner(shared)
        lengths = torch.tensor([one.sampled for one in part])
        each = torch.tensor([[_gain(one), share] for one, share in zip(part, weight, strict=True)])
        gain, heavy = each.repeat_interleave(lengths, dim=0).to(device).T
        then = torch.tensor([score for one in part for score in _tokens(one).logprobs], device=device)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = self.reference(shared)
        clip = Clip(low=self.recipe.clip_low, high=self.recipe.clip_high, most=self.recipe.clip_most)
        made = objective(now, then, gain, heavy, clip, reference, self.recipe.kl)
        return made.loss, torch.stack([made.loss.detach(), made.clipped, made.kl])

    def _close(self, step: int, graded: Sequence[Sequence[Graded]]) -> None:
        """Write rollouts out now and then, and let go of the step's pictures."""
        self.sight.forget()
        if (step - 1) % self.recipe.dump_every and step != self.recipe.steps:
            return
        found = gather_object([one.trace for members in graded for one in members])
        if self.accelerator.is_main_process:
            rl_state.dump(self.out, self.job, found)


class Stopped(Exception):
    """An alarm has stopped the run."""


def rate(update: int, recipe: Rl) -> float:
    """The learning rate at an update, from 1, as a share of the recipe's: a straight rise, then part of a cosine."""
    total = recipe.steps * recipe.updates
    rise = math.ceil(recipe.warm_up * total)
    if update <= rise:
        return update / rise
    fallen = (1 - math.cos(math.pi * (update - rise) / max(1, total - rise))) / 2
    return 1 - (1 - recipe.end_rate) * fallen


def _graded(one: Rollout, reward: rewards.Reward | None, gain: float) -> Graded:
    update: dict[str, Any] = {"advantage": gain}
    if reward is not None:
        update |= {"correct": reward.correct, "bonus": reward.bonus, "penalty": reward.penalty}
    trace = one.trace.model_copy(update={"tokens": one.tokens.model_copy(update=update)})
    return Graded(trace, Conversation.of(trace.id, one.encoding, one.pictures))


def _fact(one: Graded, counts: bool) -> Fact:
    trace, tokens = one.trace, _tokens(one)
    facts = rewards.outcome(trace, right(trace))
    worth = [tokens.correct or 0.0, tokens.bonus or 0.0, tokens.penalty or 0.0]
    return Fact(
        group=trace.example.id,
        source=trace.example.source,
        medium="video" if facts.video else "image",
        ended=tokens.ended,
        counts=counts,
        correct=facts.correct,
        calls=facts.calls,
        ran=facts.ran,
        bonus=worth[1],
        penalty=worth[2],
        reward=sum(worth),
        advantage=_gain(one),
        sampled=one.sampled,
        length=len(tokens.ids),
        surprise=-sum(tokens.logprobs),
    )


def _tokens(one: Graded) -> Any:
    assert one.trace.tokens is not None
    return one.trace.tokens


def _gain(one: Graded) -> float:
    return float(_tokens(one).advantage or 0.0)


def _parts(graded: Sequence[Graded], size: int) -> list[list[Graded]]:
    return [list(graded[at : at + size]) for at in range(0, len(graded), size)]


def _dealt(chosen: Sequence[Graded], updates: int) -> list[Sequence[Graded]]:
    """The rollouts in as many shares as there are updates, neighbours together: they begin alike."""
    edges = [len(chosen) * at // updates for at in range(updates + 1)]
    return [chosen[low:high] for low, high in pairwise(edges)]


__all__ = ["Job", "Kept", "Progress", "Stopped", "Training", "prepare", "rate", "train"]
