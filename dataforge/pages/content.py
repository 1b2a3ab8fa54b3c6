"""What stands on a drawn page: four kinds of page, each a list of blocks of HTML with what can be asked of it.

As on the posters, all names and figures are invented (`posters.words.Story`), so world knowledge answers nothing, and
what is asked about stands on the page once. An answer is the whole text of one element; what must be seen to know that
it is the answer (the card, the paragraph, the row and the head of its column) are elements with keys of their own.
"""

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dataforge.posters.parts import Measure
from dataforge.posters.words import MONTHS, Story, article, capital
from dataforge.records import AnswerType

GOODS = ("desk lamp", "rain jacket", "tea kettle", "hiking boot", "wall clock", "travel mug", "garden chair",
         "bread knife", "phone stand", "wool blanket", "bicycle bell", "camping stove", "picture frame", "water filter",
         "step ladder", "tool box", "yoga mat", "reading chair", "plant pot", "door mat")  # fmt: skip
SETTINGS = (
    "cache",
    "retry",
    "upload",
    "session",
    "worker",
    "backup",
    "index",
    "queue",
    "proxy",
    "token",
    "mirror",
    "shard",
)
ENDINGS = {"limit": "count", "timeout": "s", "size": "MB", "interval": "min", "threshold": "%", "depth": "levels"}
MATERIALS = ("oak", "steel", "linen", "glass", "cork")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Asked:
    """A question whose answer is the text of the element `key`, and the elements that show it, with their names."""

    key: str
    question: str
    answer: str
    places: dict[str, str]
    answer_type: AnswerType = "text"


@dataclass
class Content:
    """A page being written: blocks of HTML, and what can be asked."""

    title: str
    kind: str
    blocks: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def ask(self, question: str, answer: str, places: dict[str, str], answer_type: AnswerType = "text") -> str:
        """Put a question; gives the element that holds its answer."""
        key = f"answer{len(self.asked)}"
        self.asked.append(Asked(key, question, answer, places, answer_type))
        return f'<span data-key="{key}">{html.escape(answer)}</span>'


def write(rng: Random) -> Content:
    """One page of a kind drawn at random."""
    kinds: tuple[Callable[[Random, Story], Content], ...] = (written_article, statistics, shop, manual)
    return rng.choice(kinds)(rng, Story(rng))


def _date(rng: Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1990, 2031)}"


def _paragraph(rng: Random, story: Story, sentences: int) -> str:
    """Sentences that say nothing that is asked."""
    things = story.topic.things
    made = []
    for _ in range(sentences):
        place, thing = rng.choice(story.places), rng.choice(things)
        made.append(
            rng.choice(
                (
                    f"People in {place} had hoped for {article(thing)} long before anyone drew a plan.",
                    f"Whether {place} needs another {thing} is still a matter of taste.",
                    f"Nobody at {place} wanted to comment on the {thing}.",
                    f"A walk past the {thing} of {place} shows how much has been left as it was.",
                    f"The council of {place} will talk about the {thing} again after the summer.",
                    f"Earlier reports on the {thing} had said the opposite, and {place} took its time to answer.",
                    f"For {place}, the {thing} was never only a question of money.",
                )
            )
        )
    return " ".join(made)


# ---------------------------------------------------------------------------------------------- an article


def written_article(rng: Random, story: Story) -> Content:
    """A long report with a byline, sections of text with a figure or a name in each, and a box of facts."""
    head = rng.choice(story.topic.things)
    content = Content(f"{capital(head)} for {story.country}: what has become of it", "article")
    under = {"byline": "the byline under the headline"}
    byline = content.ask("Who wrote this article?", story.person(), under)
    day = content.ask("On which day was this article published?", _date(rng), under)
    content.blocks.append(f"<p class='by'><span data-key='byline'>By {byline}, {day}</span></p>")
    content.blocks.append(f"<p class='lead'>{html.escape(_paragraph(rng, story, 3))}</p>")
    facts = [_fact(rng, story, content, place, thing) for place, thing in _pairs(rng, story, rng.randint(10, 18))]
    content.blocks += facts
    rows = []
    for name in rng.sample(("Length", "Weight", "Depth", "Seats", "Keepers", "Rooms", "Steps"), 4):
        question, box = f'What does the box "At a glance" give for "{name}"?', {"glance": 'the box "At a glance"'}
        cell = content.ask(question, f"{rng.randint(120, 9800):,}", box, "number")
        rows.append(f"<tr><th>{name}</th><td>{cell}</td></tr>")
    glance = f"<aside data-key='glance'><h3>At a glance</h3><table>{''.join(rows)}</table></aside>"
    content.blocks.insert(rng.randint(2, 5), glance)
    return content


