"""Commands that look at what was made: show, view, diff."""

from __future__ import annotations

from typing import Annotated

import typer

from dataforge.cli.app import RUNS, AsJson, RunName, RunsFolder, examples
from dataforge.cli.later import collected

commands = collected()


@commands.command(epilog=examples("dataforge show poster-000003-0"))
def show(
    trace_id: Annotated[str, typer.Argument(help="A trace's id, or the start of it.")],
    run: Annotated[str, typer.Option(help="A run's folder or name.")] = "latest",
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one trace in the terminal: the question, every look and thought, the verdicts."""
    from dataforge import show as showing
    from dataforge.cli import screen
    from dataforge.records import to_line
    from dataforge.runs import Run, find_run

    opened = Run.open(find_run(runs, run))
    trace = showing.find_trace(opened, trace_id)
    if as_json:
        typer.echo(to_line(trace), nl=False)
    else:
        screen.out.print(showing.render(trace, opened))


@commands.command(
    epilog=examples("dataforge view", "dataforge view infographics-3fa91c --port 8700"),
)
def view(
    run: RunName = "latest",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any free one.")] = 8700,
    runs: RunsFolder = RUNS,
) -> None:
    """Browse a run in a local page: filter, search, look at every view, mark what to keep or drop.

    Only this machine can reach it. Marks are kept in the run folder and honoured by `filter`.
    """
    from dataforge import view as viewing
    from dataforge.cli import screen
    from dataforge.runs import Run, find_run

    opened = Run.open(find_run(runs, run))
    viewing.serve(opened, port, lambda address: screen.note(f"{address} (Ctrl-C ends it)"))


@commands.command(
    epilog=examples("dataforge diff infographics-3fa91c infographics-77b0e2"),
)
def diff(
    run_a: Annotated[str, typer.Argument(help="A run's folder or name.")],
    run_b: RunName = "latest",
    runs: RunsFolder = RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what a changed prompt, teacher or threshold did to counts, verdicts and answers."""
    from dataforge import diff as differing
    from dataforge.cli import screen
    from dataforge.runs import Run, find_run

    made = differing.compare(Run.open(find_run(runs, run_a)), Run.open(find_run(runs, run_b)))
    if as_json:
        typer.echo(made.model_dump_json())
    else:
        screen.out.print(differing.render(made))
