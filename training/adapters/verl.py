"""verl: what a trajectory is worth, scored alone and then by its group; known good with 0.9.1. Needs no verl itself.

verl scores one trajectory at a time, while curiosity is a matter of the group; what sees the group, the advantage
estimator, gets nothing of a trajectory but its rewards and masks. So `compute_score` writes the facts of a trajectory
into its score, in steps too small to matter for verl's own curves, and `Estimator` reads them there and pays by the
rules of `training.rewards`. `training.adapters.verl_loop` plays the trajectories and registers both:

    VERL_USE_EXTERNAL_MODULES=training.adapters.verl_loop python3 -m verl.trainer.main_ppo
        algorithm.adv_estimator=dataforge_curiosity algorithm.norm_adv_by_std_in_grpo=False
        reward.custom_reward_function.path=pkg://training.adapters.verl
        actor_rollout_ref.rollout.agent.agent_loop_config_path=dataforge.yaml

What verl does otherwise than `dataforge train rl`: trajectories without an answer of their own get advantage 0, but
their tokens still count in the mean; groups that agree are sampled for nothing; nothing is replayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dataforge.errors import UsageError
from training import rewards
from training.objective import advantages
from training.rewards import Outcome

if TYPE_CHECKING:
    from torch import Tensor

KEY = "dataforge"
"""Under which the loop hands a trajectory's facts to the scorer, and what our loop and estimators are called by."""

GRAIN = 2.0**-22
"""Of what is written into a score beside 0 or 1: sixteen bits, 0.016 at most, exact in float32."""
MOST = 63
"""Calls that can be told apart there."""


class Facts(NamedTuple):
    """What is known of a trajectory."""

    outcome: Outcome
    whole: bool
    """It came to an answer of its own."""

    def packed(self) -> float:
        """The facts as a score: 0 or 1 for the answer, and the rest behind it."""
        one = self.outcome
        flags = one.answered + 2 * one.last_failed + 4 * one.video + 8 * self.whole
        rest = (min(one.calls, MOST) << 10) + (min(one.ran, MOST) << 4) + flags
        return float(one.correct) + GRAIN * rest

    @classmethod
    def unpacked(cls, score: float) -> Facts:
        """The facts in a score; UsageError where something else was added to it."""
        correct = score >= 1
        rest = (score - correct) / GRAIN
        if rest != int(rest) or not 0 <= rest < 2**16:
            raise UsageError(
                f"a score of {score:g} holds no facts: the scorer must be training.adapters.verl.compute_score, "
                "with algorithm.use_kl_in_reward=False and no reward model"
            )
        bits = int(rest)
        outcome = Outcome(
            correct=correct,
            answered=bool(bits & 1),
            calls=bits >> 10,
            ran=bits >> 4 & MOST,
            last_failed=bool(bits & 2),
            video=bool(bits & 4),
        )
        return cls(outcome, bool(bits & 8))


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **rest: Any
) -> dict[str, float]:
    """verl's scorer: the facts of one trajectory as `score`, and as numbers for its curves.

    Whether it is right has been told by the `answer` check, in the loop; UsageError where another loop played it.
    """
    told = (extra_info or {}).get(KEY)
    if told is None:
        raise UsageError(
            f"a row of {data_source} was played by another agent loop: "
            f"export it with --set agent={KEY}, and name the loop in agent_loop_config_path"
        )
    facts = Facts(Outcome(**told["outcome"]), bool(told["whole"]))
    one = facts.outcome
    return {
        "score": facts.packed(),
        "acc": float(one.correct),
        "looked": float(one.ran > 0),
        "calls": float(one.calls),
        "failed_calls": float(one.calls - one.ran),
        "whole": float(facts.whole),
    }


class Estimator:
    """An advantage estimator of verl's: the rule's rewards within each group, less the group's mean.

    Trajectories that are not whole are in no statistic and have advantage 0, unless `broken` is `wrong`.
    """

    def __init__(self, spec: Mapping[str, Any], broken: str = "drop") -> None:
        self.rule = rewards.rule(spec)
        self.broken = broken

    def __call__(
        self,
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Sequence[Any],
        config: Any = None,
        **rest: Any,
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (trajectories, tokens) as the mask; `index` names each one's group."""
        import torch

        facts = [Facts.unpacked(score) for score in token_level_rewards.double().sum(dim=-1).tolist()]
        groups: dict[Any, list[int]] = {}
        for at, (name, one) in enumerate(zip(index, facts, strict=True)):
            if one.whole or self.broken == "wrong":
                groups.setdefault(name, []).append(at)
        by_std = config is not None and bool(config.get("norm_adv_by_std_in_grpo", False))
        found = torch.zeros(len(facts), dtype=token_level_rewards.dtype, device=token_level_rewards.device)
        for members in groups.values():
            worth = [one.total for one in rewards.rewards(self.rule, [facts[at].outcome for at in members])]
            found[members] = found.new_tensor(advantages(worth, "std" if by_std else "mean"))
        spread = found.unsqueeze(-1) * response_mask
        return spread, spread


__all__ = ["Estimator", "Facts", "compute_score"]
