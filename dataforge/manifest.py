"""The manifest: one strict YAML file that names the parts of a run.

What shapes a trace (source, teacher, operations, limits, locate, mix, write, validate, student, seed, prompts) goes
into the digest, which names the run folder; what does not (workers, limit, budget, filter, push, train) stays out,
so it can change between two runs of one folder.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.prompts import Prompt, find_prompt, shipped_folder
from dataforge.recipe import Part, Train
from dataforge.records import Kind, Limits, Overview, SaidBy, Student, VideoBackend

Spec = str | dict[str, Any]
Arm = Literal["with", "without", "blank", "elsewhere"]

PAPER_MIX: dict[Kind, float] = {"single": 0.3, "recrop_once": 0.2, "recrop_twice": 0.2, "zoom_further": 0.3}
"""Shares of image traces by kind: Pixel Reasoner, Table 2."""

PROMPTS = ("write", "rewrite", "locate", "verify")
"""Prompts whose text shapes a trace."""
VIDEO_PROMPTS = ("write_video", "locate_video", "verify_video")
"""The same, in a run whose operations work on videos."""
POSE_PROMPTS = ("choose", "pose", "others", "necessary")
"""The same, in a run whose source leaves questions to the teacher."""
CHECK_PROMPTS = ("judge", "necessary", "faithful")
"""Prompts of checks that ask a model: a run keeps them, outside its digest."""
LOADED = tuple(dict.fromkeys((*PROMPTS, *VIDEO_PROMPTS, *POSE_PROMPTS, *CHECK_PROMPTS)))


class Locate(Part):
    """Where the evidence is: the ways to find it, tried in order."""

    order: tuple[SaidBy, ...] = ("annotation", "ocr", "teacher")
    match: float = Field(default=0.85, gt=0, le=1, description="least likeness of an answer and the words found")
    tries: int = Field(default=2, ge=1, description="boxes asked of the teacher before giving up")


class Pose(Part):
    """How a teacher makes a question on a picture that comes without one."""

    tries: int = Field(default=2, ge=1, description="places tried before a picture is given up")
    places: int = Field(default=6, ge=0, description="places of the source's that are shown to choose from")
    most_area: float = Field(default=0.05, gt=0, le=1, description="of a place of the teacher's own, in pictures")
    samples: int = Field(default=3, ge=1, description="times that the question is asked of the whole view")
    most_whole: float = Field(default=0.34, ge=0, le=1, description="rate of right answers that is still luck")
    others: int = Field(default=4, ge=0, description="other places like it that are looked at")


class Compose(Part):
    """How looks are laid around evidence, in source pixels."""

    margin: tuple[float, float] = Field(default=(0.3, 1.2), description="free space, in sides of the evidence")
    legible_px: float = Field(default=12.0, gt=0, description="least glyph height as shown to call it readable")
    too_large: float = Field(default=4.0, gt=1, description="a too-large look's area, in areas of a right one")
    least_px: int = Field(default=56, gt=0, description="shortest side of a look, in source pixels")


class Write(Part):
    """How the teacher writes."""

    rewrites: int = Field(default=2, ge=0, description="times a failing trace is sent back with the reason")
    reveal_answer: bool = Field(default=False, description="tell the teacher the answer; kept in provenance")


class Direct(Part):
    """Text-space traces: a base model answers the plain question from the whole view, and what is right is kept."""

    teacher: Spec = Field(description="the base model, whose own words become the thought")
    samples: int = Field(default=4, ge=1, description="answers drawn for each question")
    least: float = Field(default=0.5, gt=0, le=1, description="share of right ones that shows that no look is needed")


class Evaluate(Part):
    """How a model, which stands in the teacher's place, is tried on a benchmark."""

    title: str = Field(description="the benchmark's own name")
    metric: str = Field(default="accuracy", description="what its score is called: the `answer` check's value")
    arm: Arm = Field(default="with", description="operations offered, or not, or looks that come back without use")
    turns: int = Field(default=12, ge=1, description="of the model, at most")
    system: str = Field(default="You are a helpful assistant.", description="before the operations, if any")


