"""The parity gate: what the sampler saw is what the learner trains on, or the run stops.

Four things are compared, from the cheapest on: the ids, the number of placeholders and of features, the pixels, and the
log-probabilities of the sampled tokens. A breach names the first token, turn or image that is wrong. Nothing is
repaired and nothing is dropped to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dataforge.media import fingerprint

if TYPE_CHECKING:
    from dataforge.records import Trace
    from training.encoding import Codec
    from training.shared import Conversation


class Breach(Exception):
    """Sampler and learner differ; the message names the first place."""


class Parity(NamedTuple):
    """How far the log-probabilities of learner and sampler are apart, over sampled tokens."""

    most: float
    """Largest absolute difference"""
    divergence: float
    """Mean k3 estimate of the divergence of the learner from the sampler"""


def check(traces: Sequence[Trace], conversations: Sequence[Conversation], codec: Codec) -> None:
    """Compare ids, placeholders and pixels of rollouts with what the learner will read; Breach where they differ."""
    for trace, one in zip(traces, conversations, strict=True):
        _same_ids(trace, one, codec)
        _same_pictures(trace, one, codec)


def _same_ids(trace: Trace, one: Conversation, codec: Codec) -> None:
    assert trace.tokens is not None
    stored, read = list(trace.tokens.ids), one.ids.tolist()
    for at, (old, new) in enumerate(zip(stored, read, strict=False)):
        if old != new:
            told = f"{codec.tokenizer.convert_ids_to_tokens([old, new])}"
            raise Breach(f"{trace.id}: token {at} ({_where(trace, at)}) is {new}, {old} was stored: {told}")
    if len(stored) != len(read):
        at = min(len(stored), len(read))
        what = "an extra token" if len(read) > len(stored) else "a missing token"
        raise Breach(f"{trace.id}: {what} at {at} ({_where(trace, at)}): {len(read)} tokens, {len(stored)} were stored")
    if trace.tokens.mask != one.learn.tolist():
        at = next(n for n, (old, new) in enumerate(zip(trace.tokens.mask, one.learn, strict=True)) if old != new)
        raise Breach(f"{trace.id}: token {at} ({_where(trace, at)}) is learned by one side alone")


def _same_pictures(trace: Trace, one: Conversation, codec: Codec) -> None:
    if len(one.views) != len(trace.all_views):
        first = min(len(one.views), len(trace.all_views)) + 1
        raise Breach(f"{trace.id}: image {first}: {len(one.views)} images, {len(trace.all_views)} were shown")
    for recorded, view in zip(trace.all_views, one.views, strict=True):
        picture = one.pictures.get(recorded.sha256)
        if picture is None:
            raise Breach(f"{trace.id}: image {recorded.number} is missing")
        if view != recorded or fingerprint(picture) != recorded.sha256:
            raise Breach(f"{trace.id}: image {recorded.number} has other pixels than were shown")
    wanted = sum(rows * columns for rows, columns in map(codec.grid, one.views))
    placed = int((one.ids == codec.image_id).sum())
    if placed != wanted:
        raise Breach(f"{trace.id}: {placed} placeholders stand for {wanted} features")


def compare(traces: Sequence[Trace], logprobs: Sequence[float], most: float) -> Parity:
    """Compare the learner's log-probabilities of the sampled tokens, trace by trace, with the sampler's.

    Breach, with the first token that is further apart than `most`.
    """
    import math

    at, largest, divergence = 0, 0.0, 0.0
    for trace in traces:
        assert trace.tokens is not None
        places = [place for start, end in trace.tokens.spans for place in range(start, end)]
        for place, stored in zip(places, trace.tokens.logprobs, strict=True):
            apart = stored - logprobs[at]
            if not abs(apart) <= most:
                raise Breach(
                    f"{trace.id}: token {place} ({_where(trace, place)}) has log-probability {logprobs[at]:.5f}, "
                    f"{stored:.5f} when it was sampled: {abs(apart):.2g} apart, more than {most:.2g}"
                )
            largest = max(largest, abs(apart))
            divergence += math.exp(apart) - apart - 1 if apart < 50 else math.inf
            at += 1
    if at != len(logprobs):
        raise Breach(f"{len(logprobs)} log-probabilities for {at} sampled tokens")
    return Parity(largest, divergence / at if at else 0.0)


def _where(trace: Trace, at: int) -> str:
    """Which turn a token lies in, for a person."""
    assert trace.tokens is not None
    for number, (start, end) in enumerate(trace.tokens.spans, start=1):
        if at < start:
            return f"before turn {number}"
        if at < end:
            return f"turn {number}"
    return "after the last turn"
