"""The verl adapter by itself, and where a python with verl is at hand (DATAFORGE_VERL), in verl's own pieces."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import UsageError
from dataforge.publish.exporting import export
from tests import drawn_run
from training import rewards
from training.adapters.verl import Estimator, Facts, compute_score
from training.objective import advantages
from training.rewards import Outcome

LOOKED = Outcome(correct=True, calls=2, ran=1)
GUESSED = Outcome(correct=False)
FAILED = Outcome(correct=True, calls=1, last_failed=True)
CUT = Outcome(correct=False, answered=False, calls=63, ran=63, video=True)
EVERY = [Facts(one, whole) for one in (LOOKED, GUESSED, FAILED, CUT) for whole in (True, False)]


def scores(facts: list[Facts]) -> Any:
    """Token-level rewards as verl makes them: float32, each score at its trajectory's last token."""
    import torch

    made = torch.zeros(len(facts), 7)
    for at, one in enumerate(facts):
        made[at, 2 + at % 5] = one.packed()
    return made


def test_facts_travel_in_a_score_that_is_still_a_score() -> None:
    totals = scores(EVERY).sum(dim=-1).tolist()
    assert [Facts.unpacked(total) for total in totals] == EVERY
    assert all(abs(total - one.outcome.correct) < 0.016 for total, one in zip(totals, EVERY, strict=True))
    for spoilt in (0.3, -0.1, 1.9, totals[0] - 1e-7):
        with pytest.raises(UsageError, match="holds no facts"):
            Facts.unpacked(spoilt)


@pytest.mark.parametrize("by_std", [False, True])
def test_a_group_is_paid_by_our_rule_wherever_its_members_lie(by_std: bool) -> None:
    import torch

    members = [Facts(one, True) for one in (LOOKED, GUESSED, FAILED, GUESSED)]
    others = [Facts(one, True) for one in (LOOKED, LOOKED, GUESSED)]
    cut = Facts(CUT, False)
    batch = [members[0], others[0], cut, members[1], others[1], members[2], others[2], members[3]]
    names = ["a", "b", "a", "a", "b", "a", "b", "a"]
    mask = torch.ones(8, 7)
    mask[:, 3] = 0
    rule = {"name": "curiosity", "alpha": 1.0, "rapr": 0.5}
    found, returns = Estimator(rule)(
        token_level_rewards=scores(batch), response_mask=mask, index=names, config={"norm_adv_by_std_in_grpo": by_std}
    )
    assert found.shape == mask.shape
    assert torch.equal(found, returns)
    assert not found[:, 3].any()
    for name, group in (("a", members), ("b", others)):
        worth = [one.total for one in rewards.rewards(rewards.rule(rule), [one.outcome for one in group])]
        rows = [at for at, one in enumerate(names) if one == name and batch[at] is not cut]
        assert found[rows, 0].tolist() == pytest.approx(advantages(worth, "std" if by_std else "mean"), abs=1e-6)
    assert not found[2].any()  # cut off, and in no statistic
    counted, _ = Estimator(rule, broken="wrong")(scores(batch), mask, names)
    assert counted[2, 0] < 0


def test_the_scorer_is_called_as_verl_calls_it_and_refuses_other_loops() -> None:
    told = {"outcome": LOOKED._asdict(), "whole": True}
    made = compute_score(
        data_source="dataforge/posters", solution_str="", ground_truth="42", extra_info={"dataforge": told}, num_turns=4
    )
    assert (made["acc"], made["looked"], made["calls"], made["failed_calls"]) == (1, 1, 2, 1)
    assert Facts.unpacked(made["score"]) == Facts(LOOKED, True)
    with pytest.raises(UsageError, match="agent=dataforge"):
        compute_score(data_source="x", solution_str="42", ground_truth="42", extra_info={})


@pytest.mark.skipif("DATAFORGE_VERL" not in os.environ, reason="DATAFORGE_VERL names no python with verl")
def test_verl_takes_our_rows_to_its_advantages(tmp_path: Path) -> None:
    spec = {"name": "verl_rl", "agent": "dataforge"}
    rows = export(drawn_run.make(tmp_path / "runs"), spec, tmp_path / "rows")
    manifest = tmp_path / "small.yaml"
    manifest.write_text(
        "name: small\nsource: miniature\nstudent: {patch: 32, min_pixels: 9216, max_pixels: 9216, box_unit: pixels}\n"
        "operations: [{name: zoom_in, min_side: 8, min_pixels: 9216, max_pixels: 9216}]\n"
        "train: {rl: {turns: 3, turn_tokens: 200, tokens: 2400, answer_tokens: 32}}\n",
        encoding="utf-8",
    )
    script = Path(__file__).with_name("verl_plays.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    environment |= {"VERL_USE_EXTERNAL_MODULES": "training.adapters.verl_loop"}
    done = subprocess.run(
        [os.environ["DATAFORGE_VERL"], str(script), str(tmp_path), str(rows.file), str(manifest)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    bonus = 0.5 * max(0.3 - 1 / 3, 0)
    mean = (1 + bonus + 0 + 1) / 3
    assert told["advantages"] == pytest.approx([1 + bonus - mean, -mean, 1 - mean, 0], abs=1e-6)
    assert told["images"] == [2, 1, 1, 4]
    assert told["steps"] == [3, 3, 3, 3]
