"""Query: what to list, from the page's address to SQL. Texts from a person go in as values, never into a statement."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from dataforge.marks import Mark

MARKED = {"keep": "marked keep", "drop": "marked drop", "note": "with a note", "unmarked": "not marked"}


@dataclass(frozen=True)
class Query:
    """What to list; an empty field asks for nothing. `words` is looked for in any case, as it stands."""

    kind: str = ""
    verdict: str = ""
    reason: str = ""
    source: str = ""
    mark: str = ""
    words: str = ""

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> "Query":
        """From an address's parameters; others are passed over."""
        return cls(**{known.name: asked.get(known.name, "") for known in fields(cls)})

    def address(self, **more: object) -> str:
        """The page's address with this query, and more parameters."""
        stated = {known.name: getattr(self, known.name) for known in fields(self)}
        return "/?" + urlencode({key: value for key, value in {**stated, **more}.items() if value != ""})

    def marked(self, marks: Mapping[str, Mark]) -> tuple[str, ...]:
        """The ids that `mark` is about: those to list, or all that have a mark when those without are wanted."""
        if self.mark in ("keep", "drop"):
            return tuple(sorted(trace_id for trace_id, one in marks.items() if one.mark == self.mark))
        if self.mark == "note":
            return tuple(sorted(trace_id for trace_id, one in marks.items() if one.note))
        return tuple(sorted(marks)) if self.mark else ()

    def conditions(self, marked: Collection[str]) -> tuple[str, list[str]]:
        """What follows FROM entries in SQL, and its values."""
        wanted, values = [], list[str]()
        for column in ("kind", "verdict", "source"):
            if value := getattr(self, column):
                wanted.append(f"{column} = ?")
                values.append(value)
        if self.reason:
            wanted.append("instr(reasons, ?)")
            values.append(joined((self.reason,)))
        if self.mark:
            ids = "(SELECT value FROM json_each(?))"
            without = f"verdict != 'failed' AND id NOT IN {ids}"
            wanted.append(without if self.mark == "unmarked" else f"id IN {ids}")
            values.append(json.dumps(list(marked)))
        if self.words:
            wanted.append("instr(text, ?)")
            values.append(self.words.casefold())
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        return f"{'JOIN texts USING (row)' if self.words else ''} {where} ORDER BY row", values


def joined(reasons: Sequence[str]) -> str:
    """Reasons between line ends, so that a whole one can be looked for."""
    return "".join(f"\n{reason}\n" for reason in reasons)
