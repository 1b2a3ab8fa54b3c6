"""Splits: which part of a published set a trace goes to, so that no picture is in two of them.

Traces that share a group or a picture hang together, directly or over others; what hangs together goes to one split,
drawn by the seed from the smallest name in it, so the draw doesn't depend on order or on what else is there. What an
earlier push has put into a split stays there, and draws to it what hangs on it.
"""

import hashlib
from collections.abc import Iterable, Mapping


class Splits:
    """Assigns what hangs together to splits with these shares: `tie` everything, then ask."""

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        self._shares = shares
        self._seed = seed
        self._parent: dict[str, str] = {}
        self._taken: dict[str, set[str]] = {}
        """By root: splits that hold a part of it already."""

    def tie(self, source: str, group: str, pictures: Iterable[str], split: str = "") -> None:
        """These belong together: a source's group and the hashes of its pictures; `split` has them already."""
        root = self._root(_named(source, group))
        for picture in pictures:
            root = self._join(root, self._root(picture))
        if split:
            self._taken.setdefault(root, set()).add(split)

    def of(self, source: str, group: str) -> str | None:
        """The split of a group that has been tied; None where it would join what lies in two splits."""
        root = self._root(_named(source, group))
        taken = self._taken.get(root, set())
        if len(taken) > 1:
            return None
        return next(iter(taken), None) or self._draw(root)

    def _root(self, name: str) -> str:
        found = self._parent.setdefault(name, name)
        while found != self._parent[found]:
            self._parent[found] = found = self._parent[self._parent[found]]
        return found

    def _join(self, one: str, other: str) -> str:
        low, high = min(one, other), max(one, other)
        if low != high:
            self._parent[high] = low
            if high in self._taken:
                self._taken.setdefault(low, set()).update(self._taken.pop(high))
        return low

    def _draw(self, root: str) -> str:
        at = draw(self._seed, root) * sum(self._shares.values())
        for split, share in self._shares.items():
            at -= share
            if at < 0:
                return split
        return list(self._shares)[-1]


def draw(seed: int, name: str) -> float:
    """A number in 0..1 that depends on seed and name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]) / 2**64


def _named(source: str, group: str) -> str:
    """A name that no picture's hash can have, and that two sources with groups of one name don't share."""
    return f"{source}\n{group}"
