"""Which runs an evaluation is made of: a benchmark's manifest, for each model and each arm of it.

Benchmarks are manifests in `manifests/benchmarks`, or a file of one's own. A name that several share before an
underscore stands for all of them: `hrbench` is `hrbench_4k` and `hrbench_8k`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dataforge import manifest as manifests
from dataforge.ask.budget import Budget, Ledger, Spend
from dataforge.errors import UsageError
from dataforge.evaluate.player import PROMPTS
from dataforge.manifest import Arm, Manifest
from dataforge.prompts import find_prompt, shipped_folder

ARMS: tuple[Arm, ...] = ("without", "with")
CONTROLS: tuple[Arm, ...] = ("blank", "elsewhere")


class Model(NamedTuple):
    """Who is tried: a name for run folders, and the teacher plug-in that asks it."""

    name: str
    spec: dict[str, Any]


def shipped() -> list[str]:
    """The names of the shipped benchmarks."""
    return sorted(path.stem for path in (shipped_folder("manifests") / "benchmarks").glob("*.yaml"))


def files(name: str) -> list[Path]:
    """The manifests that a benchmark's name stands for; UsageError names those that exist."""
    found = [name] if name in shipped() else [known for known in shipped() if known.startswith(f"{name}_")]
    if not found:
        raise UsageError(f"no benchmark {name!r}: there are {', '.join(shipped())}; or give --manifest FILE")
    return [shipped_folder("manifests") / "benchmarks" / f"{known}.yaml" for known in found]


def load(file: Path, path: Path | None, changes: Mapping[str, Any]) -> Manifest:
    """A benchmark's manifest with single values laid over it, a mapping over a mapping; UsageError names file and key.

    `path` replaces the place that the source reads by default.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no manifest {file}: shipped benchmarks are {', '.join(shipped())}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("evaluate"), dict):
        raise UsageError(f"{file}: a benchmark's manifest is a mapping with a part `evaluate`, such as {{title: V*}}")
    for key, value in changes.items():
        old = content.get(key)
        content[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    source = content.get("source")
    if path is not None:
        spelled = dict(source) if isinstance(source, dict) else {"name": source}
        spelled.pop("hub", None)
        content["source"] = spelled | {"path": str(path)}
    content["prompts"] = {name: find_prompt(name, file.parent).text for name in PROMPTS}
    return manifests.parse(content, str(file))


def arms(benchmark: Manifest, model: Model, wanted: Sequence[Arm]) -> list[Manifest]:
    """One manifest for each arm of a model on a benchmark, which differ in the arm alone."""
    assert benchmark.evaluate is not None
    made = []
    for arm in wanted:
        changes = {
            "name": f"{benchmark.name}-{model.name}-{arm}",
            "teacher": model.spec,
            "evaluate": benchmark.evaluate.model_copy(update={"arm": arm}),
        }
        made.append(benchmark.model_copy(update=changes))
    return made


def slug(model: str) -> str:
    """A model's name as it can stand in a folder's: its last part, without what a file system dislikes."""
    last = model.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[:48] or "model"


DIALECT = ("patch", "box_unit", "calls")
"""Of a manifest's student: how a model sees and writes, which is the model's own."""
PLACES = ("path", "hub", "images")
"""Of a source: where the files lie."""


def protocol(manifest: Manifest) -> str:
    """Six hex digits over all that must be equal to compare two scores: not the model, its dialect, the arm, places."""
    shape = manifest.shape()
    del shape["teacher"], shape["evaluate"]["arm"]
    for part, own in (("student", DIALECT), ("source", PLACES)):
        shape[part] = {key: value for key, value in shape[part].items() if key not in own}
    return _digits(shape)


def way(manifest: Manifest) -> str:
    """Six hex digits over how the model is asked: its own options and its dialect."""
    shape = manifest.shape()
    return _digits({"teacher": shape["teacher"], **{key: shape["student"][key] for key in DIALECT}})


def _digits(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]


# ---------------------------------------------------------------------------------------------------------- the budget


def folder_of(runs: Path, manifest: Manifest) -> Path:
    return runs / f"{manifest.name}-{manifest.digest()[:6]}"


def left(budget: Budget, runs: Path, others: Sequence[Manifest]) -> Budget | None:
    """What a budget for several runs leaves for one, after what the others have paid; None when that is nothing."""
    spent = Spend()
    for other in others:
        path = folder_of(runs, other) / "spent.jsonl"
        if path.exists():
            ledger = Ledger(path)
            spent = spent.plus(ledger.total)
            ledger.close()
    if budget.usd is not None:
        usd = budget.usd - spent.usd
        return Budget(usd=usd) if usd > 0 else None
    tokens = (budget.tokens or 0) - spent.input_tokens - spent.output_tokens
    return Budget(tokens=tokens) if tokens > 0 else None
