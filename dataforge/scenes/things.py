"""The things of a drawn scene: each is drawn on a tile of 100 units, in one colour that is seen from afar and with a
detail that is not, and says what can be asked about it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from dataforge.posters.icons import icon

FINER = 3
"""Tiles are drawn so many times larger, and reduced: edges come out smooth."""
COLOURS = {
    "red": "#c23b32",
    "blue": "#2f5fa8",
    "green": "#3c7d46",
    "yellow": "#e2b93b",
    "white": "#f1efe8",
    "black": "#26262a",
    "orange": "#d97f30",
    "purple": "#76508f",
    "pink": "#d98aa5",
    "brown": "#7a5334",
}
WORDS = "ALDER BAKER BRIDGE CEDAR FERRY HARBOUR HONEY LINDEN MARKET MILL ORCHARD SADDLER SCHOOL TAVERN WILLOW".split()
NUMBERS = ("two", "three", "four", "five", "six", "seven")
GOODS = {"bottle": "bottles", "book": "books", "fish": "fish", "cup": "cups", "leaf": "leaves", "bulb": "lamps"}
EMBLEMS = {"star": "a star", "heart": "a heart", "fish": "a fish", "leaf": "a leaf", "sun": "a sun", "drop": "a drop"}
HELD = {"book": "a book", "cup": "a cup", "fish": "a fish", "bottle": "a bottle", "flag": "a flag"}


@dataclass(frozen=True)
class Fact:
    """What can be asked of a thing: the right choice comes first; `detail` is the size of what tells it, in units."""

    question: str
    choices: tuple[str, ...]
    subject: str
    detail: float


@dataclass(frozen=True)
class Thing:
    """A thing on its tile: a picture with transparency, cut to its ink, what it is called, what can be asked."""

    name: str
    tile: Image.Image
    facts: tuple[Fact, ...]


class Tile:
    """A square of 100 units to draw on, y down."""

    def __init__(self, size: int) -> None:
        self.scale = size * FINER / 100
        self.image = Image.new("RGBA", (size * FINER, size * FINER))
        self._draw = ImageDraw.Draw(self.image)

    def _scaled(self, numbers: tuple[float, ...]) -> list[float]:
        return [number * self.scale for number in numbers]

    def oval(self, colour: str, *box: float) -> None:
        self._draw.ellipse(self._scaled(box), COLOURS.get(colour, colour))

    def rect(self, colour: str, *box: float, radius: float = 0) -> None:
        self._draw.rounded_rectangle(self._scaled(box), radius * self.scale, COLOURS.get(colour, colour))

    def poly(self, colour: str, *points: float) -> None:
        self._draw.polygon(self._scaled(points), COLOURS.get(colour, colour))

    def line(self, colour: str, width: float, *points: float) -> None:
        self._draw.line(self._scaled(points), COLOURS.get(colour, colour), max(1, round(width * self.scale)))

    def icon(self, name: str, colour: str, x: float, y: float, side: float) -> None:
        mask = icon(name, max(4, round(side * self.scale)))
        self.image.paste(COLOURS.get(colour, colour), (round(x * self.scale), round(y * self.scale)), mask)

    def text(self, words: str, x: float, y: float, height: float, colour: str = "black") -> float:
        """Write around a point; gives the height of a capital, in units."""
        font = ImageFont.load_default(size=max(6.0, height * self.scale))
        self._draw.text((x * self.scale, y * self.scale), words, COLOURS[colour], font, "mm")
        _, top, _, bottom = font.getbbox("H", anchor="ls")
        return (bottom - top) / self.scale

    def finish(self) -> Image.Image:
        """The tile at its size, cut to its ink."""
        size = self.image.width // FINER
        small = self.image.resize((size, size), Image.Resampling.BOX)
        return small.crop(small.getchannel("A").point(lambda alpha: 255 * (alpha > 96)).getbbox())


def _choose(rng: Random, options: list[str], right: str) -> tuple[str, ...]:
    return (right, *rng.sample([option for option in options if option != right], 3))


def _colour(rng: Random, but: str) -> str:
    return rng.choice([name for name in COLOURS if name != but])


def _colours(rng: Random, right: str) -> tuple[str, ...]:
    return _choose(rng, list(COLOURS), right)


def balloon(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    basket, bands = _colour(rng, colour), rng.randint(2, 5)
    tile.oval(colour, 20, 2, 80, 66)
    band = _colour(rng, colour)
    for number in range(bands):
        tile.rect(band, 24, 20 + 6 * number, 76, 22.5 + 6 * number)
    tile.line("#55524c", 1, 32, 58, 44, 82)
    tile.line("#55524c", 1, 68, 58, 56, 82)
    tile.rect(basket, 43, 82, 57, 92, radius=2)
    counts = _choose(rng, list(NUMBERS[:5]), NUMBERS[bands - 2])
    return [
        Fact("What colour is the basket of the balloon?", _colours(rng, basket), "colour", 10),
        Fact("How many bands run around the balloon?", counts, "count", 2.5),
    ]


def signpost(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    word = rng.choice(WORDS)
    tile.rect("#5b4a3a", 47, 30, 53, 98)
    tile.poly(colour, 12, 18, 78, 18, 90, 32, 78, 46, 12, 46)
    tile.rect("white", 16, 23, 76, 41)
    high = tile.text(word, 46, 32, min(13.0, 80 / len(word)))
    return [Fact("Which word is written on the signpost?", _choose(rng, WORDS, word), "text", high)]


def cart(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    hub, number = _colour(rng, "black"), rng.randint(100, 989)
    tile.rect(colour, 6, 36, 94, 72, radius=3)
    tile.rect("white", 30, 44, 70, 62)
    high = tile.text(str(number), 50, 53, 17)
    for x in (24, 76):
        tile.oval("black", x - 15, 64, x + 15, 94)
        tile.oval(hub, x - 5, 74, x + 5, 84)
    numbers = [str(other) for other in (number, number + 10, number - 1, number + 3, number + 7)]
    return [
        Fact("Which number is painted on the side of the cart?", _choose(rng, numbers, str(number)), "text", high),
        Fact("What colour are the hubs of the cart's wheels?", _colours(rng, hub), "colour", 10),
    ]


def kite(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    bow, count = _colour(rng, colour), rng.randint(3, 6)
    tile.poly(colour, 70, 2, 96, 34, 62, 58, 42, 24)
    tile.line("#4a4a4a", 1, 62, 58, 54, 70, 30, 76, 8, 96)
    for number in range(count):
        x, y = 56 - 48 * number / count, 66 + 28 * number / count
        tile.poly(bow, x - 4, y - 3, x + 4, y + 3, x + 4, y - 3, x - 4, y + 3)
    counts = _choose(rng, list(NUMBERS), NUMBERS[count - 2])
    return [
        Fact("What colour are the bows on the tail of the kite?", _colours(rng, bow), "colour", 6),
        Fact("How many bows hang on the tail of the kite?", counts, "count", 6),
    ]


def tower(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    flag, windows = _colour(rng, colour), rng.randint(2, 6)
    tile.rect("#8d8778", 32, 26, 66, 98)
    for x in (30, 44, 58):
        tile.rect("#8d8778", x, 20, x + 9, 28)
    tile.rect(colour, 42, 82, 56, 98, radius=4)
    for number in range(windows):
        tile.rect("#2b2f36", 40 + 11 * (number % 2), 34 + 7 * number, 45 + 11 * (number % 2), 39 + 7 * number)
    tile.line("#55524c", 1, 49, 2, 49, 22)
    tile.rect(flag, 50, 2, 64, 10)
    counts = _choose(rng, list(NUMBERS), NUMBERS[windows - 2])
    return [
        Fact("What colour is the flag on the stone tower?", _colours(rng, flag), "colour", 8),
        Fact("How many small windows does the stone tower have?", counts, "count", 5),
    ]


def walker(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    held, bag = rng.choice(list(HELD)), _colour(rng, colour)
    tile.poly(colour, 8, 30, 50, 4, 92, 30)
    tile.line("#4a4a4a", 1.5, 50, 28, 50, 60)
    tile.icon("person", "#4c5a66", 36, 34, 62)
    tile.rect(bag, 66, 62, 78, 74, radius=2)
    tile.icon(held, _colour(rng, bag), 20, 52, 14)
    choices = _choose(rng, list(HELD.values()), HELD[held])
    return [
        Fact("What does the person under the umbrella hold, apart from a bag?", choices, "object", 8),
        Fact("What colour is the bag of the person under the umbrella?", _colours(rng, bag), "colour", 11),
    ]


def boat(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    emblem = rng.choice(list(EMBLEMS))
    tile.oval("#7fa3b8", 2, 74, 98, 98)
    tile.poly("#7a5334", 12, 72, 88, 72, 76, 88, 24, 88)
    tile.line("#4a4032", 2, 48, 4, 48, 74)
    tile.poly(colour, 50, 6, 90, 64, 50, 64)
    tile.icon(emblem, "white" if colour != "white" else "black", 56, 44, 15)
    choices = _choose(rng, list(EMBLEMS.values()), EMBLEMS[emblem])
    return [Fact("What is painted on the sail of the boat?", choices, "object", 8)]


def stall(tile: Tile, rng: Random, colour: str) -> list[Fact]:
    goods, count = rng.choice(list(GOODS)), rng.randint(2, 6)
    tile.poly(colour, 8, 30, 18, 12, 82, 12, 92, 30)
    for x in (12, 86):
        tile.rect("#6a5642", x, 30, x + 3, 98)
    tile.rect("#a08763", 8, 66, 92, 96)
    ink = _colour(rng, "brown")
    for number in range(count):
        tile.icon(goods, ink, 14 + 12.5 * number, 52, 13)
    counts = _choose(rng, list(NUMBERS), NUMBERS[count - 2])
    return [
        Fact("What is for sale on the market stall?", _choose(rng, list(GOODS.values()), GOODS[goods]), "object", 8),
        Fact("How many things lie on the counter of the market stall?", counts, "count", 8),
    ]


Draw = Callable[[Tile, Random, str], list[Fact]]

THINGS: dict[str, tuple[Draw, str, bool]] = {
    "balloon": (balloon, "the balloon", True),
    "kite": (kite, "the kite", True),
    "signpost": (signpost, "the signpost", False),
    "cart": (cart, "the cart", False),
    "tower": (tower, "the stone tower", False),
    "walker": (walker, "the person under the umbrella", False),
    "boat": (boat, "the boat on the pond", False),
    "stall": (stall, "the market stall", False),
}
"""How each is drawn, what it is called, and whether it is seen against the sky."""


def make(name: str, rng: Random, size: int) -> Thing:
    """A thing on a tile of that size in pixels."""
    draw, called, _ = THINGS[name]
    tile = Tile(size)
    facts = draw(tile, rng, rng.choice(list(COLOURS)))
    return Thing(called, tile.finish(), tuple(facts))
