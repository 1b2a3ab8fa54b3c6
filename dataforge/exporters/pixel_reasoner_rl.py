"""Pixel Reasoner's release.parquet: the questions that its RL asks.

Pictures are whole and in full resolution, for their executor crops from them; a video is the list of its frames.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dataforge.plugins import Exporter
from dataforge.transcript import Transcript

if TYPE_CHECKING:
    from datasets import Features


class PixelReasonerRl(Exporter):
    """`release.parquet` and pictures, as Pixel Reasoner's RL and evaluation sets have them (`prompts_dataset.py`)."""

    file: ClassVar[str] = "release.parquet"
    shows_sources: ClassVar[bool] = True
    once_a_question: ClassVar[bool] = True

    def rows(self, told: Transcript) -> Iterator[dict[str, Any]]:
        yield {
            "qid": told.trace.example.id,
            "question": told.question,
            "answer": list(told.trace.example.answers),
            "image": [self.path(picture.name) for picture in told.sources],
            "is_video": told.is_video,
        }

    def fault(self, row: Mapping[str, Any]) -> str:
        if not row["image"] or (len(row["image"]) > 1 and not row["is_video"]):
            return f"{len(row['image'])} pictures: one is asked about, or a video's frames"
        return "" if row["answer"] else "no answer to reward"

    def features(self) -> "Features":
        from datasets import Features, List, Value

        text = Value("string")
        columns = {"qid": text, "question": text, "answer": List(text), "image": List(text), "is_video": Value("bool")}
        return Features(columns)
