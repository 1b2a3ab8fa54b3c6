"""A run to train tiny students on: small drawn squares, real views of a few tokens, traces of three kinds."""

import io
import random
from pathlib import Path

from PIL import Image, ImageDraw

from dataforge.episode import Episode, used
from dataforge.geometry import Box
from dataforge.manifest import parse
from dataforge.operations.zoom_in import ZoomIn
from dataforge.records import (
    Call,
    CallForm,
    Example,
    Kind,
    Limits,
    Media,
    Provenance,
    Region,
    Role,
    Step,
    Student,
    Trace,
)
from dataforge.runs import Run

COLOURS = ("red", "green", "blue", "orange")
CELL = 56


def student(patch: int = 28, calls: CallForm = "tagged") -> Student:
    """Views of 4 to 16 tokens."""
    return Student(patch=patch, min_pixels=4 * patch * patch, max_pixels=16 * patch * patch, calls=calls)


def picture(run: Run, number: int, colours: list[str]) -> Media:
    image = Image.new("RGB", (2 * CELL, 2 * CELL), "white")
    pen = ImageDraw.Draw(image)
    for cell, colour in enumerate(colours):
        left, top = CELL * (cell % 2), CELL * (cell // 2)
        pen.rectangle((left + 14, top + 14, left + 41, top + 41), fill=colour)
    pen.point((number % 112, 0), "black")  # no two pictures are the same
    content = io.BytesIO()
    image.save(content, "PNG")
    return run.store.add_bytes(content.getvalue(), ".png", "CC0", f"squares {number}")


def trace(run: Run, number: int, kind: Kind) -> Trace:
    """One question about a square's colour: answered at once, with a look, or with a wrong one before it."""
    draw = random.Random(number)
    colours = [draw.choice(COLOURS) for _ in range(4)]
    cell = draw.randrange(4)
    place = [Box(CELL * (at % 2), CELL * (at // 2), CELL * (at % 2 + 1), CELL * (at // 2 + 1)) for at in range(4)]
    example = Example(
        id=f"square-{number}",
        group=f"group-{number}",
        source="drawn",
        question=f"What is the color of the square in row {cell // 2 + 1}, column {cell % 2 + 1}?",
        answers=(colours[cell],),
        media=(picture(run, number, colours),),
    )
    operation = ZoomIn(min_pixels=run.manifest.student.min_pixels, max_pixels=run.manifest.student.max_pixels)
    episode = Episode(example, run.store, [operation], run.manifest.student, Limits())
    looks: dict[str, list[tuple[Role, int]]] = {
        "single": [("look", cell)],
        "recrop_once": [("mistake", (cell + 1) % 4), ("recover", cell)],
    }
    steps = []
    for role, at in looks.get(kind, []):
        box = [round(edge) for edge in episode.workspace.to_view(1, place[at])]
        call = Call(name="zoom_in", arguments={"bbox_2d": box, "target_image": 1})
        observation = episode.act(call)
        assert not observation.error, observation
        learn = "thought" if role == "mistake" else "both"
        thought = "That was the wrong square. I look again." if role == "recover" else "I look at that square."
        steps.append(Step(thought=thought, call=call, observation=observation, role=role, learn=learn))
    return Trace(
        id=example.id,
        example=example,
        views=episode.opening,
        regions=(Region(box=place[cell], label="square"),),
        steps=(*steps, Step(thought=f"The square is {colours[cell]}.", role="answer")),
        answer=colours[cell],
        kind=kind,
        provenance=Provenance(
            version="0", manifest="0", operations=used([operation]), student=run.manifest.student, teacher="scripted"
        ),
    )


def make(runs: Path, count: int = 6, patch: int = 28, calls: CallForm = "tagged") -> Run:
    """The run's folder under `runs`, written and given free."""
    read_by = student(patch, calls)
    manifest = parse(
        {"name": f"squares-{patch}-{calls}", "source": "infographics", "student": read_by.model_dump()}, "here"
    )
    kinds: tuple[Kind, ...] = ("single", "recrop_once", "direct")
    with Run.start(runs, manifest) as run:
        for number in range(count):
            run.append(trace(run, number, kinds[number % 3]))
    return run
