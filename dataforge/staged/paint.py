"""The frames of a staged clip, drawn one by one from its plot."""

import math
from collections.abc import Iterator
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from dataforge.geometry import Box
from dataforge.staged.plot import COLOURS, FLOOR, HEIGHT, JUMP_PX, RATE, WIDTH, Card, Plot, Thing

INK = (38, 38, 44)
CLOCK_AT = (1096, 24)


def frames(plot: Plot) -> Iterator[Image.Image]:
    """Every frame in order; the same picture object where nothing has changed."""
    stage = _stage(plot)
    before: tuple[object, ...] = ()
    image = stage
    for number in range(round(plot.length_s * RATE)):
        time = number / RATE
        there = [(thing, place) for thing in plot.cast if (place := _place(plot, thing, time))]
        card = plot.card if plot.card.span_s[0] <= time + 1e-6 and time <= plot.card.span_s[1] + 1e-6 else None
        now = (tuple(there), card, plot.clock(time + 1e-6))
        if now != before:
            image = stage.copy()
            pen = ImageDraw.Draw(image)
            for thing, (x, y, colour) in there:
                _shape(pen, thing, x, y, colour)
            if card:
                _card(pen, card)
            pen.text(CLOCK_AT, plot.clock(time + 1e-6), fill=INK, font=font(plot.clock_size))
            before = now
        yield image


def _place(plot: Plot, thing: Thing, time: float) -> tuple[float, float, str] | None:
    """Where a thing is at a time (the middle of its foot) and its colour; None while it is off the stage."""
    x, y, colour = float(thing.x), float(FLOOR), thing.colour
    outside = -thing.size if thing.from_left else WIDTH + thing.size
    there = False
    for event in plot.events:
        start, end = event.span_s
        if event.thing is not thing or time < start - 1e-6:
            continue
        done = min(1.0, (time - start) / (end - start))
        if event.act == "enter":
            there, x = True, outside + (thing.x - outside) * done
        elif event.act == "leave":
            there, x = done < 1, thing.x + (outside - thing.x) * done
        elif event.act == "jump" and done < 1:
            y -= JUMP_PX * math.sin(math.pi * done)
        elif event.act == "change" and time <= end + 1e-6:
            colour = event.colour
    return (x, y, colour) if there else None


def _stage(plot: Plot) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), plot.paper)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, FLOOR, WIDTH, HEIGHT), fill=plot.ground)
    for x in range(40, WIDTH, 120):
        pen.rectangle((x, 60, x + 60, 330), outline=tuple(max(0, tone - 18) for tone in plot.paper), width=2)
    return image


def _shape(pen: ImageDraw.ImageDraw, thing: Thing, x: float, y: float, colour: str) -> None:
    size, fill = thing.size, COLOURS[colour]
    left, top, right = x - size / 2, y - size, x + size / 2
    middle = (x, y - size / 2)
    if thing.shape == "square":
        pen.rectangle((left, top, right, y), fill=fill, outline=INK, width=3)
    elif thing.shape == "circle":
        pen.ellipse((left, top, right, y), fill=fill, outline=INK, width=3)
    elif thing.shape == "triangle":
        pen.polygon([(x, top), (right, y), (left, y)], fill=fill, outline=INK, width=3)
    elif thing.shape == "diamond":
        pen.polygon([(x, top), (right, middle[1]), (x, y), (left, middle[1])], fill=fill, outline=INK, width=3)
    else:
        corners = []
        for corner in range(10):
            reach = size / 2 if corner % 2 == 0 else size / 5
            angle = math.pi * (corner / 5 - 0.5)
            corners.append((x + reach * math.cos(angle), middle[1] + reach * math.sin(angle)))
        pen.polygon(corners, fill=fill, outline=INK, width=3)


def _card(pen: ImageDraw.ImageDraw, card: Card) -> None:
    box = card_box(card)
    pen.rectangle((box.x1 - 24, box.y1 - 18, box.x2 + 24, box.y2 + 18), fill=(252, 252, 250), outline=INK, width=2)
    pen.text(card.place, card.text, fill=INK, font=font(card.size))


def card_box(card: Card) -> Box:
    """Around the letters of a card."""
    return _at(card.place, Box(*font(card.size).getbbox(card.text)))


def clock_box(plot: Plot) -> Box:
    """Around the digits of the clock."""
    return _at(CLOCK_AT, Box(*font(plot.clock_size).getbbox("00:00:00")))


def _at(place: tuple[int, int], box: Box) -> Box:
    """Around letters that are set at a place, with a little air."""
    x, y = place
    return Box(box.x1 + x, box.y1 + y, box.x2 + x, box.y2 + y).grow(2, 2)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size=size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return found


def capital_px(size: int) -> float:
    """The height of a capital in that size."""
    box = font(size).getbbox("H")
    return float(box[3] - box[1])
