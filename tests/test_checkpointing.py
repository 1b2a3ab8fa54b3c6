"""Activations that are made again in the backward pass: the same numbers, out of less memory."""

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dataforge.media import MediaStore
from dataforge.recipe import Rl
from tests.tiny_students import PATCHES, build, call, questions, said, setting
from training import tiny
from training.passes import Sight
from training.rl_state import load_student
from training.shared import Conversation, SharedLikelihood, tree


class Alive(TorchDispatchMode):
    """Counts the bytes of what is made inside and still held by someone."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                self.storages[storage.data_ptr()] = (weakref.ref(storage), storage.nbytes())
        return made

    @property
    def held(self) -> int:
        return sum(size for alive, size in self.storages.values() if alive() is not None)


@pytest.mark.parametrize("family", list(PATCHES))
@pytest.mark.parametrize("changes", [{}, {"freeze_vision": False}, {"lora": {"rank": 4}}])
def test_gradients_are_the_same_out_of_less_memory(
    family: tiny.Family, changes: Mapping[str, Any], tmp_path: Path, store: MediaStore
) -> None:
    codec = build(tmp_path / "student", family)
    where = setting(codec, store)
    example = questions(store, 1)[0]
    found = [said(example, where, *[call([10 + at, 11, 21, 21])] * at, "Seen.\n\\boxed{red}") for at in range(3)]
    shared = tree([Conversation.of(str(at), one.encoding, one.pictures) for at, one in enumerate(found)], codec)

    def passed(checkpointing: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
        torch.manual_seed(0)  # the adapters begin alike
        student = load_student(str(tmp_path / "student"), Rl(checkpointing=checkpointing, **changes))
        frozen = changes.get("freeze_vision", True)
        learner = SharedLikelihood(student, codec, Sight(student, codec) if frozen else None).train()
        with Alive() as alive:
            scores = learner(shared)
            held = alive.held
            scores.sum().backward()
        moved = {name: one.grad for name, one in learner.named_parameters() if one.grad is not None}
        assert moved
        return scores.detach(), moved, held

    (scores, gradients, held), (again, remade, less) = passed(False), passed(True)
    assert torch.equal(scores, again)
    assert gradients.keys() == remade.keys()
    assert all(torch.allclose(gradients[name], remade[name], rtol=1e-5, atol=1e-7) for name in gradients)
    assert less < 0.6 * held, (less, held)


def test_it_is_part_of_the_papers_recipe() -> None:
    assert Rl().checkpointing
