"""Pictograms: countable little shapes, drawn on a grid of 100 units and kept as smooth masks."""

from functools import lru_cache
from math import cos, pi, sin

from PIL import Image, ImageDraw

Draw = ImageDraw.ImageDraw
SCALE = 2  # mask pixels per grid unit before reduction

# icon: what several of them are called
PLURALS = {
    "person": "people",
    "tree": "trees",
    "car": "cars",
    "star": "stars",
    "cup": "cups",
    "house": "houses",
    "drop": "drops",
    "bulb": "light bulbs",
    "book": "books",
    "leaf": "leaves",
    "fish": "fish",
    "heart": "hearts",
    "coin": "coins",
    "flag": "flags",
    "sun": "suns",
    "bottle": "bottles",
}


def _poly(draw: Draw, *points: float) -> None:
    draw.polygon([p * SCALE for p in points], 255)


def _oval(draw: Draw, x1: float, y1: float, x2: float, y2: float, fill: int = 255) -> None:
    draw.ellipse((x1 * SCALE, y1 * SCALE, x2 * SCALE, y2 * SCALE), fill)


def _rect(draw: Draw, x1: float, y1: float, x2: float, y2: float, radius: float = 0, fill: int = 255) -> None:
    draw.rounded_rectangle((x1 * SCALE, y1 * SCALE, x2 * SCALE, y2 * SCALE), radius * SCALE, fill)


def _person(d: Draw) -> None:
    _oval(d, 36, 2, 64, 30)
    _rect(d, 26, 34, 74, 72, 14)
    _rect(d, 34, 50, 48, 98, 5)
    _rect(d, 52, 50, 66, 98, 5)


def _tree(d: Draw) -> None:
    _poly(d, 50, 2, 78, 40, 22, 40)
    _poly(d, 50, 24, 88, 76, 12, 76)
    _rect(d, 43, 74, 57, 98)


def _car(d: Draw) -> None:
    _poly(d, 26, 24, 68, 24, 84, 50, 14, 50)
    _rect(d, 2, 46, 98, 76, 8)
    _oval(d, 14, 62, 40, 88)
    _oval(d, 60, 62, 86, 88)
    _oval(d, 21, 69, 33, 81, 0)
    _oval(d, 67, 69, 79, 81, 0)


def _star(d: Draw) -> None:
    points: list[float] = []
    for corner in range(10):
        reach = 50 if corner % 2 == 0 else 21
        points += [50 + reach * sin(corner * pi / 5), 53 - reach * cos(corner * pi / 5)]
    _poly(d, *points)


def _cup(d: Draw) -> None:
    _oval(d, 58, 30, 94, 68)
    _oval(d, 67, 39, 85, 59, 0)
    _rect(d, 10, 22, 74, 82, 12)
    _rect(d, 4, 88, 80, 96, 4)


def _house(d: Draw) -> None:
    _poly(d, 50, 4, 98, 50, 2, 50)
    _rect(d, 14, 46, 86, 96)
    _rect(d, 42, 62, 60, 97, 0, 0)


def _drop(d: Draw) -> None:
    _oval(d, 20, 38, 80, 98)
    _poly(d, 50, 2, 76, 54, 24, 54)


def _bulb(d: Draw) -> None:
    _oval(d, 20, 2, 80, 64)
    _rect(d, 37, 56, 63, 78)
    _rect(d, 37, 82, 63, 97, 5)


def _book(d: Draw) -> None:
    _poly(d, 4, 14, 47, 22, 47, 92, 4, 82)
    _poly(d, 96, 14, 53, 22, 53, 92, 96, 82)


def _leaf(d: Draw) -> None:
    _oval(d, 12, 12, 82, 82)
    _poly(d, 47, 12, 96, 4, 82, 47)
    _poly(d, 4, 90, 30, 62, 38, 70, 12, 98)


def _fish(d: Draw) -> None:
    _oval(d, 2, 24, 74, 76)
    _poly(d, 62, 50, 98, 20, 98, 80)
    _oval(d, 16, 40, 26, 50, 0)


def _heart(d: Draw) -> None:
    _oval(d, 4, 10, 54, 58)
    _oval(d, 46, 10, 96, 58)
    _poly(d, 8, 46, 92, 46, 50, 96)


def _coin(d: Draw) -> None:
    _oval(d, 3, 3, 97, 97)
    _oval(d, 14, 14, 86, 86, 0)
    _rect(d, 42, 28, 58, 72, 4)


def _flag(d: Draw) -> None:
    _rect(d, 16, 2, 26, 98, 4)
    _poly(d, 26, 8, 94, 32, 26, 58)


def _sun(d: Draw) -> None:
    for ray in range(8):
        angle = ray * pi / 4
        a, b = cos(angle), sin(angle)
        _poly(d, 50 + 50 * a, 50 + 50 * b, 50 + 28 * a - 9 * b, 50 + 28 * b + 9 * a,
              50 + 28 * a + 9 * b, 50 + 28 * b - 9 * a)  # fmt: skip
    _oval(d, 26, 26, 74, 74)


def _bottle(d: Draw) -> None:
    _rect(d, 40, 2, 60, 36)
    _rect(d, 26, 30, 74, 98, 14)


_SHAPES = (_person, _tree, _car, _star, _cup, _house, _drop, _bulb, _book, _leaf, _fish, _heart, _coin, _flag,
           _sun, _bottle)  # fmt: skip
_DRAWN = {shape.__name__.removeprefix("_"): shape for shape in _SHAPES}


@lru_cache(maxsize=1024)
def icon(name: str, size: int) -> Image.Image:
    """The pictogram as a mask, `size` pixels high and wide, cut to its ink."""
    big = Image.new("L", (100 * SCALE, 100 * SCALE))
    _DRAWN[name](ImageDraw.Draw(big))
    small = big.resize((size, size), Image.Resampling.BOX if size * 2 < 100 else Image.Resampling.BICUBIC)
    return small.crop(small.getbbox())
