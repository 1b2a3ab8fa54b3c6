"""The training recipes: the manifest's section `train`, which shapes no trace and so stays out of the digest.

What isn't said is Pixel Reasoner's recipe: for SFT that of its appendix C.3 (learning rate 1e-6, batch 128, a tenth of
the steps to warm up) and of its script (cosine, five epochs, vision tower frozen).
"""

from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataforge import plugins
from dataforge.errors import UsageError
from dataforge.records import Learn


class Part(BaseModel):
    """Base of the manifest's parts: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Lora(Part):
    """Low-rank adapters on the language model's linear layers; merged into the weights at the end."""

    rank: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, gt=0, description="the adapters' output is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Sft(Part):
    """Instruction tuning on traces."""

    learning_rate: float = Field(default=1e-6, gt=0)
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="after the warm-up; cosine ends at 0")
    warm_up: float = Field(default=0.1, ge=0, lt=1, description="share of all steps over which the rate rises")
    epochs: float = Field(default=5.0, gt=0)
    batch: int = Field(default=128, ge=1, description="traces a step, over all GPUs")
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    freeze_vision: bool = True
    lora: Lora | None = None
    mistakes: Learn | None = Field(default=None, description="learned of a deliberate mistake; none: as the trace says")
    system: str | None = Field(default="You are a helpful assistant.", description="opens the system turn")
    max_length: int = Field(default=16384, ge=16, description="tokens of a trace, those of its images included")
    overlong: Literal["drop", "refuse"] = Field(default="drop", description="what becomes of a longer trace")
    pass_tokens: int = Field(default=16384, ge=16, description="tokens that one GPU takes at once, padding included")
    packed: bool = Field(default=False, description="traces in one row instead of one a row")
    checkpointing: bool = Field(default=True, description="make activations again in the backward pass")
    precision: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto: bf16 on a GPU that has it")
    held_out: float = Field(default=0.02, ge=0, lt=1, description="share of the groups kept to measure the loss on")
    evaluate_every: int = Field(default=50, ge=1, description="steps")
    save_every: int = Field(default=100, ge=1, description="steps between what a resumed run goes on from")
    workers: int = Field(default=4, ge=0, description="processes a GPU that cut pictures and render")
    seed: int = 0

    @model_validator(mode="after")
    def _a_trace_fits_a_pass(self) -> Self:
        if self.max_length > self.pass_tokens:
            raise ValueError(f"pass_tokens {self.pass_tokens} is less than max_length {self.max_length}: no pass fits")
        return self


class Train(Part):
    """How a student is trained on the traces."""

    sft: Sft = Sft()


def laid_over(recipe: Part, changes: list[str]) -> Any:
    """The recipe with single values changed, each as key=value or key.key=value; UsageError names what's wrong.

    Values are read as YAML: learning_rate=1e-5, lora.rank=8, lora=null.
    """
    content = recipe.model_dump()
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"{change!r} changes nothing: write key=value, such as batch=32")
        inside = content
        *outer, last = key.strip().split(".")
        for name in outer:
            inside[name] = inside.get(name) or {}
            inside = inside[name]
        inside[last] = _value(text)
    try:
        return type(recipe)(**content)
    except ValidationError as error:
        raise UsageError(f"recipe: {plugins.explain(error, type(recipe))}") from None


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):  # YAML takes 1e-6 for a word
        try:
            return float(value)
        except ValueError:
            return value
    return value
