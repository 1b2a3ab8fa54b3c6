"""Prompts are files: Markdown with $name placeholders, found by name, fingerprinted.

A `prompts` folder beside the user's manifest wins over the shipped one, file by file.
"""

import functools
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from dataforge.errors import UsageError


@cache
def shipped_folder(folder: str) -> Path:
    """Where the shipped `prompts` or `manifests` are: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / "shipped" / folder
    return inside if inside.is_dir() else package.parent / folder


@dataclass(frozen=True)
class Prompt:
    """One prompt file's text."""

    name: str
    text: str

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def fill(self, **values: str) -> str:
        """The text with every placeholder filled; a missing or unused name is an error that lists them all."""
        wanted = set(Template(self.text).get_identifiers())
        if wrong := wanted.symmetric_difference(values):
            missing, unused = sorted(wanted - set(values)), sorted(set(values) - wanted)
            raise UsageError(f"prompt {self.name}.md: missing {missing}, unused {unused} of {sorted(wrong)}")
        return Template(self.text).substitute(values).strip()


def find_prompt(name: str, beside: Path | None = None) -> Prompt:
    """The prompt of that name from `beside`/prompts, else the shipped one."""
    return _find(name, (beside / "prompts", shipped_folder("prompts"))) if beside else _shipped(name)


@functools.cache
def _shipped(name: str) -> Prompt:
    """Read once: rendering a trace asks for it again and again."""
    return _find(name, (shipped_folder("prompts"),))


def _find(name: str, folders: tuple[Path, ...]) -> Prompt:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise UsageError(f"a prompt's name is lower-case letters, digits and _, not {name!r}")
    for folder in folders:
        path = folder / f"{name}.md"
        if path.is_file():
            return Prompt(name, path.read_text(encoding="utf-8"))
    have = sorted({path.stem for folder in folders for path in folder.glob("*.md")})
    raise UsageError(f"no prompt {name}.md: there are {', '.join(have)}")
