"""An encoding as a person can read it: runs of tokens that are learned, masked, or an image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from dataforge.records import View
from training.encoding import Encoding


class Piece(NamedTuple):
    """Tokens in a row that share a fate."""

    text: str
    """"" for an image."""
    tokens: int
    learned: bool
    view: View | None = None


def pieces(encoding: Encoding) -> Iterator[Piece]:
    """The encoding's tokens, in order and without a gap."""
    views, image = iter(encoding.views), encoding.codec.image_id
    fates = zip(encoding.ids, encoding.learn, strict=True)
    for (shown, learned), group in itertools.groupby(fates, key=lambda fate: (fate[0] == image, fate[1])):
        ids = [one for one, _ in group]
        if shown:
            yield Piece("", len(ids), learned, next(views))
        else:
            yield Piece(str(encoding.codec.tokenizer.decode(ids)), len(ids), learned)
