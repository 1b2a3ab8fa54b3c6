"""The panels of a poster as content: which numbers stand together, under which title.

Each writer takes the story and returns a `Panel`, or None when the story has no fresh slot or title left for it.
"""

from collections.abc import Callable, Sequence

from dataforge.posters.icons import PLURALS
from dataforge.posters.parts import Measure, Panel
from dataforge.posters.words import Story, capital, plural

Writer = Callable[[Story], Panel | None]
_POSTS = ("Director", "Contact", "Chair", "Founder", "Architect")


def _grid(story: Story, kind: str, title: str, places: Sequence[str], slots: Sequence[tuple[Measure, int]]) -> Panel:
    """A panel of places (rows) by slots (columns)."""
    values = tuple(tuple(story.value(m, place, year) for m, year in slots) for place in places)
    cells = tuple(tuple(m.show(v) for (m, _), v in zip(slots, row, strict=True)) for row in values)
    years = tuple(year for _, year in slots)
    names = {m.name for m, _ in slots}
    columns = tuple(str(y) for y in years) if len(names) == 1 else tuple(capital(m.name) for m, _ in slots)
    return Panel(kind, title, tuple(places), columns, values, cells, tuple(m for m, _ in slots), years)


def _titles(story: Story, measure: Measure, when: str) -> tuple[str, ...]:
    kind, kinds, name = story.topic.kind, story.topic.kinds, measure.name
    return (
        f"{name} by {kind}, {when}",
        f"{name}, {when}",
        f"{name} in {when}",
        f"{when}: {name} by {kind}",
        f"{name}: {kinds} compared, {when}",
        f"how {kinds} differ: {name}, {when}",
        f"{kinds} and their {name}, {when}",
    )


def simple_chart(story: Story) -> Panel | None:
    """One bar per place, upright when the names are few."""
    slots = story.slots(1)
    title = story.title(*_titles(story, slots[0][0], str(slots[0][1]))) if slots else None
    if title is None:
        return None
    count = story.rng.randint(3, 10)
    kind = "column_chart" if count <= 5 and story.rng.random() < 0.7 else "bar_chart"
    places = story.some_places(count)
    if story.rng.random() < 0.5:
        measure, year = slots[0]
        places.sort(key=lambda place: -story.value(measure, place, year))
    return _grid(story, kind, title, places, slots)


def grouped_chart(story: Story) -> Panel | None:
    """Two or three years of one measure side by side."""
    slots = story.slots(story.rng.choice((2, 2, 3)))
    years = [str(year) for _, year in slots]
    title = (
        story.title(*_titles(story, slots[0][0], " and ".join((", ".join(years[:-1]), years[-1])))) if slots else None
    )
    if title is None:
        return None
    return _grid(story, "grouped_chart", title, story.some_places(story.rng.randint(3, 5)), slots)


def line_chart(story: Story) -> Panel | None:
    """Some places over successive years; here the years are the rows."""
    slots = story.slots(story.rng.randint(4, 6))
    when = f"{slots[0][1]} to {slots[-1][1]}" if slots else ""
    places = story.some_places(story.rng.randint(1, 4))
    about = f"{places[0]}: " if len(places) == 1 else ""
    title = story.title(*(about + wording for wording in _titles(story, slots[0][0], when))) if slots else None
    if title is None:
        return None
    across = _grid(story, "line_chart", title, places, slots)
    return Panel(
        "line_chart",
        title,
        tuple(str(year) for _, year in slots),
        tuple(places),
        tuple(zip(*across.values, strict=True)),
        tuple(zip(*across.cells, strict=True)),
        tuple(slots[0][0] for _ in places),
        (),
    )


def pie_chart(story: Story) -> Panel | None:
    """How one place's whole splits; shares are whole percents, all different, and add up to 100."""
    rng, place, year = story.rng, story.rng.choice(story.places), story.rng.choice(story.years)
    split = story.topic.split
    title = story.title(
        f"{split}, {place} {year}",
        f"{place} {year}: {split}",
        f"{split} in {place}, {year}",
        f"{split} ({place}, {year})",
    )
    if title is None:
        return None
    parts = rng.sample(story.topic.parts, rng.randint(4, 6))
    shares = [0]
    while len(set(shares)) < len(parts) or min(shares) < 6:
        cuts = sorted(rng.sample(range(6, 95), len(parts) - 1))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
    measure = Measure(split.lower(), "%", 0, 100, 0)
    return Panel(
        rng.choice(("pie_chart", "donut_chart", "stacked_chart")),
        title,
        tuple(capital(part) for part in parts),
        ("share",),
        tuple((float(share),) for share in shares),
        tuple((f"{share}%",) for share in shares),
        (measure,),
        legend_values=rng.random() < 0.4,
    )


def figures_table(story: Story) -> Panel | None:
    """Several measures of one year; the units tell the columns apart."""
    slots = story.mixed_slots(story.rng.randint(2, 4))
    if not slots:
        return None
    kinds, year = story.topic.kinds, slots[0][1]
    title = story.title(
        f"{kinds} in figures, {year}",
        f"{year} at a glance",
        f"key figures {year}",
        f"{kinds} side by side, {year}",
        f"the {year} numbers",
    )
    if title is None:
        return None
    return _grid(story, "table", title, story.some_places(story.rng.randint(5, 11)), slots)


