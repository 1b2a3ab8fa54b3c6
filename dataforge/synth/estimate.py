"""What a run would take, from a few real views: nothing is written and no teacher is asked."""

import itertools
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from dataforge import plugins
from dataforge.ask.request import Purpose, Request
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import Manifest
from dataforge.plugins import Row, Teacher
from dataforge.pose import choose_request
from dataforge.records import Failure
from dataforge.synth.bench import Bench, Ready, Unlocated
from dataforge.synth.maker import locate_request
from dataforge.synth.posing import Unposed
from dataforge.write import request

SAMPLES = 8
COUNT_AT_MOST = 200_000
REPLY_TOKENS = {"write": 350, "locate": 60, "verify": 30, "choose": 80, "pose": 160, "answer": 15, "others": 40}
"""Of a reply by purpose: a trace's texts as measured over scripted and model-written ones; a box; an answer."""


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
    prices: str


def estimate(manifest: Manifest, batch: bool = False) -> Estimate:
    """Count the rows, draft the first few in a folder that is thrown away, and extrapolate.

    No rewrites are foreseen, and each box that the teacher must find is taken to be found at once: the least that a run
    takes. Tokens of pictures are those that the model is known to count, else one for each 28-pixel square.
    """
    source = plugins.build("source", manifest.source)
    if source.missing:
        raise UsageError(source.missing)
    if manifest.limit is None and source.endless:
        raise UsageError("this source never ends: give --limit N")
    items = list(itertools.islice(source.read(), min(manifest.limit or COUNT_AT_MOST, COUNT_AT_MOST)))
    rows = [item for item in items if isinstance(item, Row)]
    teacher: Teacher = plugins.build("teacher", manifest.teacher)
    kinds, failures, requests = _sample(manifest, rows[:SAMPLES])
    scale = len(rows) / max(1, min(SAMPLES, len(rows)))
    input_tokens = round(scale * sum(teacher.forecast(request)[0] for request in requests)) if teacher.sees else 0
    output_tokens = round(scale * sum(REPLY_TOKENS[request.purpose] for request in requests)) if teacher.sees else 0
    return Estimate(
        run=f"{manifest.name}-{manifest.digest()[:6]}",
        teacher=teacher.title,
        rows=len(rows),
        unreadable=sum(isinstance(item, Failure) for item in items),
        sampled=min(SAMPLES, len(rows)),
        sample_failures=dict(failures),
        kinds=dict(kinds),
        calls=round(scale * len(requests)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=teacher.price(input_tokens, output_tokens, batch),
        prices=teacher.price_note(batch),
    )


def _sample(manifest: Manifest, rows: list[Row]) -> tuple[Counter[str], Counter[str], list[Request]]:
    """Kinds and failures of these rows, and the requests that their examples would make."""
    kinds, failures, requests = Counter[str](), Counter[str](), list[Request]()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(manifest, Path(folder))
        for row in rows:
            try:
                ready = bench.prepare(row)
            except ExampleError as error:
                failures[f"{error.stage}: {error.reason}"] += 1
                continue
            requests += _requests(ready, manifest)
            if isinstance(ready, Ready):
                kinds[ready.draft.kind] += 1
            elif isinstance(ready, Unposed):
                failures["pose: left to the teacher"] += 1
            else:
                failures["locate: left to the teacher"] += 1
    return kinds, failures, requests


def _requests(ready: Ready | Unlocated | Unposed, manifest: Manifest) -> list[Request]:
    if isinstance(ready, Ready):
        return [request(ready.draft, ready.pictures, manifest)]
    if isinstance(ready, Unposed):
        places = range(min(len(ready.scene.places), manifest.pose.places))
        chosen = choose_request(ready.scene, ready.whole, ready.parts, places, "", manifest)
        # the other calls show the whole view or a place or both, too: taken as much each
        answers: list[Purpose] = ["answer"] * manifest.pose.samples
        again: list[Purpose] = ["pose", "verify", "others", "write", *answers]
        return [chosen, *(replace(chosen, purpose=purpose) for purpose in again)]
    # to verify is to see less than the whole view, and to write is to see it and its parts: taken as much each
    asked = locate_request(ready, "", manifest)
    return [asked, replace(asked, purpose="verify"), replace(asked, purpose="write")]
