"""Rollouts graded: rewards and advantages of groups, and what is measured of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from training import rewards
from training.objective import Normalise, advantages
from training.rollout import right, whole
from training.shared import Conversation
from training.watch import Fact

if TYPE_CHECKING:
    from dataforge.recipe import Rl
    from dataforge.records import Tokens, Trace
    from training.rollout import Rollout


class Graded(NamedTuple):
    """A rollout with what the learner needs of it."""

    trace: Trace
    conversation: Conversation

    @property
    def tokens(self) -> Tokens:
        assert self.trace.tokens is not None
        return self.trace.tokens

    @property
    def gain(self) -> float:
        """Its advantage; 0 where it doesn't count."""
        return float(self.tokens.advantage or 0.0)

    @property
    def sampled(self) -> int:
        """Tokens that the student sampled."""
        return int(self.conversation.learn.sum())


def counts(trace: Trace, recipe: Rl) -> bool:
    """A rollout is part of the loss and of the statistics: it is whole, or broken ones count as wrong."""
    return recipe.broken == "wrong" or whole(trace)


def grade(members: Sequence[Rollout], rule: rewards.Rule, recipe: Rl) -> tuple[list[Graded], list[Fact]]:
    """A group with rewards and advantages; rollouts that don't count are in no statistic and have no advantage."""
    counted = [one for one in members if counts(one.trace, recipe)]
    outcomes = [rewards.outcome(one.trace, right(one.trace)) for one in counted]
    worth = rewards.rewards(rule, outcomes)
    by: Normalise = recipe.advantage
    gains = advantages([one.total for one in worth], by)
    told = {one.trace.id: (reward, gain) for one, reward, gain in zip(counted, worth, gains, strict=True)}
    graded = [_graded(one, *told.get(one.trace.id, (None, 0.0))) for one in members]
    return graded, [_fact(one, counts=one.trace.id in told) for one in graded]


def _graded(one: Rollout, reward: rewards.Reward | None, gain: float) -> Graded:
    update: dict[str, Any] = {"advantage": gain}
    if reward is not None:
        update |= {"correct": reward.correct, "bonus": reward.bonus, "penalty": reward.penalty}
    trace = one.trace.model_copy(update={"tokens": one.tokens.model_copy(update=update)})
    return Graded(trace, Conversation.of(trace.id, one.encoding, one.pictures))


def _fact(one: Graded, counts: bool) -> Fact:
    trace, tokens = one.trace, one.tokens
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
        advantage=one.gain,
        sampled=one.sampled,
        length=len(tokens.ids),
        surprise=-sum(tokens.logprobs),
    )