def years_table(story: Story) -> Panel | None:
    """One measure over some years; only the column heads tell them apart."""
    slots = story.slots(story.rng.randint(3, 4))
    when = f"{slots[0][1]} to {slots[-1][1]}" if slots else ""
    title = (
        story.title(
            f"{slots[0][0].name} in selected years, {when}",
            f"{slots[0][0].name}: selected years from {when}",
            f"table of {slots[0][0].name}, {when}",
        )
        if slots
        else None
    )
    if title is None:
        return None
    return _grid(story, "table", title, story.some_places(story.rng.randint(4, 9)), slots)


def directory(story: Story) -> Panel | None:
    """A table of words: who leads, when founded, known for what."""
    rng, post = story.rng, story.rng.choice(_POSTS)
    title = story.title(
        f"{post}s and first dates",
        f"who is who: {story.topic.kinds}",
        f"{story.topic.kinds} and their people",
        f"a directory of {story.topic.kinds}",
    )
    if title is None:
        return None
    places = story.some_places(rng.randint(4, 8))
    years = rng.sample(range(1788, 1988), len(places))
    things = [rng.choice(story.topic.things) for _ in places]
    cells = [(str(year), story.person(), capital(thing)) for year, thing in zip(years, things, strict=True)]
    return Panel("table", title, tuple(places), ("Founded", post, "Known for"), cells=tuple(cells))


def icon_chart(story: Story) -> Panel | None:
    """Countable pictograms, one row per place."""
    rng, thing, year = story.rng, plural(story.rng.choice(story.topic.things)), story.rng.choice(story.years)
    title = story.title(
        f"{thing} per {story.topic.kind}, {year}", f"{thing} counted in {year}", f"number of {thing}, {year}"
    )
    if title is None:
        return None
    places = story.some_places(rng.randint(4, 7))
    counts = rng.sample(range(2, 15), len(places))
    icon, worth = rng.choice(story.topic.icons), rng.choice((1, 1, 2, 3, 4, 5))
    key = f"Each icon: {worth} {thing if worth > 1 else thing.removesuffix('s')}"
    return Panel(
        "icons",
        title,
        tuple(places),
        (PLURALS[icon],),
        tuple((float(count),) for count in counts),
        tuple((str(count * worth),) for count in counts),
        icon=icon,
        icon_value=key if worth > 1 else "",
    )


def ranking(story: Story) -> Panel | None:
    """Places in order of one measure."""
    slots = story.slots(1)
    if not slots:
        return None
    measure, year = slots[0]
    places = sorted(story.some_places(story.rng.randint(5, 9)), key=lambda place: -story.value(measure, place, year))
    title = story.title(
        f"top {len(places)}: {measure.name}, {year}",
        f"{year} ranking: {measure.name}",
        f"the {len(places)} leading {story.topic.kinds} of {year}: {measure.name}",
    )
    return _grid(story, "ranking", title, places, slots) if title else None


def timeline(story: Story) -> Panel | None:
    """Dated events; every year and every event once."""
    count = story.rng.randint(4, 7)
    start = story.rng.randint(1890, 1985)
    years = sorted(story.rng.sample(range(start, start + 45), count))
    title = story.title(
        f"milestones {years[0]} to {years[-1]}",
        f"{story.country} in dates, {years[0]}-{years[-1]}",
        f"how it began: {years[0]} to {years[-1]}",
        f"steps on the way, {years[0]}-{years[-1]}",
    )
    if title is None:
        return None
    events = tuple((story.event(),) for _ in years)
    return Panel("timeline", title, tuple(str(year) for year in years), ("event",), cells=events)


def tiles(story: Story, count: int) -> Panel | None:
    """A row of single figures, each of its own measure, place and year."""
    chosen = [(story.rng.choice(story.places), slot) for _ in range(count) for slot in story.slots(1)]
    title = story.title("in short", "key figures", "the numbers to know", "worth knowing", "in a nutshell")
    if len(chosen) < count or title is None:
        return None
    values = tuple((story.value(m, place, year),) for place, (m, year) in chosen)
    return Panel(
        "tiles",
        title,
        tuple(f"{capital(m.name)}: {place}, {year}" for place, (m, year) in chosen),
        (),
        values,
        tuple((m.show(v),) for (_, (m, _)), (v,) in zip(chosen, values, strict=True)),
        tuple(m for _, (m, _) in chosen),
        tuple(year for _, (_, year) in chosen),
    )


def heading(story: Story) -> tuple[str, str]:
    """The poster's title and subtitle."""
    rng, topic = story.rng, story.topic
    what, year = rng.choice(topic.names), story.years[-1]
    title = rng.choice((
        "{W} in {c}", "{c}: {w} in numbers", "The state of {w} in {c}", "{W} in {c}, {y}", "How {c} changed: {w}",
        "{c} and its {k}", "Inside {w}: the {c} report", "{W}: what {c} tells us", "The {k} of {c}",
        "{n} {k}, one picture of {w}", "A portrait of {w} in {c}", "{W} today: {c} and its {k}",
    )).format(W=capital(what), w=what, c=story.country, y=year, k=topic.kinds, n=len(story.places))  # fmt: skip
    subtitle = rng.choice((
        "What {b} learned from {n} {k} between {a} and {y}", "{n} {k}, {s} {p}, one survey by {b}",
        "Facts and figures from {k} all over {c}, compiled by {b}", "A report by {b} on the {k} of {c}, {a} to {y}",
    )).format(b=story.body(), n=len(story.places), k=topic.kinds, a=story.years[0], y=year, c=story.country,
              s=f"{rng.randint(1200, 48000):,}", p=topic.people)  # fmt: skip
    return title, subtitle
