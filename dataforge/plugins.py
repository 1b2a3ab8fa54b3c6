"""Plug-ins: the folder is the registry, the file is the name, the class's fields are the options.

`sources/charts.py` holds one class, a `Source`; a manifest calls it `charts`. A dotted name (`mine.charts`) loads a
module from outside in the same way. The class's docstring is its help, its fields are its options in the manifest.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataforge.ask.request import MOST_OUTPUT, Ask, Reply, Request
from dataforge.errors import UsageError
from dataforge.prompts import Prompt, find_prompt
from dataforge.records import BoxUnit, Example, Failure, Media, Scene, Trace, Verdict, View

if TYPE_CHECKING:
    from datasets import Features

    from dataforge.media import MediaStore
    from dataforge.transcript import Transcript
    from dataforge.workspace import Workspace

Family = Literal["source", "operation", "check", "teacher", "exporter"]


class Plugin(BaseModel):
    """Base of all plug-ins: a frozen value whose fields are its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beside_the_digest: ClassVar[frozenset[str]] = frozenset()
    """Options that do not shape a trace (addresses, time-outs), left out of a run's digest."""

    @property
    def name(self) -> str:
        """What a manifest calls this plug-in."""
        module = type(self).__module__
        return module.rpartition(".")[2] if module.startswith("dataforge.") else module


class Row(NamedTuple):
    """One question as a source finds it, before its picture has been opened: cheap, picklable."""

    id: str
    group: str
    content: Any


class Source(Plugin):
    """Reads or draws examples.

    `read` runs in the main process and yields rows in a fixed order without opening a picture; a row that cannot be
    read is yielded as the Failure that says why. `example` runs in a worker process and puts the picture into the
    store.
    """

    @property
    def licence(self) -> str:
        """Of the pictures; may depend on the options."""
        return "unknown"

    @property
    def redistributable(self) -> bool:
        """The pictures may be published."""
        return False

    @property
    def endless(self) -> bool:
        """Rows never run out, so a run of it needs a limit."""
        return False

    @property
    def poses(self) -> bool:
        """Examples may come without a question, as a Scene: a teacher makes it."""
        return False

    @property
    def missing(self) -> str:
        """What this machine lacks to read it, with the command that mends it; empty when all is here."""
        return ""

    def read(self) -> Iterator[Row | Failure]:
        raise NotImplementedError

    def example(self, row: Row, store: "MediaStore") -> Example | Scene:
        """The example of a row; ExampleError where its picture or its answer is no use."""
        raise NotImplementedError

    def asked(self, row: Row, media: Media, **more: Any) -> Example:
        """The example of a row that holds `question` and `answers`, on one picture or video; `more` is all the rest."""
        question, answers = row.content["question"], row.content["answers"]
        return Example(
            id=row.id, group=row.group, source=self.name, question=question, answers=answers, media=(media,), **more
        )


class Operation(Plugin):
    """Something the student can do to the pictures.

    A subclass writes `apply(self, workspace, ...)`: its typed arguments and the `Args:` of its docstring become the
    schema that the student reads. A Box argument is in pixels of the view whose number the argument `target_image`
    gives; it is translated to and from the student's box unit by `chat`.
    """

    of_video: ClassVar[bool] = False
    """It works on frames of a video, so a run that has it uses the prompts for videos."""

    def apply(self, workspace: "Workspace", *args: Any, **arguments: Any) -> list[View]:
        raise NotImplementedError


@dataclass(frozen=True)
class Kit:
    """What a check may use beside the trace: where the run's pictures lie, and for some a teacher and prompts."""

    store: "MediaStore"
    ask: Ask | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    def prompt(self, name: str) -> Prompt:
        """The run's own prompt of that name, else the shipped one."""
        return Prompt(name, self.prompts[name]) if name in self.prompts else find_prompt(name)


