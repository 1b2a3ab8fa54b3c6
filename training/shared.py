"""Log-probabilities of sampled tokens, for many conversations that begin alike.

The rollouts of a group share the system turn, the pictures and the question, and all groups share the system turn. Here
what is shared goes through the model once: keys and values of a beginning are handed on to all that go on from it, with
their gradients, so the result is that of each conversation by itself. Three levels: what all begin with, each group's
opening, each rollout's own turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.passes import Feature, Sight, see, speak, unsampled

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from dataforge.records import View
    from training.encoding import Codec, Encoding


@dataclass(frozen=True)
class Conversation:
    """One conversation as the learner takes it; n tokens."""

    name: str
    ids: np.ndarray
    """int64 [n]"""
    learn: np.ndarray
    """bool [n]: sampled by the student"""
    positions: np.ndarray
    """int64 [3, n]"""
    opening: int
    """Tokens before the first turn of the student's"""
    views: tuple[View, ...]
    pictures: Mapping[str, Image.Image]
    """The pixels of the views, by their hash"""

    @classmethod
    def of(cls, name: str, encoding: Encoding, pictures: Mapping[str, Image.Image]) -> Conversation:
        import numpy as np

        learn = np.array(encoding.learn, dtype=bool)
        opening = int(learn.argmax()) if learn.any() else len(learn)
        ids = np.array(encoding.ids, dtype=np.int64)
        return cls(name, ids, learn, encoding.positions(), opening, tuple(encoding.views), pictures)


class Level(NamedTuple):
    """Pieces of conversations, side by side; b pieces of up to l tokens."""

    ids: Tensor
    """int64 [b, l], padded on the right"""
    positions: Tensor
    """int64 [3, b, l]"""
    lengths: Tensor
    """int64 [b]"""
    parents: Tensor | None
    """int64 [b]: the piece of the level before that each goes on from"""
    views: list[View]
    """Those among the tokens, piece by piece"""


class Tree(NamedTuple):
    """Conversations cut into levels, and which tokens of the last are scored."""

    levels: list[Level]
    learn: Tensor
    """bool [b, l] of the last level"""
    pictures: Mapping[str, Image.Image]

    def to(self, device: torch.device) -> Tree:
        moved = [
            Level(*(value.to(device) if isinstance(value, torch.Tensor) else value for value in level))
            for level in self.levels
        ]
        return Tree(moved, self.learn.to(device), self.pictures)


def tree(conversations: Sequence[Conversation], codec: Codec) -> Tree:
    """Cut conversations where they part; those of one group should be among them, in any order."""
    openings: dict[tuple[Any, ...], int] = {}
    parents = []
    for one in conversations:
        shown = tuple(view.sha256 for view in one.views[: _pictures(one.ids[: one.opening], one, codec)])
        parents.append(openings.setdefault((shown, one.ids[: one.opening].tobytes()), len(openings)))
    heads = [conversations[parents.index(number)] for number in range(len(openings))]
    common = _common([one.ids[: one.opening - 1] for one in heads], codec.image_id)
    levels = []
    if common:
        levels.append(_level(heads[:1], [0], [common], None, codec))
    roots = [0] * len(heads) if common else None
    levels.append(_level(heads, [common] * len(heads), [one.opening for one in heads], roots, codec))
    starts, ends = [one.opening for one in conversations], [len(one.ids) for one in conversations]
    levels.append(_level(conversations, starts, ends, parents, codec))
    learn = torch.zeros_like(levels[-1].ids, dtype=torch.bool)
    for row, one in enumerate(conversations):
        learn[row, : len(one.ids) - one.opening] = torch.from_numpy(one.learn[one.opening :])
    pictures = {name: picture for one in conversations for name, picture in one.pictures.items()}
    return Tree(levels, learn, pictures)


def _common(beginnings: Sequence[np.ndarray], image_id: int) -> int:
    """How many tokens all begin with, before the first picture."""
    shortest = min(len(one) for one in beginnings)
    first = beginnings[0][:shortest]
    differ = (first == image_id).copy()
    for other in beginnings[1:]:
        differ |= first != other[:shortest]
    return int(differ.argmax()) if differ.any() else shortest


def _pictures(ids: np.ndarray, one: Conversation, codec: Codec) -> int:
    """How many of the conversation's views lie among its first ids."""
    tokens, count = int((ids == codec.image_id).sum()), 0
    while tokens > 0:
        rows, columns = codec.grid(one.views[count])
        tokens, count = tokens - rows * columns, count + 1
    return count