def _pairs(rng: Random, story: Story, count: int) -> list[tuple[str, str]]:
    pairs = [(place, thing) for place in story.places for thing in story.topic.things]
    return rng.sample(pairs, min(count, len(pairs)))


def _fact(rng: Random, story: Story, content: Content, place: str, thing: str) -> str:
    """A section with one sentence that is asked about, in the middle of others."""
    called = f"the {thing} in {place}"
    label = {f"about{len(content.asked)}": f"the paragraph on {called}"}
    form = rng.randrange(4)
    if form == 0:
        year = content.ask(f"In which year was {called} opened?", str(rng.randint(1871, 1989)), label)
        said = f"It was in {year} that {html.escape(called)} was opened."
    elif form == 1:
        who = content.ask(f"Who designed {called}?", story.person(), label)
        said = f"{html.escape(capital(called))} was designed by {who}."
    elif form == 2:
        price = f"${rng.randint(110, 990) / 10:.1f} million"
        cost = content.ask(f"How much did {called} cost?", price, label, "number")
        said = f"{html.escape(capital(called))} cost {cost}, more than had been set aside."
    else:
        body = content.ask(f"Which organisation pays for {called}?", story.body(), label)
        said = f"{html.escape(capital(called))} is paid for by {body}."
    before, after = _paragraph(rng, story, rng.randint(2, 4)), _paragraph(rng, story, rng.randint(2, 4))
    heading = capital(
        f"{thing} and {rng.choice(story.topic.things)}: {rng.choice(('a closer look', 'a review', 'voices'))}"
    )
    more = f"<p>{html.escape(_paragraph(rng, story, rng.randint(3, 6)))}</p>" if rng.random() < 0.6 else ""
    told = f"<p data-key='{next(iter(label))}'>{html.escape(before)} {said} {html.escape(after)}</p>"
    return f"<h2>{html.escape(heading)}</h2>{told}{more}"


# ---------------------------------------------------------------------------------------------- statistics


def statistics(rng: Random, story: Story) -> Content:
    """Tables of figures, each of one measure over places and years."""
    content = Content(f"{story.country}: {story.topic.names[0]} in figures", "statistics")
    content.blocks.append(f"<p class='lead'>{html.escape(_paragraph(rng, story, 3))}</p>")
    for number in range(1, rng.randint(6, 9)):
        slots = story.slots(rng.randint(4, 7))
        if slots:
            table = _table(rng, story, content, number, slots[0][0], [year for _, year in slots])
            content.blocks.append(f"{table}<p class='note'>{html.escape(_paragraph(rng, story, 2))}</p>")
    return content


def _table(rng: Random, story: Story, content: Content, number: int, measure: Measure, years: list[int]) -> str:
    """Places down, years across; two or three of the cells are asked about."""
    unit = f" ({measure.unit})" if measure.unit else ""
    cells = [(place, year) for place in story.places for year in years]
    chosen, rows = set(rng.sample(cells, rng.randint(2, 3))), []
    for line, place in enumerate(story.places):
        row = []
        for year in years:
            value = f"{story.value(measure, place, year):,.{measure.decimals}f}"
            if (place, year) in chosen:
                question = f'What does table {number} give as "{measure.name}"{unit} for {place} in {year}?'
                places = {
                    f"row{number}-{line}": f"the row of {place} in table {number}",
                    f"head{number}-{year}": f"the heads of the columns of table {number}",
                }
                value = content.ask(question, value, places, "number")
            row.append(f"<td>{value}</td>")
        rows.append(f"<tr data-key='row{number}-{line}'><th>{html.escape(place)}</th>{''.join(row)}</tr>")
    heads = "".join(f"<th data-key='head{number}-{year}'>{year}</th>" for year in years)
    title = f"Table {number}: {html.escape(measure.name + unit)}"
    return f"<h2>{title}</h2><table class='wide'><tr><th></th>{heads}</tr>{''.join(rows)}</table>"


