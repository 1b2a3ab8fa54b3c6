"""Commands that train a student: train sft, train preview, train tiny. torch is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dataforge.cli.app import app, examples
from dataforge.errors import UsageError

train = typer.Typer(name="train", help="Train a student on traces.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(train, short_help="Train a student on traces.")


def need_torch() -> None:
    """UsageError with the command that installs what training needs; transformers is told to be silent."""
    from importlib.util import find_spec

    if missing := [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]:
        raise UsageError(f"training needs {', '.join(missing)}: pip install 'dataforge[train]'")
    from transformers.utils import logging

    logging.disable_progress_bar()  # ours says what is going on


@train.command(
    short_help="Write a tiny random student.",
    epilog=examples("dataforge train tiny students/tiny", "dataforge train tiny students/three --family qwen3_vl"),
)
def tiny(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoint is written.")],
    family: Annotated[str, typer.Option(help="qwen2_5_vl or qwen3_vl.")] = "qwen2_5_vl",
    seed: Annotated[int, typer.Option(help="Another draw of the weights.")] = 0,
) -> None:
    """Write a Qwen-VL of three million parameters with random weights: a student to try a recipe with anywhere."""
    need_torch()
    from training import tiny as students

    known: tuple[Literal["qwen2_5_vl"], Literal["qwen3_vl"]] = ("qwen2_5_vl", "qwen3_vl")
    if (chosen := next((name for name in known if name == family), None)) is None:
        raise UsageError(f"no family {family!r}: there are {', '.join(known)}")
    typer.echo(str(students.build(folder, chosen, seed=seed)))
