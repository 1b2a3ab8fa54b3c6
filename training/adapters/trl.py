"""TRL: an environment class and a reward function for `GRPOTrainer(environment_factory=...)`; known good with 1.16.

    store = MediaStore(Path("media"))
    trainer = GRPOTrainer(
        model=..., args=GRPOConfig(num_generations=8, ...), processing_class=processor,
        train_dataset=Dataset.from_list(rows(examples, store, codec)),
        environment_factory=environment(store, codec, limits),
        reward_funcs=reward({"name": "curiosity"}, group=8),
    )

The operations are those of the codec, run by the same Episode; a call that can't be run is answered by the same
sentence. A group must lie in one process (its batch a multiple of the group), or the reward refuses it: TRL hands a
reward function the rollouts of its own process alone. What TRL can't do stays undone: a malformed call ends a rollout
there without a sentence, nothing is replayed, and groups that agree are not dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataforge import chat, plugins
from dataforge.answers.metrics import extract_boxed
from dataforge.dialect import from_student, tool_schemas
from dataforge.episode import Episode, short_name, signature
from dataforge.errors import UsageError
from dataforge.geometry import Box
from dataforge.plugins import Kit, Operation
from dataforge.records import Call, Example, Limits, Observation, Provenance, Step, Trace, parse_line, to_line
from training import rewards

if TYPE_CHECKING:
    from dataforge.media import MediaStore
    from training.encoding import Codec


def rows(examples: Sequence[Example], store: MediaStore, codec: Codec) -> list[dict[str, Any]]:
    """The rows of TRL's dataset: `prompt` as messages, `images`, and the example for the environment."""
    found = []
    for example in examples:
        episode = Episode(example, store, codec.operations, codec.student, Limits())
        opening = chat.opening(example, episode.opening, (), codec.student, system=codec.system, beside=codec.beside)
        pictures = [episode.workspace.picture(view.number) for view in episode.opening]
        messages = [{"role": one["role"], "content": _parts(one["content"])} for one in chat.messages(opening)]
        found.append({"prompt": messages, "images": pictures, "example": to_line(example)})
    return found


def _parts(content: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Message parts as TRL wants them: an image without a number, taken from `images` in order."""
    return [dict(part) if part["type"] == "text" else {"type": "image"} for part in content]


def environment(store: MediaStore, codec: Codec, limits: Limits) -> type[Any]:
    """The class of environments whose tools are the codec's operations; TRL makes one for each rollout."""

    def reset(self: Any, example: str, **row: Any) -> None:
        asked = parse_line(example, Example, "TRL's row")
        self._episode = Episode(asked, store, codec.operations, codec.student, limits)
        self._steps = []

    methods: dict[str, Any] = {"reset": reset, "__doc__": "The pictures of one rollout, and what was done to them."}
    for operation, schema in zip(codec.operations, tool_schemas(codec.operations, codec.student), strict=True):
        methods[short_name(operation)] = _tool(operation, schema["function"], codec)
    return type("Looking", (), methods)


def _tool(operation: Operation, schema: Mapping[str, Any], codec: Codec) -> Callable[..., Any]:
    """A method that runs the operation; TRL reads its signature and docstring to make the tool's schema."""
    name = short_name(operation)

    def tool(self: Any, **arguments: Any) -> str | list[dict[str, Any]]:
        workspace = self._episode.workspace
        call = from_student(Call(name=name, arguments=arguments), codec.operations, workspace.views, codec.student)
        seen: Observation = self._episode.act(call)
        self._steps.append(Step(thought="", call=call, observation=seen))
        if seen.error:
            return seen.text
        blocks: list[dict[str, Any]] = [{"type": "text", "text": seen.text}]
        return blocks + [{"type": "image", "image": workspace.picture(view.number)} for view in seen.views]

    described = schema["parameters"]["properties"]
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for argument, parameter in signature(operation).items():
        kind = list[float] if parameter.annotation is Box else parameter.annotation
        parameters.append(
            parameter.replace(annotation=kind, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD, name=argument)
        )
    told = "\n".join(f"    {argument}: {described[argument]['description']}" for argument in signature(operation))
    tool.__name__ = name
    tool.__doc__ = f"{schema['description']}\n\nArgs:\n{told}\n"
    tool.__annotations__ = {one.name: one.annotation for one in parameters[1:]}
    vars(tool)["__signature__"] = inspect.Signature(parameters)
    return tool


def reward(spec: Mapping[str, Any], group: int) -> Callable[..., list[float]]:
    """A reward function of TRL's for a rule of `training.rewards`; `group` is TRL's `num_generations`."""
    rule, answer = rewards.rule(spec), plugins.build("check", "answer")

    def paid(completions: Sequence[Any], environments: Sequence[Any], **rest: Any) -> list[float]:
        if len(completions) % group:
            raise UsageError(f"{len(completions)} rollouts are no whole groups of {group}: set the batch to a multiple")
        outcomes = [_outcome(one, said, answer) for one, said in zip(environments, completions, strict=True)]
        parts = [rewards.rewards(rule, outcomes[at : at + group]) for at in range(0, len(outcomes), group)]
        return [one.total for part in parts for one in part]

    paid.__name__ = rule.model_dump()["name"]
    return paid


def _outcome(looked: Any, completion: Any, answer: Any) -> rewards.Outcome:
    """The facts of one rollout, from its environment and what it said last."""
    trace = _trace(looked, _last_text(completion))
    return rewards.outcome(trace, answer.judge(trace, Kit(looked._episode.workspace._store)).ok)


def _last_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    said = [message for message in completion if message.get("role") == "assistant"]
    content = said[-1].get("content") if said else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content or "")


def _trace(looked: Any, text: str) -> Trace:
    episode: Episode = looked._episode
    return Trace(
        id=episode.example.id,
        example=episode.example,
        views=episode.opening,
        steps=(*looked._steps, Step(thought=text, role="answer")),
        answer=extract_boxed(text) or "",
        kind="rollout",
        provenance=Provenance(version="", manifest=""),
    )
