"""Rewards, by table: what each rule pays for each member of a group."""

import pytest

from dataforge.errors import UsageError
from training.rewards import (
    Adaptive,
    Curiosity,
    DeepEyes,
    FaithEyes,
    Outcome,
    Release,
    Rule,
    rewards,
    rule,
    statistics,
)

RIGHT, WRONG = Outcome(True), Outcome(False)
LOOKED, LOST = Outcome(True, calls=1, ran=1), Outcome(False, calls=1, ran=1)
FAILED = Outcome(False, calls=1, last_failed=True)
TWICE = Outcome(True, calls=2, ran=2)
SILENT = Outcome(False, answered=False)


def group(*some: Outcome, of: int = 8) -> list[Outcome]:
    return [*some, *[WRONG] * (of - len(some))]


@pytest.mark.parametrize(
    ("rule", "members", "wanted"),
    [
        # the paper: 0.5 * (0.3 - 1/8) for the one that looks, right or wrong; its stated maximum
        (Curiosity(), group(LOST), 0.0875),
        (Curiosity(), group(LOOKED), 1.0875),
        (Curiosity(), group(LOST, LOST), 0.025),
        (Curiosity(), group(LOST, LOST, LOST), 0.0),  # 3 of 8 is more than H
        (Curiosity(), group(RIGHT, LOOKED), 1.0),  # who didn't look gets no bonus
        (Curiosity(), group(FAILED), 0.0),  # a failed call is no operation
        (Curiosity(), group(FAILED, LOOKED), 0.0),
        (Curiosity(), group(TWICE), 1.0875 - 0.05),
        (Curiosity(alpha=0), group(TWICE), 0.95),
        (Curiosity(beta=0.1, most=0), group(TWICE), 1.0875 - 0.2),
        (Curiosity(), group(), 0.0),  # RaPR = 0: nobody is paid, nothing pulls the group back
        # the release: 0.25 / RaPR times (0.3 - RaPR), halved for images
        (Release(), group(LOST), 0.175),
        (Release(), group(LOST._replace(video=True)), 0.35 / 1.5),
        (Release(), group(LOST, LOST), 0.025),
        (Release(), group(FAILED), 0.175),  # a failed call counts
        (Release(), group(SILENT), -1.0),
        (Release(), group(Outcome(True, calls=1, last_failed=True)), 0.175),  # right after a failed call: worth nothing
        (Release(), group(TWICE), 1.175 - 0.05),
        (Release(), group(RIGHT), 1.0),
        (DeepEyes(), group(LOOKED), 2.0),
        (DeepEyes(), group(LOST), 0.0),
        (DeepEyes(), group(RIGHT), 0.8),
        (DeepEyes(), group(SILENT), -0.2),
        (Adaptive(), group(TWICE, RIGHT), 0.8),  # the group can do without
        (Adaptive(), group(TWICE, LOOKED), 1.0),  # it can't
        (FaithEyes(), group(LOST), 0.2),
        (FaithEyes(), group(Outcome(True, calls=2, ran=1)), 1.1),
        (FaithEyes(), group(FAILED), 0.0),
        (FaithEyes(), group(RIGHT), 1.0),
    ],
)
def test_the_first_member_is_paid(rule: Rule, members: list[Outcome], wanted: float) -> None:
    assert rewards(rule, members)[0].total == pytest.approx(wanted)


def test_statistics_count_operations_that_ran_and_calls_that_were_tried() -> None:
    seen = statistics([LOOKED, FAILED, RIGHT, WRONG])
    assert (seen.size, seen.rapr, seen.called, seen.right_without) == (4, 0.25, 0.5, True)
    assert statistics([]) == (0, 0.0, 0.0, False)


def test_a_recipe_names_a_rule_with_its_options() -> None:
    assert rule({"name": "curiosity", "alpha": 1.0}) == Curiosity(alpha=1.0)
    with pytest.raises(UsageError, match="no reward is called 'curious': there are curiosity, release"):
        rule({"name": "curious"})
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        rule({"name": "curiosity", "alfa": 1.0})