class Push(Part):
    """How a run is published. It shapes no trace, so it stays outside the digest."""

    to: str = Field(default="", description="hub:ORG/NAME, or a folder")
    title: str = Field(default="", description="of the card; the manifest's name if none")
    public: bool = Field(default=False, description="a new repository can be read by everyone")
    pictures: Literal["all", "views", "none"] = Field(
        default="all", description="views and whole sources; views, the sources named by hash; geometry and hashes"
    )
    encoding: Literal["jpeg", "png"] = Field(
        default="jpeg", description="of views; png is exact, and several times larger"
    )
    quality: int = Field(default=90, ge=1, le=100, description="of JPEG")
    splits: dict[str, float] = Field(default={"train": 0.98, "validation": 0.02}, description="shares of the groups")
    shares: dict[str, float] = Field(
        default={}, description="of several runs in one set, by manifest name; all of each if none"
    )
    licence: str = Field(default="", description="of the set, as the Hub writes it; that of the pictures if none")
    shard_mb: int = Field(default=500, ge=1, description="size of a parquet file")

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        for name, parts in (("splits", self.splits), ("shares", self.shares)):
            if any(share <= 0 for share in parts.values()):
                raise ValueError(f"{name}: each share must be above 0")
        if not self.splits or not all(re.fullmatch(r"[a-z][a-z0-9_]*", split) for split in self.splits):
            raise ValueError("splits needs names of small letters, digits and _ such as train, validation")
        return self


class Manifest(Part):
    """One run, from source to checks."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    seed: int = 0
    source: Spec
    teacher: Spec = "scripted"
    student: Student = Student()
    operations: tuple[Spec, ...] = ("zoom_in",)
    limits: Limits = Limits()
    locate: Locate = Locate()
    pose: Pose = Pose()
    compose: Compose = Compose()
    mix: dict[Kind, float] = PAPER_MIX
    evaluate: Evaluate | None = Field(default=None, description="of a run that tries a model instead of making traces")
    direct: Direct | None = Field(default=None, description="who writes traces of kind `direct`; the teacher if none")
    write: Write = Write()
    validate_: tuple[Spec, ...] = Field(default=("well_formed", "grounded", "answer", "no_leak"), alias="validate")
    filter: tuple[Spec, ...] = ("well_formed", "grounded", "answer", "no_leak", "replay")
    push: Push = Push()
    limit: int | None = Field(default=None, ge=1, description="examples to read")
    video_backend: VideoBackend = Field(default="auto", description="auto is exact on every file; decord, checked")
    video_limit_s: float = Field(default=60.0, gt=0, description="for describing a video, or decoding what is asked")
    workers: int | None = Field(default=None, ge=1, description="processes that cut pictures; one a core")
    budget: str | float | None = Field(default=None, description="what the run may pay at most: 20, 20usd, 5Mtok")
    stop_after: int = Field(default=25, ge=1, description="failures of one reason in a row that stop the run")
    train: Train = Train()
    prompts: dict[str, str] = Field(default={}, description="texts of the prompts, filled when loaded")

    @model_validator(mode="before")
    @classmethod
    def _several_are_one(cls, content: Any) -> Any:
        """`sources`, a list of sources with shares, is the source `mixed`, with stand-ins put where they are needed."""
        if not isinstance(content, dict) or "sources" not in content:
            return content
        if "source" in content:
            raise ValueError("give source or sources, not both")
        mixed = plugins.build("source", {"name": "mixed", "of": content["sources"]})
        several = {"name": "mixed", **mixed.model_dump(mode="json")}
        return {key: value for key, value in content.items() if key != "sources"} | {"source": several}

    @model_validator(mode="after")
    def _mix_is_a_mix(self) -> Self:
        if not self.mix or any(share < 0 for share in self.mix.values()) or sum(self.mix.values()) <= 0:
            raise ValueError("mix needs at least one kind with a share above 0, and none below")
        return self

    @property
    def shaping_prompts(self) -> tuple[str, ...]:
        """Names of the prompts whose text shapes a trace of this run."""
        operations = (plugins.build("operation", spec) for spec in self.operations)
        poses = plugins.build("source", self.source).poses
        of_video = VIDEO_PROMPTS if any(operation.of_video for operation in operations) else ()
        return PROMPTS + of_video + (POSE_PROMPTS if poses else ())

    def prompt(self, name: str) -> Prompt:
        return Prompt(name, self.prompts[name])

    def digest(self) -> str:
        """Twelve hex digits over all that shapes a trace."""
        return hashlib.sha256(json.dumps(self.shape(), sort_keys=True).encode()).hexdigest()[:12]

    def shape(self) -> dict[str, Any]:
        """What shapes a trace, with every plug-in's options spelled out."""
        keep = {"seed", "student", "limits", "locate", "compose", "mix", "write"}
        shape = self.model_dump(mode="json", include=keep)
        if self.student.video == Overview():  # left out where nothing was changed, so that older runs keep their digest
            del shape["student"]["video"]
        beside = {*CHECK_PROMPTS, *VIDEO_PROMPTS, *POSE_PROMPTS} - set(self.shaping_prompts)
        shape["prompts"] = {name: text for name, text in self.prompts.items() if name not in beside}
        if plugins.build("source", self.source).poses:
            shape["pose"] = self.pose.model_dump(mode="json")
        if self.video_backend != "auto":
            shape["video_backend"] = self.video_backend
        if self.direct:  # left out where there is none, so that older runs keep their digest
            teacher = resolved("teacher", self.direct.teacher)
            prompt = find_prompt("guideline_plain").fingerprint
            shape["direct"] = self.direct.model_dump(mode="json") | {"teacher": teacher, "prompt": prompt}
        if self.evaluate:
            shape["evaluate"] = self.evaluate.model_dump(mode="json", exclude={"title", "metric"})
        shape["source"] = resolved("source", self.source)
        shape["teacher"] = resolved("teacher", self.teacher)
        shape["operations"] = [resolved("operation", spec) for spec in self.operations]
        shape["validate"] = [resolved("check", spec) for spec in self.validate_]
        return shape


