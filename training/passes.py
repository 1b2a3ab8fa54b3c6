"""The two passes of a Qwen-VL student: its vision tower over pictures, its language model over tokens.

They are called apart, so that a picture is encoded once for all the conversations that show it, and so that the
language model goes on from keys and values that are kept. Positions and masks are explicit: what a model infers from
its own last call is never relied on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from training.encoding import Codec

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from dataforge.records import View


class Feature(NamedTuple):
    """What the language model sees of one picture: n tokens of d values."""

    pooled: Tensor
    """[n, d], in place of the embeddings of its placeholders"""
    deep: tuple[Tensor, ...] = ()
    """[n, d] each, added after the first layers (Qwen3-VL's deepstack)"""


class KeysAndValues(Protocol):
    """What attention layers put their keys and values into, [rows, heads, tokens, width], and get all of them from."""

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]: ...

    def get_seq_length(self, layer_idx: int = 0) -> int: ...


def core_of(student: Any) -> Any:
    """The Qwen-VL model itself, without what peft puts around it."""
    return student.get_base_model() if hasattr(student, "get_base_model") else student


def see(student: Any, pixels: Sequence[Tensor], grids: Sequence[tuple[int, int, int]]) -> list[Feature]:
    """The features of pictures, in one pass of the tower; pixels and grids are what the codec makes of a view."""
    core = core_of(student).model
    device = next(core.visual.parameters()).device
    grid = torch.tensor(grids, dtype=torch.int64, device=device)
    made = core.get_image_features(torch.cat(list(pixels)).to(device), grid, return_dict=True)
    deep = getattr(made, "deepstack_features", None) or []
    return [Feature(one, tuple(layer[at] for layer in deep)) for at, one in enumerate(made.pooler_output)]


def speak(
    student: Any,
    ids: Tensor,
    positions: Tensor,
    mask: Tensor,
    cache: KeysAndValues,
    features: Sequence[Feature],
    image_id: int,
) -> Tensor:
    """The hidden states [b, q, d] after ids [b, q] at positions [3, b, q].

    mask [b, 1, q, t] is true where a token sees one of the t that the cache then holds. `features` are those of the
    pictures among the ids, row by row; ValueError where they aren't as long as the placeholders.
    """
    core = core_of(student)
    embedded = core.get_input_embeddings()(ids)
    image = ids == image_id
    extra: dict[str, Any] = {}
    found = sum(len(one.pooled) for one in features)
    if int(image.sum()) != found:
        raise ValueError(f"{int(image.sum())} image tokens stand for {found} features")
    if features:
        pooled = torch.cat([one.pooled for one in features]).to(embedded.dtype)
        embedded = embedded.masked_scatter(image[..., None], pooled)
        if features[0].deep:
            layers = [torch.cat(layer) for layer in zip(*(one.deep for one in features), strict=True)]
            extra = {"visual_pos_masks": image, "deepstack_visual_embeds": layers}
    states: Tensor = core.model.language_model(
        inputs_embeds=embedded,
        position_ids=positions,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        **extra,
    ).last_hidden_state
    return states


class Sight:
    """Features of views by the hash of their pixels: each picture is seen once for as long as the tower is the same."""

    def __init__(self, student: Any, codec: Codec) -> None:
        self.student = student
        self.codec = codec
        self.counts: Counter[str] = Counter()
        self._seen: dict[str, Feature] = {}

    def of(self, views: Sequence[View], pictures: Mapping[str, Image.Image]) -> list[Feature]:
        """The features of these views, in order, without gradients; `pictures` holds theirs by hash."""
        new = list({view.sha256: view for view in views if view.sha256 not in self._seen}.values())
        if new:
            self.counts["pictures"] += len(new)
            self.counts["passes"] += 1
            pixels = [self.codec.pixels(pictures[view.sha256]) for view in new]
            with torch.no_grad():
                made = see(self.student, pixels, [self.codec.patch_grid(view) for view in new])
            self._seen |= {view.sha256: one for view, one in zip(new, made, strict=True)}
        return [self._seen[view.sha256] for view in views]

    def forget(self) -> None:
        """The tower has changed, or a step is over and its pictures won't come again."""
        self._seen.clear()


def unsampled(student: Any, codec: Codec) -> list[int]:
    """Ids that are never sampled: what stands for pixels, and rows of the head beyond the tokenizer's vocabulary."""
    rows = core_of(student).lm_head.weight.shape[0]
    return sorted({*codec.vision_ids, *range(len(codec.tokenizer), rows)})


def scores_of(student: Any, states: Tensor, never: Tensor, temperature: float) -> Tensor:
    """float32 [n, vocabulary]: log-probabilities after hidden states [n, d], as they are sampled from."""
    raw = core_of(student).lm_head(states).float() / temperature
    raw = raw.index_fill(1, never, torch.finfo(torch.float32).min)
    return torch.log_softmax(raw, dim=-1)
