"""What a published set says of itself: dataforge.json, beside the card that says the same to people.

It holds everything that verifying, pulling and adding to the set needs: which runs it was made of, with their
manifests and numbers, how its pictures were stored, and every file with its hash. No path of a machine and no address
of an endpoint gets into it.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.manifest import Manifest
from dataforge.publish.shards import Shard
from dataforge.records import Record, Student
from dataforge.report import Report

RECORD = "dataforge.json"
Counts = dict[str, int]
ShardPath = Annotated[str, Field(pattern=r"^data/(traces|queries|media)/[a-z][a-z0-9_]*-\d{5}\.parquet$")]
"""Relative to the set; what a foreign record names leads nowhere else."""


class RunPart(Record):
    """One run's part in the set."""

    name: str = Field(pattern=r"^\w[\w.-]*$", description="of the run's folder")
    digest: str = Field(description="of what shapes its traces")
    manifest: dict[str, Any]
    report: Report
    filtered: bool = Field(description="every trace had been judged by `filter`")
    checks: tuple[str, ...] = Field(description="whose verdicts the traces carry")
    share: float | None = Field(description="of the set that was asked for; all of the run if none")
    kept: int = Field(description="traces that could have been taken")
    taken: int
    queries: int
    licences: Counts = Field(description="of the pictures behind the traces taken, by licence")
    redistributable: bool


class Published(Record):
    """A published set."""

    format_version: Literal[1] = 1
    version: str = Field(description="of dataforge")
    title: str
    seed: int
    student: Student = Field(description="whose dialect the messages are in")
    pictures: Literal["all", "views", "none"]
    encoding: Literal["jpeg", "png"]
    quality: int
    licence: str
    splits: dict[str, float]
    runs: tuple[RunPart, ...]
    kinds: dict[str, Counts] = Field(description="traces by split and kind")
    sources: dict[str, Counts] = Field(description="traces by split and source")
    left_out: Counts = Field(description="traces that were kept but can't stand in this set, by reason")
    unverified: Counts = Field(description="published all the same: by how their replay differs")
    forced: bool = Field(description="published although unfiltered or unverified")
    files: dict[ShardPath, Shard]

    @property
    def digest(self) -> str:
        """Six hex digits over all of it, shards included."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:6]

    @property
    def tag(self) -> str:
        """The revision's name: the run's own, then that of the set's content."""
        return f"{runs_name(self.title, [run.name for run in self.runs])}.{self.digest}"

    def rows(self, config: str, split: str | None = None) -> int:
        return sum(
            shard.rows for path, shard in self.files.items() if place(path)[:2] in ((config, split or place(path)[1]),)
        )


def place(path: str) -> tuple[str, str, int]:
    """Configuration, split and number of a shard, from its path in the set."""
    _, config, name = path.split("/")
    split, _, number = name.removesuffix(".parquet").rpartition("-")
    return config, split, int(number)


def runs_name(title: str, names: list[str]) -> str:
    """A name of the runs together, fit for a folder and a tag."""
    if len(names) == 1:
        return names[0]
    return f"{slug(title)}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:6]}"


def slug(title: str) -> str:
    """A title as the name of a manifest, a folder, a tag."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip(".-") or "set"


def read_record(folder: Path) -> Published:
    """The record of the set in a folder; UsageError where there is none."""
    path = folder / RECORD
    try:
        return Published.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no published set: it has no {RECORD}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}, field {field}: {first['msg']}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def public_manifest(manifest: Manifest) -> dict[str, Any]:
    """The manifest as it is published: paths of this machine by their last name, addresses of endpoints left out."""
    told = manifest.model_dump(mode="json", by_alias=True, exclude={"push", "limit", "workers", "stop_after"})
    told["teacher"] = _without_addresses(told["teacher"])
    if told["direct"]:
        told["direct"]["teacher"] = _without_addresses(told["direct"]["teacher"])
    told["filter"] = [
        check | {"teacher": _without_addresses(check["teacher"])}
        if isinstance(check, dict) and check.get("teacher")
        else check
        for check in told["filter"]
    ]
    named: dict[str, Any] = _by_last_name(told)
    return named


def _without_addresses(spec: Any) -> Any:
    if not isinstance(spec, dict):
        return spec
    beside = plugins.find("teacher", str(spec["name"])).beside_the_digest
    return {name: value for name, value in spec.items() if name not in beside}


def _by_last_name(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: held if key == "prompts" else _by_last_name(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_by_last_name(held) for held in value]
    if isinstance(value, str) and (Path(value).is_absolute() or value.startswith(("~", "../", "./"))):
        return Path(value).name
    return value