def resolved(family: plugins.Family, spec: Spec) -> dict[str, Any]:
    """A plug-in's name with all its options, less those beside the digest."""
    plugin: plugins.Plugin = plugins.build(family, spec)
    return {"name": plugin.name, **plugin.model_dump(mode="json", exclude=set(plugin.beside_the_digest))}


def shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped_folder("manifests").glob("*.yaml"))


def load(
    path: Path,
    changes: dict[str, Any] | None = None,
    source_path: Path | None = None,
    teacher: dict[str, Any] | None = None,
    paths: Mapping[str, Path] | None = None,
) -> Manifest:
    """The manifest in a file, with single values laid over it; UsageError names file and key.

    `source_path` is where the source's data lie, `paths` where those of one of several do, by its name. `teacher`
    replaces the manifest's, or is laid over it where both name the same plug-in.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no manifest {path}: shipped are {', '.join(shipped_names())} (use --source)") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a manifest is a mapping of keys such as name, source, teacher")
    content |= {"prompts": {name: find_prompt(name, path.parent).text for name in LOADED}} | (changes or {})
    if source_path is not None:
        if "sources" in content:
            raise UsageError(f"{path} names several sources: say whose data lie there, as in --path NAME={source_path}")
        content["source"] = _spelled(content.get("source")) | {"path": str(source_path)}
    if paths:
        content["sources"] = _with_paths(content.get("sources"), paths, path)
    if teacher is not None:
        stated = _spelled(content.get("teacher"))
        content["teacher"] = (stated if stated.get("name") == teacher["name"] else {}) | teacher
    return parse(content, str(path))


def _with_paths(parts: Any, paths: Mapping[str, Path], manifest: Path) -> list[dict[str, Any]]:
    """The sources of a manifest, those that are named with a path."""
    spelled = [_spelled(part) for part in parts] if isinstance(parts, list) else []
    names = [part.get("name") for part in spelled]
    for name in paths:
        if name not in names:
            there = ", ".join(map(str, names)) or "it has one alone"
            raise UsageError(f"{manifest} has no source {name!r} among several: {there}")
    return [part | ({"path": str(paths[name])} if (name := str(part.get("name"))) in paths else {}) for part in spelled]


def _spelled(spec: Any) -> dict[str, Any]:
    return dict(spec) if isinstance(spec, dict) else {"name": spec}


def parse(content: dict[str, Any], where: str) -> Manifest:
    """A manifest from a mapping; `where` names it in the error. Every plug-in it names is built once, as a test."""
    try:
        manifest = Manifest(**content)
    except ValidationError as error:
        raise UsageError(f"{where}: {plugins.explain(error, Manifest)}") from None
    manifest.shape()
    if manifest.direct and not plugins.build("teacher", manifest.direct.teacher).sees:
        raise UsageError(f"{where}: direct: its teacher can't see, so it solves nothing; name a model")
    for spec in manifest.filter:
        plugins.build("check", spec)
    for spec in manifest.validate_:
        check = plugins.build("check", spec)
        if isinstance(check, (plugins.AskingCheck, plugins.SetCheck)):
            raise UsageError(f"{where}: validate: {check.name} takes a model or the whole set; put it under filter")
    return manifest


def shipped(name: str) -> Path:
    """The shipped manifest of that name; UsageError names those that exist."""
    path = shipped_folder("manifests") / f"{name}.yaml"
    if not path.is_file():
        close = difflib.get_close_matches(name, shipped_names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"no source {name!r}: {hint}there are {', '.join(shipped_names())}; or give --manifest FILE")
    return path