class Check(Plugin):
    """Decides whether a stored trace is good, from the trace and its pictures alone."""

    reasons: ClassVar[tuple[str, ...]] = ()
    opens_pictures: ClassVar[bool] = False
    """Costs a decoded picture, so it only sees what the checks that don't let through."""

    def judge(self, trace: Trace, kit: Kit) -> Verdict:
        raise NotImplementedError

    def complaint(self, verdict: Verdict) -> str:
        """What a teacher is told of a failed verdict, so that it can mend its text; empty when it can't.

        It must not hold the key: a teacher that is told the answer proves nothing by giving it.
        """
        return f"{verdict.reason.replace('_', ' ')}: {verdict.detail}"

    def passed(self, score: float | None = None) -> Verdict:
        return Verdict(check=self.name, ok=True, score=score)

    def failed(self, reason: str, detail: str = "", score: float | None = None) -> Verdict:
        assert reason in self.reasons, f"{self.name} does not list the reason {reason}"
        return Verdict(check=self.name, ok=False, reason=reason, detail=detail, score=score)


class AskingCheck(Check):
    """A check that asks a model, its own or the run's teacher; it only sees what the cheap checks let through.

    A trace whose model gives no usable reply is rejected with the reason `no_reply`, which isn't remembered.
    """

    teacher: str | dict[str, Any] | None = Field(default=None, description="who is asked; the run's teacher if none")

    reasons: ClassVar[tuple[str, ...]] = ("no_reply",)
    prompts: ClassVar[tuple[str, ...]] = ()
    """Names of the prompts that it asks with: a changed text makes its verdicts anew."""
    thresholds: ClassVar[frozenset[str]] = frozenset()
    """Options that `again` lays over what a verdict has measured."""
    needs_teacher: ClassVar[bool] = True
    """Without a model that sees there is no verdict; else `kit.ask` may be None."""

    async def examine(self, trace: Trace, kit: Kit) -> Verdict:
        """The verdict; `kit.ask` asks the check's teacher. ExampleError where it gives no usable reply."""
        raise NotImplementedError

    def again(self, verdict: Verdict) -> Verdict:
        """A verdict of `examine` under this check's thresholds, from its score and detail alone."""
        return verdict


class SetCheck(Check):
    """A check of a trace against the others: runs last, in one process, over the survivors in their order."""

    def sift(self, traces: Iterator[Trace], kit: Kit) -> Iterator[Verdict]:
        """One verdict for each trace, in order; memory may grow with a few bytes a trace, never with its text."""
        raise NotImplementedError


