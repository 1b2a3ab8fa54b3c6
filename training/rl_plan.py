"""What an RL run will take, before it is begun: rollouts, tokens, memory and time, from counts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from training.rollout import Budget

if TYPE_CHECKING:
    from training.rl import Job

LEARNER_FLOPS = 4.0e14
"""Assumed, not measured here: what one H100 does a second in a learner's bf16 passes, two fifths of its peak."""
SAMPLED_A_SECOND = 2500.0
"""Assumed, not measured here: tokens that one H100 samples of a student of 7.6 billion parameters with vLLM, many
conversations at once; in proportion for other sizes."""


class Plan(NamedTuple):
    """The resolved recipe and what follows from it."""

    student: str
    parameters: int
    trained: int
    questions: int
    refused: int
    opening_tokens: int
    """Of the first question, images included"""
    rollouts_a_step: int
    updates: int
    epochs: float
    tokens_a_rollout: int
    """At most"""
    learner_bytes: int
    """Of one GPU that holds weights, gradients and optimizer whole; activations come on top"""
    cache_bytes: int
    """Keys and values of all rollouts of a step, at their longest"""
    gpu_seconds: float
    """At most: every rollout at its longest"""
    reward: dict[str, Any]
    """The rule with all its numbers"""
    recipe: dict[str, Any]

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        rest = {name: value for name, value in self.recipe.items() if name != "reward"}
        sizes = f"{self.parameters:,} parameters, {self.trained:,} trained"
        memory = f"{size_of(self.learner_bytes)} of weights, gradients and moments, activations aside"
        passes, sampled = f"{LEARNER_FLOPS:.0e} FLOP/s in passes", f"{SAMPLED_A_SECOND:,.0f} tokens/s sampled"
        assumed = f"assumed of an H100, not measured: {passes}; {sampled} of 7.6 B parameters"
        return [
            ("student", f"{self.student}: {sizes}"),
            ("questions", f"{self.questions:,} ({self.refused:,} more have no key or can't be read)"),
            ("a step", f"{self.rollouts_a_step:,} rollouts, then {self.recipe['updates']} updates"),
            ("in all", f"{self.updates:,} updates, {self.epochs:.2f} times through the questions"),
            ("tokens", f"{self.opening_tokens:,} before the first turn, {self.tokens_a_rollout:,} a rollout at most"),
            ("memory", f"{memory}; {size_of(self.cache_bytes)} of keys and values a step"),
            ("time", f"at most {span_of(self.gpu_seconds)} of one H100, if every rollout is as long as allowed"),
            ("", assumed),
            ("reward", _line(self.reward)),
            ("recipe", _line(rest)),
        ]


def size_of(count: float) -> str:
    """Bytes in the unit that a person would take: 3.2 GiB, 840 MiB."""
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1024:,.1f} KiB"


def span_of(seconds: float) -> str:
    """A time in the unit that a person would take: 12.3 hours, 4.0 minutes."""
    if seconds < 1:
        return "a second"
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _line(content: Mapping[str, Any]) -> str:
    """Settings in a line: the reward's name, then what it is set to; nested ones in brackets."""
    told = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            told.append(f"{name} ({_line(value)})")
        elif isinstance(value, (list, tuple)):
            told.append(f"{name} {' '.join(map(str, value)) or '-'}")
        else:
            told.append(str(value) if name == "name" else f"{name} {'-' if value is None else value}")
    return ", ".join(told)


def plan(job: Job) -> Plan:
    """Count without loading weights: the model is made from its configuration on no device."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from training.encoding import files_of
    from training.rollout import begin
    from training.students import freeze

    recipe = job.recipe
    config: Any = AutoConfig.from_pretrained(files_of(job.checkpoint))
    loader: Any = AutoModelForImageTextToText
    with torch.device("meta"):
        student = freeze(loader.from_config(config), recipe)
    parameters = sum(one.numel() for one in student.parameters())
    trained = sum(one.numel() for one in student.parameters() if one.requires_grad)
    text = config.text_config
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    token_bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * width * 2
    rollouts, budget = recipe.queries * recipe.rollouts, Budget(tokens=recipe.tokens)
    learner = parameters * 4 + trained * 12  # float32 weights; gradients and two moments of what is trained
    longest = rollouts * budget.tokens * recipe.steps
    sampled = min(recipe.turns * recipe.turn_tokens, budget.tokens) * rollouts * recipe.steps
    seconds = 8 * parameters * longest / LEARNER_FLOPS + sampled / (SAMPLED_A_SECOND * 7.6e9 / max(parameters, 1))
    return Plan(
        student=job.checkpoint,
        parameters=parameters,
        trained=trained,
        questions=len(job.questions.examples),
        refused=job.questions.refused,
        opening_tokens=len(begin(job.questions.examples[0], job.setting).encoding),
        rollouts_a_step=rollouts,
        updates=recipe.steps * recipe.updates,
        epochs=recipe.steps * recipe.queries / len(job.questions.examples),
        tokens_a_rollout=budget.tokens,
        learner_bytes=learner,
        cache_bytes=rollouts * budget.tokens * token_bytes,
        gpu_seconds=seconds,
        reward={"name": recipe.reward["name"], **job.rule.model_dump()},
        recipe=recipe.model_dump(mode="json"),
    )
