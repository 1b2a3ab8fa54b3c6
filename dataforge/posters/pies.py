"""Wholes in parts: pies, rings, and one bar cut into pieces; the shares stand on the pieces or in the legend.

Drawers keep the contract of charts.py: body on a sheet from y = 0, `extra` pixels taller than needed, height returned.
"""

from math import cos, pi, sin

from PIL import Image, ImageDraw

from dataforge.geometry import Box
from dataforge.posters.charts import draw_legend
from dataforge.posters.parts import Panel
from dataforge.posters.pen import Sheet, measure
from dataforge.posters.theme import Look


def _named(panel: Panel) -> tuple[str, ...]:
    """The legend's entries, with the share where the legend has it."""
    if not panel.legend_values:
        return panel.labels
    return tuple(f"{name}: {cells[0]}" for name, cells in zip(panel.labels, panel.cells, strict=True))


def draw_stacked_chart(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """One bar across the whole width, its pieces as long as their shares, over the legend."""
    style = look.small
    grown = min(extra // 2, 40)
    thick, top = round(style.size * 3.2) + grown, (extra - grown) // 3
    x = 0.0
    for i, (share,) in enumerate(panel.values):
        end = x + width * share / 100
        sheet.rect(Box(x, top, end - 2, top + thick), look.series[i][1])
        if not panel.legend_values:
            ink = look.on(look.series[i][1]).ink
            sheet.text((x + end) / 2 - 1, top + thick / 2 + style.drop, panel.cells[i][0], style, ink, "middle")
        x = end
    sheet.mark("disc", Box(3, top, width - 3, top + thick), f"the bar of {panel.name}", "pie", style.size)
    bottom = draw_legend(sheet, panel, _named(panel), look.series, look, width, top + thick + 12)
    return bottom - top + extra - grown


def draw_pie_chart(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """A disc or ring in slices, its legend beside or under it, shares on the slices or in the legend."""
    style, gap = look.small, 28
    names = _named(panel)
    aside = max(measure(name, style) for name in names) + style.size + 8
    beside = width - aside - gap >= 170
    size = min(width - aside - gap if beside else width - 20, 300)
    pitch = style.line + 6
    listed = pitch * len(names)
    height = max(size, listed) if beside else size + 14 + listed
    grown = min(extra, width - aside - gap - size if beside else width - size, 140)
    size = size + grown if size >= listed or not beside else size
    height += extra
    if beside:
        left, top = (width - aside - gap - size) // 2, (height - size) // 2
        x, y = left + size + gap, (height - listed) // 2
    else:
        left, top = (width - size) // 2, (height - size - 14 - listed) // 2
        x, y = (width - aside) // 2, top + size + 14
    sheet.picture(left, top, lambda: _slices(panel, look, size))
    _shares(sheet, panel, look, (left, top, size))
    sheet.mark("disc", Box(left, top, left + size, top + size), f"the disc of {panel.name}", "pie", style.size)
    for i, name in enumerate(names):
        middle, half = y + (i + 0.5) * pitch, style.size / 2
        swatch = Box(x, middle - half, x + 2 * half, middle + half)
        drawn = sheet.rect(swatch, look.series[i][1], min(look.radius, 9))
        entry = drawn.union(sheet.text(x + style.size + 8, middle + style.drop, name, style, look.ink))
        sheet.mark(f"s{i}", entry, f"an entry of the legend of {panel.name}", "legend_entry", style.size)
    return height


def _shares(sheet: Sheet, panel: Panel, look: Look, disc: tuple[int, int, int]) -> None:
    """The percents on the slices, where the legend doesn't have them."""
    if panel.legend_values:
        return
    left, top, size = disc
    angle, style = 0.0, look.small
    reach = size * (0.39 if panel.kind == "donut_chart" else 0.36)
    for i, (share,) in enumerate(panel.values):
        middle = (angle + share / 2) * pi / 50 - pi / 2
        angle += share
        ink = look.on(look.series[i][1]).ink
        x, y = left + size / 2 + reach * cos(middle), top + size / 2 + reach * sin(middle)
        sheet.text(x, y + style.drop, panel.cells[i][0], style, ink, "middle")


def _slices(panel: Panel, look: Look, size: int) -> Image.Image:
    big = Image.new("RGB", (size * 2, size * 2), look.card)
    draw = ImageDraw.Draw(big)
    start = -90.0
    for (share,), (_, colour) in zip(panel.values, look.series, strict=False):
        draw.pieslice((0, 0, size * 2 - 1, size * 2 - 1), start, start + share * 3.6, colour, look.card, 4)
        start += share * 3.6
    if panel.kind == "donut_chart":
        hole = size * 0.56
        draw.ellipse((hole, hole, size * 2 - hole, size * 2 - hole), look.card)
    return big.reduce(2)
