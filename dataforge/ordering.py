"""Lines of a file in another order: what `Run.sort` does with traces.jsonl and failed.jsonl.

Each line is known by its id. Only the places of lines are held, so memory does not grow with their length.
"""

import json
import os
from pathlib import Path

REPEATED = "repeated_id"
"""Reason of a row whose id an earlier row has: the one failure that stands beside another line of its id."""


class Shuffled:
    """A JSONL file whose lines are picked by id, in any order, and written back in that order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._where: dict[str, list[int]] = {}
        self._repeats: dict[str, list[int]] = {}
        self._picked: list[int] = []
        self.left = 0
        if path.exists():
            with path.open("rb") as lines:
                at = 0
                for line in lines:
                    entry = json.loads(line)
                    found = self._repeats if entry.get("reason") == REPEATED else self._where
                    found.setdefault(entry["id"], []).append(at)
                    at += len(line)
                    self.left += 1

    def pick(self, name: str, repeated: bool = False) -> bool:
        """Put the id's next line next; False where there is none."""
        found = (self._repeats if repeated else self._where).get(name)
        if not found:
            return False
        self._picked.append(found.pop(0))
        self.left -= 1
        return True

    def write(self) -> None:
        """Replace the file: what was picked, then the rest as it was."""
        if not self.path.exists():
            return
        rest = sorted(at for found in (self._where, self._repeats) for places in found.values() for at in places)
        temporary = self.path.with_suffix(".tmp")
        with self.path.open("rb") as lines, temporary.open("wb") as sorted_lines:
            for at in (*self._picked, *rest):
                lines.seek(at)
                sorted_lines.write(lines.readline())
        os.replace(temporary, self.path)
