"""The records: everything that is stored or passed between stages, frozen and strict.

A trace is geometry first: which picture of which media was shown, at which box, in what size. Pixels are never
stored in a record; they are cut again from the media, and the hash says whether they are the same. A field that a
record does not know is refused, so a typo in a stored line is an error with a file, a line and a name, not a default.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataforge.errors import UsageError
from dataforge.geometry import Box

SCHEMA_VERSION: Literal[1] = 1
"""Raised when a stored trace of the version before can no longer be read."""

BY_HAND = "marked"
"""The name under which a person's word stands among the verdicts."""

Kind = Literal[
    "direct",
    "single",
    "recrop_once",
    "recrop_twice",
    "zoom_further",
    "compare",
    "reselect",
    "frames_then_zoom",
    "rollout",
]
"""How a trace came about; a `rollout` is whatever a model did by itself, in training or in an evaluation."""
Role = Literal["look", "mistake", "recover", "answer"]
Learn = Literal["both", "thought", "call", "none"]
SaidBy = Literal["annotation", "ocr", "teacher"]
BoxUnit = Literal["pixels", "0..1", "0..1000"]
CallForm = Literal["tagged", "native"]
AnswerType = Literal["text", "number", "choice", "exact", "vqa", "list"]
Control = Literal["", "blank", "elsewhere"]
"""What comes back from a look instead of what was asked for: nothing, or another place of the same size."""
VideoBackend = Literal["auto", "pyav", "decord"]
"""Who decodes videos; `auto` is the one that is exact on every file: PyAV."""
Span = tuple[float, float]
"""From and to, both included: seconds of presentation time in a video."""


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Placed(Record):
    """Base of the records that say where something is."""

    box: Box

    @model_validator(mode="after")
    def _box_is_ordered(self) -> Self:
        if not (self.box.x1 < self.box.x2 and self.box.y1 < self.box.y2):
            raise ValueError(f"box {list(self.box)} is empty or reversed")
        return self


def _ordered(span: Span | None) -> Span | None:
    if span and not (math.isfinite(span[0]) and math.isfinite(span[1]) and span[0] <= span[1]):
        raise ValueError(f"span {list(span)} is reversed")
    return span


SpanOrNone = Annotated[Span | None, AfterValidator(_ordered)]


R = TypeVar("R", bound=Record)


class Media(Record):
    """One picture or video file, by content."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the file's bytes")
    kind: Literal["image", "video"] = "image"
    suffix: str = Field(
        pattern=r"^(\.[A-Za-z0-9]{1,8})?$", description="file name ending in the run's media folder, such as .jpg"
    )
    width: int = Field(gt=0, description="pixels, upright (after EXIF orientation; of a video, and square)")
    height: int = Field(gt=0, description="pixels, upright")
    frames: int = Field(default=1, gt=0)
    span_s: SpanOrNone = Field(default=None, description="of a video: the times of its first and last frame")
    decoder: Literal["", "pyav", "decord"] = Field(default="", description="of a video: whose pixels a trace shows")
    licence: str = ""
    origin: str = Field(default="", description="where it came from, without a path of the machine")


class Region(Placed):
    """A place in one media item: where evidence lies, or another thing worth a look."""

    box: Box = Field(description="source pixels, upright")
    media: int = Field(default=0, ge=0, description="index into the example's media")
    span_s: SpanOrNone = Field(default=None, description="of a video: the times at which it is there to be seen")
    label: str = Field(default="", description="a noun phrase, or the words that OCR read there")
    said_by: SaidBy = "annotation"
    text_px: float | None = Field(default=None, gt=0, description="glyph height in source pixels, where known")

    def there_at(self, time_s: float | None) -> bool:
        """Whether a view of that time can show it; a region of a picture is always there."""
        return self.span_s is None or (time_s is not None and self.span_s[0] <= time_s <= self.span_s[1])


class Example(Record):
    """A question on media, with its accepted answers."""

    id: str = Field(min_length=1)
    group: str = Field(description="shared by all questions on one image, so that no split tears it")
    source: str
    split: str = ""
    question: str = Field(min_length=1)
    answers: tuple[str, ...] = Field(description="accepted answers, the first canonical; empty when unknown")
    answer_type: AnswerType = "text"
    choices: tuple[str, ...] = ()
    media: tuple[Media, ...] = Field(min_length=1)
    evidence: tuple[Region, ...] = Field(default=(), description="where the annotation says the answer lies")
    context: tuple[Region, ...] = Field(default=(), description="other places; OCR words; dropped from a trace")
    category: str = Field(default="", description="a benchmark's own division of its questions")


class Known(Record):
    """A question that whoever drew a picture can ask of a place in it: what a teacher without eyes may say."""

    place: int = Field(ge=0, description="index into the scene's places")
    question: str
    choices: tuple[str, ...] = Field(min_length=2, description="the right one first")
    subject: str = Field(description="object, colour, material, text or count")
    detail_px: float = Field(gt=0, description="size in source pixels of what must be told apart")


class Scene(Record):
    """Media without a question: a teacher poses one, on one of the places or on one that it finds."""

    id: str = Field(min_length=1)
    group: str = Field(description="shared by all scenes on one image")
    source: str
    split: str = ""
    media: tuple[Media, ...] = Field(min_length=1, max_length=1)
    places: tuple[Region, ...] = Field(default=(), description="worth a question: small, and like no other place")
    context: tuple[Region, ...] = Field(default=(), description="other places")
    known: tuple[Known, ...] = ()


class Call(Record):
    """An operation's name and arguments, with boxes in pixels of the view that the call names."""

    name: str
    arguments: dict[str, Any] = {}


