"""Questions: what a finished panel, or two of them, can be asked.

Each function yields `Ask`s whose evidence is named by keys; the layout looks the keys up. Questions quote the panel's
title, never a place on the poster, and everything that is compared differs, so there is one right answer.
"""

from collections.abc import Iterator
from itertools import combinations
from random import Random

from dataforge.posters.charts import DASH_NAMES
from dataforge.posters.parts import Ask, Measure, Panel

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
BARS = ("column_chart", "bar_chart")
PIES = ("pie_chart", "donut_chart", "stacked_chart")


def ask(panel: Panel, drawn: set[str], colours: tuple[str, ...], rng: Random) -> Iterator[Ask]:
    """Everything one panel can be asked; `drawn` are the keys that exist, `colours` the names of its series."""
    for note in panel.notes:
        yield from note.asks
    yield from panel.asks
    if panel.kind in BARS:
        yield from _bars(panel, rng)
    elif panel.kind == "grouped_chart":
        yield from _grouped(panel, colours, rng)
    elif panel.kind == "line_chart":
        yield from _lines(panel, drawn, colours, rng)
    elif panel.kind in PIES:
        yield from _pie(panel, colours, rng)
    elif panel.kind == "table":
        yield from _table(panel, rng)
    elif panel.kind == "icons":
        yield from _icons(panel, rng)
    elif panel.kind == "ranking":
        yield from _ranking(panel, rng)
    elif panel.kind == "timeline":
        yield from _timeline(panel, rng)
    elif panel.kind == "tiles":
        yield from _tiles(panel, rng)


def _others(panel: Panel, row: int, column: int = 0) -> tuple[str, ...]:
    """The other entries of the same column: same unit, near values."""
    return tuple(line[column] for line in panel.cells if line[column] != panel.cells[row][column])


def _lookup(form: str, panel: Panel, row: int, column: int, what: str, keys: tuple[str, ...]) -> Ask:
    """Read one number; `what` names it ("the value for ...")."""
    q = f'"{panel.title}"'
    return Ask(
        form,
        (
            f"In the {panel.noun} {q}, what is {what}?",
            f"According to {q}, what is {what}?",
            f"What does the {panel.noun} {q} show as {what}?",
            f"Read the {panel.noun} {q}: what is {what}?",
        ),
        panel.measures[column if column < len(panel.measures) else 0].spellings(panel.values[row][column]),
        "number",
        keys,
        _others(panel, row, column),
    )


def _bars(panel: Panel, rng: Random) -> Iterator[Ask]:
    q, noun = f'"{panel.title}"', panel.noun
    for i in rng.sample(range(len(panel.rows)), 2):
        yield _lookup("lookup", panel, i, 0, f"the value for {panel.rows[i]}", (f"r{i}",))
    i = rng.randrange(len(panel.rows))
    shown = panel.cells[i][0]
    yield Ask(
        "lookup",
        (f"Which bar in {q} has the value {shown}?", f"Whose value is {shown} in the {noun} {q}?"),
        (panel.rows[i],),
        "text",
        (f"r{i}",),
        tuple(row for row in panel.rows if row != panel.rows[i]),
    )
    yield from _within(panel, rng)


def _within(panel: Panel, rng: Random) -> Iterator[Ask]:
    """Comparisons inside one chart: the extreme, two rows, the rows beyond a limit."""
    q, measure = f'"{panel.title}"', panel.measures[0]
    order = sorted(range(len(panel.rows)), key=lambda i: panel.values[i][0])
    word, i = rng.choice((("highest", order[-1]), ("lowest", order[0]), ("second highest", order[-2])))
    yield Ask(
        "extreme",
        (f"Which has the {word} value in {q}?", f"In the {panel.noun} {q}, whose value is the {word}?"),
        (panel.rows[i],),
        "text",
        ("body",),
        tuple(row for row in panel.rows if row != panel.rows[i]),
    )
    a, b = rng.sample(range(len(panel.rows)), 2)
    gap = round(abs(panel.values[a][0] - panel.values[b][0]), measure.decimals)
    yield Ask(
        "compare",
        (
            f"How far apart are {panel.rows[a]} and {panel.rows[b]} in {q}?",
            f"By how much do {panel.rows[a]} and {panel.rows[b]} differ in the {panel.noun} {q}?",
        ),
        measure.spellings(gap),
        "number",
        (f"r{a}", f"r{b}"),
    )
    if len(order) >= 4:
        limit = measure.show(panel.values[order[-2]][0])
        names = [panel.rows[i] for i in order[-2:]]
        yield _list_ask((f"Name the two with a value of {limit} or more in {q}.",
                         f"Which two reach at least {limit} in the {panel.noun} {q}?"), names, ("body",))  # fmt: skip


