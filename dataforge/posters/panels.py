"""Panels that are not charts, and the card that goes around any panel: title, body, notes.

Drawers keep the contract of charts.py: body on a sheet from y = 0, `extra` pixels taller than needed, height returned.
"""

from collections.abc import Callable

from dataforge.geometry import Box
from dataforge.posters import charts, pies
from dataforge.posters.icons import icon
from dataforge.posters.parts import Panel
from dataforge.posters.pen import Sheet, Type, bounds, fit, measure, wrap
from dataforge.posters.theme import Look, blend, legible

Drawer = Callable[[Sheet, Panel, Look, int, int], int]


def _table_widths(panel: Panel, style: Type) -> list[int]:
    """What the name column and each other column need, in pixels."""
    head = Type(style.size, bold=True)
    widths = [max(measure(name, style) for name in panel.labels) + 22]
    for j, column in enumerate(panel.columns):
        words = max(measure(word, head) for word in column.split())
        widths.append(max(words, *(measure(cells[j], style) for cells in panel.cells)) + 18)
    return widths


def draw_table(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Names on the left, a column for each measure, right-aligned numbers or left-aligned words."""
    style, rows = look.small, len(panel.rows)
    widths = _table_widths(panel, style)
    spare = (width - sum(widths)) // len(widths)
    ends = [sum(widths[: j + 2]) + spare * (j + 2) for j in range(len(panel.columns))]
    words = not panel.measures
    edges = [end - w - spare + 8 for end, w in zip(ends, widths[1:], strict=True)] if words else [e - 8 for e in ends]
    align = "left" if words else "right"
    top = _table_head(sheet, panel, look, width, edges, [w + spare - 16 for w in widths[1:]])
    pitch = style.line + 7 + extra / rows
    for i, name in enumerate(panel.labels):
        y = top + pitch * i
        if look.zebra and i % 2:
            sheet.rect(Box(0, y, width, y + pitch), blend(look.card, look.accent, 0.08))
        elif not look.zebra:
            sheet.rect(Box(0, y + pitch - 1, width, y + pitch), look.line)
        base = y + pitch / 2 + style.drop
        cells = [sheet.text(8, base, name, style, look.ink)]
        for cell, x in zip(panel.cells[i], edges, strict=True):
            cells.append(sheet.text(x, base, cell, style, look.ink, align))
        label = f"the row of {panel.rows[i]} in {panel.name}"
        sheet.mark(f"r{i}", bounds(cells), label, "table_row", style.size)
    sheet.mark("body", Box(3, 3, width - 3, top + pitch * rows - 3), panel.name, "table", style.size)
    return round(top + pitch * rows)


def _table_head(sheet: Sheet, panel: Panel, look: Look, width: int, edges: list[int], rooms: list[int]) -> int:
    """The column heads, on a band or over a rule; returns their bottom."""
    head = Type(look.small.size, bold=True)
    heads = [wrap(column, head, room) for column, room in zip(panel.columns, rooms, strict=True)]
    top = max(len(lines) for lines in heads) * head.line + 10
    ink = look.ink
    if look.table_head:
        ground = legible(look.accent, look.card, 1.2)
        sheet.rect(Box(0, 0, width, top), ground, min(look.radius, 6))
        ink = look.on(ground).ink
    else:
        sheet.rect(Box(0, top - 2, width, top), look.accent)
    spots = []
    for j, lines in enumerate(heads):
        offset = (top - len(lines) * head.line) / 2 - 1
        align = "right" if panel.measures else "left"
        spots.append(sheet.lines(edges[j], offset, lines, head, ink, align))
        sheet.mark(f"h{j}", spots[-1], f"a column head of {panel.name}", "column_head", head.size)
    sheet.mark("head", bounds(spots), f"the column heads of {panel.name}", "table_head", head.size)
    return top


def draw_icons(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """A name and a row of equal pictograms per line, and a key when an icon stands for several things."""
    style, rows = look.small, len(panel.rows)
    left = max(measure(name, style) for name in panel.labels) + 12
    most = max(row[0] for row in panel.values)
    step = int(min((width - left) / most, (26 + style.size) * 1.2))
    size = round(step * 0.82)
    mask = icon(panel.icon, size)
    step = mask.width + max(3, size // 5)
    pitch = size + 10 + extra / rows
    for i, name in enumerate(panel.labels):
        middle = pitch * (i + 0.5)
        label = sheet.text(0, middle + style.drop, name, style, look.ink)
        colour = look.series[i % 3][1] if look.grid else look.accent
        drawn = [
            sheet.stamp(left + step * n, middle - mask.height / 2, mask, colour)
            for n in range(round(panel.values[i][0]))
        ]
        text = f"the row of {panel.rows[i]} in {panel.name}"
        sheet.mark(f"r{i}", bounds([label, *drawn]), text, "icon_row", style.size)
    bottom = round(pitch * rows)
    if panel.icon_value:
        key = sheet.text(0, bottom + style.line, panel.icon_value, style, look.muted)
        sheet.mark("key", key, f"the key of {panel.name}", "legend", style.size)
        bottom += style.line + 6
    return bottom


def draw_ranking(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Place number, name and value per line."""
    style, rows = look.body, len(panel.rows)
    pitch = style.line + 14 + extra / rows
    for i, row in enumerate(panel.rows):
        middle = pitch * (i + 0.5)
        radius = min(style.size * 0.95, pitch / 2 - 5)
        disc = sheet.disc(radius, middle, radius, look.accent if i < 3 else blend(look.card, look.ink, 0.22))
        ink = look.on(look.accent if i < 3 else blend(look.card, look.ink, 0.22)).ink
        number = Type(look.small.size, bold=True)
        sheet.text(radius, middle + number.drop, str(i + 1), number, ink, "middle")
        base = middle + style.drop
        value = sheet.text(width - 2, base, panel.cells[i][0], Type(style.size, bold=True), look.ink, "right")
        text = sheet.text(2 * radius + 10, base, panel.marked(i), style, look.ink)
        if i:
            sheet.rect(Box(2 * radius + 10, pitch * i, width, pitch * i + 1), look.line)
        label = f"the line of {row} in {panel.name}"
        sheet.mark(f"r{i}", bounds((disc, value, text)), label, "ranking_line", look.small.size)
    return round(pitch * rows)


def draw_timeline(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Years down a line, every event beside its year; where there is room, along a line instead."""
    style, head = look.small, Type(look.small.size + 2, bold=True)
    if width / len(panel.rows) > style.size * 10:
        return _timeline_across(sheet, panel, look, width, extra)
    axis = measure("0000", head) + 18
    texts = [wrap(cells[0], style, width - axis - 20) for cells in panel.cells]
    gap = 12 + extra / len(texts)
    y = gap / 2
    tops = []
    for lines in texts:
        tops.append(y)
        y += len(lines) * style.line + gap
    sheet.rect(Box(axis - 1, tops[0] + 6, axis + 1, tops[-1] + 10), look.line)
    for i, lines in enumerate(texts):
        sheet.disc(axis, tops[i] + style.line / 2, 5, look.series[i % 4][1] if look.zebra else look.accent)
        base = tops[i] + style.line / 2 + head.drop
        year = sheet.text(axis - 14, base, panel.rows[i], head, look.ink, "right")
        event = sheet.lines(axis + 16, tops[i], lines, style, look.ink)
        label = f"the entry {panel.rows[i]} of {panel.name}"
        sheet.mark(f"r{i}", year.union(event), label, "event", style.size)
    return round(y - gap / 2)


def _timeline_across(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    style, head = look.small, Type(look.small.size + 4, bold=True)
    pitch, top = width / len(panel.rows), extra // 3
    axis = top + head.line + 12
    sheet.rect(Box(0, axis - 1, width, axis + 2), look.line)
    lowest = 0.0
    for i, row in enumerate(panel.rows):
        x = pitch * (i + 0.5)
        sheet.disc(x, axis, 7, look.series[i % 4][1] if look.zebra else look.accent)
        year = sheet.text(x, top + head.size, row, head, look.ink, "middle")
        lines = wrap(panel.cells[i][0], style, pitch - 16)
        event = sheet.lines(x, axis + 14, lines, style, look.ink, "middle")
        label = f"the entry {row} of {panel.name}"
        sheet.mark(f"r{i}", year.union(event), label, "event", style.size)
        lowest = max(lowest, event.y2)
    return max(round(lowest) + 4, axis + 14 + style.line) + extra - top


def draw_text(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """A paragraph."""
    lines = wrap(panel.text, look.body, width)
    box = sheet.lines(0, extra // 3, lines, look.body, look.ink)
    sheet.mark("body", box, panel.name, "text", look.body.size)
    return len(lines) * look.body.line + 4 + extra


def draw_tiles(sheet: Sheet, panel: Panel, look: Look, width: int, extra: int) -> int:
    """Big single figures side by side, each over its caption."""
    count, gap = len(panel.rows), look.gap
    wide = (width - gap * (count - 1)) / count
    caption = look.small
    captions = [wrap(label, caption, wide - 24) for label in panel.labels]
    big = Type(min(round(wide * 0.24), 72), bold=True)
    for cells in panel.cells:
        big = fit(cells[0], big, wide - 24, 14)
    height = big.line + max(len(lines) for lines in captions) * caption.line + 26 + extra
    for i, lines in enumerate(captions):
        x = (wide + gap) * i
        ground = look.accent if look.zebra else look.series[i % len(look.series)][1] if look.grid else look.card
        tile = look.on(ground)
        sheet.rect(Box(x, 0, x + wide, height), ground, look.radius)
        figure = tile.ink if ground != look.card else legible(look.accent, ground, 3.5)
        value = sheet.text(x + wide / 2, 10 + big.size, panel.cells[i][0], big, figure, "middle")
        text = sheet.lines(x + wide / 2, 14 + big.line, lines, caption, tile.ink, "middle")
        sheet.mark(f"r{i}", value.union(text), f'the tile "{panel.rows[i]}"', "tile", caption.size)
    return round(height)


DRAWERS: dict[str, Drawer] = {
    "column_chart": charts.draw_column_chart,
    "grouped_chart": charts.draw_column_chart,
    "bar_chart": charts.draw_bar_chart,
    "line_chart": charts.draw_line_chart,
    "pie_chart": pies.draw_pie_chart,
    "donut_chart": pies.draw_pie_chart,
    "stacked_chart": pies.draw_stacked_chart,
    "table": draw_table,
    "icons": draw_icons,
    "ranking": draw_ranking,
    "timeline": draw_timeline,
    "text": draw_text,
    "tiles": draw_tiles,
}


def draw_notes(sheet: Sheet, panel: Panel, look: Look, width: int, y: int) -> int:
    """The panel's notes from `y` down, one under the other; returns the bottom."""
    for number, note in enumerate(panel.notes):
        lines = wrap(f"{note.mark} {note.text}", look.note, width)
        box = sheet.lines(0, y, lines, look.note, look.muted)
        kind = "source_note" if note.text.startswith("Source") else "footnote"
        label = f"the {kind.replace('_', ' ')} marked {note.mark} under {panel.name}"
        sheet.mark(f"note{number}", box, label, kind, look.note.size)
        y += len(lines) * look.note.line + 5
    return y


def needed_width(panel: Panel, look: Look) -> float:
    """The least body width at which nothing of the panel runs into something else."""
    style = look.small
    mark = 3 * style.size  # a note's mark may still be added to a label
    names = [measure(row, style) for row in panel.rows]
    cells = [measure(cell, style) for line in panel.cells for cell in line]
    if panel.kind == "table":
        return sum(_table_widths(panel, style)) + mark
    if panel.kind == "bar_chart":
        return max(names) + max(cells) + mark + 120
    if panel.kind in ("column_chart", "grouped_chart"):
        words = max(measure(word, style) for row in panel.rows for word in row.split()) + 12
        return len(names) * max(words, len(panel.columns) * (max(cells) + 4) / 0.8)
    if panel.kind == "stacked_chart":
        return 260 if panel.legend_values else max(cells) * 100 / min(row[0] for row in panel.values) + 60
    if panel.kind == "line_chart":
        return len(names) * (max(cells) + 12)
    if panel.kind == "icons":
        return max(names) + mark + 15 * max(row[0] for row in panel.values)
    if panel.kind == "ranking":
        return (max(names) + max(cells)) * 1.2 + mark + 60
    return 0


def card(panel: Panel, look: Look, width: int, extra: int) -> Sheet:
    """A whole panel on its ground: title with its marks, body, notes; `extra` pixels go to the body."""
    sheet, content = Sheet(), Sheet()
    pad = 0 if look.card_style == "bare" else look.pad
    inner = width - 2 * pad
    strip, y = _card_title(content, panel, look, inner, pad)
    body = Sheet()
    used = DRAWERS[panel.kind](body, panel, look, inner, extra)
    content.place(body, 0, y)
    if "body" not in body.blocks:
        whole = bounds(block.box for block in body.blocks.values()).grow(-3, -3)
        spot = Box(whole.x1, whole.y1 + y, whole.x2, whole.y2 + y)
        content.mark("body", spot, panel.name, panel.kind, look.small.size)
    y += used
    if panel.notes and not look.notes_at_foot:
        y = draw_notes(content, panel, look, inner, y + 10)
    sheet.height = y + 2 * pad
    ground = Box(0, 0, width, sheet.height)
    if look.card_style != "bare":
        sheet.rect(ground, look.card, look.radius, look.line if look.card_style == "outlined" else None)
    if strip:
        sheet.rect(Box(0, 0, width, strip), look.accent, look.radius)
        sheet.rect(Box(0, strip / 2, width, strip), look.accent)
    elif look.card_style == "topped":
        sheet.rect(Box(0, 0, width, 6), look.accent)
    sheet.place(content, pad, pad)
    return sheet


def _card_title(content: Sheet, panel: Panel, look: Look, inner: int, pad: int) -> tuple[int, int]:
    """The title's lines; returns the height of the coloured strip behind it (0: none) and where the body begins."""
    strip = look.head_style == "band" and look.card_style != "bare"
    y = 4 if look.card_style == "topped" else 0
    y = 8 - pad if strip else y
    lines = wrap(panel.marked(None), look.head, inner)
    ink = look.ink
    if strip:
        ink = look.accent_ink
    elif look.head_style == "plain":
        ink = legible(look.accent, look.card, 4.5)
    middle = look.head_style == "centre"
    box = content.lines(inner / 2 if middle else 0, y, lines, look.head, ink, "middle" if middle else "left")
    content.mark("title", box, f"the heading of {panel.name}", "heading", look.head.size)
    y += len(lines) * look.head.line
    if strip:
        return y + 8 + pad, y + 8 + pad
    if look.head_style == "split":
        content.rect(Box(0, y + 5, inner, y + 7), look.line)
        y += 8
    return 0, y + 12
