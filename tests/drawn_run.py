"""A small run of drawn pictures, with real views: one trace of each kind, two rejected, three failures."""

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dataforge.episode import Episode, used
from dataforge.geometry import Box
from dataforge.manifest import Manifest, parse
from dataforge.media import MediaStore
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import (
    Call,
    Example,
    Failure,
    Kind,
    Limits,
    Media,
    Provenance,
    Region,
    Role,
    Step,
    Student,
    Trace,
    Verdict,
)
from dataforge.runs import Run

SIZE = (1000, 2400)
NEAR, FAR = Region(box=Box(600, 1500, 760, 1540), label="bees"), Region(box=Box(80, 400, 260, 450), label="owls")
WRONG, LARGE, RIGHT = (60, 300, 400, 560), (200, 900, 1000, 2000), (540, 1440, 820, 1600)
HOSTILE = 'How many <script>alert("x")</script> bees & $owls [bold]are[/bold] there?'
GOOD = (Verdict(check="well_formed", ok=True), Verdict(check="answer", ok=True, score=1.0))
BAD = Verdict(check="answer", ok=False, reason="wrong", detail="'9' is not '42'", score=0.0)
OPERATION = ZoomIn()


def manifest(name: str = "drawn") -> Manifest:
    return parse({"name": name, "source": "infographics", "teacher": {"name": "openai_api", "model": "m"}}, "here")


def picture(store: MediaStore, number: int) -> Media:
    image = Image.new("RGB", SIZE, ["#fdf6e3", "#e8f1f8", "#f3e8f8"][number % 3])
    pen = ImageDraw.Draw(image)
    pen.text((60, 60), f"Poster {number}", fill="#223344", font=ImageFont.load_default(90))
    for row in range(9):
        top = 300 + 230 * row
        pen.rectangle((60, top, 60 + 90 * (row + 1), top + 120), fill=f"hsl({row * 40}, 50%, 70%)")
        pen.text((80, top + 40), f"row {row}: {row * 7}", fill="black", font=ImageFont.load_default(32))
    pen.text((605, 1500), "bees 42", fill="black", font=ImageFont.load_default(34))
    content = io.BytesIO()
    image.save(content, "PNG")
    return store.add_bytes(content.getvalue(), ".png", "CC0", f"poster {number}")


def trace(run: Run, name: str, kind: Kind, looks: list[tuple[Role, int, tuple[int, ...]]], number: int = 0) -> Trace:
    """A trace whose looks are (role, target image, box in source pixels) and have really been run."""
    example = Example(
        id=name,
        group=f"group-{number}",
        source="drawn",
        question=HOSTILE if kind == "single" else "How many bees are there?",
        answers=("42", "forty-two"),
        answer_type="number",
        choices=("41", "42 <b>bees</b>") if kind == "direct" else (),
        media=(picture(run.store, number),),
    )
    episode = Episode(example, run.store, [OPERATION], Student(), Limits())
    steps = []
    for role, target, box in looks:
        on_view = episode.workspace.to_view(target, Box(*map(float, box)))
        call = Call(name="zoom_in", arguments={"bbox_2d": [round(side) for side in on_view], "target_image": target})
        thought = f"The picture is large & full of rows; I look where {role} says."
        observation = episode.act(call)
        assert not observation.error, observation
        learn = "thought" if role == "mistake" else "both"
        steps.append(Step(thought=thought, call=call, observation=observation, role=role, learn=learn))
    return Trace(
        id=name,
        example=example,
        views=episode.opening,
        regions=(NEAR, FAR) if kind == "compare" else (NEAR,),
        steps=(*steps, Step(thought="It says bees 42, so there are 42 of them.", role="answer")),
        answer="42",
        kind=kind,
        verdicts=GOOD,
        provenance=Provenance(
            version="0",
            manifest="0",
            operations=used([OPERATION]),
            teacher="scripted",
            scripted=True,
            rewrites=number,
            input_tokens=100,
            output_tokens=10,
            cost_usd=0.01,
            unfit=("compare",) if number else (),
        ),
    )


def traces(run: Run) -> list[Trace]:
    kept = [
        trace(run, "poster-0", "direct", []),
        trace(run, "poster-1", "single", [("look", 1, RIGHT)]),
        trace(run, "poster-2", "recrop_once", [("mistake", 1, WRONG), ("recover", 1, RIGHT)]),
        trace(
            run,
            "poster-3",
            "recrop_twice",
            [("mistake", 1, WRONG), ("mistake", 1, (40, 1900, 500, 2200)), ("recover", 1, RIGHT)],
        ),
        trace(run, "poster-4", "zoom_further", [("mistake", 1, LARGE), ("recover", 2, RIGHT)], 1),
        trace(run, "poster-5", "compare", [("look", 1, RIGHT), ("look", 1, (40, 340, 320, 520))], 1),
    ]
    wrong = trace(run, "poster-6", "single", [("look", 1, WRONG)], 1)
    leak = Verdict(check="no_leak", ok=False, reason="coordinates", detail="step 1: '[1, 2, 3, 4]'")
    rejected = [
        wrong.model_copy(update={"answer": "9", "verdicts": (*GOOD[:1], BAD)}),
        wrong.model_copy(update={"id": "poster-7", "verdicts": (*GOOD, leak)}),
    ]
    return kept + rejected


FAILURES = (
    Failure(id="poster-8", stage="locate", reason="not_found", detail="no words like <i>bees</i>"),
    Failure(id="poster-9", stage="locate", reason="not_found"),
    Failure(id="poster-10", stage="media", reason="broken_picture", detail="truncated"),
)


def make(runs: Path) -> Run:
    """The run's folder under `runs`, written and given free."""
    with Run.start(runs, manifest()) as run:
        for record in (*traces(run), *FAILURES):
            run.append(record)
    return run