class Frame(NamedTuple):
    """A frame of a video: its place in the order of presentation, from 0, and its presentation time in seconds."""

    number: int
    time_s: float


class View(Placed):
    """One picture as shown: its number, size and hash, and which part of the source it shows.

    A frame of a video is known by the hash of its media and its presentation time: an index means nothing once a file
    has been cut, and a rate is a promise that many files break.
    """

    number: int = Field(ge=1)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    sha256: str = Field(description="of size and RGB bytes as shown")
    media: int = 0
    frame: int | None = Field(default=None, description="of a video: its place in the order of presentation, from 0")
    time_s: float | None = Field(default=None, description="of a video: presentation time, to the microsecond")
    box: Box = Field(description="whole source pixels that were really cut")
    blank: bool = Field(default=False, description="shown as plain grey: a control, to see whether looks matter")

    @property
    def moment(self) -> Frame | None:
        """The frame of a video that it shows."""
        return None if self.frame is None or self.time_s is None else Frame(self.frame, self.time_s)


class Observation(Record):
    """What came back from a call: text and views, or an error sentence with its code."""

    text: str
    views: tuple[View, ...] = ()
    error: str = Field(default="", description="reason code; empty when the call ran")


class Step(Record):
    """One turn of the student: what it thinks, what it calls, what came back."""

    thought: str
    call: Call | None = None
    observation: Observation | None = None
    role: Role = "look"
    learn: Learn = Field(default="both", description="which parts the training loss sees")


class Verdict(Record):
    """What one check says of one trace."""

    check: str
    ok: bool
    reason: str = Field(default="", description="reason code; empty when ok")
    score: float | None = None
    detail: str = ""


class Overview(Record):
    """How a video is first shown: as so many frames, each a view."""

    frames: int = Field(default=16, ge=1, le=512, description="at most; fewer where the video has fewer")
    by: Literal["time", "scene", "key_frame"] = Field(
        default="time", description="evenly in time, some of each scene, or what decodes by itself (fast)"
    )
    max_pixels: int = Field(default=128 * 28 * 28, gt=0, description="of one frame")


class Student(Record):
    """What the student's own preprocessor does to a picture, and how the student writes a call.

    A view is sized so that this preprocessor leaves it alone: sides are multiples of `patch`, the area lies between
    `min_pixels` and `max_pixels`. The defaults are Qwen2.5-VL's step with a whole view of about one megapixel.
    """

    patch: int = Field(default=28, gt=0, description="side in pixels of the square that costs one token")
    min_pixels: int = Field(default=4 * 28 * 28, gt=0)
    max_pixels: int = Field(default=1280 * 28 * 28, gt=0)
    box_unit: BoxUnit = Field(default="pixels", description="of the boxes in a call, on the view it names")
    calls: CallForm = Field(default="tagged", description="<tool_call> in the text, or OpenAI's tool_calls")
    video: Overview = Overview()


class Limits(Record):
    """What one episode may use; a call beyond it is refused with a sentence."""

    operations: int = Field(default=6, ge=0, description="calls that ran")
    images: int = Field(default=12, ge=1, description="views shown, the first ones included")
    image_tokens: int = Field(default=16384, ge=1, description="patch squares of all views together")


class Used(Record):
    """An operation as a trace used it: name and resolved options, so that replay can rebuild it."""

    name: str
    options: dict[str, Any] = {}