def _list_ask(wordings: tuple[str, ...], names: list[str], keys: tuple[str, ...]) -> Ask:
    a, b = names
    answers = (f"{a}, {b}", f"{b}, {a}", f"{a} and {b}", f"{b} and {a}")
    return Ask("list", wordings, answers, "list", keys)


def _grouped(panel: Panel, colours: tuple[str, ...], rng: Random) -> Iterator[Ask]:
    q = f'"{panel.title}"'
    for _ in range(2):
        i, j = rng.randrange(len(panel.rows)), rng.randrange(len(panel.columns))
        what = f"the value for {panel.rows[i]} in {panel.columns[j]}"
        yield _lookup("legend", panel, i, j, what, (f"r{i}", f"s{j}"))
    j = rng.randrange(len(panel.columns))
    yield Ask(
        "legend",
        (f"Which year do the {colours[j]} bars in {q} stand for?", f"In {q}, what year is drawn in {colours[j]}?"),
        (panel.columns[j],),
        "number",
        (f"s{j}",),
    )  # fmt: skip
    i, (a, b) = rng.randrange(len(panel.rows)), sorted(rng.sample(range(len(panel.columns)), 2))
    gap = round(abs(panel.values[i][a] - panel.values[i][b]), panel.measures[0].decimals)
    row, first, second = panel.rows[i], panel.columns[a], panel.columns[b]
    wordings = (
        f"By how much did {row} change between {first} and {second} in {q}?",
        f"In {q}, how far are the {first} and {second} values of {row} apart?",
    )
    yield Ask("compare", wordings, panel.measures[0].spellings(gap), "number", (f"r{i}", "legend"))


def _lines(panel: Panel, drawn: set[str], colours: tuple[str, ...], rng: Random) -> Iterator[Ask]:
    q, many = f'"{panel.title}"', len(panel.columns) > 1
    readable = [key for key in sorted(drawn) if key.startswith("c")]
    for key in rng.sample(readable, min(2, len(readable))):
        i, j = (int(part) for part in key[1:].split(","))
        what = f"the value for {panel.columns[j]} in {panel.rows[i]}" if many else f"the value for {panel.rows[i]}"
        yield _lookup("legend" if many else "lookup", panel, i, j, what, (f"r{i}", f"s{j}") if many else (f"r{i}",))
    if many:
        j = rng.randrange(len(panel.columns))
        names = tuple(name for name in panel.columns if name != panel.columns[j])
        wordings = [
            f"What does the {colours[j]} line in {q} show?",
            f"In the line chart {q}, whose line is drawn in {colours[j]}?",
        ]
        if len(panel.columns) < 4 or j in (0, 2):  # beside a long-dashed line, "dashed" could mean either
            wordings.append(f"Which series does the {DASH_NAMES[j]} line stand for in {q}?")
        yield Ask("legend", tuple(wordings), (panel.columns[j],), "text", (f"s{j}",), names)


def _pie(panel: Panel, colours: tuple[str, ...], rng: Random) -> Iterator[Ask]:
    q, noun = f'"{panel.title}"', panel.noun
    for i in rng.sample(range(len(panel.rows)), 2):
        what = f"the share of {panel.rows[i].lower()}"
        if panel.legend_values:
            yield _lookup("lookup", panel, i, 0, what, (f"s{i}",))
        else:
            yield _lookup("legend", panel, i, 0, what, (f"s{i}", "disc"))
    i = rng.randrange(len(panel.rows))
    yield Ask("legend", (
        f"What does the {colours[i]} part of the {noun} {q} stand for?",
        f"Which category is shown in {colours[i]} in {q}?",
    ), (panel.rows[i],), "text", (f"s{i}",), tuple(r for r in panel.rows if r != panel.rows[i]))  # fmt: skip


