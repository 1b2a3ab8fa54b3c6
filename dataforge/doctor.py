"""What is here, what is missing, and the command that installs it."""

import asyncio
import importlib.metadata
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.pages import chromium

PACKAGES = {
    "pillow": "",
    "openai": "",
    "datasets": "",
    "av": "pip install av",
    "decord": "pip install decord (wheels for Linux x86-64 and Windows alone)",
    "torch": "pip install -c constraints.txt 'dataforge[train]'",
    "transformers": "pip install -c constraints.txt 'dataforge[train]'",
}
"""Package -> the command that installs it; empty for what every install has."""


class Finding(BaseModel):
    """One thing looked at."""

    what: str
    ok: bool
    says: str
    needed: bool = False
    fix: str = ""


def examine(teacher: Mapping[str, Any] | None, runs: Path) -> list[Finding]:
    """Look at packages, programs, the runs folder and the teacher (asked only for its list of models)."""
    findings = [_package(name, fix) for name, fix in PACKAGES.items()]
    print_of = "reads print where a source brings no OCR"
    findings.append(_program("tesseract", shutil.which("tesseract"), print_of, "apt-get install tesseract-ocr"))
    findings.append(_program("chromium", chromium.program(), "draws web pages", "apt-get install chromium"))
    findings.append(_runs_folder(runs))
    findings.append(_teacher(teacher or {"name": "scripted"}))
    return findings


def _program(name: str, path: str | None, does: str, fix: str) -> Finding:
    return Finding(
        what=name,
        ok=path is not None,
        says=does if path else "not installed; optional",
        fix="" if path else fix,
    )


def _package(name: str, fix: str) -> Finding:
    needed = not fix
    try:
        return Finding(what=name, ok=True, says=importlib.metadata.version(name), needed=needed)
    except importlib.metadata.PackageNotFoundError:
        says = "missing" if needed else "not installed; optional"
        return Finding(what=name, ok=False, says=says, needed=needed, fix=fix or f"pip install {name}")


def _runs_folder(runs: Path) -> Finding:
    there = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
    ok = there.is_dir() and os.access(there, os.W_OK)
    free = shutil.disk_usage(there).free / 1e9
    says = f"{free:.1f} GB free" if ok else "can't be written"
    return Finding(what=f"runs folder {runs}", ok=ok, says=says, needed=True, fix="" if ok else "choose --runs FOLDER")


def _teacher(spec: Mapping[str, Any]) -> Finding:
    try:
        teacher: plugins.Teacher = plugins.build("teacher", spec)
        says = asyncio.run(_greet(teacher))
        return Finding(what=f"teacher {teacher.title}", ok=True, says=says, needed=True)
    except UsageError as error:
        return Finding(what=f"teacher {spec.get('model', spec.get('name'))}", ok=False, says=str(error), needed=True)


async def _greet(teacher: plugins.Teacher) -> str:
    async with teacher.session():
        return await teacher.check()
