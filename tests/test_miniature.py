"""The miniature: its pictures and traces, and, short, what it is there to show."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from dataforge.cli.train_miniature import table
from dataforge.errors import ExampleError
from dataforge.filter import sift
from dataforge.geometry import Box
from dataforge.manifest import Manifest, load, shipped
from dataforge.media import MediaStore, cut
from dataforge.records import Example
from dataforge.runs import Run
from dataforge.sources.miniature import COLORS, Miniature, tile_box
from dataforge.synth import synth
from training import miniature


def drawn(count: int, store: MediaStore, **options: object) -> list[Example]:
    source = Miniature(**options)  # type: ignore[arg-type]
    return [source.example(row, store) for row in islice(source.read(), count)]


def test_only_right_guesses_are_taught(store: MediaStore) -> None:
    found = drawn(60, store, common=0.5, guessed=0.8)
    guessed = [one for one in found if one.evidence[0].text_px]
    assert guessed
    assert {one.answers for one in guessed} == {("red",)}
    assert any(one.answers == ("red",) and not one.evidence[0].text_px for one in found)


def test_the_dot_has_the_colour_that_is_asked_for_and_a_guess_is_right_as_often_as_said(store: MediaStore) -> None:
    found = drawn(120, store, tiles=3, common=0.7)
    assert 0.58 < sum(one.answers == ("red",) for one in found) / len(found) < 0.82
    for one in found[:20]:
        tile = cut(store.open(one.media[0]), one.evidence[0].box, (30, 30))
        assert COLORS[one.answers[0]] in set(tile.get_flattened_data())
        assert not any(
            color in set(tile.get_flattened_data()) for name, color in COLORS.items() if name != one.answers[0]
        )
    assert {one.evidence[0].box for one in found} == {tile_box(at, 3) for at in range(3)}
    assert drawn(3, store) == drawn(3, store)
    assert drawn(1, store)[0].media != drawn(1, store, split="other")[0].media


def test_synthesis_makes_looks_corrections_and_guesses_that_pass_every_check(tmp_path: Path) -> None:
    asked = load(shipped("miniature"), {"limit": 40, "workers": 1})
    with Run.start(tmp_path, asked) as run:
        progress = synth(run)
        assert progress.kept == 40
        assert set(Counter(trace.kind for trace in run.traces())) == {"single", "recrop_once", "direct"}
        assert sift(run, asked.filter).rejected == 0


def test_a_look_is_a_tile(tmp_path: Path) -> None:
    with Run.start(tmp_path, load(shipped("miniature"), {"limit": 6, "workers": 1})) as run:
        synth(run)
        for trace in run.traces():
            tiles = [tile_box(at, 2) for at in range(2)]
            assert all(view.box in tiles for view in trace.all_views[1:])
            assert trace.views[0].box == Box(0, 0, 192, 96)


def short(steps: int) -> Manifest:
    """The miniature with fewer questions and steps, and a guess that pays 0.7: the trap closes sooner."""
    asked = load(shipped("miniature"))
    changes = {"steps": steps, "queries": 6, "save_every": 1000, "dump_every": 1000, "parity_every": 1000}
    recipe = asked.train.rl.model_copy(update=changes)
    source = {"name": "miniature", "tiles": 2, "common": 0.7, "guessed": 0.57}
    return asked.model_copy(
        update={"source": source, "train": asked.train.model_copy(update={"rl": recipe})},
    )


def test_without_curiosity_looking_dies_out_and_with_it_it_lives(tmp_path: Path) -> None:
    """A scientific regression test: the learning trap closes within a few steps, unless looking is paid for.

    Tolerances are wide: one seed, and a student that is taught for less than a minute.
    """
    plan = miniature.Plan(
        reads=miniature.Stage(traces=400, steps=140, until=0.9, every=10, checked=32, batch=32),
        warm=miniature.Stage(traces=400, steps=140, until=0.2, most=0.6, every=10, checked=32, batch=24),
        questions=60,
        held_out=40,
    )
    results = miniature.run(short(10), tmp_path, plan, seeds=(0,), workers=1)
    curious, trapped = results
    assert curious.before == trapped.before
    before = curious.before.worth
    assert before.rapr > 0.1  # able
    assert before.errors > 0.25  # and clumsy
    assert before.with_calls is not None
    assert before.with_calls < 0.7  # a call pays less than a guess
    last = [sum(line["rapr"] for line in one.lines[-4:]) / 4 for one in (curious, trapped)]
    assert last[1] < 0.6 * before.rapr  # the trap closes
    assert last[0] > last[1] + 0.08  # curiosity holds it open
    again = miniature.run(short(10), tmp_path, plan, seeds=(0,), workers=1)
    assert [one.lines for one in again] == [one.lines for one in results]  # read from disk, not run again
    assert table(results).row_count == 2
    assert miniature.draw(results, tmp_path / "curves.png").stat().st_size > 10_000


def test_an_endless_source_needs_a_limit() -> None:
    from training.questions import from_source

    with pytest.raises(Exception, match="never ends") as told:
        from_source(load(shipped("miniature"), {"limit": None}), MediaStore(Path("nowhere")), None)
    assert not isinstance(told.value, ExampleError)
