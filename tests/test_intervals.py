"""Intervals: against known values, against how often they hold, and whole groups against single rows."""

import random

import pytest

from dataforge.evaluate import intervals


def alone(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_wilsons_interval_has_its_known_values() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = intervals.mean([1.0] * right + [0.0] * (count - right), alone(count))
        assert found.mean == right / count
        assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_a_bootstrap_of_single_rows_agrees_with_the_normal_interval() -> None:
    draw = random.Random(3)
    values = [draw.random() for _ in range(400)]
    found = intervals.mean(values, alone(400))
    average = sum(values) / 400
    half = 1.96 * (sum((value - average) ** 2 for value in values) / 400**2) ** 0.5
    assert (found.low, found.high) == pytest.approx((average - half, average + half), abs=0.002)


def test_four_orders_of_one_question_are_worth_one_question() -> None:
    draw = random.Random(0)
    once = [float(draw.random() < 0.7) for _ in range(200)]
    groups = [str(number) for number in range(200) for _ in range(4)]
    one, four = intervals.mean(once, alone(200)), intervals.mean([v for v in once for _ in range(4)], groups)
    assert one.mean == four.mean
    assert (four.low, four.high) == pytest.approx((one.low, one.high), abs=0.012)
    naive = intervals.mean([v for v in once for _ in range(4)], alone(800))
    assert naive.high - naive.low < 0.6 * (four.high - four.low)


def test_a_paired_difference_is_narrower_than_what_the_two_scores_say() -> None:
    draw = random.Random(1)
    before = [float(draw.random() < 0.6) for _ in range(190)]
    after = [1.0 if not value and draw.random() < 0.2 else value for value in before]
    groups = alone(190)
    gap = intervals.difference(before, after, groups)
    assert gap.low > 0
    assert gap.mean == pytest.approx(sum(after) / 190 - sum(before) / 190)
    one, two = intervals.mean(before, groups), intervals.mean(after, groups)
    assert one.high > two.low
    same = intervals.difference(before, before, groups)
    assert same.mean == 0.0
    assert 0.0 < same.high == -same.low < 0.03
    mirrored = intervals.difference(after, before, groups)
    assert (mirrored.low, mirrored.high) == pytest.approx((-gap.high, -gap.low), abs=0.011)


def test_intervals_hold_as_often_as_they_say() -> None:
    draw, held = random.Random(5), 0
    for _ in range(300):
        values, groups = list[float](), list[str]()
        for group in range(60):
            ease = draw.betavariate(2, 1)  # of mean 2/3; the rows of a group share it
            values += [float(draw.random() < ease) for _ in range(3)]
            groups += [str(group)] * 3
        low, high = intervals.bootstrap(values, groups, seed=0)
        held += low <= 2 / 3 <= high
    assert 0.90 <= held / 300 <= 0.99


def test_no_score_of_groups_that_are_all_alike_is_certain() -> None:
    groups = ["a", "a", "b", "b"]
    for value in (0.0, 0.25, 1.0):
        found = intervals.mean([value] * 4, groups)
        assert found.mean == value
        assert found.low < value or value == 0.0
        assert found.high > value or value == 1.0
        assert 0.0 <= found.low <= found.high <= 1.0
    even = intervals.difference([0.0] * 4, [0.0] * 4, groups)
    assert -1.0 < even.low < 0.0 < even.high < 1.0
    many = [str(number) for number in range(1000)]
    narrow = intervals.difference([1.0] * 1000, [1.0] * 1000, many)
    assert narrow.high == -narrow.low < 0.005


def test_the_same_seed_gives_the_same_interval_and_nothing_has_no_certainty() -> None:
    values, groups = [0.1, 0.5, 0.9, 0.3], ["a", "a", "b", "c"]
    assert intervals.bootstrap(values, groups, 1) == intervals.bootstrap(values, groups, 1)
    assert intervals.mean([], []) == (0.0, 0.0, 1.0)
    assert intervals.difference([], [], []) == (0.0, -1.0, 1.0)
