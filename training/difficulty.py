"""The difficulty pass: a question that the student always or never gets right teaches a group nothing, so it goes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.errors import ExampleError, UsageError
from dataforge.runs import make_folder, write_whole

if TYPE_CHECKING:
    from dataforge.records import Example
    from training.engine import Engine
    from training.rl import Job
    from training.rollout import Setting

AT_ONCE = 16
"""Questions that are answered side by side."""


def keep_undecided(job: Job, samples: int, out: Path) -> Job:
    """The job with those questions alone that the student gets right sometimes, of so many samples each.

    How often each was right is kept in `difficulty.json`, and a question isn't asked again there. UsageError where that
    file is of another student or number of samples, and where no question is left.
    """
    if samples < 2:
        raise UsageError(f"--difficulty {samples} finds nothing that is right sometimes: take 2 or more")
    path = out / "difficulty.json"
    known = _known(path, said := {"student": job.checkpoint, "samples": samples})
    new = [one for one in job.questions.examples if one.id not in known]
    right = known | (_asked(job, new, samples) if new else {})
    make_folder(out, "--out")
    write_whole(path, json.dumps(said | {"right": right}, indent=0) + "\n", "--out")
    kept = [one for one in job.questions.examples if 0 < right[one.id] < samples]
    if not kept:
        asked = len(job.questions.examples)
        raise UsageError(f"the student gets none of {asked} questions right now and then: take others, or no pass")
    refused = job.questions.refused + len(job.questions.examples) - len(kept)
    return dataclasses.replace(job, questions=job.questions._replace(examples=kept, refused=refused))


def _known(path: Path, said: Mapping[str, Any]) -> dict[str, int]:
    """How often questions were right in an earlier pass of the same student."""
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        right: dict[str, int] = stored.pop("right")
    except (ValueError, KeyError, AttributeError):
        raise UsageError(f"{path} is broken: delete it, and the pass is made again") from None
    if stored != said:
        raise UsageError(f"{path} is of another pass ({stored}): delete it, and the pass is made again")
    return right


def _asked(job: Job, examples: Sequence[Example], samples: int) -> dict[str, int]:
    """How many of the samples were right, for each question; each rank asks some of them."""
    from accelerate.utils import gather_object

    from training.engines import engine_for
    from training.passes import Sight
    from training.rl_state import load_student
    from training.shared import SharedLikelihood
    from training.students import accelerator_for

    accelerator = accelerator_for(job.recipe, broadcast_buffers=False)
    student = load_student(job.checkpoint, job.recipe).to(accelerator.device)
    sight = Sight(student, job.codec)
    engine = engine_for(job, accelerator, SharedLikelihood(student, job.codec, sight, job.recipe.temperature), sight)
    engine.refresh()
    # as the student is: no look is forced
    setting = dataclasses.replace(job.setting, lure=None)
    mine = examples[accelerator.process_index :: accelerator.num_processes]
    found: dict[str, int] = {}
    for at in range(0, len(mine), AT_ONCE):
        found |= asyncio.run(_counts(engine, setting, mine[at : at + AT_ONCE], samples, job.recipe.seed))
        sight.forget()
    counts: dict[str, int] = {}
    for one in gather_object([found]):
        counts |= one
    return {one.id: counts[one.id] for one in examples}


async def _counts(
    engine: Engine, setting: Setting, examples: Sequence[Example], samples: int, seed: int
) -> dict[str, int]:
    from training.rollout import begin, group, right

    starts, counts = [], {example.id: 0 for example in examples}
    for example in examples:
        try:
            starts.append(begin(example, setting))
        except ExampleError:
            continue  # it can't be shown, so it is never right
    made = await asyncio.gather(*(group(start, samples, engine, setting, 0, seed) for start in starts))
    return counts | {
        start.example.id: sum(right(one.trace) for one in members) for start, members in zip(starts, made, strict=True)
    }