def _table(panel: Panel, rng: Random) -> Iterator[Ask]:
    q = f'"{panel.title}"'
    years = bool(panel.measures) and len(set(panel.measures)) == 1
    for i in rng.sample(range(len(panel.rows)), 3):
        j = rng.randrange(len(panel.columns))
        column, row, keys = panel.columns[j], panel.rows[i], (f"r{i}",)
        if years:
            yield _lookup("table", panel, i, j, f"the value for {row} in {column}", (f"r{i}", f"h{j}"))
        elif panel.measures:
            name = panel.measures[j].name
            yield _lookup("table", panel, i, j, f"the figure for {row} under {name}", keys)
        else:
            own = panel.cells[i][j]
            wrong = tuple(dict.fromkeys(c[j] for c in panel.cells if c[j] != own))
            yield Ask("table", (
                f"What does the table {q} list for {row} under {column}?",
                f'In the row of {row} in {q}, what stands in the column "{column}"?',
            ), (own,), "number" if own.isdigit() else "text", keys, wrong)  # fmt: skip
    i = rng.randrange(len(panel.rows))
    if not years:
        j = rng.randrange(len(panel.columns) - (0 if panel.measures else 1))
        cell, column = panel.cells[i][j], panel.columns[j]
        others = tuple(row for row in panel.rows if row != panel.rows[i])
        yield Ask("table", (
            f'Whose entry under "{column}" is {cell} in {q}?',
            f'Which row of the table {q} has {cell} in the column "{column}"?',
        ), (panel.rows[i],), "text", (f"r{i}",), others)  # fmt: skip
    if panel.measures and not years:
        yield _table_list(panel, rng)


def _table_list(panel: Panel, rng: Random) -> Ask:
    j = rng.randrange(len(panel.columns))
    order = sorted(range(len(panel.rows)), key=lambda i: panel.values[i][j])
    column = panel.columns[j].lower()
    return _list_ask((
        f'Which two have the highest figures for {column} in the table "{panel.title}"?',
        f'Name the two rows with the largest values under {column} in "{panel.title}".',
    ), [panel.rows[i] for i in order[:-3:-1]], ("body",))  # fmt: skip


def _icons(panel: Panel, rng: Random) -> Iterator[Ask]:
    q, icons = f'"{panel.title}"', panel.columns[0]
    for i in rng.sample(range(len(panel.rows)), 2):
        count, row = round(panel.values[i][0]), panel.rows[i]
        near = tuple(str(count + d) for d in (-2, -1, 1, 2, 3) if count + d > 0)
        yield Ask("count", (
            f"How many {icons} are drawn in the row of {row} in {q}?",
            f"Count the {icons} next to {row} in the icon chart {q}.",
            f"In {q}, how many icons does {row} have?",
        ), (str(count),), "number", (f"r{i}",), near)  # fmt: skip
        if panel.icon_value:
            thing = panel.icon_value.split(": ")[1].split(" ", 1)[1]
            yield Ask("count", (
                f"How many {thing} does the row of {row} stand for in {q}?",
                f"Going by the key of {q}, how many {thing} does {row} have?",
            ), (panel.cells[i][0],), "number", (f"r{i}", "key"))  # fmt: skip


