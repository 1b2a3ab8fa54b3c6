"""Intervals for scores and for differences of scores.

Questions on one picture, or one question in four orders of its options, rise and fall together: 800 rows of HR-Bench
are worth about 200. So whole groups are drawn, never single rows. A difference is drawn over the same questions on both
sides, which is why it can be told from noise where the two scores' own intervals overlap widely.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

DRAWS = 10_000
AT_ONCE = 250
"""Draws made in one go: bounds the memory."""
Z = 1.959964
"""Of a 95 % interval."""


class Interval(NamedTuple):
    """A mean with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float


def mean(values: Sequence[float], groups: Sequence[str], seed: int = 0) -> Interval:
    """The mean of values 0..1: Wilson's interval for rights and wrongs that stand alone, else a bootstrap of groups.

    A bootstrap can't see beyond its sample: of 20 right answers in 20 it would be sure. Wilson's interval isn't, and
    where all groups are alike, the bootstrap's is widened by what it could not see.
    """
    if not values:
        return Interval(0.0, 0.0, 1.0)
    average = math.fsum(values) / len(values)
    if len(set(groups)) == len(groups) and all(value in (0.0, 1.0) for value in values):
        return Interval(average, *wilson(average, len(values)))
    return Interval(average, *_beyond(bootstrap(values, groups, seed), groups, 0.0, 1.0))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` independent trials."""
    middle = share + Z * Z / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def difference(a: Sequence[float], b: Sequence[float], groups: Sequence[str], seed: int = 0) -> Interval:
    """The mean of b - a over pairs, by a paired bootstrap of groups; without pairs it may be anything."""
    if not a:
        return Interval(0.0, -1.0, 1.0)
    gains = [after - before for before, after in zip(a, b, strict=True)]
    return Interval(math.fsum(gains) / len(gains), *_beyond(bootstrap(gains, groups, seed), groups, -1.0, 1.0))


def _beyond(bounds: tuple[float, float], groups: Sequence[str], least: float, most: float) -> tuple[float, float]:
    """The bounds, widened where all groups are alike: the share of others that was missed may be worth anything.

    None of n groups is another, so at most the upper bound of Wilson's interval for 0 of n are.
    """
    low, high = bounds
    if high - low > 1e-9:
        return bounds
    unseen = wilson(0.0, len(set(groups)))[1]
    return low - unseen * (low - least), high + unseen * (most - high)


def bootstrap(values: Sequence[float], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the mean over groups drawn with replacement; the same for the same seed."""
    import numpy as np

    names = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    places = np.array([names[name] for name in groups])
    sums = np.bincount(places, weights=np.array(values, dtype=float))
    counts = np.bincount(places)
    draw = np.random.default_rng(seed)
    means = []
    for start in range(0, DRAWS, AT_ONCE):
        drawn = draw.integers(0, len(names), size=(min(AT_ONCE, DRAWS - start), len(names)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
