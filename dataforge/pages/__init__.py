"""Drawn web pages: `draw(seed)` gives a long page, questions, and exactly where their answers stand.

`content` writes an article, tables of statistics, a shop or a manual; here it is laid out as one of many designs, and
`chromium` draws it. Boxes are those of the browser's own layout. Same seed and same Chromium: same pixels.
"""

import html
import re
from dataclasses import dataclass
from random import Random

from dataforge.errors import ExampleError
from dataforge.pages.chromium import Printed, Sheet, render
from dataforge.pages.content import Asked, Content, write

__all__ = ["Asked", "Page", "draw"]

SIZES_PX = (11, 12, 13, 14)
"""Of the running text, as on real pages: small print once a long page is scaled to a megapixel."""


@dataclass(frozen=True)
class Page:
    """A page as drawn, what can be asked of it, and where each answer stands, by its key."""

    sheet: Sheet
    kind: str
    asked: tuple[Asked, ...]
    places: dict[str, Printed]


def draw(seed: int) -> Page:
    """The page of a seed. ExampleError("pages", reason) where the browser fails; UsageError where there is none."""
    rng = Random(f"page {seed}")
    content = write(rng)
    width = rng.randrange(960, 1441, 20)
    sheet = render(_style(rng, width), _body(rng, content), width)
    places = {one.key: one for one in sheet.printed if one.key}
    if missing := [one.key for one in content.asked if one.key not in places or places[one.key].text != one.answer]:
        raise ExampleError("pages", "not_laid_out", f"{content.kind}: {', '.join(missing)}")
    asked = [one for one in content.asked if not _told(one)]
    rng.shuffle(asked)
    return Page(sheet, content.kind, tuple(asked), places)


def _told(asked: Asked) -> bool:
    """Whether the question holds the answer, as the number of a table may be the figure asked for."""
    return re.search(rf"(?<!\w){re.escape(asked.answer)}(?!\w)", asked.question) is not None


def _body(rng: Random, content: Content) -> str:
    """The page around the content: navigation, perhaps a sidebar, a footer."""
    links = rng.sample(("Home", "News", "Offers", "About", "Archive", "Contact", "Help", "Press", "Jobs"), 5)
    nav = "".join(f"<a>{link}</a>" for link in links)
    side = ""
    if rng.random() < 0.5:
        items = "".join(f"<li>{html.escape(link)}</li>" for link in rng.sample(links, 4))
        side = f"<div class='side'><h3>More</h3><ul>{items}</ul></div>"
    title = html.escape(content.title)
    main = f"<div class='main'><h1>{title}</h1>{''.join(content.blocks)}</div>"
    parts = [side, main] if rng.random() < 0.5 else [main, side]
    foot = f"<div class='foot'>{rng.choice(('Imprint', 'Terms'))} · {title}</div>"
    return f"<div class='nav'>{nav}</div><div class='page'>{''.join(parts)}</div>{foot}"


def _style(rng: Random, width: int) -> str:
    """A design: faces, sizes, colours, the width of the column."""
    hue, size = rng.randrange(360), rng.choice(SIZES_PX)
    face, head = rng.choice(("sans", "serif")), rng.choice(("sans", "serif"))
    paper = rng.choice(("#ffffff", "#fdfcf8", "#f7f9fb", f"hsl({hue} 30% 98%)"))
    edge, dark = f"hsl({hue} 25% 82%)", f"hsl({hue} 55% 24%)"
    across = rng.choice((3, 4))
    return f"""
* {{ box-sizing: border-box }}
body {{ margin: 0; background: {paper}; color: #222; font: {size}px/{rng.choice((1.4, 1.5, 1.65))} {face}-here }}
h1, h2, h3 {{ font-family: {head}-here; color: {dark}; line-height: 1.2 }}
h1 {{ font-size: {size * 2.2}px }} h2 {{ font-size: {size * 1.4}px }} h3 {{ font-size: {size * 1.1}px; margin: 6px 0 }}
code {{ font-family: mono-here }}
span[data-key] {{ white-space: nowrap }}
.nav {{ background: {dark}; padding: 10px 24px }} .nav a {{ color: #fff; margin-right: 22px }}
.page {{ display: flex; gap: 28px; width: {rng.randint(88, 98)}%; margin: 0 auto; padding: 12px 0 }}
.main {{ flex: 1; min-width: 0 }}
.side {{ width: {round(width * 0.16)}px; border: 1px solid {edge}; padding: 10px; align-self: flex-start }}
.foot {{ border-top: 1px solid {edge}; color: #777; padding: 14px 24px; font-size: {size - 1}px }}
.by {{ color: #666; font-size: {size - 1}px }} .lead {{ font-size: {size * 1.15}px }}
.note, .small {{ color: #555; font-size: {size - 1}px }} .small i {{ font-style: normal }}
aside {{ float: right; width: 260px; margin: 0 0 14px 22px; padding: 10px 14px; background: hsl({hue} 30% 94%) }}
table {{ border-collapse: collapse; margin: 8px 0 }}
th, td {{ border: 1px solid {edge}; padding: 3px 9px; text-align: left; font-weight: normal }}
th {{ background: hsl({hue} 30% 93%) }} table.wide {{ width: 100% }} .wide td {{ text-align: right }}
.grid {{ display: grid; grid-template-columns: repeat({across}, 1fr); gap: 16px }}
.card {{ border: 1px solid {edge}; padding: 10px; border-radius: {rng.choice((0, 4, 10))}px }}
.art {{ height: {rng.randint(70, 150)}px }} .price {{ font-size: {size * 1.3}px }}
"""
