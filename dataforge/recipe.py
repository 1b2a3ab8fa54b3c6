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
    student: dict[str, Any] = Field(
        default={}, description="values of the manifest's student that differ in this one; traces are cut anew for it"
    )
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


class ReplayBuffer(Part):
    """Selective sample replay: groups that agree are dropped, and earlier rollouts take their place."""

    size: int = Field(default=512, ge=0, description="rollouts kept; 0 replays nothing")
    power: float = Field(default=1.0, ge=0, description="a rollout is drawn with a weight of |advantage| to this power")
    age: int = Field(default=8, ge=1, description="steps after which a rollout is too old")


class Alarms(Part):
    """What a run is watched for; each needs `steps` steps in a row."""

    steps: int = Field(default=20, ge=1)
    rapr: float = Field(default=0.05, ge=0, le=1, description="least share of rollouts that use an operation")
    uniform: float = Field(default=0.9, ge=0, le=1, description="largest share of groups that agree")
    errors: float = Field(default=0.6, ge=0, le=1, description="largest share of calls that fail")
    then: Literal["warn", "stop"] = "warn"


class Rl(Part):
    """Curiosity-driven reinforcement learning: Pixel Reasoner's recipe (section 4, appendix C.3)."""

    queries: int = Field(default=512, ge=1, description="questions a step, over all GPUs")
    rollouts: int = Field(default=8, ge=2, description="of each question: its group")
    steps: int = Field(default=33, ge=1, description="batches of questions; each is 16 updates in the paper's figures")
    updates: int = Field(default=16, ge=1, description="of the weights, from one batch of rollouts")
    learning_rate: float = Field(default=1e-6, gt=0)
    warm_up: float = Field(default=0.03, ge=0, lt=1, description="share of all updates over which the rate rises")
    end_rate: float = Field(default=0.5, ge=0, le=1, description="cosine down to this share of the rate")
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    reward: dict[str, Any] = Field(default={"name": "curiosity"}, description="a rule of training/rewards.py")
    advantage: Literal["mean", "std"] = Field(default="mean", description="what a group's rewards are measured by")
    level: Literal["token", "sequence"] = Field(default="token", description="what has the same weight in the loss")
    clip_low: float = Field(default=0.2, ge=0, le=1)
    clip_high: float = Field(default=0.28, ge=0)
    clip_most: float = Field(default=3.0, ge=1, description="ratio beyond which a bad token counts no more")
    kl: float = Field(default=0.0, ge=0, description="weight of the divergence from the student at the start")
    replay: ReplayBuffer = ReplayBuffer()
    forced_look: float = Field(
        default=0.0, ge=0, lt=1, description="share of rollouts made to begin with a call, with importance weights"
    )
    broken: Literal["drop", "wrong"] = Field(
        default="drop",
        description="rollouts without an answer of their own: left out (Mini-o3), or worth nothing (paper)",
    )
    temperature: float = Field(default=1.0, gt=0)
    turns: int = Field(default=6, ge=1, description="of a rollout, the answer's included")
    turn_tokens: int = Field(default=2048, ge=1, description="sampled in one turn, at most")
    tokens: int = Field(default=12088, ge=16, description="of a rollout in all, images included")
    answer_tokens: int = Field(default=256, ge=1, description="room that a result must leave for the answer")
    freeze_vision: bool = True
    lora: Lora | None = None
    system: str | None = Field(default="You are a helpful assistant.", description="opens the system turn")
    pass_rollouts: int = Field(default=8, ge=1, description="rollouts that one GPU takes at once in an update")
    checkpointing: bool = Field(default=True, description="make activations again in the backward pass")
    precision: Literal["auto", "bf16", "fp32"] = Field(default="auto", description="auto: bf16 on a GPU that has it")
    parity_every: int = Field(default=10, ge=1, description="steps between two comparisons of sampler and learner")
    parity_most: float = Field(default=0.05, gt=0, description="largest difference of a log-probability in fp32")
    alarms: Alarms = Alarms()
    dump_every: int = Field(default=10, ge=1, description="steps between batches of rollouts that are written out")
    save_every: int = Field(default=10, ge=1, description="steps between what a resumed run goes on from")
    vllm: tuple[str, ...] = Field(default=(), description="addresses of vLLM servers; none: sampled in process")
    vllm_folder: str | None = Field(
        default=None, description="seen by learner and servers, for the weights; none: this machine's memory"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _looks_are_forced_in_process(self) -> Self:
        if self.vllm and self.forced_look:
            raise ValueError("forced_look isn't sampled by vLLM: leave out one of them")
        return self


class Train(Part):
    """How a student is trained on the traces."""

    sft: Sft = Sft()
    rl: Rl = Rl()


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
            if not isinstance(inside, dict):
                raise UsageError(f"{change!r}: {name} holds no values of its own")
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
