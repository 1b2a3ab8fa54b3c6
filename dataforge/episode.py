"""The one door to pixels: an episode runs calls and records what came back.

Synthesis, replay, RL and evaluation all drive an Episode, so the student reads the same words and sees the same
pixels in each of them. A call that can't be run gives an error sentence, never an exception.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dataforge import plugins
from dataforge.controls import Misled
from dataforge.errors import ExampleError, OperationError
from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Operation
from dataforge.records import Call, Control, Example, Limits, Observation, Student, Trace, Used, View
from dataforge.workspace import Workspace


class Episode:
    """One question being worked on: its views so far, and the operations that can make more."""

    def __init__(
        self,
        example: Example,
        store: MediaStore,
        operations: Sequence[Operation],
        student: Student,
        limits: Limits,
        control: Control = "",
        seed: int = 0,
    ) -> None:
        self.example = example
        self.operations = {short_name(operation): operation for operation in operations}
        self.limits = limits
        self.control, self.seed = control, seed
        self.workspace = (Misled if control else Workspace)(store, example.media, student, limits)
        try:
            for index in range(len(example.media)):
                self.workspace.first_look(index)
        except OperationError as error:
            raise ExampleError("show", error.reason, f"the first views pass the limits: {error}") from None
        self.opening = tuple(self.workspace.views)
        self.restart()

    def restart(self) -> None:
        """Back to the opening views, as if nothing had been called."""
        self.workspace.drop_after(len(self.opening))
        self.ran = 0
        if isinstance(self.workspace, Misled):
            self.workspace.mislead(self.control, f"{self.seed} {self.example.id}")

    def fork(self) -> Episode:
        """Another episode at the same point, that goes on by itself: a group's rollouts share what they begin with."""
        other = copy.copy(self)
        other.workspace = self.workspace.fork()
        return other

    def act(self, call: Call) -> Observation:
        """Run a call and say what came back; a call that can't be run changes nothing."""
        before = len(self.workspace.views)
        try:
            if self.ran >= self.limits.operations:
                raise OperationError(
                    "too_many_operations", f"{self.limits.operations} operations have been used. Answer now."
                )
            operation = self._operation(call.name)
            views = operation.apply(self.workspace, **bind(operation, call.arguments))
        except OperationError as error:
            self.workspace.drop_after(before)
            return Observation(text=f"Error: {error}", error=error.reason)
        self.ran += 1
        return Observation(text=describe(views), views=tuple(views))

    def _operation(self, name: str) -> Operation:
        if name not in self.operations:
            known = ", ".join(self.operations)
            fix = f"Use one of: {known}." if known else "None is offered: answer from what you see."
            raise OperationError("unknown_operation", f"There is no operation {name!r}. {fix}")
        return self.operations[name]


def short_name(operation: Operation) -> str:
    """What the student calls an operation: the last part of its plug-in name."""
    return operation.name.rpartition(".")[2]


def describe(views: Sequence[View]) -> str:
    """The sentence that goes with new views."""
    return " ".join(f"Image {view.number} ({view.width}x{view.height} pixels{_moment(view)}):" for view in views)


def _moment(view: View) -> str:
    return "" if view.time_s is None else f", at {view.time_s:.2f} s"


def bind(operation: Operation, arguments: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments as typed values for `apply`; OperationError with a sentence that tells how to fix them."""
    wanted = signature(operation)
    names = ", ".join(wanted)
    if unknown := [name for name in arguments if name not in wanted]:
        raise OperationError("bad_arguments", f"{short_name(operation)} knows no {unknown[0]!r}: it takes {names}.")
    bound = {}
    for name, parameter in wanted.items():
        if name not in arguments:
            if parameter.default is inspect.Parameter.empty:
                raise OperationError("bad_arguments", f"{name} is missing: {short_name(operation)} takes {names}.")
            continue
        bound[name] = _value(name, arguments[name], parameter.annotation)
    return bound


def signature(operation: Operation) -> dict[str, inspect.Parameter]:
    """The typed arguments of an operation, in order."""
    hints = typing.get_type_hints(type(operation).apply)
    parameters = list(inspect.signature(type(operation).apply).parameters.values())[2:]
    return {parameter.name: parameter.replace(annotation=hints[parameter.name]) for parameter in parameters}


def _value(name: str, value: Any, annotation: Any) -> Any:
    if annotation is Box:
        return _box(name, value)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(strict=False))
        given = value if isinstance(value, list) else [value]
        if any(isinstance(one, bool) for one in given) and annotation is not bool:
            raise OperationError("bad_arguments", f"{name} takes numbers, not {value}.")
        return adapter.validate_python(value)
    except ValidationError as error:
        complaint = error.errors()[0]["msg"]
        raise OperationError("bad_arguments", f"{name}: {complaint}.") from None


def _box(name: str, value: Any) -> Box:
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    if len(numbers) != 4 or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise OperationError("bad_arguments", f"{name} must be a list of four numbers: [x1, y1, x2, y2].")
    try:
        return Box(*(float(number) for number in numbers))
    except OverflowError:
        raise OperationError("not_finite", f"{name} must hold four finite numbers.") from None


def used(operations: Sequence[Operation]) -> tuple[Used, ...]:
    """The operations as a trace keeps them."""
    return tuple(Used(name=operation.name, options=operation.model_dump(mode="json")) for operation in operations)


def operations_of(trace: Trace) -> list[Operation]:
    """A trace's operations, rebuilt with the recorded options, so a changed manifest doesn't matter."""
    return [plugins.build("operation", {"name": use.name, **use.options}) for use in trace.provenance.operations]


def stage(trace: Trace, store: MediaStore) -> Episode:
    """The episode that a trace was recorded in, before its first call."""
    provenance = trace.provenance
    made_with = (provenance.student, provenance.limits, provenance.control, provenance.seed)
    return Episode(trace.example, store, operations_of(trace), *made_with)


def replay(trace: Trace, store: MediaStore) -> Iterator[tuple[str, str]]:
    """Run a stored trace's calls again and yield each difference as (what, detail); nothing when all is the same."""
    return differences(trace, stage(trace, store))


def differences(trace: Trace, episode: Episode) -> Iterator[tuple[str, str]]:
    """Run the trace's calls in its episode, as `replay`; afterwards the episode's workspace holds its pictures."""
    yield from _differences("first views", trace.views, episode.opening)
    for number, step in enumerate(trace.steps, start=1):
        if step.call is None:
            continue
        seen = episode.act(step.call)
        recorded = step.observation or Observation(text="")
        if (seen.text, seen.error) != (recorded.text, recorded.error):
            yield "observation", f"step {number}: {seen.text!r} instead of {recorded.text!r}"
        yield from _differences(f"step {number}", recorded.views, seen.views)


def _differences(where: str, recorded: Sequence[View], seen: Sequence[View]) -> Iterator[tuple[str, str]]:
    if len(recorded) != len(seen):
        yield "views", f"{where}: {len(seen)} views instead of {len(recorded)}"
        return
    for old, new in zip(recorded, seen, strict=True):
        if old.model_copy(update={"sha256": ""}) != new.model_copy(update={"sha256": ""}):
            yield "geometry", f"{where}: image {new.number} shows {_place(new)} instead of {_place(old)}"
        elif old.sha256 != new.sha256:
            yield "pixels", f"{where}: image {new.number} has other pixels"


def _place(view: View) -> str:
    return f"{list(view.box)}{_moment(view)}"