class Teacher(Plugin):
    """Writes thoughts and looks for evidence. Retries, cache and counting are done around it."""

    beside_the_digest: ClassVar[frozenset[str]] = frozenset(
        {"in_flight", "requests_per_minute", "tokens_per_minute", "retries"}
    )

    in_flight: int = Field(default=64, gt=0, le=1024, description="calls at once, at most; fewer where that is better")
    requests_per_minute: float | None = Field(default=None, gt=0, description="limit, where the server's is known")
    tokens_per_minute: float | None = Field(default=None, gt=0, description="the same, of input and output together")
    retries: int = Field(default=5, ge=0, description="further attempts at a call that the server did not answer")
    cached: ClassVar[bool] = True
    """Replies are worth keeping: they cost something and differ from call to call."""
    sees: ClassVar[bool] = True
    """The pictures of a request are used, so they must be encoded."""
    lossless: ClassVar[bool] = False
    """Pictures are wanted as PNG, so that the model sees the very pixels of the views."""

    @property
    def title(self) -> str:
        """Plug-in and model, for provenance."""
        return self.name

    def identity(self) -> Mapping[str, Any]:
        """What of the teacher shapes a reply: part of the cache's key."""
        return self.model_dump(mode="json", exclude=set(self.beside_the_digest))

    @property
    def endpoints(self) -> int:
        """How many there are to choose from; a request says which one to ask."""
        return 1

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Teacher"]:
        """Opened once around a run: connections live here."""
        yield self

    def price(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float | None:
        """US dollars for that many tokens, alone or in a batch; None where no price is known, 0 where all is free."""
        return None

    def price_note(self, batch: bool = False) -> str:
        """Whose prices these are and of which day, for an estimate; empty where there are none."""
        return ""

    def forecast(self, request: Request) -> tuple[int, int]:
        """Tokens that a request will take in, as estimated, and the most that its reply may have."""
        from dataforge.ask.prices import Pictures
        from dataforge.ask.tokens import request_tokens

        return request_tokens(request, Pictures()), MOST_OUTPUT

    async def check(self) -> str:
        """One line on what answers, without a paid call; UsageError when nothing does."""
        return "needs nothing"

    async def ask(self, request: Request) -> Reply:
        """The reply to one attempt.

        Setback when another attempt may succeed, any other ExampleError("teacher", reason) when none can, UsageError
        when no request at all can succeed.
        """
        raise NotImplementedError


class Exporter(Plugin):
    """Lays kept traces out for another trainer.

    Rows are made in worker processes from a transcript, in which calls have that trainer's words already. What a row
    looks like to the trainer's own loader is `fault`'s to say; what becomes of the `learn` flags is `carries`'.
    """

    box_unit: BoxUnit | None = Field(default=None, description="of boxes in calls; the student's own if none")
    tools: dict[str, str] = Field(default={}, description="names of operations there, such as {zoom_in: crop_image}")
    padding: float | None = Field(
        default=None, ge=0, le=0.5, description="by which the executor there widens a box; boxes as called if none"
    )
    quality: int = Field(default=90, ge=1, le=100, description="of the JPEG of a view")
    root: str = Field(default="", description="put before each picture's path, which else is relative to the export")

    file: ClassVar[str]
    """Name of the file of rows: .json (one list), .jsonl or .parquet."""
    embeds: ClassVar[bool] = False
    """Pictures stand in the rows as bytes, not beside them as files."""
    shows_sources: ClassVar[bool] = False
    """Rows show the whole media in full resolution, as an executor needs them, and not the views."""
    once_a_question: ClassVar[bool] = False

    def rows(self, told: "Transcript") -> Iterator[dict[str, Any]]:
        """The rows of one trace; ExampleError("export", reason) where the layout can't hold it."""
        raise NotImplementedError

    def fault(self, row: Mapping[str, Any]) -> str:
        """What the trainer's own counting would find wrong with a row; empty where nothing."""
        raise NotImplementedError

    def carries(self, told: "Transcript") -> bool:
        """The trainer, given these rows, learns just what the trace's flags say."""
        return True

    @property
    def lost(self) -> str:
        """What becomes of `learn` flags that the trainer has no place for."""
        return ""

    def features(self) -> "Features | None":
        """The columns of a parquet file."""
        return None

    def beside(self) -> Mapping[str, str]:
        """Other files of the export: name -> text."""
        return {}

    def path(self, name: str) -> str:
        """A picture's path as rows name it."""
        return f"{self.root.rstrip('/')}/images/{name}" if self.root else f"images/{name}"


FAMILIES: dict[Family, tuple[str, type[Plugin]]] = {
    "source": ("dataforge.sources", Source),
    "operation": ("dataforge.operations", Operation),
    "check": ("dataforge.checks", Check),
    "teacher": ("dataforge.teachers", Teacher),
    "exporter": ("dataforge.exporters", Exporter),
}


def names(family: Family) -> list[str]:
    """The names of a family's shipped plug-ins, sorted."""
    package = importlib.import_module(FAMILIES[family][0])
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(family: Family, name: str) -> type[Plugin]:
    """The plug-in class of that name; UsageError names those that exist."""
    package, base = FAMILIES[family]
    if "." not in name and name not in names(family):
        close = difflib.get_close_matches(name, names(family), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"no {family} is called {name!r}: {hint}there are {', '.join(names(family))}")
    path = name if "." in name else f"{package}.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and path.startswith(error.name):
            raise UsageError(f"no module {path} for {family} {name!r}: is its folder on PYTHONPATH?") from None
        raise UsageError(f"{family} {name!r} needs {error.name}: pip install {error.name}") from None
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UsageError(f"{path} must hold exactly one {base.__name__} class, not {len(found)}")
    return found[0]


def build(family: Family, spec: str | Mapping[str, Any]) -> Any:
    """The plug-in that a manifest asks for: a name, or a mapping of `name` and options."""
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"a {family} needs a name: one of {', '.join(names(family))}")
    plugin = find(family, name)
    try:
        return plugin(**options)
    except ValidationError as error:
        raise UsageError(f"{family} {name}: {explain(error, plugin)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of a validation in one line, with the nearest known option."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing" and where in model.model_fields:
        means = model.model_fields[where].description
        return f"it needs {where!r}" + (f": {means}" if means else "")
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}, got {first['input']!r}" if where else str(first["msg"])
    known = _known_keys(model, first["loc"])
    close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    return f"unknown option {where!r}: " + (f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}")


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]
