"""Watching a run: what is measured of a step, when to raise an alarm, and where it is written.

Everything is computed from facts about single rollouts, which ranks exchange; so every rank sees the same numbers and
stops at the same step.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataforge.recipe import Alarms
from dataforge.runs import make_folder

Metrics = dict[str, float]


class Fact(NamedTuple):
    """One rollout as the metrics see it."""

    group: str
    source: str
    medium: str
    ended: str
    counts: bool
    """Not one of the broken ones that are left out"""
    correct: bool
    calls: int
    ran: int
    bonus: float
    penalty: float
    reward: float
    advantage: float
    sampled: int
    """Tokens sampled"""
    length: int
    """Tokens of the conversation"""
    surprise: float
    """Sum of -log p over sampled tokens: its mean estimates the policy's entropy"""


def measure(facts: Sequence[Fact]) -> Metrics:
    """The metrics of one step's rollouts. Shares of rollouts are over those that count."""
    whole = [one for one in facts if one.counts]
    groups: dict[str, list[float]] = defaultdict(list)
    for one in whole:
        groups[one.group].append(one.reward)
    calls, tokens = sum(one.calls for one in facts), sum(one.sampled for one in facts)
    uniform = [max(rewards) - min(rewards) < 1e-6 for rewards in groups.values()]
    found = {
        "accuracy": _mean(one.correct for one in whole),
        "accuracy_with_looks": _mean(one.correct for one in whole if one.ran),
        "accuracy_without": _mean(one.correct for one in whole if not one.calls),
        "rapr": _mean(one.ran > 0 for one in whole),
        "called": _mean(one.calls > 0 for one in whole),
        "errors": sum(one.calls - one.ran for one in facts) / calls if calls else 0.0,
        "curiosity": _mean(one.bonus for one in whole),
        "penalty": _mean(one.penalty for one in whole),
        "reward": _mean(one.reward for one in whole),
        "uniform": _mean(uniform),
        "broken": _mean(one.ended != "answer" for one in facts),
        "sampled_tokens": _mean(one.sampled for one in facts),
        "tokens": _mean(one.length for one in facts),
        "entropy": sum(one.surprise for one in facts) / tokens if tokens else 0.0,
    }
    looks = Counter(min(one.ran, 4) for one in whole)
    found |= {f"looks/{count}{'+' if count == 4 else ''}": looks[count] / max(len(whole), 1) for count in range(5)}
    found |= {f"ended/{end}": count / len(facts) for end, count in Counter(one.ended for one in facts).items()}
    for kind in ("source", "medium"):
        for value in sorted({getattr(one, kind) for one in whole}):
            these = [one for one in whole if getattr(one, kind) == value]
            found[f"accuracy/{value}"] = _mean(one.correct for one in these)
            found[f"rapr/{value}"] = _mean(one.ran > 0 for one in these)
    return found


def _mean(values: Iterable[float]) -> float:
    """nan where there is nothing to take the mean of."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else math.nan


class Watchman:
    """Raises an alarm when a measure has been wrong for a number of steps in a row."""

    def __init__(self, alarms: Alarms) -> None:
        self.alarms = alarms
        self.rows: Counter[str] = Counter()

    def see(self, metrics: Mapping[str, float]) -> list[str]:
        """The alarms of this step; each is raised once, and again after all has been well."""
        rules = {
            "rapr": ("below", metrics["rapr"] < self.alarms.rapr, "no operations are used: looking pays too little"),
            "uniform": (
                "above",
                metrics["uniform"] > self.alarms.uniform,
                "groups agree: there is nothing to learn from",
            ),
            "errors": ("above", metrics["errors"] > self.alarms.errors, "calls fail: the form is being lost"),
        }
        raised = []
        for name, (side, wrong, meaning) in rules.items():
            self.rows[name] = self.rows[name] + 1 if wrong else 0
            if self.rows[name] == self.alarms.steps:
                bound = getattr(self.alarms, name)
                raised.append(f"{name} {metrics[name]:.2f} is {side} {bound} for {self.alarms.steps} steps: {meaning}")
        return raised


class Log:
    """metrics.jsonl and tensorboard, kept to the steps that are done."""

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        make_folder(folder, "--out")
        kept = [line for line in read(self.path) if line["step"] <= done]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def add(self, step: int, metrics: Metrics) -> None:
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step} | _finite(metrics)) + "\n")
        for name, value in metrics.items():
            if math.isfinite(value):
                self._board.add_scalar(name, value, step)
        self._board.flush()

    def close(self) -> None:
        self._board.close()


def _finite(metrics: Metrics) -> dict[str, float | None]:
    """JSON knows no nan: what could not be measured is null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; one that a kill cut short is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
