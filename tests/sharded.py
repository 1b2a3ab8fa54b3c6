"""One of several processes that train with shared weights on CPUs: `sharded.py fsdp|zero3 RUN STUDENT OUT STOP RECIPE`.

accelerate shards on accelerators alone, so it is told that this is one (Intel's, whose name decides nothing else here);
everything that shards, gathers and saves is the real thing. STOP is the step after which the process dies, 0 for none.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import state

from dataforge.recipe import Sft
from dataforge.runs import Run
from training import sft
from training.trace_set import open_set

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}
ZERO3 = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
    "DS_ACCELERATOR": "cpu",
    "ACCELERATE_TORCH_DEVICE": "cpu",
}


def pretend(kind: str) -> None:
    """What `accelerate launch --config_file` says, and that there are accelerators, joined by gloo."""
    if kind == "fsdp":
        os.environ.update(FSDP)
        made = state.PartialState.__init__

        def join(self: Any, cpu: bool = False, **settings: Any) -> None:
            made(self, cpu=cpu, **settings)
            if self._shared_state["distributed_type"] == state.DistributedType.MULTI_CPU:
                self._shared_state["distributed_type"] = state.DistributedType.MULTI_XPU

        state.PartialState.__init__ = join  # type: ignore[method-assign]
    else:
        os.environ.update(ZERO3)
        importlib.import_module("deepspeed")
        sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]  # asks for a compiler
        anew = accelerate.Accelerator.__init__
        accelerate.Accelerator.__init__ = lambda self, cpu, **settings: anew(self, cpu=False, **settings)  # type: ignore[method-assign]
        gloo = ("gloo", state.DistributedType.MULTI_XPU)
        state.PartialState._prepare_backend = lambda self, *asked: gloo  # type: ignore[method-assign]


def main(kind: str, run: str, student: str, out: str, stop: str, recipe: str) -> None:
    pretend(kind)

    def watch(progress: sft.Progress) -> None:
        if progress.stage == "step" and progress.done == int(stop):
            os._exit(9)

    job = sft.prepare(student, open_set(Run.open(Path(run))), Sft.model_validate_json(recipe))
    sft.train(job, Path(out), watch)
    print("type", state.AcceleratorState().distributed_type)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
