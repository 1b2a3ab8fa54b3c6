"""Rendered clips: short videos drawn and encoded by this program, with questions whose answers are known to the frame.

Offline and free to pass on. A clip can be drawn again from its number, so a run needs no files but its own.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from dataforge import reading
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure, Media

if TYPE_CHECKING:
    from dataforge.staged import Plot


class RenderedVideo(Source):
    """Clips of coloured shapes that come, act and change, a clock, and a card with small print; drawn here, endless."""

    split: str = "train"
    seed: int = Field(default=0, description="of the clips drawn")
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: endless")
    per_clip: int = Field(default=4, ge=1, le=4, description="questions asked of each clip")

    @property
    def licence(self) -> str:
        return "Apache-2.0"

    @property
    def redistributable(self) -> bool:
        return True

    @property
    def endless(self) -> bool:
        return self.count is None

    @property
    def missing(self) -> str:
        return "" if find_spec("av") else "no PyAV to encode clips with: pip install av"

    def read(self) -> Iterator[Row | Failure]:
        return reading.drawn_rows(f"clip-{self.split}-{self.seed}", self.per_clip, self.start, self.count)

    def example(self, row: Row, store: MediaStore) -> Example:
        from dataforge.staged.questions import ask, happenings

        # the group names split, seed and number, so no two splits share a clip
        plot, content = _clip(int.from_bytes(hashlib.sha256(row.group.encode()).digest()[:6]))
        asked = ask(plot)[row.content]
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            question=asked.text,
            answers=(asked.answer,),
            answer_type=asked.answer_type,
            choices=asked.choices,
            media=(self._stored(content, row.group, store),),
            evidence=asked.evidence,
            context=tuple(region for region in happenings(plot) if region not in asked.evidence),
        )

    def _stored(self, content: bytes, origin: str, store: MediaStore) -> Media:
        store.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store.folder) as folder:
            path = Path(folder) / f"{origin}.mp4"
            path.write_bytes(content)
            return store.add_video(path, self.licence, origin)


@lru_cache(maxsize=1)
def _clip(seed: int) -> tuple["Plot", bytes]:
    """The plot and its film; kept until the next, since a clip's questions come one after the other."""
    from dataforge.staged import film, plot

    made = plot(seed)
    return made, film(made)
