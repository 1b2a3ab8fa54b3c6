"""Drawn scenes, a stand-in for photos: `draw(seed)` gives a busy picture and what can be asked of small things in it.

Each is a wide view of a valley (sky, hills, a village, a meadow) in soft colours with blur and noise, and in it a few
things that occur once each: a balloon, a signpost, a cart. What tells one such thing from another is a detail of a few
pixels, which can't be made out when the picture is scaled to a megapixel, and can when one looks closer. `things` draws
them; here they are laid out. They are no photographs; what they are good for is that every answer, and the size of what
tells it, is known.
"""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from dataforge.geometry import Box
from dataforge.posters.icons import icon
from dataforge.scenes.things import THINGS, Fact, Thing, make

__all__ = ["Drawn", "Fact", "Placed", "draw"]

HORIZON = 0.4
"""Where the meadow begins, from the top, in heights of the picture."""
WALLS = ("#b9aa94", "#c7b9a6", "#a8988a", "#bfae9f", "#9f9a92", "#cbbfae")
ROOFS = ("#8c5a45", "#77483a", "#6b6460", "#94674f")
CROWNS = ("#52683f", "#64794b", "#47603f", "#708355")


@dataclass(frozen=True)
class Placed:
    """A thing where it stands: its box and its mask in pixels of the picture, and the size of one unit of its tile."""

    thing: Thing
    box: Box
    mask: Image.Image
    unit_px: float


@dataclass(frozen=True)
class Drawn:
    """A scene: the picture and the things in it that can be asked about."""

    image: Image.Image
    things: tuple[Placed, ...]


def draw(seed: int) -> Drawn:
    """The scene of a seed: same seed, same pixels, same things."""
    rng = Random(f"scene {seed}")
    width, height = rng.randrange(2600, 3601, 8), rng.randrange(1700, 2401, 8)
    image = _land(rng, width, height)
    placed: list[Placed] = []
    for name in rng.sample(list(THINGS), rng.randint(5, len(THINGS))):
        if one := _place(rng, name, image, placed):
            placed.append(one)
            image.paste(one.thing.tile, (int(one.box.x1), int(one.box.y1)), one.thing.tile)
    return Drawn(_grained(image, rng), tuple(placed))


def _place(rng: Random, name: str, image: Image.Image, placed: list[Placed]) -> Placed | None:
    """The thing at a free place of its part of the picture; None where there is no room left."""
    size = round(rng.uniform(0.045, 0.075) * image.height)
    thing = make(name, rng, size)
    in_sky = THINGS[name][2]
    low, high = (0.04, HORIZON - 0.1) if in_sky else (HORIZON + 0.04, 0.95)
    for _ in range(40):
        x = rng.randint(size, image.width - 2 * size)
        y = rng.randint(round(low * image.height), round(high * image.height) - thing.tile.height)
        box = Box(x, y, x + thing.tile.width, y + thing.tile.height)
        if not any(box.grow(size, size).overlaps(other.box) for other in placed):
            mask = thing.tile.getchannel("A").point(lambda alpha: 255 * (alpha > 96))
            return Placed(thing, box, mask, size / 100)
    return None


# ---------------------------------------------------------------------------------------------- the valley


def _land(rng: Random, width: int, height: int) -> Image.Image:
    """Sky, hills, meadow, village and trees, softened as by a lens."""
    image = Image.new("RGB", (width, height))
    horizon = round(HORIZON * height)
    image.paste(_gradient((width, horizon), rng.choice(("#7fa8cf", "#8fb0c4", "#9db7d6")), "#e4e6dd"), (0, 0))
    image.paste(
        _gradient((width, height - horizon), "#a3ad77", rng.choice(("#6f8049", "#7d7f4c", "#5f7a4e"))), (0, horizon)
    )
    pen = ImageDraw.Draw(image)
    for colour, top in (("#a9b7b4", 0.17), ("#8fa398", 0.1), ("#7c9280", 0.05)):
        _hill(pen, rng, colour, width, horizon, round(top * height))
    for _ in range(rng.randint(60, 90)):
        _house(pen, rng, width, height, horizon)
    for _ in range(rng.randint(90, 150)):
        depth = rng.random() ** 2
        side = round((0.008 + 0.045 * depth) * height)
        tree = icon("tree", side)
        x, y = rng.randint(-side, width), horizon + round(depth * 0.95 * (height - horizon)) - tree.height
        image.paste(rng.choice(CROWNS), (x, y), tree)
    return image.filter(ImageFilter.GaussianBlur(1.4))


def _gradient(size: tuple[int, int], top: str, bottom: str) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def _hill(pen: ImageDraw.ImageDraw, rng: Random, colour: str, width: int, horizon: int, rise: int) -> None:
    """A ridge that ends at the horizon."""
    steps = rng.randint(9, 16)
    ridge = [(width * step / steps, horizon - rise * rng.uniform(0.2, 1)) for step in range(steps + 1)]
    pen.polygon([(0, horizon), *ridge, (width, horizon)], colour)


def _house(pen: ImageDraw.ImageDraw, rng: Random, width: int, height: int, horizon: int) -> None:
    """A house of the village: nearer ones are larger; some have lit windows."""
    depth = rng.random() ** 2.5
    side = (0.012 + 0.03 * depth) * height
    x, y = rng.uniform(0, width), horizon + (0.004 + 0.25 * depth) * height
    wide = side * rng.uniform(1, 1.8)
    pen.rectangle((x, y - side, x + wide, y), rng.choice(WALLS))
    pen.polygon(
        (x - side / 6, y - side, x + wide / 2, y - side * 1.7, x + wide + side / 6, y - side), rng.choice(ROOFS)
    )
    for number in range(rng.randint(1, 4)):
        left = x + wide * (0.1 + 0.22 * number)
        pen.rectangle((left, y - side * 0.75, left + side * 0.16, y - side * 0.5), rng.choice(("#3c4046", "#d9c98a")))


def _grained(image: Image.Image, rng: Random) -> Image.Image:
    """The picture with a sensor's noise: each grain is two pixels."""
    size = (image.width // 2, image.height // 2)
    grain = Image.frombytes("L", size, rng.randbytes(size[0] * size[1])).resize(image.size).convert("RGB")
    return Image.blend(image, grain, 0.05)
