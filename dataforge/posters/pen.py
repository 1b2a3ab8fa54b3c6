"""The pen: a sheet is a list of strokes to be made, and every stroke says at once which pixels it will ink.

Nothing is painted while a poster is laid out, because a card's height is known only when its content is set and a
poster's height only when all cards are. A sheet collects strokes in its own coordinates, is placed on a bigger one, and
is painted at the end, once. Text is set from cached glyphs with the font's own kerning: a poster has thousands of
letters and rendering each anew would take most of the time. Round things are painted from small cached
masks drawn four times too large, since Pillow's own shapes have jagged edges.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont

from dataforge.geometry import Box
from dataforge.posters.parts import Block

Colour = tuple[int, int, int]
Stroke = Callable[[Image.Image, ImageDraw.ImageDraw, int, int], None]

AIR = 3  # pixels left around the ink of a block: enough not to touch it, too few to show a neighbour


@dataclass(frozen=True)
class Type:
    """A way to set text: size in pixels, weight (0 regular), extra pixels between letters."""

    size: int
    bold: bool = False
    spacing: int = 0

    @property
    def line(self) -> int:
        """Distance between baselines in pixels."""
        return round(self.size * 1.36)

    @property
    def tracking(self) -> int:
        """Pixels added after each letter; bold letters are wider than the font's advance knows."""
        return self.spacing + (1 if self.bold else 0)

    @property
    def drop(self) -> int:
        """From the middle of the capitals down to the baseline."""
        return round(self.size * 0.36)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@lru_cache(maxsize=1 << 14)
