"""Footnotes, sources and paragraphs: small print that says one exact thing, with the questions it answers.

A wording's `{where}` is filled with the way a reader would point at the note ("the note marked ** under ...").
"""

from dataclasses import replace
from random import Random

from dataforge.posters.parts import Ask, Note, Panel
from dataforge.posters.words import MONTHS, Story, article, plural

_LEFT_OUT = ("school groups", "weekend days", "repeat visits", "pilot sites", "night hours", "second homes",
             "outlying islands", "temporary staff", "the winter months", "test runs", "gift vouchers",
             "leap days", "members' families", "leased vehicles", "closed sites", "online orders")  # fmt: skip
_METHODS = ("postal survey", "phone interviews", "door counters", "satellite images", "meter readings",
            "paper diaries", "ticket records", "a street poll", "tax records", "camera counts")  # fmt: skip


def _ask(form: str, wordings: tuple[str, ...], answers: tuple[str, ...], kind: str) -> Ask:
    return Ask(form, wordings, answers, kind, ())


def _numbers(value: int, unit: str = "") -> tuple[str, ...]:
    return tuple(dict.fromkeys((f"{value:,}{unit}", str(value), f"{value:,}", f"{value}{unit}")))


def _source(story: Story, panel: Panel) -> Note:
    body, year = story.body(), max(story.years) + story.rng.randint(0, 3)
    asks = (
        _ask(
            "source",
            (
                "Which organisation is named as the source in {where}?",
                "Who supplied the figures, as stated in {where}?",
                "What source does {where} give?",
            ),
            (body, f"{body}, {year}"),
            "text",
        ),
        _ask(
            "source",
            ("Which year is printed with the source in {where}?", "From what year is the source in {where}?"),
            (str(year),),
            "number",
        ),
    )
    return Note("", f"Source: {body}, {year}.", None, asks)


def _collected(story: Story, panel: Panel) -> Note:
    latest = max(panel.years, default=max(story.years))
    month, year = story.rng.choice(MONTHS), latest + story.rng.randint(0, 2)
    method = story.rng.choice(_METHODS)
    asks = (
        _ask(
            "footnote",
            (
                "When were the figures collected, going by {where}?",
                "In which month and year was the data gathered, as {where} says?",
            ),
            (f"{month} {year}", f"{month}, {year}"),
            "text",
        ),
        _ask(
            "footnote",
            ("By what method were the figures obtained, according to {where}?",
             "What does {where} say the data were taken from?"),
            (method, method.removeprefix("a ")),
            "text",
        ),
    )  # fmt: skip
    return Note("", f"Collected in {month} {year} from {method}.", None, asks)


def _sample(story: Story, panel: Panel) -> Note:
    count, share, people = story.rng.randint(210, 9800), story.rng.randint(21, 94), story.topic.people
    asks = (
        _ask(
            "footnote",
            (f"How many {people} took part, according to {{where}}?", f"What number of {people} does {{where}} give?"),
            _numbers(count),
            "number",
        ),
        _ask(
            "footnote",
            ("What response rate is stated in {where}?", "Which share of those asked replied, as {where} says?"),
            _numbers(share, "%"),
            "number",
        ),
    )  # fmt: skip
    return Note("", f"Survey of {count:,} {people}; response rate {share}%.", None, asks)


def _threshold(story: Story, panel: Panel) -> Note:
    count = story.rng.randint(11, 480)
    text = f"{story.topic.kinds.capitalize()} with fewer than {count} {story.topic.people} left out."
    wordings = (
        f"Below what number of {story.topic.people} is {article(story.topic.kind)} left out, according to {{where}}?",
        f"How many {story.topic.people} must {article(story.topic.kind)} have to be counted, as {{where}} says?",
    )
    return Note("", text, None, (_ask("footnote", wordings, _numbers(count), "number"),))


def _without(story: Story, panel: Panel) -> Note:
    """The figure of one row, changed: the headline number is the wrong answer."""
    row = story.rng.randrange(len(panel.rows))
    measure, value = panel.measures[0], panel.values[row][0]
    cut = round(value * story.rng.uniform(0.72, 0.94), measure.decimals)
    if cut == value:
        cut = round(value - 10.0**-measure.decimals, measure.decimals)
    group = story.rng.choice(_LEFT_OUT)
    place = panel.rows[row]
    wordings = (
        f"Leaving out {group}, what is the figure for {place} according to {{where}}?",
        f"What does {{where}} give as the figure for {place} once {group} are not counted?",
    )
    asks = (_ask("footnote", wordings, measure.spellings(cut), "number"),)
    return Note("", f"{place} without {group}: {measure.show(cut)}.", row, asks)


def _estimate(story: Story, panel: Panel) -> Note:
    row = story.rng.randrange(len(panel.rows))
    low = story.rng.randint(2, 19)
    wordings = (
        "By how many percent may the figure be off, according to {where}?",
        "What margin of error does {where} state?",
    )
    asks = (_ask("footnote", wordings, _numbers(low, "%"), "number"),)
    return Note("", f"{panel.rows[row]}: estimate, margin of error {low}%.", row, asks)


