"""The difficulty pass: a question that the student always or never gets right teaches a group nothing, so it goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dataforge.errors import ExampleError, UsageError
from dataforge.runs import make_folder, write_whole

if TYPE_CHECKING:
    from training.rl import Job

AT_ONCE = 16
"""Questions that are answered side by side."""


def keep_undecided(job: Job, samples: int, out: Path) -> Job:
    """The job with those questions alone that the student gets right sometimes, of so many samples each.

    How often each was right is kept in `difficulty.json`, and not asked again. UsageError where no question is left.
    """
    path = out / "difficulty.json"
    right = json.loads(path.read_text(encoding="utf-8")) if path.exists() else _asked(job, samples)
    make_folder(out, "--out")
    write_whole(path, json.dumps(right, indent=0) + "\n", "--out")
    kept = [one for one in job.questions.examples if 0 < right.get(one.id, 0) < samples]
    if not kept:
        raise UsageError(f"of {len(right)} questions the student gets none right sometimes: take others, or no pass")
    refused = job.questions.refused + len(job.questions.examples) - len(kept)
    questions = job.questions._replace(examples=kept, refused=refused)
    return type(job)(job.checkpoint, job.manifest, questions, job.codec, job.recipe)


def _asked(job: Job, samples: int) -> dict[str, int]:
    """How many of the samples were right, for each question."""
    import torch

    from training.engine import LocalEngine
    from training.rl_state import load_student
    from training.rollout import begin, group, right

    device = "cuda" if torch.cuda.is_available() else "cpu"
    engine = LocalEngine(load_student(job.checkpoint, job.recipe).to(device), job.codec)
    counts: dict[str, int] = {}

    async def some(at: int) -> None:
        starts = []
        for example in job.questions.examples[at : at + AT_ONCE]:
            try:
                starts.append(begin(example, job.setting))
            except ExampleError:
                counts[example.id] = 0
        seed = job.recipe.seed
        made = await asyncio.gather(*(group(start, samples, engine, job.setting, 0, seed) for start in starts))
        for start, members in zip(starts, made, strict=True):
            counts[start.example.id] = sum(right(one.trace) for one in members)

    for at in range(0, len(job.questions.examples), AT_ONCE):
        asyncio.run(some(at))
        engine.refresh()
        engine.sight.forget()
    return counts
