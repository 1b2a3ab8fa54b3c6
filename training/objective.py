"""GRPO as pure functions: advantages of a group, the clipped objective, and what is replayed.

Nothing here knows a model. Advantages are plain numbers; the objective takes tensors of log-probabilities. Weights of
tokens are made once for a whole update, over all ranks, so that micro-batches and ranks add up to the same gradient.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch

Normalise = Literal["mean", "std"]
Level = Literal["token", "sequence"]
T = TypeVar("T")

UNIFORM = 1e-6
"""A group whose largest advantage is smaller teaches nothing."""


def advantages(rewards: Sequence[float], by: Normalise = "mean") -> list[float]:
    """Reward less the group's mean; with `std` also divided by the deviation (the original GRPO).

    Pixel Reasoner's release and Dr. GRPO use the mean alone: dividing blows up groups that nearly agree.
    """
    if not rewards:
        return []
    mean = sum(rewards) / len(rewards)
    centred = [reward - mean for reward in rewards]
    if by == "mean":
        return centred
    deviation = (sum(value * value for value in centred) / len(centred)) ** 0.5
    return [value / (deviation + 1e-6) for value in centred]


def uniform(group: Sequence[float]) -> bool:
    """All members of the group were worth the same."""
    return all(abs(value) < UNIFORM for value in group)


class Clip(BaseModel):
    """How far an update may move from the policy that sampled, as bounds of the ratio of probabilities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float = Field(default=0.2, ge=0, le=1)
    high: float = Field(default=0.28, ge=0, description="clip-higher (DAPO): unlikely tokens may still grow")
    most: float = Field(
        default=3.0,
        ge=1,
        description="ratio beyond which a token of negative advantage counts no more; matters for what is replayed",
    )


class Objective(NamedTuple):
    """The loss to minimise, and what was seen on the way, summed with the tokens' weights."""

    loss: "torch.Tensor"
    clipped: "torch.Tensor"
    kl: "torch.Tensor"


def objective(
    now: "torch.Tensor",
    then: "torch.Tensor",
    advantage: "torch.Tensor",
    weight: "torch.Tensor",
    clip: Clip,
    reference: "torch.Tensor | None" = None,
    kl: float = 0.0,
) -> Objective:
    """The clipped objective over sampled tokens; all arguments are vectors over tokens.

    `now` and `then` are log-probabilities under the learner and under the policy that sampled; `weight` is what
    `weights` gives. With a `reference`, `kl` times Schulman's k3 estimate of the divergence from it is added.
    """
    import torch

    ratio = torch.exp(now - then)
    plain, bounded = ratio * advantage, ratio.clamp(1 - clip.low, 1 + clip.high) * advantage
    gained = torch.minimum(plain, bounded)
    gained = torch.where(advantage < 0, torch.maximum(gained, clip.most * advantage), gained)
    clipped = ((gained != plain).float() * weight).sum().detach()
    loss = -(gained * weight).sum()
    divergence = torch.zeros_like(loss)
    if reference is not None:
        apart = reference - now
        divergence = ((torch.exp(apart) - apart - 1) * weight).sum()
        loss = loss + kl * divergence
    return Objective(loss, clipped, divergence.detach())


def weights(lengths: Sequence[int], level: Level, total: int | None = None) -> list[float]:
    """The weight of each token of a rollout, for rollouts of these lengths.

    `token`: every token counts the same (DAPO), and `total` is how many there are. `sequence`: every rollout does
    (GRPO), and `total` is how many have tokens. Over all that `total` counts the tokens' weights sum to 1.
    """
    if total is None:
        total = sum(lengths) if level == "token" else sum(length > 0 for length in lengths)
    if level == "token":
        return [1 / total if length else 0.0 for length in lengths]
    return [1 / (total * length) if length else 0.0 for length in lengths]


class Kept(NamedTuple, Generic[T]):
    """A rollout in the replay buffer, with the step that sampled it."""

    item: T
    advantage: float
    step: int


class Replay(Generic[T]):
    """Selective Sample Replay (VL-Rethinker): rollouts with an advantage are kept, and fill up later batches.

    Groups that agree are dropped, so batches shrink as the policy gets better (or worse); from the buffer as many are
    drawn as were dropped, each with a probability that goes with |advantage| ** `power`. The log-probabilities of the
    policy that sampled stay with a rollout, so the objective corrects for its age; one older than `age` steps goes.
    """

    def __init__(self, size: int, power: float = 1.0, age: int = 8) -> None:
        self.size, self.power, self.age = size, power, age
        self.kept: list[Kept[T]] = []

    def add(self, items: Sequence[tuple[T, float]], step: int) -> None:
        """Keep those with an advantage; the oldest go when there is no room."""
        self.kept += [Kept(item, advantage, step) for item, advantage in items if abs(advantage) >= UNIFORM]
        self.kept = self.kept[max(len(self.kept) - self.size, 0) :] if self.size else []

    def draw(self, count: int, step: int, rng: random.Random) -> list[Kept[T]]:
        """Up to `count` different rollouts of earlier steps; fewer, or none, where fewer qualify."""
        self.kept = [one for one in self.kept if step - one.step <= self.age]
        left = [one for one in self.kept if one.step < step]
        drawn: list[Kept[T]] = []
        while left and len(drawn) < count:
            shares = [abs(one.advantage) ** self.power for one in left]
            drawn.append(left.pop(rng.choices(range(len(left)), weights=shares)[0]))
        return drawn
