"""How a poster looks: colours, type sizes and habits, all from the seed, all checked for contrast.

Chart colours are not free: a question may ask for "the teal line", so each is drawn from a named span of hues, the
spans lie apart, and no two colours of a poster share a name. Their lightness moves until they stand out from the card.
"""

import colorsys
from dataclasses import dataclass, replace
from random import Random

from dataforge.posters.pen import Colour, Type

# name: (hue from, hue to in degrees, saturation, lightness on a light card, lightness on a dark card)
HUES: dict[str, tuple[int, int, float, float, float]] = {
    "red": (352, 361, 0.74, 0.48, 0.60),
    "orange": (24, 31, 0.92, 0.51, 0.58),
    "yellow": (47, 52, 0.92, 0.50, 0.62),
    "green": (112, 138, 0.55, 0.37, 0.55),
    "teal": (174, 183, 0.72, 0.36, 0.52),
    "blue": (211, 224, 0.75, 0.45, 0.66),
    "purple": (270, 282, 0.55, 0.47, 0.70),
    "pink": (322, 334, 0.78, 0.66, 0.74),
    "brown": (20, 26, 0.50, 0.28, 0.38),
    "grey": (200, 230, 0.04, 0.55, 0.62),
}
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (18, 18, 22)


@dataclass(frozen=True)
class Look:
    """One poster's design. Sizes are pixels; `small` is the type of labels, values, cells and notes."""

    paper: Colour
    card: Colour
    ink: Colour
    muted: Colour
    line: Colour
    accent: Colour
    accent_ink: Colour
    band: Colour
    series: tuple[tuple[str, Colour], ...]
    title: Type
    section: Type
    head: Type
    body: Type
    small: Type
    note: Type
    radius: int
    card_style: str
    section_style: str
    head_style: str
    gap: int
    pad: int
    grid: bool
    zebra: bool
    table_head: bool
    bar_style: str
    notes_at_foot: bool

    def on(self, ground: Colour) -> "Look":
        """The same design for content that stands on another colour."""
        ink = BLACK if contrast(BLACK, ground) >= contrast(WHITE, ground) else WHITE
        muted = legible(blend(ink, ground, 0.35), ground, 4.6)
        return replace(self, card=ground, ink=ink, muted=muted, line=blend(ground, ink, 0.2))


def hsl(hue: float, saturation: float, lightness: float) -> Colour:
    r, g, b = colorsys.hls_to_rgb((hue % 360) / 360, lightness, saturation)
    return round(r * 255), round(g * 255), round(b * 255)


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """From `one` towards `other` by a share 0..1."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return r, g, b


def _luminance(colour: Colour) -> float:
    r, g, b = ((c / 255) / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: Colour, other: Colour) -> float:
    """The WCAG contrast ratio, 1..21."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def legible(colour: Colour, ground: Colour, ratio: float) -> Colour:
    """The colour, moved towards black or white until it stands out from the ground."""
    goal = BLACK if contrast(BLACK, ground) >= contrast(WHITE, ground) else WHITE
    for step in range(21):
        moved = blend(colour, goal, step / 20)
        if contrast(moved, ground) >= ratio:
            return moved
    return goal


def _grounds(rng: Random) -> tuple[Colour, Colour, Colour]:
    """Paper, card and accent that go together."""
    hue = rng.random() * 360
    accent_hue = (hue + rng.choice((0, 20, 150, 180, 210))) % 360
    mode = rng.choice(("light", "light", "tint", "tint", "dark", "deep", "warm"))
    if mode == "dark":
        paper = hsl(hue, rng.uniform(0.15, 0.45), rng.uniform(0.09, 0.14))
        return paper, blend(paper, WHITE, 0.07), hsl(accent_hue, 0.75, 0.62)
    if mode == "deep":
        paper = hsl(hue, rng.uniform(0.30, 0.60), rng.uniform(0.22, 0.36))
        return paper, hsl(hue, 0.30, 0.97), hsl(accent_hue, 0.65, 0.42)
    if mode == "tint":
        paper = hsl(hue, rng.uniform(0.25, 0.55), rng.uniform(0.84, 0.91))
        return paper, blend(paper, WHITE, rng.uniform(0.7, 1.0)), hsl(accent_hue, 0.60, 0.36)
    if mode == "warm":
        paper = hsl(rng.uniform(32, 48), 0.45, rng.uniform(0.88, 0.93))
        return paper, blend(paper, WHITE, 0.55), hsl(accent_hue, 0.55, 0.34)
    paper = hsl(hue, 0.12, rng.uniform(0.945, 0.975))
    return paper, WHITE, hsl(accent_hue, rng.uniform(0.5, 0.8), rng.uniform(0.32, 0.44))


def _series(rng: Random, card: Colour) -> tuple[tuple[str, Colour], ...]:
    dark = contrast(card, WHITE) > contrast(card, BLACK)
    names = rng.sample(sorted(HUES), len(HUES))
    made = []
    for name in names:
        low, high, saturation, on_light, on_dark = HUES[name]
        colour = hsl(rng.uniform(low, high), saturation, on_dark if dark else on_light)
        made.append((name, legible(colour, card, 1.45 if name == "yellow" else 1.9)))
    return tuple(made)


def design(rng: Random, width: int, largest_small: int) -> Look:
    """A look for a poster `width` pixels wide whose small print is at most `largest_small` pixels."""
    paper, card, accent = _grounds(rng)
    accent_ink = WHITE if contrast(WHITE, accent) >= 3.6 else BLACK
    base = hsl(rng.random() * 360, 0.25, 0.16)
    small = rng.randint(10 if largest_small > 10 else 9, largest_small)
    note = max(9, small - rng.choice((0, 1, 1, 2)))
    head = small + rng.choice((3, 4, 5, 7))
    look = Look(
        paper=paper,
        card=card,
        ink=base,
        muted=base,
        line=base,
        accent=accent,
        accent_ink=accent_ink,
        band=accent,
        series=_series(rng, card),
        title=Type(round(width * rng.uniform(0.042, 0.062)), bold=True, spacing=rng.choice((0, 0, 1, 3))),
        section=Type(rng.randint(21, 32), bold=rng.random() < 0.8, spacing=rng.choice((0, 0, 1, 3))),
        head=Type(head, bold=rng.random() < 0.8),
        body=Type(small + rng.choice((0, 1, 1))),
        small=Type(small),
        note=Type(note),
        radius=rng.choice((0, 0, 4, 8, 14, 20)),
        card_style=rng.choice(("filled", "filled", "outlined", "bare", "topped")),
        section_style=rng.choice(("bar", "rule", "band", "pill", "number", "centre")),
        head_style=rng.choice(("band", "plain", "plain", "split", "centre", "ink")),
        gap=rng.randint(16, 28),
        pad=rng.randint(14, 24),
        grid=rng.random() < 0.6,
        zebra=rng.random() < 0.6,
        table_head=rng.random() < 0.6,
        bar_style=rng.choice(("solid", "solid", "underline", "lollipop")),
        notes_at_foot=rng.random() < 0.4,
    )
    if look.card_style == "bare":
        look = replace(look, series=_series(rng, paper), card=paper)
    grounded = look.on(look.card)
    ink = legible(base, look.card, 8.0) if grounded.ink == BLACK else grounded.ink
    return replace(grounded, ink=ink)