class Provenance(Record):
    """All that shaped a trace."""

    version: str = Field(description="of dataforge")
    manifest: str = Field(description="digest of what shapes a trace")
    prompts: dict[str, str] = Field(default={}, description="prompt name -> fingerprint")
    operations: tuple[Used, ...] = ()
    student: Student = Student()
    limits: Limits = Limits()
    control: Control = Field(default="", description="what looks gave instead of what was asked for")
    teacher: str = Field(default="", description="plug-in and model")
    scripted: bool = Field(default=False, description="thoughts written from the annotation by rule, no model")
    answer_revealed: bool = Field(default=False, description="the teacher was told the answer")
    posed: bool = Field(default=False, description="the teacher made the question, too")
    replies: tuple[str, ...] = Field(default=(), description="digests of the teacher's replies, in order")
    rewrites: int = Field(default=0, description="times that the teacher was sent back")
    smaller: int = Field(default=0, description="replies for which the teacher was shown the views at half their size")
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unfit: tuple[str, ...] = Field(default=(), description="kinds drawn before that did not fit the example")
    solved: tuple[int, int] | None = Field(
        default=None, description="of a text-space trace: right answers, and samples, of the model that wrote it"
    )
    seed: int = 0
    pillow: str = Field(default="", description="version that cut the views: a hash may differ under another")


class Tokens(Record):
    """What a policy read and sampled in a rollout, token for token, and what it was worth.

    The student's own ids are in `spans` and nowhere else; they are never made again from text.
    """

    ids: tuple[int, ...] = Field(description="of the whole conversation, an image as many as it has features")
    spans: tuple[tuple[int, int], ...] = Field(description="first and past-last index of each sampled turn")
    logprobs: tuple[float, ...] = Field(description="of the sampled ids, in order, under what they were sampled from")
    policy: int = Field(description="updates that the policy had had")
    seed: int = Field(description="of the sampling")
    ended: Literal["answer", "turns", "length", "room"] = Field(
        description="with an answer; after the last turn allowed; with a turn cut off; with no room for another"
    )
    correct: float | None = None
    bonus: float | None = None
    penalty: float | None = None
    advantage: float | None = None

    @property
    def mask(self) -> list[bool]:
        """Per id: the student sampled it."""
        sampled = [False] * len(self.ids)
        for start, end in self.spans:
            sampled[start:end] = [True] * (end - start)
        return sampled


class Trace(Record):
    """A whole reasoning trace: one line of traces.jsonl."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    example: Example
    views: tuple[View, ...] = Field(description="what is shown with the question")
    regions: tuple[Region, ...] = Field(default=(), description="the evidence")
    steps: tuple[Step, ...]
    answer: str
    kind: Kind
    verdicts: tuple[Verdict, ...] = ()
    provenance: Provenance
    tokens: Tokens | None = Field(default=None, description="of a rollout: what the policy sampled")

    @property
    def looks(self) -> tuple[Step, ...]:
        """The steps that called an operation and got views back."""
        return tuple(step for step in self.steps if step.observation and step.observation.views)

    @property
    def all_views(self) -> tuple[View, ...]:
        """Every view in the order of its number."""
        return self.views + tuple(view for step in self.looks if step.observation for view in step.observation.views)

    @property
    def ok(self) -> bool:
        """No check says no; a person who keeps the trace by hand overrules them."""
        by_hand = any(verdict.ok and verdict.check == BY_HAND for verdict in self.verdicts)
        return by_hand or all(verdict.ok for verdict in self.verdicts)


class Failure(Record):
    """One line of failed.jsonl: an example that became no trace, and why."""

    id: str
    stage: str
    reason: str
    detail: str = ""
    input_tokens: int = Field(default=0, description="of the teacher's replies, in vain")
    output_tokens: int = 0
    cost_usd: float = 0.0


def to_line(record: Record) -> str:
    """The record as one JSON line with its newline; the same record gives the same bytes."""
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")) + "\n"


def read_lines(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a JSONL file of records; UsageError names file, line and field where one does not fit.

    A last line that a kill cut short is passed over: the run makes its example again.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield parse_line(line, kind, f"{path.name} line {number}")
            except UsageError:
                if line.endswith("\n"):
                    raise


def parse_line(line: str, kind: type[R], where: str) -> R:
    """One record from one JSON line; `where` names it in the error."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise UsageError(f"{where}, field {field}: {first['msg']} (schema version {SCHEMA_VERSION})") from None
