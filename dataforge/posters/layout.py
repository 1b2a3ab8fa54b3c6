"""From a story to a picture: bands of columns, each column's cards stretched so that all end on one line.

A poster grows downwards. Header, then bands: a heading and a grid of one to four columns, filled card by card into the
shortest one; now and then a row of tiles between bands; the numbered notes at the foot where the design keeps them
there. Growth stops at the height that the seed asked for.
"""

from dataclasses import dataclass, replace
from random import Random

from dataforge.geometry import Box
from dataforge.posters import content
from dataforge.posters.icons import icon
from dataforge.posters.panels import card, draw_tiles
from dataforge.posters.parts import Panel
from dataforge.posters.pen import Colour, Sheet, Type, fit, measure, wrap
from dataforge.posters.supply import Column, Supply
from dataforge.posters.theme import Look, blend, legible
from dataforge.posters.words import Story, capital

_SHAPES = (  # widths of a band's columns, in shares
    (1,), (1, 1), (1, 1), (3, 2), (2, 3), (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 1, 1),
)  # fmt: skip
_SECTIONS = ("At a glance", "Where we stand", "The long view", "Place by place", "What people say",
             "Behind the numbers", "Costs and gains", "Year by year", "Who does what", "A closer look",
             "The bigger picture", "Then and now", "Near and far", "What comes next", "Ups and downs",
             "The details", "Facts to keep", "How it adds up")  # fmt: skip


@dataclass
class Placed:
    """A panel on the poster, the look it was drawn with, and the prefix of its keys."""

    panel: Panel
    look: Look
    prefix: str