def _glyph(letter: str, size: int, bold: bool) -> tuple[Image.Image, int, int]:
    """A letter's mask, and where its corner lies from the pen on the baseline."""
    weight = max(0.3, size * 0.027) if bold else 0
    cell = Image.new("L", (2 * size + 8, 2 * size + 8))
    ImageDraw.Draw(cell).text((size // 2, size + 4), letter, 255, font=_font(size), anchor="ls", stroke_width=weight)
    x1, y1, x2, y2 = cell.getbbox() or (0, 0, 1, 1)
    return cell.crop((x1, y1, x2, y2)), x1 - size // 2, y1 - size - 4


@lru_cache(maxsize=1 << 17)
def _advance(letter: str, following: str, size: int) -> int:
    """How far the pen moves over a letter, kerned against the next one."""
    font = _font(size)
    if letter == " " and size < 16:
        return round(font.getlength(" ")) + 1  # the font's own space is two pixels wide in small print
    return round(font.getlength(letter + following) - (font.getlength(following) if following else 0))


@lru_cache(maxsize=1 << 14)
def measure(text: str, style: Type) -> int:
    """The width that a text takes, in pixels."""
    extra = style.tracking
    return sum(_advance(letter, after, style.size) + extra for letter, after in zip(text, [*text[1:], ""], strict=True))


def wrap(text: str, style: Type, width: float) -> list[str]:
    """The text in lines no wider than `width` (a single longer word stands alone)."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and measure(joined, style) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def fit(text: str, style: Type, width: float, smallest: int) -> Type:
    """The style, its size lowered until the text fits into `width` or `smallest` is reached."""
    while style.size > smallest and measure(text, style) > width:
        style = replace(style, size=style.size - 1)
    return style


@lru_cache(maxsize=512)
def round_mask(width: int, height: int) -> Image.Image:
    """A filled ellipse, smooth at its edge."""
    big = Image.new("L", (width * 4, height * 4))
    ImageDraw.Draw(big).ellipse((0, 0, width * 4 - 1, height * 4 - 1), 255)
    return big.reduce(4)


def bounds(boxes: Iterable[Box]) -> Box:
    """The smallest box around all."""
    boxes = list(boxes)
    return Box(
        min(b.x1 for b in boxes),
        min(b.y1 for b in boxes),
        max(b.x2 for b in boxes),
        max(b.y2 for b in boxes),
    )


class Sheet:
    """Strokes and blocks in coordinates of their own; `height` is set by whoever fills it."""

    def __init__(self) -> None:
        self.height = 0
        self.blocks: dict[str, Block] = {}
        self._strokes: list[tuple[int, int, Stroke]] = []

    def text(self, x: float, baseline: float, text: str, style: Type, colour: Colour, align: str = "left") -> Box:
        """One line of text; x is its left edge, middle or right edge. Returns the box of its ink."""
        wide = measure(text, style)
        pen = round(x - {"left": 0, "middle": wide / 2, "right": wide}[align])
        extra = style.tracking
        marks: list[tuple[int, int, Image.Image]] = []
        base = round(baseline)
        for letter, after in zip(text, [*text[1:], ""], strict=True):
            if letter != " ":
                mask, dx, dy = _glyph(letter, style.size, style.bold)
                marks.append((pen + dx, base + dy, mask))
            pen += _advance(letter, after, style.size) + extra

        def stroke(image: Image.Image, draw: ImageDraw.ImageDraw, dx: int, dy: int) -> None:
            for left, top, mask in marks:
                draw.bitmap((left + dx, top + dy), mask, colour)

        self._strokes.append((0, 0, stroke))
        return Box(
            marks[0][0],
            min(y for _, y, _ in marks),
            max(x + mask.width for x, _, mask in marks),
            max(y + mask.height for _, y, mask in marks),
        )

    def lines(
        self,
        x: float,
        top: float,
        lines: Iterable[str],
        style: Type,
        colour: Colour,
        align: str = "left",
    ) -> Box:
        """Lines of text under each other, the first one's line box starting at `top`."""
        boxes = [
            self.text(x, top + style.size + number * style.line, line, style, colour, align)
            for number, line in enumerate(lines)
        ]
        return bounds(boxes)

    def rect(self, box: Box, colour: Colour, radius: int = 0, outline: Colour | None = None) -> Box:
        """A filled rectangle, its corners rounded smoothly; an outline is one pixel wide."""
        x1, y1, x2, y2 = (round(side) for side in box)
        radius = min(radius, (x2 - x1) // 2, (y2 - y1) // 2)
        if outline is not None:
            self.rect(box, outline, radius)
            return self.rect(box.grow(-1, -1), colour, max(radius - 1, 0))

        def stroke(image: Image.Image, draw: ImageDraw.ImageDraw, dx: int, dy: int) -> None:
            left, top, right, bottom = x1 + dx, y1 + dy, x2 + dx, y2 + dy
            if radius < 2:
                image.paste(colour, (left, top, right, bottom))
                return
            image.paste(colour, (left + radius, top, right - radius, bottom))
            image.paste(colour, (left, top + radius, left + radius, bottom - radius))
            image.paste(colour, (right - radius, top + radius, right, bottom - radius))
            disc, far = round_mask(2 * radius, 2 * radius), 2 * radius
            for u, v, a, b in ((left, top, 0, 0), (right - radius, top, radius, 0)):
                image.paste(colour, (u, v), disc.crop((a, b, a + radius, b + radius)))
                image.paste(colour, (u, bottom - radius), disc.crop((a, radius, a + radius, far)))

        self._strokes.append((0, 0, stroke))
        return Box(x1, y1, x2, y2)

    def stamp(self, x: float, y: float, mask: Image.Image, colour: Colour) -> Box:
        """A mask filled with a colour, its left top corner at x, y."""
        left, top = round(x), round(y)
        self._strokes.append((0, 0, lambda image, draw, dx, dy: image.paste(colour, (left + dx, top + dy), mask)))
        return Box(left, top, left + mask.width, top + mask.height)

    def disc(self, cx: float, cy: float, radius: float, colour: Colour) -> Box:
        """A filled circle."""
        return self.stamp(cx - radius, cy - radius, round_mask(round(2 * radius), round(2 * radius)), colour)

    def picture(self, x: int, y: int, make: Callable[[], Image.Image]) -> None:
        """A small picture of its own, such as a pie drawn larger and reduced; made only when the sheet is painted."""
        self._strokes.append((0, 0, lambda image, draw, dx, dy: image.paste(make(), (x + dx, y + dy))))

    def mark(self, key: str, box: Box, label: str, kind: str, text_px: float | None) -> None:
        """Name a place: the ink in `box`, with a little air around it."""
        self.blocks[key] = Block(box.outward().grow(AIR, AIR), label, kind, text_px)

    def place(self, other: "Sheet", x: int, y: int, prefix: str = "") -> None:
        """Put another sheet's strokes and blocks here, its corner at x, y; its keys get the prefix."""
        self._strokes.extend((x + dx, y + dy, stroke) for dx, dy, stroke in other._strokes)
        for key, block in other.blocks.items():
            box = Box(block.box.x1 + x, block.box.y1 + y, block.box.x2 + x, block.box.y2 + y)
            self.blocks[prefix + key] = replace(block, box=box)

    def paint(self, width: int, ground: Colour) -> Image.Image:
        """Make all strokes, in order, on a new picture."""
        image = Image.new("RGB", (width, self.height), ground)
        draw = ImageDraw.Draw(image)
        for dx, dy, stroke in self._strokes:
            stroke(image, draw, dx, dy)
        return image
