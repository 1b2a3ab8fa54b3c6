"""Staged clips: short videos that this program draws, with the exact time and place of all that happens in them.

Real clips with questions are scarce, licensed, and annotated to the second at best. Here `plot` invents what happens
(things come in, jump, change colour for a while; a card with small print is held up for a moment; a clock runs in the
corner), `paint` draws it frame by frame, `film` encodes it to a real file, and `questions` says what can be asked and
when and where the answer is to be seen. Most of it is too short for an overview of 16 frames, or too small in it.
"""

from dataforge.staged.film import film
from dataforge.staged.plot import Plot, plot
from dataforge.staged.questions import Question, ask

__all__ = ["Plot", "Question", "ask", "film", "plot"]
