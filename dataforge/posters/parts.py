"""The nouns of the poster corpus: what is asked for, what is drawn, what comes out.

A poster is told three times. `Panel` is its content as plain words and numbers, before anything has a place.
`Block` is a thing on the finished picture with its exact box. `Ask` is a question that still names its evidence by
keys of the panel ("r2" the third row, "note0" the first note); once the panel has been drawn, the keys are looked
up and the ask becomes a `Question`. So no box is ever computed twice, and no question can point at an undrawn place.
"""

from dataclasses import dataclass

from PIL import Image

from dataforge.geometry import Box


@dataclass(frozen=True)
class Block:
    """Something drawn that a person would look at as one thing; the box is in pixels of the poster.

    `label` names it without its values. `text_px` is the type size (em height, pixels) of the smallest text in it
    that matters, None where there is no text.
    """

    box: Box
    label: str
    kind: str
    text_px: float | None


@dataclass(frozen=True)
class Question:
    """One question with exactly one right answer on its poster, and the places that must be read for it.

    `answers` are the accepted spellings, canonical first. `answer_type` is text, number, choice or list; for a
    choice `choices` are the option texts in order and the answer is the letter.
    """

    text: str
    answers: tuple[str, ...]
    answer_type: str
    choices: tuple[str, ...]
    evidence: tuple[Block, ...]
    form: str


@dataclass(frozen=True)
class Poster:
    """One drawn infographic: the picture (RGB), everything on it, and 3 to 10 questions about it."""

    image: Image.Image
    title: str
    blocks: tuple[Block, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Measure:
    """A countable property: its noun phrase, its unit ("$" goes in front), its range and decimals."""

    name: str
    unit: str
    low: float
    high: float
    decimals: int

    def show(self, value: float) -> str:
        """The value as printed, with its unit."""
        number = f"{value:,.{self.decimals}f}"
        if self.unit == "$":
            return f"${number}"
        if self.unit in ("%", "k", ""):
            return number + self.unit
        return f"{number} {self.unit}"

    def spellings(self, value: float) -> tuple[str, ...]:
        """Accepted answers for a value: as printed, the unit set apart or spelled out, the bare number.

        A bare number stands for a unit left out, never for a thousand times less.
        """
        shown, number = self.show(value), f"{value:,.{self.decimals}f}"
        others = [shown.replace(" ", "")]
        others += [number, number.replace(",", "")] if self.unit != "k" else []
        if self.unit not in ("", "$"):
            others.insert(0, f"{number} {self.unit}")
        if self.unit == "%":
            others.append(f"{number} percent")
        if self.unit == "k":
            others += [f"{number} thousand", f"{value * 1000:,.0f}", f"{value * 1000:.0f}"]
        return tuple(dict.fromkeys((shown, *others)))


@dataclass(frozen=True)
class Ask:
    """A question before its evidence has boxes: wordings to pick from, answers, keys of the panel's places.

    `wrong` are other things printed on the poster that could pass for the answer; three of them make a choice form.
    """

    form: str
    wordings: tuple[str, ...]
    answers: tuple[str, ...]
    answer_type: str
    keys: tuple[str, ...]
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """A footnote: its mark, its text, the row whose label carries the mark (None: the title does), its asks."""

    mark: str
    text: str
    row: int | None
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True)
class Panel:
    """The content of one part of a poster: a grid of rows and columns, whatever it is drawn as.

    `rows` are categories, table rows, years of a line chart; `columns` series or table columns; `values[row][column]`
    the numbers and `cells` the same as printed. `years[column]` and `measures[column]` say what a number is about,
    so that two panels can be compared. `asks` are questions its writer already knows (paragraphs).
    """

    kind: str
    title: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    measures: tuple[Measure, ...] = ()
    years: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()
    asks: tuple[Ask, ...] = ()
    icon: str = ""
    icon_value: str = ""
    legend_values: bool = False
    text: str = ""

    @property
    def noun(self) -> str:
        return NOUNS[self.kind]

    @property
    def name(self) -> str:
        return f'the {self.noun} "{self.title}"'

    def marked(self, row: int | None) -> str:
        """A row's label, or for None the title, with the marks of its notes behind it."""
        label = self.title if row is None else self.rows[row]
        return " ".join((label, *(note.mark for note in self.notes if note.row == row)))

    @property
    def labels(self) -> tuple[str, ...]:
        """All row labels as printed."""
        return tuple(self.marked(row) for row in range(len(self.rows)))


NOUNS = {
    "column_chart": "bar chart",
    "bar_chart": "bar chart",
    "grouped_chart": "bar chart",
    "line_chart": "line chart",
    "pie_chart": "pie chart",
    "donut_chart": "donut chart",
    "stacked_chart": "stacked bar",
    "table": "table",
    "icons": "icon chart",
    "ranking": "ranking",
    "timeline": "timeline",
    "tiles": "row of figures",
    "text": "paragraph",
}