# ---------------------------------------------------------------------------------------------- a shop


def shop(rng: Random, story: Story) -> Content:
    """A grid of things for sale, each with price, rating, stock and an item number."""
    content = Content(f"{story.name()} & {story.name()}: all offers", "shop")
    cards: list[str] = []
    for good in rng.choices(GOODS, k=rng.randint(24, 40)):
        called = f"{story.name()} {good}"
        values = {
            "price": f"${rng.randint(399, 28900) / 100:.2f}",
            "reviews": str(rng.randint(12, 2400)),
            "stock": str(rng.randint(2, 96)),
            "item": f"{rng.choice(LETTERS)}{rng.choice(LETTERS)}-{rng.randint(1000, 9999)}",
            "delivery": f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
        }
        wordings = {
            "price": f"What does the {called} cost?",
            "reviews": f"How many buyers have rated the {called}?",
            "stock": f"How many of the {called} are in stock?",
            "item": f"What is the item number of the {called}?",
            "delivery": f"On which day is the {called} delivered at the latest?",
        }
        asked = rng.choice(list(values))
        kind: AnswerType = "text" if asked in ("item", "delivery") else "number"
        card = f"card{len(cards)}"
        values[asked] = content.ask(wordings[asked], values[asked], {card: f"the card of the {called}"}, kind)
        cards.append(
            f"<div class='card' data-key='{card}'>"
            f"<div class='art' style='background:hsl({rng.randrange(360)} 40% 70%)'></div>"
            f"<h3>{called}</h3><p>{html.escape(capital(good))} in {rng.choice(MATERIALS)}, made in "
            f"{html.escape(rng.choice(story.places))}.</p><b class='price'>{values['price']}</b>"
            f"<p class='small'>Rated <i>{rng.randint(30, 50) / 10:.1f}</i> by <i>{values['reviews']}</i> buyers. "
            f"In stock: <i>{values['stock']}</i>. By <i>{values['delivery']}</i>. "
            f"Item <i>{values['item']}</i></p></div>"
        )
    content.blocks.append(f"<div class='grid'>{''.join(cards)}</div>")
    return content


# ---------------------------------------------------------------------------------------------- a manual


def manual(rng: Random, story: Story) -> Content:
    """A reference of settings: what each is for, its default, its range, and since when it is there."""
    product = f"{story.name()} {rng.choice(('Server', 'Store', 'Gateway', 'Engine'))}"
    content = Content(f"{product}: reference of settings", "manual")
    content.blocks.append(f"<p class='lead'>{html.escape(_paragraph(rng, story, 2))}</p>")
    names = [f"{one}_{end}" for one in SETTINGS for end in ENDINGS]
    for name in rng.sample(names, rng.randint(18, 30)):
        unit = ENDINGS[name.partition("_")[2]]
        values = {"default": f"{rng.randint(3, 900)} {unit}", "since": f"{rng.randint(1, 9)}.{rng.randint(0, 19)}"}
        values["largest"] = f"{rng.randint(1000, 9000)} {unit}"
        wordings = {
            "default": f"What is the default of the setting {name}?",
            "since": f"Since which version is there the setting {name}?",
            "largest": f"What is the largest value that the setting {name} takes?",
        }
        asked = rng.choice(list(values))
        places = {f"name-{name}": f"the heading {name}", f"table-{name}": f"the table under the heading {name}"}
        values[asked] = content.ask(wordings[asked], values[asked], places)
        content.blocks.append(
            f"<h2><code data-key='name-{name}'>{name}</code></h2>"
            f"<p>{html.escape(_paragraph(rng, story, rng.randint(1, 3)))}</p><table data-key='table-{name}'>"
            f"<tr><th>Default</th><td>{values['default']}</td></tr><tr><th>Largest</th><td>{values['largest']}</td></tr>"
            f"<tr><th>Since</th><td>{values['since']}</td></tr></table>"
        )
    return content
