"""A corpus of rendered infographics: `draw(seed)` gives a poster, questions, and exactly where their answers are.

Photographs of documents are scarce, licensed and annotated by hand; these posters are none of that. Their path:
`words` invents a country with its numbers, `content` and `notes` make panels of them, `theme` designs, `supply` decides
what comes next, `layout` puts it in bands and columns, `charts`, `pies` and `panels` draw it with a `pen` that reports
which pixels it inks; `questions` says what can be asked, and here a handful is picked. Most print that decides an
answer is too small to read when the poster is scaled to a megapixel: one has to look closer; the evidence says where.
"""

import re
from dataclasses import replace
from random import Random

from dataforge.geometry import Box
from dataforge.posters.content import heading
from dataforge.posters.layout import Layout
from dataforge.posters.parts import Ask, Block, Poster, Question
from dataforge.posters.questions import ask, compare
from dataforge.posters.theme import design
from dataforge.posters.words import Story

__all__ = ["Block", "Poster", "Question", "draw"]

MEDIAN_AREA = 6_800_000  # pixels asked for; bands overshoot, so the drawn median comes out near seven megapixels
READABLE_PX = 9.0  # type this high can be read
VIEW_AREA = 1_000_000  # pixels of the whole poster as a model first sees it


def draw(seed: int) -> Poster:
    """The poster of a seed: same seed, same pixels, same questions."""
    rng = Random(f"poster {seed}")
    width = rng.randrange(800, 2001, 10)
    area = MEDIAN_AREA * rng.lognormvariate(0, 0.4)
    goal = int(min(max(area / width, 1950), 6000))
    scale = (VIEW_AREA / (width * goal)) ** 0.5
    look = design(rng, width, largest_small=max(9, min(14, int((READABLE_PX - 0.3) / scale))))
    story = Story(rng)
    title, subtitle = heading(story)
    layout = Layout(rng, story, look, width, goal)
    layout.fill(title, subtitle)
    image = layout.sheet.paint(width, look.paper)
    whole = Box(0, 0, image.width, image.height)
    blocks = {key: replace(block, box=block.box.clamp(whole)) for key, block in layout.sheet.blocks.items()}
    return Poster(image, title, tuple(blocks.values()), _questions(rng, layout, blocks))


def _asks(rng: Random, layout: Layout, blocks: dict[str, Block]) -> list[Ask]:
    """All that this poster can be asked, keys in full."""
    asks = list(compare([placed.panel for placed in layout.placed], rng))
    for placed in layout.placed:
        drawn = {key.removeprefix(placed.prefix) for key in blocks if key.startswith(placed.prefix)}
        colours = tuple(name for name, _ in placed.look.series)
        asks.extend(
            replace(one, keys=tuple(placed.prefix + key for key in one.keys))
            for one in ask(placed.panel, drawn, colours, rng)
        )
    return asks


def _questions(rng: Random, layout: Layout, blocks: dict[str, Block]) -> tuple[Question, ...]:
    """A handful: every form in turn, in a drawn order, so that what is printed often isn't asked more often."""
    asks = _asks(rng, layout, blocks)
    rng.shuffle(asks)
    forms = list(dict.fromkeys(one.form for one in asks))
    rng.shuffle(forms)
    turns = {form: [one for one in asks if one.form == form] for form in forms}
    wanted = rng.randint(4, 10)
    chosen: list[Question] = []
    while len(chosen) < wanted and any(turns.values()):
        for form in forms:
            if turns[form] and len(chosen) < wanted:
                question = _finish(turns[form].pop(), blocks, rng)
                if not _told(question) and all(other.evidence != question.evidence for other in chosen):
                    chosen.append(question)
    return tuple(chosen)


def _told(question: Question) -> bool:
    """Whether the wording prints the answer, as a quoted title with a year may; a comparison names its sides."""
    return question.form != "compare" and question.answers[0] in re.findall(r"[\w.,$%]+", question.text)


def _finish(one: Ask, blocks: dict[str, Block], rng: Random) -> Question:
    """A wording picked, the evidence looked up; a third of those that allow it as a choice of four."""
    evidence = tuple(blocks[key] for key in one.keys)
    text = rng.choice(one.wordings)
    accepted = {answer.lower() for answer in one.answers}
    wrong = [w for w in dict.fromkeys(one.wrong) if w.lower() not in accepted]
    if len(wrong) < 3 or rng.random() > 0.3:
        return Question(text, one.answers, one.answer_type, (), evidence, one.form)
    options = rng.sample(wrong, 3)
    right = rng.randrange(4)
    options.insert(right, one.answers[0])
    return Question(text, ("ABCD"[right],), "choice", tuple(options), evidence, one.form)
