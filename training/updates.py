"""Updates of the weights from graded rollouts: what is learned from, and the passes and the step of each update.

The weights of tokens are made over all ranks, so many ranks and one, many passes and few, give the same gradient.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from training.graded import Graded, counts
from training.objective import Clip, Replay, objective, uniform, weights
from training.shared import SharedLikelihood, tree
from training.watch import Metrics

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from dataforge.recipe import Rl
    from training.encoding import Codec


class Updates:
    """The learner under its optimizer, and the rollouts that are kept to be learned from again."""

    def __init__(
        self,
        likelihood: SharedLikelihood,
        reference: SharedLikelihood | None,
        codec: Codec,
        recipe: Rl,
        accelerator: Accelerator,
    ) -> None:
        self.codec, self.recipe, self.accelerator, self.reference = codec, recipe, accelerator, reference
        moving = [parameter for parameter in likelihood.parameters() if parameter.requires_grad]
        optimizer: Any = torch.optim.AdamW(moving, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay)
        self.learner, self.optimizer = accelerator.prepare(likelihood, optimizer)
        self.replay: Replay[Graded] = Replay(recipe.replay.size, recipe.replay.power, recipe.replay.age)

    def learn(self, step: int, graded: Sequence[Sequence[Graded]]) -> Metrics:
        """Drop groups that agree, fill up from the replay, and update the weights."""
        rng = random.Random(f"{self.recipe.seed}/{step}/{self.accelerator.process_index}")
        telling = [[one for one in members if counts(one.trace, self.recipe)] for members in graded]
        fresh = [one for members in telling if not uniform([one.gain for one in members]) for one in members]
        dropped = sum(map(len, telling)) - len(fresh)
        replayed = self.replay.draw(dropped, step, rng)
        self.replay.add([(one, one.gain) for one in fresh], step)
        chosen = [*fresh, *(kept.item for kept in replayed)]
        totals = {"loss": 0.0, "clipped": 0.0, "kl": 0.0, "gradient_norm": 0.0}
        made = 0
        for update, share in enumerate(_dealt(chosen, self.recipe.updates)):
            self._set_rate((step - 1) * self.recipe.updates + update)
            seen = self._update(share, chosen or [one for members in graded for one in members])
            made += seen is not None
            for name, value in (seen or {}).items():
                totals[name] += value
        found = {name: value / max(made, 1) for name, value in totals.items()}
        told = gather_object([(len(fresh), len(replayed), dropped)])
        names = ("rollouts/fresh", "rollouts/replayed", "rollouts/dropped")
        found |= {name: float(sum(one[at] for one in told)) for at, name in enumerate(names)}
        return found | {"learning_rate": self.optimizer.param_groups[0]["lr"], "updates": float(made)}

    def _set_rate(self, update: int) -> None:
        for one in self.optimizer.param_groups:
            one["lr"] = self.recipe.learning_rate * rate(update + 1, self.recipe)

    def _update(self, share: Sequence[Graded], filler: Sequence[Graded]) -> Metrics | None:
        """One update from these rollouts, over all ranks; None where no rank has any."""
        accelerator, recipe = self.accelerator, self.recipe
        passes = parts(share, recipe.pass_rollouts)
        lengths = [one.sampled for one in share]
        told = gather_object([(len(passes), sum(lengths), sum(length > 0 for length in lengths))])
        tokens, filled = sum(one[1] for one in told), sum(one[2] for one in told)
        if not tokens:
            return None
        # a rank with fewer passes makes some without weight, so that all ranks meet in each
        passes += [list(filler[:1])] * (max(one[0] for one in told) - len(passes))
        weight = iter(weights(lengths, recipe.level, tokens if recipe.level == "token" else filled))
        self.learner.train()
        sums = torch.zeros(3, device=accelerator.device)
        for at, part in enumerate(passes):
            last = at == len(passes) - 1
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
        shared = tree([one.conversation for one in part], self.codec).to(device)
        now = self.learner(shared)
        lengths = torch.tensor([one.sampled for one in part])
        each = torch.tensor([[one.gain, share] for one, share in zip(part, weight, strict=True)])
        gain, heavy = each.repeat_interleave(lengths, dim=0).to(device).T
        then = torch.tensor([score for one in part for score in one.tokens.logprobs], device=device)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = self.reference(shared)
        clip = Clip(low=self.recipe.clip_low, high=self.recipe.clip_high, most=self.recipe.clip_most)
        made = objective(now, then, gain, heavy, clip, reference, self.recipe.kl)
        return made.loss, torch.stack([made.loss.detach(), made.clipped, made.kl])


def rate(update: int, recipe: Rl) -> float:
    """The learning rate at an update, from 1, as a share of the recipe's: a straight rise, then part of a cosine."""
    total = recipe.steps * recipe.updates
    rise = math.ceil(recipe.warm_up * total)
    if update <= rise:
        return update / rise
    fallen = (1 - math.cos(math.pi * (update - rise) / max(1, total - rise))) / 2
    return 1 - (1 - recipe.end_rate) * fallen


def parts(graded: Sequence[Graded], size: int) -> list[list[Graded]]:
    """The rollouts in passes of that many."""
    return [list(graded[at : at + size]) for at in range(0, len(graded), size)]


def _dealt(chosen: Sequence[Graded], updates: int) -> list[Sequence[Graded]]:
    """The rollouts in as many shares as there are updates, neighbours together: they begin alike."""
    edges = [len(chosen) * at // updates for at in range(updates + 1)]
    return [chosen[low:high] for low, high in pairwise(edges)]