def _ranking(panel: Panel, rng: Random) -> Iterator[Ask]:
    q = f'"{panel.title}"'
    for i in rng.sample(range(len(panel.rows)), 2):
        nth = _ORDINALS[i]
        yield Ask("ranking", (
            f"Which {'one ' if i else ''}comes {nth} in the ranking {q}?",
            f"Who is in place {i + 1} of {q}?",
        ), (panel.rows[i],), "text", (f"r{i}",), tuple(r for r in panel.rows if r != panel.rows[i]))  # fmt: skip
    i = rng.randrange(len(panel.rows))
    yield Ask("ranking", (f"What place does {panel.rows[i]} hold in {q}?",
              f"At which position of the ranking {q} is {panel.rows[i]}?"),
              (str(i + 1), _ORDINALS[i]), "number", (f"r{i}",))  # fmt: skip
    yield _lookup("lookup", panel, i, 0, f"the value for {panel.rows[i]}", (f"r{i}",))
    i = rng.randrange(len(panel.rows) - 1)
    yield _list_ask((f"Name the {_ORDINALS[i]} and the {_ORDINALS[i + 1]} in the ranking {q}.",),
                    [panel.rows[i], panel.rows[i + 1]], (f"r{i}", f"r{i + 1}"))  # fmt: skip


def _timeline(panel: Panel, rng: Random) -> Iterator[Ask]:
    q = f'"{panel.title}"'
    for i in rng.sample(range(len(panel.rows)), 2):
        event, year = panel.cells[i][0], panel.rows[i]
        yield Ask("timeline", (
            f"What happened in {year}, according to {q}?",
            f"Which event does the timeline {q} give for {year}?",
        ), (event,), "text", (f"r{i}",), _others(panel, i))  # fmt: skip
        yield Ask("timeline", (
            f'In {q}, which year is given for "{event}"?',
            f'When was it that "{event}", according to the timeline {q}?',
        ), (year,), "number", (f"r{i}",), tuple(y for y in panel.rows if y != year))  # fmt: skip


def _tiles(panel: Panel, rng: Random) -> Iterator[Ask]:
    i = rng.randrange(len(panel.rows))
    what, rest = panel.rows[i].split(": ")
    place, year = rest.rsplit(", ", 1)
    yield Ask("tile", (
        f"Which figure is printed above \"{panel.rows[i]}\"?",
        f"What is the headline figure for {what.lower()} in {place} for {year}?",
        f'What number goes with "{what}" for {place}, {year}?',
    ), panel.measures[i].spellings(panel.values[i][0]), "number", (f"r{i}",))  # fmt: skip


Reading = tuple[str, str, int, float, Measure, int, str]  # measure, place, year, value, measure, panel, key


def _readings(panels: list[Panel]) -> Iterator[Reading]:
    for p, panel in enumerate(panels):
        if panel.kind in (*BARS, "ranking", "table") and panel.measures:
            single = len(set(panel.measures)) > 1 or len(panel.columns) == 1
            for i, place in enumerate(panel.rows):
                for j, measure in enumerate(panel.measures):
                    if single:
                        yield measure.name, place, panel.years[j], panel.values[i][j], measure, p, f"r{i}"


def compare(panels: list[Panel], rng: Random) -> Iterator[Ask]:
    """The same measure and place in two panels, two years: which is more, by how much. Keys are "panel/key"."""
    readings = sorted(_readings(panels), key=lambda r: (r[0], r[1], r[2]))
    pairs = [(a, b) for a, b in combinations(readings, 2) if a[:2] == b[:2] and a[5] != b[5] and a[3] != b[3]]
    for a, b in rng.sample(pairs, min(6, len(pairs))):
        name, place, _, _, measure, _, _ = a
        first, second = f'"{panels[a[5]].title}"', f'"{panels[b[5]].title}"'
        keys = (f"{a[5]}/{a[6]}", f"{b[5]}/{b[6]}")
        if rng.random() < 0.5:
            gap = round(abs(a[3] - b[3]), measure.decimals)
            wordings = (
                f"Compare {first} with {second}: by how much do the two figures for {name} of {place} differ?",
                f"What is the difference in {name} for {place} between {first} and {second}?",
            )
            yield Ask("compare", wordings, measure.spellings(gap), "number", keys)
        else:
            more = a if a[3] > b[3] else b
            wordings = (
                f"Was the figure for {name} of {place} higher in {a[2]} ({first}) or in {b[2]} ({second})?",
                f"In which year was the figure for {name} of {place} higher: {a[2]} in {first} or {b[2]} in {second}?",
            )
            yield Ask("compare", wordings, (str(more[2]),), "number", keys)