class Layout:
    """One poster while it grows: the sheet, the panels on it so far, how far down it has come."""

    def __init__(self, rng: Random, story: Story, look: Look, width: int, goal: int) -> None:
        self.rng, self.story, self.look, self.width, self.goal = rng, story, look, width, goal
        self.sheet = Sheet()
        self.placed: list[Placed] = []
        self.margin = look.gap + rng.randint(6, 26)
        self.inner = width - 2 * self.margin
        self.supply = Supply(rng, story, look)
        self.sections = rng.sample(_SECTIONS, len(_SECTIONS))
        self.bands = 0

    def fill(self, title: str, subtitle: str) -> None:
        """Lay out everything, top to bottom."""
        y = self._header(title, subtitle) + self.look.gap
        if self.rng.random() < 0.85:
            y = self._tiles(y)
        while y < self.goal and self.bands < len(_SECTIONS):
            y = self._band(y)
            if self.rng.random() < 0.2:
                y = self._tiles(y)
        self.sheet.height = self._foot(y)

    def _header(self, title: str, subtitle: str) -> int:
        rng, look, sheet = self.rng, self.look, self.sheet
        banded, middle = rng.random() < 0.6, rng.random() < 0.4
        top = self.margin + rng.randint(4, 24)
        ground = look.on(look.accent if banded else look.paper)
        head = title.upper() if rng.random() < 0.25 else title
        style = look.title
        lines = wrap(head, style, self.inner - (0 if middle else self.width // 7))
        under = Type(max(15, round(style.size * 0.34)))
        below = wrap(subtitle, under, self.inner - (0 if middle else self.width // 6))
        height = top + len(lines) * style.line + 10 + len(below) * under.line + self.margin // 2
        if banded:
            sheet.rect(Box(0, 0, self.width, height), look.accent)
        x, align = (self.width / 2, "middle") if middle else (self.margin, "left")
        colour = ground.ink if banded else legible(look.accent, look.paper, 4.5)
        box = sheet.lines(x, top, lines, style, colour, align)
        sheet.mark("title", box, "the title", "title", style.size)
        low = top + len(lines) * style.line + 8
        box = sheet.lines(x, low, below, under, ground.muted, align)
        sheet.mark("subtitle", box, "the subtitle", "subtitle", under.size)
        if not middle:
            size = round(self.width * 0.1)
            mask = icon(rng.choice(self.story.topic.icons), size)
            shade = blend(ground.card, ground.ink, 0.25)
            sheet.stamp(self.width - self.margin - mask.width, top + 4, mask, shade)
        if not banded:
            sheet.rect(Box(self.margin, height, self.width - self.margin, height + 3), look.accent)
        return height + 4 + self._icon_strip(height + 4)

    def _icon_strip(self, y: int) -> int:
        """A frieze of the topic's pictograms under some headers; returns its height."""
        if self.rng.random() < 0.65:
            return 0
        size, names = self.rng.randint(26, 44), self.story.topic.icons
        shade = blend(self.look.paper, self.look.accent, self.rng.uniform(0.25, 0.6))
        step = round(size * self.rng.uniform(1.6, 2.6))
        for number in range(self.inner // step):
            mask = icon(names[number % len(names)], size)
            x = self.margin + (self.inner % step) / 2 + step * number + (step - mask.width) / 2
            self.sheet.stamp(x, y + 12 + (size - mask.height) / 2, mask, shade)
        return size + 18

    def _tiles(self, y: int) -> int:
        panel = content.tiles(self.story, max(2, min(5, self.width // self.rng.randint(250, 360))))
        if panel is None:
            return y
        look = self.supply.dress(panel, self.look, 0)
        if self.rng.random() < 0.3:
            look = replace(look, small=Type(min(self.width // 62, 24)))
        tiles = Sheet()
        height = draw_tiles(tiles, panel, look, self.inner, 0)
        self._place(tiles, panel, look, self.margin, y)
        return y + height + look.gap

    def _place(self, sheet: Sheet, panel: Panel, look: Look, x: int, y: int) -> None:
        prefix = f"{len(self.placed)}/"
        self.sheet.place(sheet, x, y, prefix)
        self.placed.append(Placed(panel, look, prefix))

    def _shape(self) -> tuple[int, ...]:
        """Column widths in pixels, none too narrow for a table or too wide for a chart."""
        able = []
        for shape in _SHAPES:
            room = self.inner - self.look.gap * (len(shape) - 1)
            widths = tuple(int(room * part / sum(shape)) for part in shape)
            if min(widths) >= 290 and max(widths) <= 900:
                able.append(widths)
        return self.rng.choice(able)

    def _band(self, y: int) -> int:
        """A heading and its columns of cards, every other one on a tinted ground; returns the bottom."""
        rng, look, gap, top = self.rng, self.look, self.look.gap, y
        tinted = self.bands % 2 == 1 and look.section_style in ("band", "bar", "rule")
        ground = blend(look.paper, look.accent, 0.1) if tinted else look.paper
        if tinted:
            y += gap
        if look.card_style == "bare":
            look = replace(look.on(ground), ink=legible(look.ink, ground, 7))
        heading = Sheet()
        y = self._section(heading, self.sections[self.bands], y, ground)
        self.bands += 1
        columns = self.supply.columns(look, self._shape(), min(rng.randint(420, 1150), max(self.goal - y, 300)))
        height = max((column.height for column in columns), default=0)
        bottom = y + height + (gap if tinted else 0)
        if tinted:
            self.sheet.rect(Box(0, top, self.width, bottom - gap // 2), ground)
            bottom += gap // 2
        self.sheet.place(heading, 0, 0, f"section{self.bands}/")
        self._columns(columns, y, height, ground)
        return bottom

    def _columns(self, columns: list[Column], y: int, height: int, ground: Colour) -> None:
        """Draw the columns side by side, all `height` pixels high; a narrow one may be a sidebar on its own ground."""
        x, gap = self.margin, self.look.gap
        narrow = min((column.width for column in columns), default=0)
        aside = self.look.card_style in ("filled", "topped") and self.rng.random() < 0.5
        for column in columns:
            if aside and column.width == narrow and len({c.width for c in columns}) > 1:
                back = Box(x - gap / 2, y - gap / 2, x + column.width + gap / 2, y + height - gap / 2)
                self.sheet.rect(back, blend(ground, self.look.accent, 0.3), self.look.radius)
            top = y
            for (panel, look, _), extra in zip(column.cards, column.shares(height - column.height), strict=True):
                drawn = card(panel, look, column.width, extra)
                self._place(drawn, panel, look, x, top)
                top += drawn.height + gap
            x += column.width + gap

    def _section(self, sheet: Sheet, text: str, y: int, ground: Colour) -> int:
        """A band's heading in the poster's habit; returns where the cards begin."""
        look, style, left = self.look, self.look.section, self.margin
        here = look.on(ground)
        base, bottom = y + style.size + 8, y + style.line + 16
        colour, habit = legible(look.accent, ground, 4.5), look.section_style
        if habit == "bar":
            sheet.rect(Box(left, y + 6, left + 7, bottom - 6), look.accent)
            box = sheet.text(left + 18, base, text, style, here.ink)
        elif habit == "band":
            sheet.rect(Box(left, y, left + self.inner, bottom - 4), look.accent, look.radius)
            box = sheet.text(left + 16, base, text.upper(), style, look.accent_ink)
        elif habit == "pill":
            wide = measure(text, style) + 36
            sheet.rect(Box(left, y, left + wide, bottom - 4), look.accent, 40)
            box = sheet.text(left + 18, base, text, style, look.accent_ink)
        elif habit == "number":
            size = style.line + 6
            sheet.disc(left + size / 2, y + 2 + size / 2, size / 2, look.accent)
            number = Type(style.size - 4, bold=True)
            at = y + 2 + size / 2 + number.drop
            sheet.text(left + size / 2, at, str(self.bands + 1), number, look.accent_ink, "middle")
            box = sheet.text(left + size + 12, base, text, style, here.ink)
        elif habit == "centre":
            box = sheet.text(self.width / 2, base, text, style, colour, "middle")
            middle = (box.y1 + box.y2) / 2
            for x1, x2 in ((left, box.x1 - 18), (box.x2 + 18, left + self.inner)):
                sheet.rect(Box(x1, middle, x2, middle + 2), here.line)
        else:
            box = sheet.text(left, base, text, style, colour)
            sheet.rect(Box(left, bottom - 6, left + self.inner, bottom - 4), look.accent)
        sheet.mark("heading", box, f'the section heading "{text}"', "section", style.size)
        return bottom + 8

    def _foot(self, y: int) -> int:
        """Numbered notes in columns where the design keeps them here, and the imprint."""
        look, sheet = self.look, self.sheet
        ground = blend(look.paper, look.ink, 0.06)
        here = look.on(ground)
        strokes = Sheet()
        top, y = y, y + look.gap
        if look.notes_at_foot and self.supply.notes > 1:
            head = Type(look.head.size, bold=True)
            strokes.text(self.margin, y + head.size, "Notes and sources", head, here.ink)
            y = self._numbered_notes(strokes, y + head.line + 8, here)
        imprint = (
            f"{capital(self.story.topic.names[0])} report for {self.story.country}, edited by {self.story.person()}."
        )
        style = fit(imprint, look.note, self.inner, 8)
        box = strokes.text(self.margin, y + style.size, imprint, style, here.muted)
        strokes.mark("imprint", box, "the imprint", "footnote", style.size)
        y += style.line + look.gap
        sheet.rect(Box(0, top, self.width, y), ground)
        sheet.place(strokes, 0, 0)
        return y

    def _numbered_notes(self, strokes: Sheet, y: int, here: Look) -> int:
        style, count = here.note, max(1, self.inner // 420)
        wide = (self.inner - 24 * (count - 1)) // count
        notes = [(placed, n, note) for placed in self.placed for n, note in enumerate(placed.panel.notes)]
        notes.sort(key=lambda entry: int(entry[2].mark.strip("[]")))
        each = -(-len(notes) // count)
        lowest = y
        for index, (placed, n, note) in enumerate(notes):
            if index % each == 0:
                at = y
            lines = wrap(f"{note.mark} {note.text}", style, wide)
            x = self.margin + (index // each) * (wide + 24)
            box = strokes.lines(x, at, lines, style, here.muted)
            strokes.mark(f"{placed.prefix}note{n}", box, f"footnote {note.mark}", "footnote", style.size)
            at += len(lines) * style.line + 6
            lowest = max(lowest, at)
        return lowest + 8