def annotate(story: Story, panel: Panel, first: int, at_foot: bool) -> Panel:
    """The panel with up to three notes; at the poster's foot they are numbered from `first`, else starred."""
    rng = story.rng
    makers = [_source] if rng.random() < 0.5 else []
    numeric = bool(panel.rows) and bool(panel.measures) and panel.kind not in ("line_chart", "tiles")
    others = [_collected, _sample, _threshold]
    if numeric and len(panel.columns) <= 1:
        others += [_without, _without]
    if numeric:
        others.append(_estimate)
    makers += rng.sample(others, rng.choice((0, 1, 1, 2)))
    makers = list(dict.fromkeys(makers))
    stars = rng.choice((("*", "**", "***"), ("+", "++", "+++"), ("a)", "b)", "c)"), ("#", "##", "###")))
    notes = []
    for number, maker in enumerate(makers):
        mark = f"[{first + number}]" if at_foot else stars[number]
        note = maker(story, panel)
        where = _pointing(rng, mark, panel, at_foot)
        asks = tuple(
            replace(ask, wordings=tuple(w.format(where=where) for w in ask.wordings), keys=(f"note{number}",))
            for ask in note.asks
        )
        notes.append(replace(note, mark=mark, asks=asks))
    return replace(panel, notes=tuple(notes))


def _pointing(rng: Random, mark: str, panel: Panel, at_foot: bool) -> str:
    if at_foot:
        return rng.choice((f"note {mark} at the end", f"the footnote numbered {mark}"))
    return rng.choice((f"the note marked {mark} under", f"the small print marked {mark} below")) + (f" {panel.name}")


def paragraph(story: Story) -> Panel | None:
    """A few sentences, each with its own question."""
    rng, topic = story.rng, story.topic
    title = story.title(*(w.format(n=story.name(), t=rng.choice(topic.things)) for w in (
        "The {n} plan", "Why {n} matters", "A closer look: {n}", "In focus: the {t} of {n}",
        "Did you know? The {n} case", "Behind the {t}", "Lessons from {n}", "{n} in brief")))  # fmt: skip
    if title is None:
        return None
    writers = rng.sample((_founded, _cost, _opened, _led, _vote, _record), rng.randint(2, 3))
    sentences, asks = [], []
    for writer in writers:
        sentence, wordings, answers, kind = writer(story)
        sentences.append(sentence)
        asked = tuple(f'{w[:-1]}, according to the paragraph "{title}"?' for w in wordings)
        asks.append(Ask("text", asked, answers, kind, ("body",)))
    return Panel("text", title, text=" ".join(sentences), asks=tuple(asks))


Sentence = tuple[str, tuple[str, ...], tuple[str, ...], str]


def _founded(story: Story) -> Sentence:
    body, place = story.body(), story.rng.choice(story.places)
    year, count = story.rng.randint(1871, 1979), story.rng.randint(3, 78)
    thing = plural(story.rng.choice(story.topic.things))
    text = f"Founded in {year}, {body} has looked after {count} {thing} near {place} ever since."
    if story.rng.random() < 0.5:
        return text, (f"When was {body} founded?", f"In which year was {body} set up?"), (str(year),), "number"
    return text, (f"How many {thing} has {body} looked after?",), _numbers(count), "number"


def _cost(story: Story) -> Sentence:
    place, thing = story.rng.choice(story.places), story.rng.choice(story.topic.things)
    cost, percent = story.rng.randint(12, 960), story.rng.randint(11, 89)
    text = f"The new {thing} in {place} cost ${cost} million, of which {percent}% came from {story.topic.people}."
    if story.rng.random() < 0.5:
        wordings = (f"How much did the new {thing} in {place} cost?",)
        return text, wordings, (f"${cost} million", f"${cost}m", f"{cost} million", str(cost)), "number"
    return (
        text,
        (f"What share of the cost of the {thing} in {place} came from {story.topic.people}?",),
        _numbers(percent, "%"),
        "number",
    )


def _opened(story: Story) -> Sentence:
    place, thing = story.rng.choice(story.places), story.rng.choice(story.topic.things)
    month, day, guest = story.rng.choice(MONTHS), story.rng.randint(1, 28), story.person()
    text = f"On {day} {month} {guest} opened the first {thing} of {place}."
    if story.rng.random() < 0.5:
        return text, (f"Who opened the first {thing} of {place}?",), (guest, guest.split()[-1]), "text"
    answers = (f"{day} {month}", f"{month} {day}")
    return text, (f"On which day and month did the first {thing} of {place} open?",), answers, "text"


def _led(story: Story) -> Sentence:
    person, place, years = story.person(), story.rng.choice(story.places), story.rng.randint(3, 29)
    job = story.rng.choice(("archivist", "surveyor", "planner", "carpenter", "teacher", "lawyer", "botanist",
                            "driver", "mapmaker", "nurse", "baker", "welder"))  # fmt: skip
    text = f"{person}, a former {job} from {place}, led the work for {years} years."
    if story.rng.random() < 0.5:
        return text, (f"What was {person}'s former job?", f"What did {person} work as before?"), (job,), "text"
    return text, (f"For how many years did {person} lead the work?",), (f"{years} years", str(years)), "number"


def _vote(story: Story) -> Sentence:
    place, thing, rng = story.rng.choice(story.places), story.rng.choice(story.topic.things), story.rng
    year, votes, against = rng.choice(story.years), rng.randint(310, 9400), rng.randint(21, 290)
    text = f"In {year} {votes:,} {story.topic.people} of {place} voted for a second {thing} and {against} against it."
    if rng.random() < 0.5:
        return text, (f"How many {story.topic.people} voted for a second {thing}?",), _numbers(votes), "number"
    return text, (f"How many {story.topic.people} voted against a second {thing}?",), _numbers(against), "number"


def _record(story: Story) -> Sentence:
    rng, place, person = story.rng, story.rng.choice(story.places), story.person()
    days, prize = rng.randint(31, 690), f"{story.name()} {rng.choice(('Medal', 'Prize', 'Award', 'Cup'))}"
    text = f"{person} spent {days} days at {place} to write the final report, and won the {prize} for it."
    if rng.random() < 0.5:
        return text, (f"Which prize did {person} win?",), (prize, f"the {prize}"), "text"
    return text, (f"How many days did {person} spend at {place}?",), (str(days), f"{days} days"), "number"
