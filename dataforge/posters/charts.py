"""Charts: bars lying, standing or in groups, and lines. Each prints its values small and names each place it draws.

A drawer puts a panel's body on a sheet, from y = 0 down, `width` pixels wide, `extra` pixels taller than it needs, so
that all columns end on one line. It returns the height it used.
"""

from itertools import pairwise

from PIL import Image, ImageDraw

from dataforge.geometry import Box
from dataforge.posters.parts import Panel
from dataforge.posters.pen import AIR, Colour, Sheet, bounds, measure, wrap
from dataforge.posters.theme import Look, blend

Names = tuple[tuple[str, Colour], ...]


def _top(panel: Panel) -> float:
    return max(max(row) for row in panel.values) * 1.04


def draw_bar_chart(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Lying bars: name on the left, value behind the bar's end."""
    style, rows = look.small, len(panel.rows)
    left = max(measure(label, style) for label in panel.labels) + 8
    room = width - left - max(measure(cells[0], style) for cells in panel.cells) - 10
    pitch = round(style.size * 2.0) + 6 + extra / rows
    thick = min(round(pitch * 0.62), 34)
    colours = [look.accent] if look.grid else [look.series[i % len(look.series)][1] for i in range(rows)]
    for i, label in enumerate(panel.labels):
        middle = pitch * (i + 0.5)
        name = sheet.text(left - 8, middle + style.drop, label, style, look.ink, "right")
        long = max(2, room * panel.values[i][0] / _top(panel))
        bar = _bar(sheet, look, (left, middle, long, thick, room), colours[i % len(colours)])
        value = sheet.text(left + long + 8, middle + style.drop, panel.cells[i][0], style, look.ink)
        where = f"the bar of {panel.rows[i]} in {panel.name}"
        sheet.mark(f"r{i}", bounds((name, bar, value)), where, "bar", style.size)
    return round(pitch * rows)


def _bar(sheet: Sheet, look: Look, place: tuple[float, float, float, float, float], colour: Colour) -> Box:
    """One lying bar in the poster's habit; `place` is left, middle, length, thickness, room."""
    left, middle, long, thick, room = place
    if look.bar_style == "lollipop":
        stick = sheet.rect(Box(left, middle - 1.5, left + long, middle + 1.5), colour)
        return stick.union(sheet.disc(left + long - 3, middle, min(thick * 0.4, 8), colour))
    box = Box(left, middle - thick / 2, left + long, middle + thick / 2)
    if look.bar_style == "underline":
        line = Box(left, box.y2 - 1, left + room, box.y2)
        sheet.rect(line, look.line)
    return sheet.rect(box, colour, min(look.radius, 4))


def draw_column_chart(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Standing bars, one or several per row of the panel; with several, a legend above."""
    style, per = look.small, len(panel.columns)
    top = draw_legend(sheet, panel, panel.columns, look.series, look, width, 0) + 6 if per > 1 else 0
    plot = round(width * 0.42) + extra
    pitch = width / len(panel.rows)
    labels = [wrap(label, style, pitch - 10) for label in panel.labels]
    floor = top + style.line + plot
    if look.grid:
        for step in range(1, 5):
            y = floor - plot * step / 4
            sheet.rect(Box(0, y, width, y + 1), blend(look.card, look.line, 0.6))
    sheet.rect(Box(0, floor, width, floor + 2), look.line)
    for i, lines in enumerate(labels):
        middle = pitch * (i + 0.5)
        inks = [sheet.lines(middle, floor + 5, lines, style, look.ink, "middle")]
        inks += _standing(sheet, panel, look, i, (middle, floor, pitch, plot))
        where = f"the bars of {panel.rows[i]} in {panel.name}"
        sheet.mark(f"r{i}", bounds(inks), where, "bar", style.size)
    return round(floor + 8 + max(len(lines) for lines in labels) * style.line)


def _standing(sheet: Sheet, panel: Panel, look: Look, row: int, place: tuple[float, float, float, float]) -> list[Box]:
    """The bars of one row with their values; `place` is middle, floor, pitch, height of the plot."""
    middle, floor, pitch, plot = place
    style, per = look.small, len(panel.columns)
    thick = min(max(pitch * 0.8 / per, 8), 90)
    inset = 1 if per > 1 else thick * 0.08
    inks = []
    for j in range(per):
        x = middle + (j - per / 2) * thick
        tall = max(2, plot * panel.values[row][j] / _top(panel))
        colour = look.series[j][1] if per > 1 else look.accent
        bar = Box(x + inset, floor - tall, x + thick - inset, floor)
        inks.append(sheet.rect(bar, colour))
        text = panel.cells[row][j]
        inks.append(sheet.text(x + thick / 2, floor - tall - 4, text, style, look.ink, "middle"))
    return inks


def draw_legend(
    sheet: Sheet, panel: Panel, names: tuple[str, ...], colours: Names, look: Look, width: int, y: int
) -> int:
    """Swatch and name for each series, in as many lines as it takes; returns the bottom."""
    style, x, entries = look.small, 0, []
    dashes = panel.kind == "line_chart"
    for j, name in enumerate(names):
        swatch = 30 if dashes else style.size
        wide = swatch + 7 + measure(name, style)
        if x and x + wide > width:
            x, y = 0, y + style.line + 4
        middle = y + style.line / 2
        if dashes:
            drawn = _dash_sample(sheet, x, middle, colours[j][1], DASHES[j])
        else:
            drawn = sheet.rect(
                Box(x, middle - style.size / 2, x + swatch, middle + style.size / 2),
                colours[j][1],
                min(look.radius, 3),
            )
        text = sheet.text(x + swatch + 7, middle + style.drop, name, style, look.ink)
        entry = drawn.union(text)
        sheet.mark(f"s{j}", entry, f"an entry of the legend of {panel.name}", "legend_entry", style.size)
        entries.append(entry)
        x += wide + 20
    sheet.mark("legend", bounds(entries), f"the legend of {panel.name}", "legend", style.size)
    return y + style.line + 4


DASHES = ((1, 0), (10, 6), (3, 5), (16, 4))  # pixels on, pixels off, for the first to the fourth line
DASH_NAMES = ("solid", "dashed", "dotted", "long-dashed")


def _dash_sample(sheet: Sheet, x: float, y: float, colour: Colour, dash: tuple[int, int]) -> Box:
    step = sum(dash) if dash[1] else 30
    on = dash[0] if dash[1] else 30
    return bounds(sheet.rect(Box(x + s, y - 1.5, min(x + s + on, x + 30), y + 1.5), colour) for s in range(0, 30, step))


def draw_line_chart(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Lines over years; a value stands at each point unless it would run into another one."""
    style, steps = look.small, len(panel.rows)
    colours = look.series[: len(panel.columns)]
    top = 0
    if len(panel.columns) > 1:
        top = draw_legend(sheet, panel, panel.columns, colours, look, width, 0)
    top += style.line + 8
    plot = round(width * 0.40) + extra
    pitch = width / steps
    low = min(min(row) for row in panel.values)
    span = max(_top(panel) / 1.04 - low, 1e-9)
    points = [
        [
            (pitch * (i + 0.5), top + plot - plot * (0.08 + 0.9 * (row[j] - low) / span))
            for i, row in enumerate(panel.values)
        ]
        for j in range(len(panel.columns))
    ]
    for step in range(5 if look.grid else 1):
        y = top + plot + 10 - (plot + 10) * step / 4
        sheet.rect(Box(0, y, width, y + 1), look.line)
    sheet.picture(0, round(top), lambda: _strokes(points, colours, width, round(plot), round(top), look))
    inks = _points(sheet, panel, look, points, colours, top)
    for i in range(steps):
        floor = top + plot + 10 + style.line
        inks[i].append(sheet.text(pitch * (i + 0.5), floor, panel.rows[i], style, look.ink, "middle"))
        label = f"the values of {panel.rows[i]} in {panel.name}"
        sheet.mark(f"r{i}", bounds(inks[i]), label, "points", style.size)
    return round(top + plot + 16 + style.line)


def _strokes(
    points: list[list[tuple[float, float]]],
    colours: Names,
    width: int,
    height: int,
    top: int,
    look: Look,
) -> Image.Image:
    """The lines alone, drawn at twice the size so that they come out smooth."""
    big = Image.new("RGB", (width * 2, height * 2 + 4), look.card)
    draw = ImageDraw.Draw(big)
    if look.grid:
        for step in range(1, 5):
            y = round((height + 10 - (height + 10) * step / 4) * 2)
            draw.rectangle((0, y, width * 2, y + 1), look.line)
    for line, (_, colour), dash in zip(points, colours, DASHES, strict=False):
        for (x1, y1), (x2, y2) in pairwise(line):
            long = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
            step = sum(dash) if dash[1] else long
            on = dash[0] if dash[1] else long
            at = 0.0
            while at < long:
                ends = (at / long, min((at + on) / long, 1))
                flat = [v * 2 for e in ends for v in (x1 + (x2 - x1) * e, y1 + (y2 - y1) * e - top)]
                draw.line(flat, colour, 5)
                at += step
    return big.reduce(2)


def _points(
    sheet: Sheet,
    panel: Panel,
    look: Look,
    points: list[list[tuple[float, float]]],
    colours: Names,
    top: float,
) -> list[list[Box]]:
    """Dots and values, by year: a value goes above its point, else below."""
    style = look.small
    inks: list[list[Box]] = []
    for i in range(len(panel.rows)):
        dots = [
            sheet.disc(line[i][0], line[i][1], 4, colour) for line, (_, colour) in zip(points, colours, strict=True)
        ]
        inks.append(list(dots))
        taken: dict[int, Box] = dict(enumerate(dots))  # by line: its dot, later its dot and value
        for j in range(len(panel.columns)):
            x, y = points[j][i]
            cell = panel.cells[i][j]
            half = measure(cell, style) / 2 + 2
            for base in (y - 8, y + 8 + style.size * 0.75):
                box = Box(x - half, base - style.size, x + half, base + 3)
                spot = box.union(dots[j]).grow(2 * AIR, 2 * AIR)
                if not any(spot.overlaps(other) for k, other in taken.items() if k != j):
                    sheet.rect(box.grow(-1, -1), look.card)
                    inks[-1].append(sheet.text(x, base, cell, style, look.ink, "middle"))
                    taken[j] = inks[-1][-1].union(dots[j])
                    sheet.mark(f"c{i},{j}", taken[j], f"a value in {panel.name}", "value", style.size)
                    break
    return inks
