"""Encodings with their pixels become the tensors of one forward pass, padded or packed.

A padded batch has one conversation a row and its padding on the right, where causal attention never looks: it needs no
attention mask, so the fast causal kernel runs. A packed batch has all conversations in one row; a fourth row of
positions, each conversation counting from 0, is how transformers learns where one ends, so that none sees another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    import torch

    from training.encoding import Encoding


@dataclass(frozen=True)
class Sample:
    """One conversation, ready to be put beside others; n tokens, p vision patches, k images."""

    ids: np.ndarray
    """int64 [n]"""
    learn: np.ndarray
    """bool [n]"""
    positions: np.ndarray
    """int64 [3, n]"""
    grids: np.ndarray
    """int64 [k, 3]"""
    pixels: torch.Tensor
    """float32 [p, values]"""

    @classmethod
    def of(cls, encoding: Encoding, pixels: Sequence[torch.Tensor]) -> Self:
        """The sample of an encoding and the pixels of its views; ValueError unless they cost what its tokens say."""
        import numpy as np
        import torch

        grids = np.array([encoding.codec.patch_grid(view) for view in encoding.views], dtype=np.int64).reshape(-1, 3)
        if [len(one) for one in pixels] != grids.prod(axis=1).tolist():
            raise ValueError("the pixels are not those of the encoding's views")
        ids, learn = np.array(encoding.ids, dtype=np.int64), np.array(encoding.learn, dtype=bool)
        return cls(ids, learn, encoding.positions(), grids, torch.cat(list(pixels)) if pixels else torch.zeros(0))


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass: b rows of l tokens."""

    input_ids: torch.Tensor
    """int64 [b, l]"""
    learn: torch.Tensor
    """bool [b, l]; the first token of a conversation is never learned"""
    positions: torch.Tensor
    """int64 [3, b, l], or [4, 1, l] when packed"""
    image: torch.Tensor
    """int64 [b, l]: 1 on image tokens, what transformers calls mm_token_type_ids"""
    pixels: torch.Tensor
    """float32 [patches of all images, values]"""
    grids: torch.Tensor
    """int64 [images, 3]"""

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))

    @property
    def model_inputs(self) -> dict[str, Any]:
        """What a Qwen-VL model's forward takes."""
        seen = {"pixel_values": self.pixels, "image_grid_thw": self.grids} if len(self.grids) else {}
        text = {"input_ids": self.input_ids, "position_ids": self.positions, "mm_token_type_ids": self.image}
        return text | seen | {"use_cache": False}

    def pin_memory(self) -> Self:
        """The same in page-locked memory, from which a GPU copies while it computes."""
        return type(self)(*(tensor.pin_memory() for tensor in vars(self).values()))


def pad(samples: Sequence[Sample], pad_id: int, image_id: int) -> Batch:
    """One conversation a row, padded on the right."""
    import numpy as np
    import torch

    length = max(len(sample.ids) for sample in samples)
    ids = np.full((len(samples), length), pad_id, dtype=np.int64)
    learn = np.zeros((len(samples), length), dtype=bool)
    positions = np.zeros((3, len(samples), length), dtype=np.int64)
    for row, sample in enumerate(samples):
        end = len(sample.ids)
        ids[row, :end], learn[row, 1:end], positions[:, row, :end] = sample.ids, sample.learn[1:], sample.positions
    return _batch(samples, ids, learn, torch.from_numpy(positions), image_id)


def pack(samples: Sequence[Sample], image_id: int) -> Batch:
    """All conversations in one row, none of which sees another."""
    import numpy as np
    import torch

    ids = np.concatenate([sample.ids for sample in samples])[None]
    learn = np.concatenate([np.concatenate([[False], sample.learn[1:]]) for sample in samples])[None]
    counted = np.concatenate([np.arange(len(sample.ids)) for sample in samples])[None]
    positions = np.concatenate([counted, np.concatenate([sample.positions for sample in samples], axis=1)])[:, None]
    return _batch(samples, ids, learn, torch.from_numpy(positions), image_id)


def _batch(
    samples: Sequence[Sample], ids: np.ndarray, learn: np.ndarray, positions: torch.Tensor, image_id: int
) -> Batch:
    import numpy as np
    import torch

    seen = [sample for sample in samples if len(sample.grids)]
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(learn),
        positions,
        torch.from_numpy((ids == image_id).astype(np.int64)),
        torch.cat([sample.pixels for sample in seen]) if seen else torch.zeros(0),
        torch.from_numpy(np.concatenate([sample.grids for sample in seen]) if seen else np.zeros((0, 3), np.int64)),
    )
