"""Which traces go through which GPU in which step: made from lengths alone, before anything is trained.

A step's traces are drawn at random; only within the step are they sorted by length, so that a pass has little padding
and no step is made of short ones alone. A pass holds what one GPU takes at once. Every GPU has as many passes as the
others, so that their gradients meet, and what each trace weighs doesn't depend on how many GPUs there are.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Pass(NamedTuple):
    """What one GPU takes at once."""

    rows: tuple[int, ...]
    counts: bool = True
    """False for a copy that only keeps a GPU in step with the others: its gradient is nil."""


class Step(NamedTuple):
    """One update."""

    passes: tuple[tuple[Pass, ...], ...]
    """By GPU."""
    rows: tuple[int, ...]


def count_steps(traces: int, batch: int, epochs: float) -> int:
    """Updates in that many epochs."""
    return math.ceil(max(1, round(traces * epochs)) / batch)


def steps(
    lengths: Sequence[int], *, batch: int, epochs: float, pass_tokens: int, gpus: int, packed: bool, seed: int
) -> Iterator[Step]:
    """The steps in order: every trace once an epoch, in another order each time, the last step perhaps smaller.

    The same arguments give the same steps; the number of GPUs changes only how a step's traces are spread.
    """
    order = _order(len(lengths), max(1, round(len(lengths) * epochs)), seed)
    while rows := tuple(itertools.islice(order, batch)):
        yield Step(spread(rows, lengths, pass_tokens, gpus, packed), rows)


def spread(
    rows: Sequence[int], lengths: Sequence[int], pass_tokens: int, gpus: int, packed: bool
) -> tuple[tuple[Pass, ...], ...]:
    """A step's traces as passes of at most `pass_tokens`, as many for each GPU, long ones dealt out first."""
    made = fill(rows, lengths, pass_tokens, packed)
    while len(made) % gpus:
        widest = max(made, key=len)
        if len(widest) == 1:
            break
        made.remove(widest)
        made += [widest[::2], widest[1::2]]
    made.sort(key=lambda one: (-cost(one, lengths, packed), one))
    passes = [Pass(tuple(one)) for one in made]
    passes += [passes[-1]._replace(counts=False)] * (-len(passes) % gpus)
    return tuple(tuple(passes[gpu::gpus]) for gpu in range(gpus))


def fill(rows: Sequence[int], lengths: Sequence[int], pass_tokens: int, packed: bool) -> list[list[int]]:
    """The rows as passes: neighbours in length where rows are padded, any that fit where they are packed."""
    passes: list[list[int]] = []
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        open_ones = passes if packed else passes[-1:]
        fits = next((one for one in open_ones if cost([*one, row], lengths, packed) <= pass_tokens), None)
        if fits is None:
            passes.append([row])
        else:
            fits.append(row)
    return passes


def cost(rows: Sequence[int], lengths: Sequence[int], packed: bool) -> int:
    """Tokens of a pass, padding included."""
    if packed:
        return sum(lengths[row] for row in rows)
    return max(lengths[row] for row in rows) * len(rows)


def _order(traces: int, total: int, seed: int) -> Iterator[int]:
    for drawn in range(total):
        if drawn % traces == 0:
            order = list(range(traces))
            random.Random(f"{seed}-{drawn // traces}").shuffle(order)
        yield order[drawn % traces]
