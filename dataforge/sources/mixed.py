"""Mixed: several sources with shares, read as one. A manifest's `sources:` list becomes this.

Rows of the parts come in turn, each part's as often as its share says, so that any stretch of the run has about the
shares of the whole. When a part with rows to give has none left, reading ends: the shares are the promise, not the
number. Each example says which source it is from.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from dataforge.media import MediaStore
from dataforge.plugins import Row, Source, build, find
from dataforge.records import Example, Failure, Scene

OWN = ("share", "else")
"""Keys of a part that are not its source's options."""


class Part(NamedTuple):
    """One source, its share, and why it stands in for another; empty where it doesn't."""

    source: Source
    share: float
    instead: str


class Mixed(Source):
    """Several sources with shares: each part is a source with its options, `share`, and perhaps `else`, a stand-in."""

    of: tuple[dict[str, Any], ...] = Field(min_length=1, description="the parts: name, options, share, else")

    @field_validator("of", mode="after")
    @classmethod
    def _spelled_out(cls, parts: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """Every part with all its options, a stand-in put where it is needed, so that a stored manifest is resolved."""
        resolved = tuple(_resolved(part) for part in parts)
        names = [part["name"] for part in resolved]
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)}: a source can be a part once")
        return resolved

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The sources, in order."""
        return tuple(
            Part(build("source", _options(part)), part["share"], str(part.get("instead", ""))) for part in self.of
        )

    @property
    def licence(self) -> str:
        return "; ".join(f"{part.source.name}: {part.source.licence}" for part in self.parts)

    @property
    def redistributable(self) -> bool:
        return all(part.source.redistributable for part in self.parts)

    @property
    def endless(self) -> bool:
        return all(part.source.endless for part in self.parts)

    @property
    def poses(self) -> bool:
        return any(part.source.poses for part in self.parts)

    @property
    def missing(self) -> str:
        return "; ".join(part.source.missing for part in self.parts if part.source.missing)

    def read(self) -> Iterator[Row | Failure]:
        """Rows by share, the part with the largest lag first; ends when a part has no more."""
        streams = [part.source.read() for part in self.parts]
        whole, taken = sum(part.share for part in self.parts), [0] * len(streams)
        while True:
            due = (1 + sum(taken)) / whole
            number = max(range(len(streams)), key=lambda index: self.parts[index].share * due - taken[index])
            item = next(streams[number], None)
            if item is None:
                return
            taken[number] += 1
            yield item if isinstance(item, Failure) else item._replace(content=(number, item.content))

    def example(self, row: Row, store: MediaStore) -> Example | Scene:
        number, content = row.content
        source: Source = self.parts[number].source
        return source.example(row._replace(content=content), store)


def _resolved(part: Mapping[str, Any]) -> dict[str, Any]:
    share, stand_in = part.get("share"), part.get("else")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or share <= 0:
        raise ValueError(f"{part.get('name')}: each source needs a share above 0")
    lacks = _lacks(part) if stand_in else ""
    if lacks and stand_in:
        named = dict(stand_in) if isinstance(stand_in, Mapping) else {"name": stand_in}
        return _resolved({**named, "share": share, "instead": f"{part['name']}: {lacks}"})
    source: Source = build("source", _options(part))
    told = {"instead": part["instead"]} if "instead" in part else {}
    return {"name": part["name"], **source.model_dump(mode="json", by_alias=True), "share": float(share), **told}


def _options(part: Mapping[str, Any]) -> dict[str, Any]:
    """The part as a source's own options."""
    return {key: value for key, value in part.items() if key not in (*OWN, "instead")}


def _lacks(part: Mapping[str, Any]) -> str:
    """Why a source can't be read here; empty where it can."""
    kind = find("source", str(part.get("name")))
    if "path" in kind.model_fields and kind.model_fields["path"].is_required() and "path" not in part:
        return "no path is given"
    source: Source = build("source", _options(part))
    return source.missing


def stand_ins(source: Source) -> list[str]:
    """What stands in for what, a sentence each."""
    parts = source.parts if isinstance(source, Mixed) else ()
    return [f"{part.source.name} stands in for {part.instead}" for part in parts if part.instead]
