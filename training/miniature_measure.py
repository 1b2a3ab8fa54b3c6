"""What a student of the miniature can do: held out before and after RL, and under way through a warm start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataforge.manifest import Manifest
from dataforge.records import Trace

if TYPE_CHECKING:
    from training.rollout import Rollout


class Worth(NamedTuple):
    """What rollouts are worth, sampled as in training, and what calls have to do with it; none where there are none."""

    accuracy: float
    rapr: float
    called: float
    """Share of rollouts that try to call"""
    with_calls: float | None
    """Accuracy of those, failed calls included: what a call pays"""
    with_looks: float | None
    """Accuracy where an operation ran"""
    without: float | None
    """Accuracy where none was called: what a guess pays"""
    errors: float
    """Share of calls that come to nothing"""
    found: float | None
    """Share of rollouts with looks that show the framed tile"""


class Measured(NamedTuple):
    """A student on held-out questions."""

    worth: Worth
    greedy: Worth
    """With the likeliest tokens"""


class State(NamedTuple):
    """A student under way."""

    can: float
    """How often it does what it is taught, as a share"""
    pays: float | None = None
    """Accuracy of rollouts that call, where some do"""


def evaluate(manifest: Manifest, out: Path, checkpoint: Path, count: int) -> Measured:
    """A student on held-out questions; kept beside its folder, so that it is measured once."""
    path = checkpoint.with_name(f"{checkpoint.name}-measured.json")
    if not path.exists():
        student = student_of(manifest, checkpoint)
        asked = asking(manifest, split="held_out")
        found = [worth(answers(asked, out, checkpoint, student, count, temperature)) for temperature in (1.0, 0.0)]
        path.write_text(json.dumps([one._asdict() for one in found]) + "\n", encoding="utf-8")
    sampled, greedy = json.loads(path.read_text(encoding="utf-8"))
    return Measured(Worth(**sampled), Worth(**greedy))


def reading(manifest: Manifest, out: Path, start: Path, student: Any, count: int) -> State:
    """How many single tiles, shown large, have their colour named at once."""
    recipe = manifest.train.rl.model_copy(update={"turns": 1, "turn_tokens": 16})
    brief = manifest.model_copy(update={"train": manifest.train.model_copy(update={"rl": recipe})})
    tiles = asking(brief, split="check", tiles=1, common=0.25)
    return State(worth(answers(tiles, out, start, student, count, temperature=0.0)).accuracy)


def able(manifest: Manifest, out: Path, start: Path, student: Any, count: int) -> State:
    """How many rollouts on whole pictures have an operation run (RaPR), and what a call pays."""
    found = worth(answers(asking(manifest, split="check"), out, start, student, count, temperature=1.0))
    return State(found.rapr, found.with_calls)


def worth(rollouts: Sequence[Rollout]) -> Worth:
    """Of one rollout at least."""
    from training import rewards
    from training.rollout import right

    facts = [rewards.outcome(one.trace, right(one.trace)) for one in rollouts]
    calls = sum(fact.calls for fact in facts)
    return Worth(
        accuracy=sum(fact.correct for fact in facts) / len(facts),
        rapr=sum(fact.ran > 0 for fact in facts) / len(facts),
        called=sum(fact.calls > 0 for fact in facts) / len(facts),
        with_calls=_share([fact.correct for fact in facts if fact.calls]),
        with_looks=_share([fact.correct for fact in facts if fact.ran]),
        without=_share([fact.correct for fact in facts if not fact.calls]),
        errors=sum(fact.calls - fact.ran for fact in facts) / calls if calls else 0.0,
        found=_share([shows(one.trace) for one, fact in zip(rollouts, facts, strict=True) if fact.ran]),
    )


def answers(
    asked: Manifest, out: Path, checkpoint: Path, student: Any, count: int, temperature: float
) -> list[Rollout]:
    """One rollout of each of the first questions of the manifest's source, by a student that began at a checkpoint."""
    import torch

    from dataforge.media import MediaStore
    from training import questions, rl
    from training.engine import LocalEngine
    from training.rollout import begin, group

    made = questions.from_source(asked, MediaStore(out / "held_out", keep=64), count)
    job = rl.prepare(str(checkpoint), asked, made, asked.train.rl)
    with torch.no_grad():
        engine = LocalEngine(student, job.codec, temperature=temperature)

    async def played() -> list[Rollout]:
        starts = [begin(example, job.setting) for example in made.examples]
        found = await asyncio.gather(*(group(start, 1, engine, job.setting, 0, 0) for start in starts))
        return [one for members in found for one in members]

    return asyncio.run(played())


def student_of(manifest: Manifest, checkpoint: Path, **changes: Any) -> Any:
    from training.rl_state import load_student

    return load_student(str(checkpoint), manifest.train.rl.model_copy(update=changes))


def asking(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with another set of the same questions; none of them is annotated as a guess."""
    return manifest.model_copy(update={"source": source_of(manifest, **({"guessed": 0.0} | changes))})


def source_of(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    source = dict(manifest.source) if isinstance(manifest.source, dict) else {"name": manifest.source}
    return source | changes


def shows(trace: Trace) -> bool:
    """A look shows the framed tile, and little else."""
    tile = trace.regions[0].box
    looks = [view.box for view in trace.all_views[len(trace.views) :]]
    return any(box.coverage(tile) > 0.5 and box.area < 4 * tile.area for box in looks)


def _share(claims: Sequence[bool]) -> float | None:
    return sum(claims) / len(claims) if claims else None
