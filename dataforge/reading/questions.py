"""Question files of a split: one JSON file with the rows under `data`, found by its name in a folder or one below."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataforge import reading
from dataforge.errors import ExampleError, UsageError


def question_file(folder: Path, pattern: re.Pattern[str], split: str, wanted: str, otherwise: str = "") -> Path:
    """The newest question file of the split; with question types where both exist.

    `pattern` names the groups `split`, `version` and `more`. UsageError names the `wanted` file and the splits there
    are; `otherwise` is what else could be done.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder{otherwise}")
    files = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    named = [(match, path) for path in files if (match := pattern.fullmatch(path.name))]
    fitting = [(match, path) for match, path in named if match["split"].lower() == split.lower()]
    if not fitting:
        splits = ", ".join(sorted({match["split"] for match, _ in named})) or "no split at all"
        raise UsageError(f"no {wanted} in {folder} or a folder in it: there is {splits}")
    return max(fitting, key=lambda one: (_version(one[0]["version"]), bool(one[0]["more"]), one[1].name))[1]


def entries(file: Path) -> Iterator[reading.Entry]:
    """The rows under `data`, or of a file that is a list itself; UsageError where there is no such list."""
    content = reading.load_json(file)
    found = content.get("data") if isinstance(content, dict) else content
    if not isinstance(found, list):
        raise UsageError(f"{file}: no list of questions under `data`")
    for number, entry in enumerate(found, start=1):
        if isinstance(entry, dict):
            yield entry
        else:
            yield ExampleError("read", "bad_row", f"question {number} is {type(entry).__name__}, not an object")


def folders(folder: Path, what: str, split: str) -> list[Path]:
    """Folders called after `what`, the split's own first and the whole folder last."""
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and what in path.name.lower()]
    return [*sorted(found, key=lambda path: split.lower() not in path.name.lower()), folder]


def _version(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (text or "").split(".") if part)


def stem_file(places: list[Path], stem: str, endings: tuple[str, ...]) -> Path:
    """The file of that stem in the first folder that has it; the first possible one where none has."""
    paths = [place / f"{stem}{ending}" for place in places for ending in endings]
    return next((path for path in paths if path.is_file()), paths[0])


def whole_number(entry: dict[str, Any], field: str) -> int:
    """A field that must hold a whole number; ExampleError("read", "bad_row") otherwise."""
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExampleError("read", "bad_row", f"{field} is missing or no whole number")
    return value
