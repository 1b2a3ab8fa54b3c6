"""What a run would take, from a few real views: nothing is written and no teacher is asked."""

import itertools
import json
import tempfile
from collections import Counter
from pathlib import Path

from pydantic import BaseModel

from dataforge import plugins
from dataforge.bench import Bench, Ready
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest
from dataforge.plugins import Picture, Row
from dataforge.records import Failure
from dataforge.write import request

SAMPLES = 8
COUNT_AT_MOST = 200_000
CHARACTERS_PER_TOKEN = 4
REPLY_TOKENS = 350
"""A trace's texts, in tokens, as measured over scripted and model-written ones."""


class Estimate(BaseModel):
    """A run's size and cost, extrapolated from `sampled` examples."""

    run: str
    teacher: str
    rows: int | None
    unreadable: int
    sampled: int
    sample_failures: dict[str, int]
    kinds: dict[str, int]
    calls: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


def estimate(manifest: Manifest) -> Estimate:
    """Count the rows, draft the first few in a folder that is thrown away, and extrapolate."""
    source = plugins.build("source", manifest.source)
    if manifest.limit is None and source.endless:
        raise UsageError("this source never ends: give --limit N")
    items = list(itertools.islice(source.read(), min(manifest.limit or COUNT_AT_MOST, COUNT_AT_MOST)))
    rows = [item for item in items if isinstance(item, Row)]
    drafts, failures = _drafts(manifest, rows[:SAMPLES])
    teacher = plugins.build("teacher", manifest.teacher)
    tokens = [_input_tokens(ready, manifest) for ready in drafts]
    share = len(drafts) / max(1, min(SAMPLES, len(rows)))
    calls = round(len(rows) * share)
    spent = round(sum(tokens) / len(tokens) * calls) if tokens else 0
    return Estimate(
        run=f"{manifest.name}-{manifest.digest()[:6]}",
        teacher=teacher.title,
        rows=len(rows),
        unreadable=sum(isinstance(item, Failure) for item in items),
        sampled=min(SAMPLES, len(rows)),
        sample_failures=dict(failures),
        kinds=dict(Counter(ready.draft.kind for ready in drafts)),
        calls=calls,
        input_tokens=spent,
        output_tokens=calls * REPLY_TOKENS,
        cost_usd=teacher.price(spent, calls * REPLY_TOKENS),
    )


def _drafts(manifest: Manifest, rows: list[Row]) -> tuple[list[Ready], Counter[str]]:
    drafts, failures = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(manifest, Path(folder))
        for row in rows:
            try:
                ready = bench.prepare(row)
            except ExampleError as error:
                failures[f"{error.stage}: {error.reason}"] += 1
                continue
            if isinstance(ready, Ready):
                drafts.append(ready)
            else:
                failures["locate: left to the teacher"] += 1
    return drafts, failures


def _input_tokens(ready: Ready, manifest: Manifest) -> int:
    """Text by its length, pictures by the student's patches: a teacher's own count differs by its preprocessor."""
    question = request(ready.draft, (), manifest)
    text = sum(len(part) for message in question.messages for part in message.parts if not isinstance(part, Picture))
    views = [*ready.draft.views, *(view for look in ready.draft.looks for view in look.observation.views)]
    patches = sum(view.width * view.height for view in views) // manifest.student.patch**2
    return (text + len(json.dumps(question.schema))) // CHARACTERS_PER_TOKEN + patches
