"""NExT-GQA: questions on everyday videos, with the stretches of time in which the answer is to be seen.

A CSV of questions with five choices, and `gsub_<split>.json`: video -> question -> stretches in seconds. Several
stretches may answer one question; any one of them does. The longest is the evidence, and a deliberately wrong look
keeps away from the others too. The videos (VidOR, from YFCC100M) are not part of the release.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import moments
from dataforge.records import Example, Failure

LABEL = "the moment that is asked about"
CHOICES = ("a0", "a1", "a2", "a3", "a4")


class Nextgqa(Source):
    """NExT-GQA from a folder with `<split>.csv`, `gsub_<split>.json` and a folder `videos`."""

    path: Path = Field(description="folder with <split>.csv and gsub_<split>.json")
    videos: Path | None = Field(default=None, description="folder of the clips; default: `videos` in the folder")
    split: str = "val"
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @property
    def licence(self) -> str:
        return "annotations MIT (NExT-GQA); videos YFCC100M, each under its own Creative Commons licence"

    @property
    def missing(self) -> str:
        return moments.lacks()

    def read(self) -> Iterator[Row | Failure]:
        if not self.path.is_dir():
            raise UsageError(f"nextgqa path: {self.path} is not a folder with {self.split}.csv in it")
        stretches = reading.load_json(self.path / f"gsub_{self.split}.json")
        if not isinstance(stretches, dict):
            raise UsageError(f"{self.path}: gsub_{self.split}.json is no mapping of videos")
        folders, where = self._folders(), self._where()

        def make(number: int, entry: dict[str, Any]) -> Row:
            video, question = reading.text(entry, "video_id"), reading.text(entry, "qid")
            found = stretches.get(video)
            located = found.get("location", {}).get(question) if isinstance(found, dict) else None
            if not isinstance(located, list) or not located:
                raise ExampleError("read", "no_span", f"no stretch for question {question} of video {video}")
            choices = tuple(reading.text(entry, name) for name in CHOICES)
            content = {
                "question": reading.text(entry, "question"),
                "choices": choices,
                "answers": (moments.lettered(reading.text(entry, "answer"), choices),),
                "spans": [moments.span(one, "location") for one in located],
                "video": moments.clip(folders, where.get(video, video)),
                "origin": f"NExT-GQA/{video}",
            }
            return Row(f"nextgqa-{self.split}-{video}-{question}", f"nextgqa/{video}", content)

        return reading.rows(
            f"nextgqa-{self.split}", reading.table(self.path / f"{self.split}.csv"), make, self.start, self.count
        )

    def _folders(self) -> list[Path]:
        return [self.videos] if self.videos else [self.path / "videos", self.path]

    def _where(self) -> dict[str, str]:
        """Where VidOR keeps each video, by the map that comes with NExT-QA, where that is there."""
        path = self.path / "map_vid_vidorID.json"
        return {str(key): str(value) for key, value in reading.load_json(path).items()} if path.is_file() else {}

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_video(found["video"], self.licence, found["origin"])
        longest, *others = sorted(found["spans"], key=lambda span: (span[0] - span[1], span))
        return self.asked(
            row,
            media,
            split=self.split,
            answer_type="choice",
            choices=found["choices"],
            evidence=(moments.within(longest, media, LABEL),),
            context=tuple(moments.within(other, media, LABEL) for other in others),
        )
