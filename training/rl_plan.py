"""What an RL run will take, before it is begun: rollouts, tokens, memory and time, from counts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from training.rollout import Budget

if TYPE_CHECKING:
    from training.rl import Job

PEAK_FLOPS = 4.0e14
"""bf16 of one H100 at 40 % of its peak in a learner's passes."""
SAMPLED_A_SECOND = 2500.0
"""Tokens that one GPU samples of a 7 B student with vLLM, many at once; in proportion for other sizes."""
GIB = 1024**3


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
    learner_gib: float
    """Of one GPU that holds weights, gradients and optimizer whole"""
    cache_gib: float
    """Keys and values of all rollouts of a step, at their longest"""
    gpu_hours: float
    """At most: every rollout at its longest"""
    recipe: dict[str, Any]

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        recipe = ", ".join(f"{name} {value}" for name, value in self.recipe.items() if not isinstance(value, dict))
        return [
            (
                "student",
                f"{self.student}: {self.parameters / 1e6:,.1f} M parameters, {self.trained / 1e6:,.1f} M trained",
            ),
            ("questions", f"{self.questions:,} ({self.refused:,} more have no key or can't be read)"),
            ("a step", f"{self.rollouts_a_step:,} rollouts, then {self.recipe['updates']} updates"),
            ("in all", f"{self.updates:,} updates, {self.epochs:.2f} times through the questions"),
            ("tokens", f"{self.opening_tokens:,} before the first turn, {self.tokens_a_rollout:,} a rollout at most"),
            (
                "memory",
                f"{self.learner_gib:,.1f} GiB to learn with, {self.cache_gib:,.1f} GiB of keys and values a step",
            ),
            ("time", f"at most {self.gpu_hours:,.1f} hours of one H100, if every rollout is as long as allowed"),
            ("reward", str(self.recipe["reward"])),
            ("recipe", recipe),
        ]


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
    seconds = 8 * parameters * longest / PEAK_FLOPS + sampled / (SAMPLED_A_SECOND * 7.6e9 / max(parameters, 1))
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
        learner_gib=learner / GIB,
        cache_gib=rollouts * budget.tokens * token_bytes / GIB,
        gpu_hours=seconds / 3600,
        recipe=recipe.model_dump(mode="json"),
    )
