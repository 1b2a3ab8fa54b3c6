"""What an evaluation would take, from a few real questions: nothing is written and no model is asked."""

import itertools
import tempfile
from collections import Counter
from pathlib import Path

from pydantic import BaseModel

from dataforge import plugins
from dataforge.ask.request import Request
from dataforge.chat import opening
from dataforge.errors import ExampleError
from dataforge.evaluate.bench import Bench
from dataforge.evaluate.player import said
from dataforge.manifest import Manifest
from dataforge.plugins import Row, Teacher
from dataforge.records import Failure
from dataforge.synth.estimate import COUNT_AT_MOST

SAMPLES = 6
TURN_TOKENS = 200
"""Of a turn's text: reasoning, and a call or an answer."""


class Estimate(BaseModel):
    """One run's size and cost, extrapolated from `sampled` questions; one look each where operations are offered."""

    run: str
    model: str
    arm: str
    questions: int
    unreadable: int
    sampled: int
    sample_failures: dict[str, int]
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    prices: str


def estimate(manifest: Manifest) -> Estimate:
    """Count the rows, open the first few in a folder that is thrown away, and extrapolate."""
    assert manifest.evaluate is not None
    source = plugins.build("source", manifest.source)
    items = list(itertools.islice(source.read(), min(manifest.limit or COUNT_AT_MOST, COUNT_AT_MOST)))
    rows = [item for item in items if isinstance(item, Row)]
    model: Teacher = plugins.build("teacher", manifest.teacher)
    requests, failures = _sample(manifest, rows[:SAMPLES])
    turns = 1 if manifest.evaluate.arm == "without" else 2
    scale = len(rows) / max(1, len(requests)) if requests else 0.0
    # the second turn reads the first one again, and a view besides: taken as half of what was shown
    again = 0.0 if turns == 1 else 1.5
    input_tokens = round(scale * (1 + again) * sum(model.forecast(request)[0] for request in requests))
    output_tokens = TURN_TOKENS * turns * len(rows)
    return Estimate(
        run=f"{manifest.name}-{manifest.digest()[:6]}",
        model=model.title,
        arm=manifest.evaluate.arm,
        questions=len(rows),
        unreadable=sum(isinstance(item, Failure) for item in items),
        sampled=len(requests),
        sample_failures=dict(failures),
        calls=turns * len(rows),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=model.price(input_tokens, output_tokens),
        prices=model.price_note(),
    )


def _sample(manifest: Manifest, rows: list[Row]) -> tuple[list[Request], Counter[str]]:
    """The first requests of these rows, and why some have none."""
    assert manifest.evaluate is not None
    requests, failures = list[Request](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(manifest, Path(folder))
        for row in rows:
            try:
                opened = bench.open(row)
                system = manifest.evaluate.system
                turns = opening(opened.example, opened.views, bench.operations, manifest.student, system=system)
            except ExampleError as error:
                failures[f"{error.stage}: {error.reason}"] += 1
                continue
            requests.append(Request("play", tuple(said(turn, opened.pictures) for turn in turns), {}))
    return requests, failures
