"""Loading a student for training: which weights move, in which precision, how many there are."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from dataforge.errors import UsageError
from dataforge.recipe import Lora, Rl, Sft
from training.encoding import files_of

if TYPE_CHECKING:
    from accelerate import Accelerator

LANGUAGE_LINEARS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Where adapters go: every linear layer of the language model, none of the vision tower."""


def accelerator_for(recipe: Sft | Rl, **uneven: bool) -> Accelerator:
    """Precision as the recipe says; the rest as accelerate was launched. `uneven` goes to DDP as it is."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    on_gpu = torch.cuda.is_available()
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
    # a pass without pictures leaves the tower's weights out, which matters only where they are trained
    ddp = DistributedDataParallelKwargs(find_unused_parameters=not recipe.freeze_vision, **uneven)
    # unless told so, accelerate doesn't join processes on a machine without an accelerator
    alone = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=alone, mixed_precision="bf16" if bf16 else "no", kwargs_handlers=[ddp])
    if (fsdp := getattr(accelerator.state, "fsdp_plugin", None)) is not None:
        _keep_exact(fsdp, bf16)
    if (deepspeed := accelerator.state.deepspeed_plugin) is not None:
        _complete(deepspeed.deepspeed_config, recipe)
    return accelerator


def _keep_exact(fsdp: Any, bf16: bool) -> None:
    """Have FSDP round nothing but weights: accelerate's bf16 would sum gradients and give log-probabilities in bf16."""
    if fsdp.fsdp_version != 2:
        raise UsageError("FSDP 1 rounds what places tokens (rotary buffers) to bf16: set fsdp_version: 2")
    if bf16:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        fsdp.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)


def _complete(deepspeed: dict[str, Any], recipe: Sft | Rl) -> None:
    """What DeepSpeed has to be told beside its own configuration: it clips by itself, and saves by itself."""
    deepspeed["train_micro_batch_size_per_gpu"] = 1  # it asks for a loader's; passes vary
    deepspeed["gradient_clipping"] = recipe.clip if isinstance(recipe, Sft) else recipe.clip_norm
    if deepspeed["zero_optimization"]["stage"] == 3:
        deepspeed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the GPUs share the weights, by FSDP or DeepSpeed, instead of each having all."""
    from accelerate.utils import DistributedType

    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def load_student(checkpoint: str, recipe: Sft, accelerator: Accelerator) -> Any:
    """The model, ready to be trained: frozen where the recipe says so, adapters in place.

    Weights that move are float32 even where the passes are bf16: at a learning rate of 1e-6 most updates are smaller
    than bf16 can hold. Those that don't are bf16 then, unless they are to be sharded beside others.
    """
    student = freeze(weights_of(checkpoint), recipe)
    if accelerator.mixed_precision == "bf16" and not is_sharded(accelerator):
        for parameter in student.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    if recipe.checkpointing:
        checkpoint_layers(student)
    return student


def weights_of(checkpoint: str) -> Any:
    """The checkpoint's model in float32; UsageError where it can't be loaded."""
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    try:
        return loader.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{checkpoint} can't be loaded: {' '.join(str(error).split())[:200]}") from None


def checkpoint_layers(student: Any) -> None:
    """Make activations again in the backward pass instead of keeping them, layer by layer."""
    if hasattr(student, "activation_checkpointing_enable"):  # its name since transformers 5.23
        student.activation_checkpointing_enable({"use_reentrant": False})
    else:
        student.gradient_checkpointing_enable({"use_reentrant": False})


def checkpoint_passes(student: Any) -> None:
    """The same for a student whose keys and values are handed on between passes, which transformers' own way drops.

    A layer's forward is wrapped in place: it has the same parts and names as before, and passes without gradients
    are as they were.
    """
    core = student.get_base_model() if hasattr(student, "get_base_model") else student
    for layer in (*core.model.language_model.layers, *core.model.visual.blocks):
        layer.forward = functools.partial(_again, layer.forward)


def _again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def freeze(student: Any, recipe: Sft | Rl) -> Any:
    """The student with only those weights asking for a gradient that the recipe trains."""
    if recipe.lora is not None:
        return with_adapters(student, recipe.lora)
    if recipe.freeze_vision:
        student.model.visual.requires_grad_(False)
    return student


def with_adapters(student: Any, lora: Lora) -> Any:
    """The student with low-rank adapters on the language model; everything else stands still."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError("lora needs peft: pip install 'dataforge[train]'") from None
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=LANGUAGE_LINEARS,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(student, config)


def skeleton(checkpoint: str, recipe: Sft) -> Any:
    """The student without its weights, to count them: made from the configuration alone."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config: Any = AutoConfig.from_pretrained(files_of(checkpoint))
    loader: Any = AutoModelForImageTextToText
    with torch.device("meta"):
        return freeze(loader.from_config(config), recipe)


def own_dtype(checkpoint: str) -> torch.dtype:
    """The precision in which the checkpoint's weights are stored."""
    content = json.loads((files_of(checkpoint) / "config.json").read_text(encoding="utf-8"))
    name = content.get("dtype") or content.get("torch_dtype") or "float32"
    return getattr(torch, str(name).removeprefix("torch."), torch.float32)


def plain_weights(student: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The student's state by the names of its checkpoint: adapters are added, on copies, to the weights they adapt."""
    if not hasattr(student, "get_base_model"):
        return dict(weights)
    scales = {name: one.scaling["default"] for name, one in student.named_modules() if hasattr(one, "lora_A")}
    found = {}
    for name, weight in weights.items():
        if ".lora_" in name:
            continue
        layer = name.removesuffix(".base_layer.weight")
        if layer in scales:
            down, up = weights[f"{layer}.lora_A.default.weight"], weights[f"{layer}.lora_B.default.weight"]
            weight = weight + scales[layer] * (up @ down)
        found[name.removeprefix("base_model.model.").replace(".base_layer.", ".")] = weight
    return found
