"""What happens in a staged clip: a cast of coloured shapes and a list of events, each with its stretch of time."""

from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Literal

from dataforge.geometry import Box
from dataforge.records import Span

WIDTH, HEIGHT, RATE = 1280, 720, 15
"""Pixels, and frames a second."""
FLOOR = 560
"""Where things stand, in pixels from the top."""
COLOURS = {
    "red": (204, 51, 51),
    "blue": (46, 94, 204),
    "green": (46, 140, 74),
    "yellow": (224, 178, 31),
    "purple": (130, 70, 170),
    "orange": (226, 118, 36),
}
SHAPES = ("square", "circle", "triangle", "diamond", "star")
WALK_S = 0.9
JUMP_PX = 150

Act = Literal["enter", "jump", "change", "leave"]


@dataclass(frozen=True)
class Thing:
    """A coloured shape with a place on the stage; `size` and `x` (its middle) in pixels."""

    shape: str
    colour: str
    size: int
    x: int
    from_left: bool

    @property
    def name(self) -> str:
        return f"the {self.colour} {self.shape}"

    @property
    def column(self) -> Box:
        """All places where it can be once it stands, its jumps included."""
        half = self.size / 2
        return Box(self.x - half, FLOOR - self.size - JUMP_PX, self.x + half, FLOOR)


@dataclass(frozen=True)
class Event:
    """What a thing does, from when to when; `colour` is what it changes to."""

    act: Act
    thing: Thing
    span_s: Span
    colour: str = ""

    @property
    def label(self) -> str:
        told = {"enter": "comes in", "jump": "jumps", "change": "has another colour", "leave": "goes away"}
        return f"the moment when {self.thing.name} {told[self.act]}"


@dataclass(frozen=True)
class Card:
    """Print that is held up for a while; `box` is around its letters, `text_px` the height of a capital."""

    text: str
    kind: str
    size: int
    place: tuple[int, int]
    span_s: Span


@dataclass(frozen=True)
class Plot:
    """All that a clip shows."""

    seed: int
    length_s: float
    cast: tuple[Thing, ...]
    events: tuple[Event, ...]
    card: Card
    clock_starts: int
    """What the clock says at first, in seconds of the day."""
    clock_size: int
    paper: tuple[int, int, int]
    ground: tuple[int, int, int]
    stays: dict[str, Span] = field(default_factory=dict)
    """From when to when each thing is on the stage, by its name."""

    def clock(self, time_s: float) -> str:
        second = int(self.clock_starts + time_s) % 86400
        return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"

    def clock_span(self, time_s: float) -> Span:
        """The stretch during which the clock says what it says at that time."""
        offset = self.clock_starts % 1
        start = int(offset + time_s) - offset
        return max(0.0, start), min(self.length_s, start + 1 - 1 / RATE)


def plot(seed: int) -> Plot:
    """The plot of a seed: the same for the same seed."""
    rng = Random(f"staged {seed}")
    length = rng.randint(18, 30)
    kinds = rng.sample(list(product(SHAPES, COLOURS)), rng.randint(3, 5))
    lanes = rng.sample(range(6), len(kinds))
    cast = tuple(
        Thing(shape, colour, rng.randrange(80, 130, 2), 200 + 176 * lane, rng.random() < 0.5)
        for (shape, colour), lane in zip(kinds, lanes, strict=True)
    )
    events, stays = _events(rng, cast, float(length))
    start = rng.uniform(2.0, length - 4.0)
    text, kind = _print(rng)
    card = Card(
        text,
        kind,
        rng.choice((13, 15, 17, 20, 24, 28, 34)),
        (rng.randrange(160, WIDTH - 420), rng.randrange(90, 250)),
        (_tick(start), _tick(start + rng.uniform(0.7, 2.6))),
    )
    return Plot(
        seed=seed,
        length_s=float(length),
        cast=cast,
        events=tuple(sorted(events, key=lambda event: event.span_s)),
        card=card,
        clock_starts=rng.randrange(86400),
        clock_size=rng.choice((16, 20, 24)),
        paper=rng.choice(((236, 233, 224), (222, 230, 238), (232, 224, 232), (226, 236, 226))),
        ground=rng.choice(((176, 160, 140), (150, 160, 168), (160, 150, 120))),
        stays=stays,
    )


def _events(rng: Random, cast: tuple[Thing, ...], length: float) -> tuple[list[Event], dict[str, Span]]:
    """Each thing comes in, some at once, and then does a thing or two, never two at a time."""
    events, stays = [], {}
    comes = sorted(rng.uniform(0.6, length * 0.5) for _ in cast)
    comes = [time + 1.3 * place for place, time in enumerate(comes)]
    for thing, time in zip(rng.sample(cast, len(cast)), comes, strict=True):
        entered = _tick(time), _tick(time + WALK_S)
        events.append(Event("enter", thing, entered))
        end, free = length, entered[1] + 0.4
        if rng.random() < 0.3 and length - free > 6:
            left = rng.uniform(free + 3.5, length - 1.2)
            events.append(Event("leave", thing, (_tick(left), _tick(left + WALK_S))))
            end = left
        stays[thing.name] = (entered[0], _tick(end))
        for act, lasts in (("jump", 0.6), ("change", rng.uniform(0.5, 1.4))):
            latest = end - lasts - 0.4
            if rng.random() < 0.5 and latest > free:
                start = rng.uniform(free, latest)
                others = sorted(set(COLOURS) - {thing.colour})
                colour = rng.choice(others) if act == "change" else ""
                span = (_tick(start), _tick(start + lasts))
                events.append(Event("change" if act == "change" else "jump", thing, span, colour))
                free = start + lasts + 0.5
    return events, stays


def _print(rng: Random) -> tuple[str, str]:
    """What a card says, and what such print is called."""
    letters = "ABCDEFGHKLMNPRTUVWXYZ"
    if rng.random() < 0.5:
        return f"{rng.choice(letters)}{rng.choice(letters)}-{rng.randrange(100, 1000)}", "code"
    return f"Gate {rng.randrange(11, 99)}, row {rng.randrange(11, 60)}", "line"


def _tick(time_s: float) -> float:
    """The time of a frame: events begin and end with one."""
    return round(round(time_s * RATE) / RATE, 6)
