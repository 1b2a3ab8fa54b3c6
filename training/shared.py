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

from training.passes import Feature, Sight, scores_of, see, speak, unsampled

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


class Leaves(NamedTuple):
    """The conversations' own turns, of those that are about as long."""

    level: Level
    learn: Tensor
    """bool [b, l]: which tokens are scored"""


class Tree(NamedTuple):
    """Conversations cut into levels: what all begin with, their groups' openings, and their own turns."""

    trunk: list[Level]
    leaves: list[Leaves]
    order: Tensor
    """int64 [scored tokens]: where each lies among those of the leaves, conversation by conversation"""
    pictures: Mapping[str, Image.Image]

    def to(self, device: torch.device) -> Tree:
        trunk = [_moved(level, device) for level in self.trunk]
        leaves = [Leaves(_moved(leaf.level, device), leaf.learn.to(device)) for leaf in self.leaves]
        return Tree(trunk, leaves, self.order.to(device), self.pictures)

    @property
    def levels(self) -> list[Level]:
        return [*self.trunk, *(leaf.level for leaf in self.leaves)]


def _moved(level: Level, device: torch.device) -> Level:
    parents = None if level.parents is None else level.parents.to(device)
    return Level(level.ids.to(device), level.positions.to(device), level.lengths.to(device), parents, level.views)


def tree(conversations: Sequence[Conversation], codec: Codec) -> Tree:
    """Cut conversations where they part; those of one group should be among them, in any order."""
    openings: dict[tuple[Any, ...], int] = {}
    parents = []
    for one in conversations:
        shown = tuple(view.sha256 for view in one.views[: _pictures(one.ids[: one.opening], one, codec)])
        parents.append(openings.setdefault((shown, one.ids[: one.opening].tobytes()), len(openings)))
    heads = [conversations[parents.index(number)] for number in range(len(openings))]
    common = _common([one.ids[: one.opening - 1] for one in heads], codec.image_id)
    trunk = []
    if common:
        trunk.append(_level(heads[:1], [0], [common], None, codec))
    roots = [0] * len(heads) if common else None
    trunk.append(_level(heads, [common] * len(heads), [one.opening for one in heads], roots, codec))
    sorts = _alike([len(one.ids) - one.opening for one in conversations])
    leaves = [_leaves(rows, conversations, parents, codec) for rows in sorts]
    pictures = {name: picture for one in conversations for name, picture in one.pictures.items()}
    return Tree(trunk, leaves, _order(sorts, [int(one.learn.sum()) for one in conversations]), pictures)


def _alike(lengths: Sequence[int], waste: float = 0.25) -> list[list[int]]:
    """Rows dealt out such that no more than that share of the tokens passed together is padding."""
    dealt: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        own = sum(lengths[one] for one in dealt[-1]) + lengths[row] if dealt else 0
        if not dealt or own < (1 - waste) * lengths[dealt[-1][0]] * (len(dealt[-1]) + 1):
            dealt.append([])
        dealt[-1].append(row)
    return dealt


def _leaves(rows: Sequence[int], conversations: Sequence[Conversation], parents: Sequence[int], codec: Codec) -> Leaves:
    these = [conversations[row] for row in rows]
    starts, ends = [one.opening for one in these], [len(one.ids) for one in these]
    level = _level(these, starts, ends, [parents[row] for row in rows], codec)
    learn = torch.zeros_like(level.ids, dtype=torch.bool)
    for at, one in enumerate(these):
        learn[at, : len(one.ids) - one.opening] = torch.from_numpy(one.learn[one.opening :])
    return Leaves(level, learn)


def _order(sorts: Sequence[Sequence[int]], counts: Sequence[int]) -> Tensor:
    """Where the scored tokens of each conversation lie once those of the leaves are put one after the other."""
    starts, at = {}, 0
    for row in (row for rows in sorts for row in rows):
        starts[row] = at
        at += counts[row]
    return torch.cat([torch.arange(starts[row], starts[row] + counts[row]) for row in range(len(counts))])


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


class _Passed(NamedTuple):
    """What a level hands on."""

    handed: _Handed
    real: Tensor
    """bool [b, tokens so far]: no padding"""
    states: Tensor
    last: Tensor
    """[b, d]: the state after each piece's last token"""


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
        self.never: Tensor
        self.register_buffer("never", torch.tensor(unsampled(student, codec)), persistent=False)
        self._no_split_modules = getattr(student, "_no_split_modules", None)

    def forward(self, shared: Tree) -> Tensor:
        """float32 [sampled tokens]: the log-probability of each, conversation by conversation."""
        features = self._features(shared)
        stem = None
        for level in shared.trunk:
            stem = self._passed(level, stem, features)
        assert stem is not None
        states, targets = [], []
        for leaf in shared.leaves:
            own = self._passed(leaf.level, stem, features)
            assert leaf.level.parents is not None
            first = stem.last.index_select(0, leaf.level.parents)
            states.append(torch.cat([first[:, None], own.states[:, :-1]], dim=1)[leaf.learn])
            targets.append(leaf.level.ids[leaf.learn])
        return self._scored(torch.cat(states), torch.cat(targets)).index_select(0, shared.order)

    def _passed(self, level: Level, before: _Passed | None, features: Mapping[str, Feature]) -> _Passed:
        """One level through the model, going on from the level before."""
        own = torch.arange(level.ids.shape[1], device=level.ids.device)
        mask = (own[None, :] <= own[:, None])[None].expand(len(level.ids), -1, -1)
        real = own[None] < level.lengths[:, None]
        if before is not None:
            assert level.parents is not None
            earlier = before.real.index_select(0, level.parents)
            mask = torch.cat([earlier[:, None].expand(-1, len(own), -1), mask], dim=2)
            real = torch.cat([earlier, real], dim=1)
        handed = _Handed(before.handed if before else None, level.parents)
        shown = [features[view.sha256] for view in level.views]
        image_id = self.codec.image_id
        states = speak(self.student, level.ids, level.positions, mask[:, None], handed, shown, image_id)
        last = states[torch.arange(len(states), device=states.device), level.lengths - 1]
        return _Passed(handed, real, states, last)

    def _features(self, shared: Tree) -> dict[str, Feature]:
        views = {view.sha256: view for level in shared.levels for view in level.views}
        if self.sight is not None:
            return dict(zip(views, self.sight.of(list(views.values()), shared.pictures), strict=True))
        if not views:
            return {}
        self.pictures_seen += len(views)
        pixels = [self.codec.pixels(shared.pictures[name]) for name in views]
        return dict(
            zip(views, see(self.student, pixels, list(map(self.codec.patch_grid, views.values()))), strict=True)
        )

    def _scored(self, states: Tensor, targets: Tensor) -> Tensor:
        """A chunk's scores over the vocabulary are made again for the backward pass: they never all exist at once."""
        if len(states) <= self.chunk:
            return self._chunk(states, targets)
        chunks = zip(torch.split(states, self.chunk), torch.split(targets, self.chunk), strict=True)
        return torch.cat([checkpoint(self._chunk, *part, use_reentrant=False) for part in chunks])

    def _chunk(self, states: Tensor, targets: Tensor) -> Tensor:
        return scores_of(self.student, states, self.never, self.temperature).gather(1, targets[:, None]).squeeze(1)
