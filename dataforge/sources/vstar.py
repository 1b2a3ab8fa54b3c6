"""V*Bench: questions on a thing of some twenty pixels in a photo of megapixels, with its box.

As files: two folders of photos, each with a JSON of `target_object`, `bbox` ([x, y, width, height] in pixels),
`question` and `options`, of which the first is always right. A model that is shown them in that order and likes the
letter A has everything right, so they are shuffled by seed; or each question is asked once for every rotation of its
options, as HR-Bench does. On the Hub the options stand in the question's text, and `label` is a letter.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.reading import boxes
from dataforge.records import Example, Failure, Region

CATEGORIES = ("direct_attributes", "relative_position")
XYWH = boxes.Convention("xywh", "pixels")


class Vstar(Source):
    """V*Bench from its folder (`path`) or the Hub (`hub`); its options in an order drawn by seed, or all rotations."""

    path: Path | None = Field(default=None, description=f"folder with {' and '.join(CATEGORIES)}")
    hub: str | None = Field(default=None, description="Hub data set or local copy, such as lmms-lab/vstar-bench")
    split: str = "test"
    orders: Literal["seeded", "circular"] = Field(default="seeded", description="one order, or each rotation of it")
    seed: int = Field(default=0, description="of the order")
    start: int = Field(default=0, ge=0, description="first question read")
    count: int | None = Field(default=None, ge=1, description="questions read; default: to the end")

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give one of path and hub")
        return self

    @property
    def licence(self) -> str:
        return "V*Bench: MIT; photos of SA-1B, research use, not to be passed on"

    def read(self) -> Iterator[Row | Failure]:
        """Questions in the order of categories and names; in `circular` the rotations of one follow each other."""
        entries = self._files() if self.path else reading.hub(str(self.hub), self.split)
        for row in reading.rows("vstar", entries, self._row, self.start, self.count):
            yield from [row] if isinstance(row, Failure) else self._ordered(row)

    def _files(self) -> Iterator[reading.Entry]:
        folder = Path(str(self.path))
        found = [path for name in CATEGORIES for path in sorted((folder / name).glob("*.json"))]
        if not found:
            raise UsageError(f"{folder} has no {'/*.json or '.join(CATEGORIES)}/*.json: is it V*Bench's folder?")
        for path in found:
            try:
                content = reading.load_json(path)
            except UsageError:
                yield ExampleError("read", "bad_json", f"{path.parent.name}/{path.name}")
                continue
            own = content if isinstance(content, dict) else {"question": content}
            yield own | {"category": path.parent.name, "stem": path.stem, "image": picture_of(path)}

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        category = reading.text(entry, "category")
        if self.path:
            name, targets = reading.text(entry, "stem"), reading.texts(entry.get("target_object"), "target_object")
            question, options = reading.text(entry, "question"), reading.texts(entry.get("options"), "options")
            right, places = 0, boxes.listed(entry.get("bbox"))
        else:
            name, targets, places = reading.text(entry, "question_id"), (), []
            question, options = inline(reading.text(entry, "text"))
            right = "ABCDEFGH".find(reading.text(entry, "label").strip("() ").upper())
        if not (0 <= right < len(options) and len(options) >= 2):
            raise ExampleError("read", "bad_row", f"{len(options)} options, of which number {right + 1} is right")
        picture = entry["image"] if self.path else reading.encoded(entry.get("image"), "image")
        content = {
            "question": question,
            "options": options,
            "answers": (options[right],),
            "category": category,
            "picture": picture,
            "boxes": places,
            "targets": targets,
        }
        group = f"{category}/{name}" if self.path else reading.fingerprint(picture)
        return Row(f"vstar-{category}-{name}", f"vstar/{group}", content)

    def _ordered(self, row: Row) -> Iterator[Row]:
        """The row with its options in the order drawn, or one row for each rotation of that."""
        options = list(row.content["options"])
        random.Random(f"{self.seed} {row.id}").shuffle(options)
        if self.orders == "seeded":
            yield row._replace(content=row.content | {"options": tuple(options)})
            return
        for turn in range(len(options)):
            turned = tuple(options[turn:] + options[:turn])
            yield row._replace(id=f"{row.id}-{turn}", content=row.content | {"options": turned})

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = reading.put(store, found["picture"], self.licence, f"V*Bench/{row.id}")
        targets = (*found["targets"], *[""] * len(found["boxes"]))
        places = [boxes.placed(box, XYWH, media.width, media.height) for box in found["boxes"]]
        return self.asked(
            row,
            media,
            split=self.split,
            category=found["category"],
            answer_type="choice",
            choices=found["options"],
            evidence=tuple(Region(box=box, label=name) for box, name in zip(places, targets, strict=False)),
        )


def picture_of(question: Path) -> Path:
    """The photo of a question: the file of the same name that isn't the question."""
    for suffix in (".jpg", ".jpeg", ".png", ".JPG"):
        if question.with_suffix(suffix).is_file():
            return question.with_suffix(suffix)
    return question.with_suffix(".jpg")


def inline(text: str) -> tuple[str, tuple[str, ...]]:
    """A question and its options, out of one text "... (A) red (B) blue" with perhaps a sentence on how to answer.

    Letters must come in their order, so a "(B)" inside of an option doesn't end it.
    """
    rest = re.sub(r"\s*\n\s*Answer with the option.*", "", text, flags=re.DOTALL)
    pieces: list[str] = []
    for letter in "ABCDEFGH":
        before, mark, after = rest.partition(f"({letter})")
        if not mark:
            break
        pieces.append(before.strip())
        rest = after
    question, *options = [*pieces, rest.strip()]
    return question, tuple(options)
