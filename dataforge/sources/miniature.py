"""The miniature: pictures so small a student can learn on them, and whose answer can't be read without the right look.

Tiles lie in a row, each with a coloured dot; one tile has a broad dark frame, and the question is what colour its dot
has. The frame can be seen in the whole view, so the place is found by looking. The dot is two pixels wide there, among
grain and tints; in a look at the tile it is six times as wide. One colour is more common than the others in the framed
tile, so a guess is right now and then; the dots of the other tiles are drawn evenly.
"""

import hashlib
import io
import random
from collections.abc import Iterator

from PIL import Image, ImageDraw
from pydantic import Field

from dataforge.geometry import Box
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Region

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (225, 20, 20),
    "green": (20, 190, 20),
    "blue": (30, 50, 235),
    "yellow": (240, 225, 20),
}
DARK = (25, 25, 25)
CELL, TILE, FRAME, GRAIN = 96, 30, 4, 3
"""Source pixels: between tiles, of a tile, of the frame's line, and of a grain of the paper."""
QUESTION = "What color is the dot in the framed tile?"


class Miniature(Source):
    """Tiles with coloured dots, one of them framed: a task for tiny students. Drawn here, endless."""

    split: str = "train"
    seed: int = 0
    tiles: int = Field(default=2, ge=1, le=8, description="in a row; 1 shows one tile alone, at look size")
    common: float = Field(default=0.7, ge=0, le=1, description="how often the framed dot is red: what a guess is worth")
    dot: int = Field(default=6, ge=2, le=12, description="side of a dot, in source pixels")
    guessed: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of those with the common answer annotated as if the whole view could be read: "
        "traces of them teach to guess it, and guesses that would be wrong are not taught",
    )
    start: int = Field(default=0, ge=0, description="first picture")

    @property
    def licence(self) -> str:
        return "Apache-2.0"

    @property
    def redistributable(self) -> bool:
        return True

    @property
    def endless(self) -> bool:
        return True

    def read(self) -> Iterator[Row]:
        number = self.start
        while True:
            name = f"miniature-{self.split}-{self.seed}-{self.tiles}-{number:06d}"
            yield Row(name, name, None)
            number += 1

    def example(self, row: Row, store: MediaStore) -> Example:
        picture, place, color, guess = self.draw(row.id)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        readable = float(CELL * self.tiles) if guess or self.tiles == 1 else None
        tiles = [tile_box(at, self.tiles) for at in range(self.tiles)]
        return Example(
            id=row.id,
            group=row.group,
            source=self.name,
            split=self.split,
            question=QUESTION,
            answers=(color,),
            answer_type="exact",
            media=(store.add_bytes(buffer.getvalue(), ".png", self.licence, row.id),),
            evidence=(Region(box=tiles[place], label="the framed tile", text_px=readable),),
            context=tuple(Region(box=box, label="another tile") for at, box in enumerate(tiles) if at != place),
        )

    def draw(self, name: str) -> tuple[Image.Image, int, str, bool]:
        """The picture of that name, which tile is framed, its dot's colour, and whether it counts as guessed."""
        rng = random.Random(hashlib.sha256(name.encode()).digest())
        names = list(COLORS)
        place = rng.randrange(self.tiles)
        color = names[0] if rng.random() < self.common else rng.choice(names[1:])
        guess = rng.random() < self.guessed and color == names[0]
        size = (CELL * self.tiles, CELL) if self.tiles > 1 else (TILE, TILE)
        paper = _paper(rng, size)
        picture = paper.copy()
        pen = ImageDraw.Draw(picture)
        if self.tiles > 1:
            pen.rectangle((place * CELL, 0, place * CELL + CELL - 1, CELL - 1), fill=DARK)
        for at in range(self.tiles):
            box = tile_box(at, self.tiles)
            shown = COLORS[color if at == place else rng.choice(names)]
            corners = (int(box.x1), int(box.y1), int(box.x2), int(box.y2))
            picture.paste(_tile(rng, paper.crop(corners), shown, self.dot), corners)
            if at == place:
                pen.rectangle((box.x1, box.y1, box.x2 - 1, box.y2 - 1), outline=DARK, width=FRAME)
        return picture, place, color, guess


def tile_box(at: int, tiles: int) -> Box:
    """The tile number `at` from the left, in source pixels."""
    air = (CELL - TILE) // 2 if tiles > 1 else 0
    return Box(at * CELL + air, air, at * CELL + air + TILE, air + TILE)


def _paper(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Grain in colour, in blocks of a whole-view pixel."""
    grains = (-(-size[0] // GRAIN), -(-size[1] // GRAIN))
    noise = Image.frombytes("RGB", grains, rng.randbytes(grains[0] * grains[1] * 3))
    return noise.point(lambda value: 130 + value * 3 // 8).resize(size, Image.Resampling.NEAREST)


def _tile(rng: random.Random, ground: Image.Image, color: Color, dot: int) -> Image.Image:
    """A tinted piece of the paper with its dot."""
    tile = Image.blend(ground, Image.new("RGB", ground.size, _tint(rng)), 0.5)
    low, high = FRAME + 2, TILE - FRAME - 2 - dot
    x, y = rng.randint(low, high), rng.randint(low, high)
    ImageDraw.Draw(tile).rectangle((x, y, x + dot - 1, y + dot - 1), fill=color)
    return tile


def _tint(rng: random.Random) -> Color:
    red, green, blue = (rng.randint(150, 230) for _ in range(3))
    return red, green, blue
