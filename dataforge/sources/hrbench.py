"""HR-Bench: 200 questions on pictures of 4K or 8K, each asked in four orders of its options.

A table of `index, question, A, B, C, D, answer (a letter), category, cycle_category, image (base64)`, as TSV or parquet
or on the Hub. The orders come as published, one row each; rows on one picture share a group, so 800 rows are counted
as the 200 that they are worth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure

LETTERS = "ABCD"


class Hrbench(Source):
    """HR-Bench from a file or its folder (`path`), or the Hub (`hub`)."""

    path: Path | None = Field(default=None, description="hr_bench_4k.tsv or .parquet, or the folder that holds it")
    hub: str | None = Field(default=None, description="Hub data set or local copy, such as DreamMr/HR-Bench")
    size: Literal["4k", "8k"] = "4k"
    start: int = Field(default=0, ge=0, description="first row read")
    count: int | None = Field(default=None, ge=1, description="rows read; default: to the end")

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give one of path and hub")
        return self

    @property
    def licence(self) -> str:
        return "HR-Bench: Apache-2.0; pictures of DIV8K and the web, research use"

    def read(self) -> Iterator[Row | Failure]:
        entries = reading.table(self._file()) if self.path else reading.hub(str(self.hub), f"hrbench_{self.size}")
        return reading.rows(f"hrbench-{self.size}", entries, self._row, self.start, self.count)

    def _file(self) -> Path:
        path = Path(str(self.path))
        if not path.is_dir():
            return path
        wanted = [f"hr_bench_{self.size}{suffix}" for suffix in (".parquet", ".tsv")]
        found = [place for name in wanted for place in (path / name, *path.glob(f"*/{name}")) if place.is_file()]
        if not found:
            raise UsageError(f"{path} has no {' and no '.join(wanted)}, nor a folder in it")
        return found[0]

    def _row(self, number: int, entry: dict[str, Any]) -> Row:
        options = [words for letter in LETTERS for words in reading.texts(entry.get(letter), letter)]
        answer = reading.text(entry, "answer").upper()
        if answer not in LETTERS[: len(options)]:
            raise ExampleError("read", "bad_row", f"answer {answer!r} of {len(options)} options")
        picture = reading.encoded(entry.get("image"), "image")
        content = {
            "question": reading.text(entry, "question"),
            "options": tuple(options),
            "answers": (options[LETTERS.index(answer)],),
            "category": reading.text(entry, "category"),
            "picture": picture,
        }
        own = f"hrbench-{self.size}-{reading.text(entry, 'index')}"
        return Row(own, f"hrbench/{reading.fingerprint(picture)}", content)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = reading.put(store, found["picture"], self.licence, f"HR-Bench/{row.id}")
        return self.asked(
            row,
            media,
            split="test",
            category=found["category"],
            answer_type="choice",
            choices=found["options"],
        )
