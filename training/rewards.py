"""Rewards: what a rollout is worth, from its own trace and from its group.

A group is the rollouts of one question. Each reward here is a pure function of (outcome, group), so the curiosity term,
which needs the share of the group's rollouts that used an operation (RaPR, the rate of pixel-space reasoning), is
no special case. Correctness is the `answer` check's verdict; nothing asks a judge.

Broken and over-long rollouts are not passed in: they count neither as members nor in the statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.records import Trace


class Outcome(NamedTuple):
    """What a reward may know of one rollout."""

    correct: bool
    answered: bool = True
    calls: int = 0
    """Turns that tried to call an operation, malformed and refused ones included."""
    ran: int = 0
    """Calls that ran and showed something."""
    last_failed: bool = False
    """The last call came to nothing, and no later one ran."""
    video: bool = False


class Group(NamedTuple):
    """Statistics of the rollouts of one question."""

    size: int
    rapr: float
    """Share of rollouts in which an operation ran."""
    called: float
    """Share of rollouts that tried to call one."""
    right_without: bool
    """Some rollout was right without a call."""


class Reward(NamedTuple):
    """A rollout's reward in its parts."""

    correct: float
    bonus: float = 0.0
    penalty: float = 0.0

    @property
    def total(self) -> float:
        return self.correct + self.bonus + self.penalty


def outcome(trace: Trace, correct: bool) -> Outcome:
    """The facts of a trace; `correct` is the `answer` check's verdict."""
    tried = [step.observation for step in trace.steps if step.observation and step.observation.error != "no_answer"]
    return Outcome(
        correct=correct,
        answered=bool(trace.answer.strip()),
        calls=len(tried),
        ran=sum(bool(seen.views) for seen in tried),
        last_failed=bool(tried) and not tried[-1].views,
        video=any(media.kind == "video" for media in trace.example.media),
    )


def statistics(outcomes: Sequence[Outcome]) -> Group:
    """The group's statistics; all zero for an empty one."""
    size = len(outcomes)
    return Group(
        size,
        sum(one.ran > 0 for one in outcomes) / size if size else 0.0,
        sum(one.calls > 0 for one in outcomes) / size if size else 0.0,
        any(one.correct and not one.calls for one in outcomes),
    )


class Rule(BaseModel):
    """Base of the rewards: options in fields, the reward in `of`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def of(self, one: Outcome, group: Group) -> Reward:
        raise NotImplementedError


class Curiosity(Rule):
    """Pixel Reasoner's paper (section 4): r + alpha max(H - RaPR, 0) [an operation ran] + beta min(N - n, 0).

    n counts operations that ran. A group with RaPR >= H gets no bonus, and one with RaPR = 0 has no member to give it
    to: nothing pulls it back. `forced_look` of the rollouts is the remedy for that.
    """

    name: Literal["curiosity"] = "curiosity"
    alpha: float = Field(default=0.5, ge=0, description="0 takes the curiosity away and keeps the penalty")
    rapr: float = Field(default=0.3, ge=0, le=1, description="H: the share of rollouts that should use an operation")
    beta: float = Field(default=0.05, ge=0)
    most: int = Field(default=1, ge=0, description="N: operations beyond it are penalised")

    def of(self, one: Outcome, group: Group) -> Reward:
        bonus = self.alpha * max(self.rapr - group.rapr, 0.0) if one.ran else 0.0
        return Reward(float(one.correct), bonus, self.beta * min(self.most - one.ran, 0))


class Release(Rule):
    """What Pixel Reasoner's released code computes (experience_maker.py at a3a6c3a), for comparison with the paper.

    Departures from the paper: -1 where no answer can be read; calls count although they failed; the bonus is
    (H - RaPR) 0.25 / RaPR, halved for images and divided by 1.5 for videos; a right answer after a last call that
    failed is worth 0. Not repeated: its flags of failed calls are always those of the first group in the batch.
    """

    name: Literal["release"] = "release"
    rapr: float = Field(default=0.3, ge=0, le=1)
    beta: float = Field(default=0.05, ge=0)

    def of(self, one: Outcome, group: Group) -> Reward:
        correct = float(one.correct) if one.answered else -1.0
        if one.correct and one.last_failed:
            correct = 0.0
        if not one.calls:
            return Reward(correct)
        bonus = max(self.rapr - group.called, 0.0) * 0.25 / group.called / (1.5 if one.video else 2.0)
        return Reward(correct, bonus, -self.beta * (one.calls - 1))


class DeepEyes(Rule):
    """DeepEyes: 0.8 accuracy + 0.2 format (0 or -1) + 1.2 where an image came back and the answer is right."""

    name: Literal["deepeyes"] = "deepeyes"
    accuracy: float = 0.8
    form: float = 0.2
    tool: float = 1.2

    def of(self, one: Outcome, group: Group) -> Reward:
        bonus = self.tool if one.ran and one.correct else 0.0
        return Reward(self.accuracy * one.correct, bonus, 0.0 if one.answered else -self.form)


class Adaptive(Rule):
    """AGAR (Adaptive Chain-of-Focus): calls are penalised only where the group has a right answer without one."""

    name: Literal["adaptive"] = "adaptive"
    penalty: float = Field(default=0.1, ge=0, description="for each call, in a group that needs none")

    def of(self, one: Outcome, group: Group) -> Reward:
        return Reward(float(one.correct), 0.0, -self.penalty * one.calls if group.right_without else 0.0)


class FaithEyes(Rule):
    """FaithEyes: accuracy + 0.2 (1 - bad / calls), whatever the answer; a bonus tied to it drives failures up.

    Bad are the calls that came to nothing; whether one that ran was helpful takes a judge, and isn't asked here.
    """

    name: Literal["faitheyes"] = "faitheyes"
    weight: float = Field(default=0.2, ge=0)

    def of(self, one: Outcome, group: Group) -> Reward:
        return Reward(float(one.correct), self.weight * one.ran / one.calls if one.calls else 0.0)


RULES: tuple[type[Rule], ...] = (Curiosity, Release, DeepEyes, Adaptive, FaithEyes)


def rule(spec: Mapping[str, Any]) -> Rule:
    """The rule that a recipe names, with its options; UsageError names those that exist."""
    known = {kind.model_fields["name"].default: kind for kind in RULES}
    if spec.get("name") not in known:
        raise UsageError(f"no reward is called {spec.get('name')!r}: there are {', '.join(known)}")
    kind = known[spec["name"]]
    try:
        return kind(**spec)
    except ValidationError as error:
        raise UsageError(f"reward {spec['name']}: {plugins.explain(error, kind)}") from None


def rewards(rule: Rule, outcomes: Sequence[Outcome]) -> list[Reward]:
    """The rewards of one group's rollouts, in order."""
    group = statistics(outcomes)
    return [rule.of(one, group) for one in outcomes]