def _level(
    conversations: Sequence[Conversation],
    starts: Sequence[int],
    ends: Sequence[int],
    parents: Sequence[int] | None,
    codec: Codec,
) -> Level:
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    ids = torch.full((len(lengths), max(*lengths, 1)), codec.pad_id)
    positions = torch.zeros((3, *ids.shape), dtype=torch.int64)
    views: list[View] = []
    for row, (one, start, end) in enumerate(zip(conversations, starts, ends, strict=True)):
        ids[row, : end - start] = torch.from_numpy(one.ids[start:end])
        positions[:, row, : end - start] = torch.from_numpy(one.positions[:, start:end])
        views += one.views[_pictures(one.ids[:start], one, codec) : _pictures(one.ids[:end], one, codec)]
    return Level(ids, positions, torch.tensor(lengths), None if parents is None else torch.tensor(parents), views)


class _Handed:
    """Keys and values of a level's pieces: what their beginnings hand on, and their own."""

    def __init__(self, before: _Handed | None, parents: Tensor | None) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self._before, self._parents = before, parents

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self._before is not None:
            assert self._parents is not None
            earlier = [kept.index_select(0, self._parents) for kept in self._before.layers[layer_idx]]
            keys, values = torch.cat([earlier[0], keys], dim=2), torch.cat([earlier[1], values], dim=2)
        if layer_idx == len(self.layers):
            self.layers.append((keys, values))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class Scores(NamedTuple):
    """Of the sampled tokens of conversations, row by row; n tokens."""

    logprobs: Tensor
    """float32 [n]"""
    entropy: Tensor
    """float32 [n], without gradient"""


class SharedLikelihood(nn.Module):
    """A student that answers a tree with the log-probabilities of its sampled tokens.

    The whole of it goes to accelerate, so that all of its passes are synchronised. With `sight` pictures are taken from
    there, encoded once and without gradients (a frozen tower); else each different picture of the tree is encoded here.
    """

    def __init__(
        self, student: nn.Module, codec: Codec, sight: Sight | None = None, temperature: float = 1.0, chunk: int = 1024
    ) -> None:
        super().__init__()
        self.student = student
        self.codec = codec
        self.sight = sight
        self.temperature = temperature
        self.chunk = chunk
        self.pictures_seen = 0
        """By the tower, through this module."""
        self.register_buffer("never", torch.tensor(unsampled(student, codec)), persistent=False)
        self._no_split_modules = getattr(student, "_no_split_modules", None)

    def forward(self, shared: Tree) -> Scores:
        features = self._features(shared)
        handed, allowed, states = None, None, None
        last: Tensor | None = None
        for level in shared.levels:
            own = torch.arange(level.ids.shape[1], device=level.ids.device)
            mask = (own[None, :] <= own[:, None])[None].expand(len(level.ids), -1, -1)
            if allowed is not None:
                assert level.parents is not None
                earlier = allowed.index_select(0, level.parents)[:, None].expand(-1, len(own), -1)
                mask = torch.cat([earlier, mask], dim=2)
                assert states is not None
                last = states.index_select(0, level.parents)
            handed = _Handed(handed, level.parents)
            shown = [features[view.sha256] for view in level.views]
            hidden = speak(
                self.student, level.ids, level.positions, mask[:, None], handed, shown, self.codec.image_id
            )
            states = hidden[torch.arange(len(hidden), device=hidden.device), level.lengths - 1]
            real = own[None] < level.lengths[:, None]
            allowed = real if allowed is None else torch.cat([allowed.index_select(0, level.parents), real], dim=1)
        assert last is not None
        before = torch.cat([last[:, None], hidden[:, :-1]], dim=1)[shared.learn]
        return self._scored(before, shared.levels[-1].ids[shared.learn])

    def _features(self, shared: Tree) -> dict[str, Feature]:
        views = {view.sha256: view for level in shared.levels for view in level.views}
        if self.sight is not None:
            return dict(zip(views, self.sight.of(list(views.values()), shared.pictures), strict=True))
        if not views:
            return {}
        self.pictures_seen += len(views)
        pixels = [self.codec.pixels(shared.pictures[name]) for name in views]
        return dict(zip(views, see(self.student, pixels, list(map(self.codec.patch_grid, views.values()))), strict=True))

    def _scored(self, states: Tensor, targets: Tensor) -> Scores:
        """A chunk's scores over the vocabulary are made again for the backward pass: they never all exist at once."""
        if len(states) <= self.chunk:
            return Scores(*self._chunk(states, targets))
        chunks = zip(states.split(self.chunk), targets.split(self.chunk), strict=True)
        parts = [checkpoint(self._chunk, *part, use_reentrant=False) for part in chunks]
        logprobs, entropy = zip(*parts, strict=True)
        return Scores(torch.cat(logprobs), torch.cat(entropy))

    def _chunk(self, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        from training.passes import scores_of

        scores = scores_of(self.student, states, self.never, self.temperature)
        picked = scores.gather(1, targets[:, None]).squeeze(1)
        with torch.no_grad():
            entropy = -(scores.exp() * scores).sum(dim=1)
        return picked, entropy
