"""GRPO's parts by themselves: advantages, the clipped objective and its weights, replay."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.objective import Clip, Replay, advantages, objective, uniform, weights


def test_advantages_by_mean_and_by_deviation() -> None:
    assert advantages([1, 0, 0, 1]) == [0.5, -0.5, -0.5, 0.5]
    assert advantages([1, 0, 0, 1], "std") == pytest.approx([1, -1, -1, 1], abs=1e-4)
    assert advantages([]) == []
    assert uniform(advantages([1, 1, 1]))
    assert not uniform(advantages([1, 1, 1.01]))


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_advantages_sum_to_nothing(rewards: list[float]) -> None:
    assert abs(sum(advantages(rewards))) < 1e-6


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_weights_sum_to_one_and_add_up_over_ranks(level: str) -> None:
    lengths = [3, 0, 5, 2]
    whole = weights(lengths, level)  # type: ignore[arg-type]
    assert sum(weight * length for weight, length in zip(whole, lengths, strict=True)) == pytest.approx(1)
    total = 10 if level == "token" else 3
    halves = weights(lengths[:2], level, total) + weights(lengths[2:], level, total)  # type: ignore[arg-type]
    assert halves == whole
    assert weights([], level) == []  # type: ignore[arg-type]


def run(ratio: float, advantage: float, clip: Clip | None = None) -> tuple[float, float]:
    """Loss and its gradient by log-probability for one token at a ratio of probabilities."""
    now = torch.tensor([math.log(ratio)], requires_grad=True)
    made = objective(now, torch.zeros(1), torch.tensor([advantage]), torch.ones(1), clip or Clip(low=0.2, high=0.3))
    made.loss.backward()
    assert now.grad is not None
    return made.loss.item(), now.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 1.0, -1.0, -1.0),
        (1.29, 1.0, -1.29, -1.29),
        (1.5, 1.0, -1.3, 0.0),  # clip-higher: up to 1.3, then no pull
        (0.5, 1.0, -0.5, -0.5),  # a good token that got unlikely is pulled back
        (0.5, -1.0, 0.8, 0.0),  # a bad token is pushed down no further than 0.8
        (2.0, -1.0, 2.0, 2.0),
        (5.0, -1.0, 3.0, 0.0),  # beyond 3 a stale bad token counts no more
    ],
)
def test_the_objective_is_clipped(ratio: float, advantage: float, loss: float, slope: float) -> None:
    assert run(ratio, advantage) == pytest.approx((loss, slope), abs=1e-5)


def test_divergence_from_a_reference_is_never_negative_and_pulls_back() -> None:
    now = torch.tensor([-1.0, -2.0], requires_grad=True)
    reference = torch.tensor([-2.0, -1.0])
    made = objective(now, now.detach(), torch.zeros(2), torch.full((2,), 0.5), Clip(), reference, kl=0.1)
    made.loss.backward()
    assert made.kl > 0
    assert now.grad is not None
    assert now.grad[0] > 0 > now.grad[1]  # a descent makes the first less likely, the second more


def test_replay_draws_by_advantage_and_only_what_qualifies() -> None:
    replay: Replay[str] = Replay(size=4, power=1.0, age=2)
    assert replay.draw(3, 1, random.Random(0)) == []  # nothing there
    replay.add([("nothing", 0.0), ("good", 1.0), ("bad", -3.0)], step=1)
    assert [one.item for one in replay.kept] == ["good", "bad"]
    assert replay.draw(2, 1, random.Random(0)) == []  # not of this very step
    assert {one.item for one in replay.draw(5, 2, random.Random(0))} == {"good", "bad"}  # each once, fewer than asked
    first = [replay.draw(1, 2, random.Random(seed))[0].item for seed in range(400)]
    assert 0.68 < first.count("bad") / 400 < 0.82  # 3 of 4
    assert replay.draw(2, 4, random.Random(0)) == []  # too old
    replay.add([(str(number), 1.0) for number in range(6)], step=5)
    assert [one.item for one in replay.kept] == ["2", "3", "4", "5"]


def test_a_replay_of_size_nothing_keeps_nothing() -> None:
    replay: Replay[str] = Replay(size=0)
    replay.add([("good", 1.0)], step=1)
    assert replay.kept == []
