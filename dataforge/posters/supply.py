"""The supply of panels: what comes next in a column, whether it fits, how it is dressed.

A panel is drawn from the story until one fits the column's width; only then is it given notes, so that numbered notes
have no gaps. Columns are filled shortest first; the room left under the shorter ones goes to paragraphs, then into the
cards themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from dataforge.posters import content
from dataforge.posters.notes import annotate, paragraph
from dataforge.posters.panels import card, needed_width
from dataforge.posters.parts import Panel
from dataforge.posters.pen import Type
from dataforge.posters.theme import WHITE, Look, legible
from dataforge.posters.words import Story

_WRITERS: tuple[Callable[[Story], Panel | None], ...] = (
    content.simple_chart, content.grouped_chart, content.line_chart, content.pie_chart, content.figures_table,
    content.years_table, content.directory, content.icon_chart, content.ranking, content.timeline, paragraph,
)  # fmt: skip
_WEIGHTS = (5, 3, 3, 4, 4, 2, 2, 3, 3, 2, 2)
_STRETCH = {"text": 0.25, "pie_chart": 0.8, "donut_chart": 0.8, "stacked_chart": 0.4, "timeline": 0.7}
_SIMPLE = ("text", "ranking", "timeline", "icons")  # nothing here is asked by its colour


@dataclass
class Column:
    """The cards of one column with their looks and natural heights; `height` counts the gaps below each."""

    width: int
    cards: list[tuple[Panel, Look, int]] = field(default_factory=list)
    height: int = 0

    def add(self, panel: Panel, look: Look) -> None:
        natural = card(panel, look, self.width, 0).height
        self.cards.append((panel, look, natural))
        self.height += natural + look.gap

    def shares(self, left: int) -> list[int]:
        """How many of `left` pixels each card takes on, by how well its kind bears it."""
        weights = [_STRETCH.get(panel.kind, 1.0) * natural for panel, _, natural in self.cards]
        shares = []
        for number, weight in enumerate(weights):
            shares.append(round(left * weight / sum(weights[number:])))
            left -= shares[-1]
        return shares


class Supply:
    """Panels and looks for one poster; counts the notes."""

    def __init__(self, rng: Random, story: Story, look: Look) -> None:
        self.rng, self.story = rng, story
        self.notes = 1
        self._notes_at_foot = look.notes_at_foot
        favoured = rng.choice(range(len(_WRITERS)))
        # a poster has its habits: one kind of panel more than the others
        self._weights = [weight * (2.5 if n == favoured else 1) for n, weight in enumerate(_WEIGHTS)]

    def columns(self, look: Look, widths: tuple[int, ...], tall: int) -> list[Column]:
        """Columns of cards, each at least `tall` pixels high where the story has enough to say."""
        columns = [Column(width) for width in widths]
        while True:
            shortest = min(columns, key=lambda column: column.height)
            made = self._panel(look, shortest.width) if shortest.height < tall else None
            if made is None:
                break
            shortest.add(*made)
        for column in columns:
            self._even(column, look, max(other.height for other in columns))
        return [column for column in columns if column.cards]

    def _even(self, column: Column, look: Look, goal: int) -> None:
        for _ in range(3):
            panel = paragraph(self.story) if goal - column.height > 140 else None
            if panel is None:
                return
            styled = self.dress(panel, look, 0)
            if card(panel, styled, column.width, 0).height + look.gap <= goal - column.height:
                column.add(panel, styled)

    def _panel(self, look: Look, width: int) -> tuple[Panel, Look] | None:
        inner = width - (0 if look.card_style == "bare" else 2 * look.pad)
        for _ in range(30):
            panel = self.rng.choices(_WRITERS, self._weights)[0](self.story)
            if panel is None:
                continue
            styled = self.dress(panel, look, width)
            if needed_width(panel, styled) > inner:
                continue
            if panel.kind != "text":
                panel = annotate(self.story, panel, self.notes, self._notes_at_foot)
                self.notes += len(panel.notes)
            return panel, styled
        return None

    def dress(self, panel: Panel, look: Look, width: int) -> Look:
        """The look of one panel: its own order of colours, now and then large print or a dark card."""
        rng = self.rng
        look = replace(look, series=tuple(rng.sample(look.series, len(look.series))))
        if width > 520 and rng.random() < 0.1:
            look = replace(look, small=Type(21), body=Type(22), head=Type(26, bold=True))
        if panel.kind in _SIMPLE and look.card_style in ("filled", "topped") and rng.random() < 0.16:
            ground = legible(look.accent, WHITE, 5.5)
            look = look.on(ground)
            ink = legible(look.ink, ground, 7)
            shown = tuple((name, legible(colour, ground, 2.5)) for name, colour in look.series)
            look = replace(look, accent=ink, accent_ink=ground, series=shown, card_style="filled", head_style="split")
        return look
