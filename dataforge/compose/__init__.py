"""From evidence to looks: which places are looked at, in which order, with which deliberate mistakes.

A plan speaks in source pixels and every look is really run, one after the other, before a teacher writes a word.
Whether a look shows the evidence, misses it, or is too large is measured on the box that was really cut, after the
student's rounding and the operation's padding; a look that fails its test is thrown away and drawn again.

Kinds and their default shares are Pixel Reasoner's (Table 2): `single`; `recrop_once` and `recrop_twice` look at wrong
places first; `zoom_further` first cuts far too much. Beyond the paper: `compare` looks at two places in turn, `direct`
answers from the whole view. A look is only planned where it is needed: where the glyph height is known, evidence that
can be read in the whole view is for `direct` alone.

Of a video, evidence is frames, and boxes in them: `single` looks at its moments, `reselect` at others first,
`frames_then_zoom` goes on to a part of a frame (see `reel`).
"""

import hashlib
import random
from collections.abc import Mapping, Sequence

from dataforge.compose.board import Board
from dataforge.compose.looks import Draft, Ground, Look, Unfit
from dataforge.compose.reel import Reel
from dataforge.episode import Episode
from dataforge.errors import ExampleError
from dataforge.manifest import Compose
from dataforge.records import Example, Kind, Region

__all__ = ["Draft", "Look", "compose"]


def compose(
    example: Example,
    regions: tuple[Region, ...],
    episode: Episode,
    settings: Compose,
    mix: Mapping[Kind, float],
    seed: int,
    direct: bool = False,
    unfit: Sequence[Kind] = (),
) -> Draft:
    """Draw a kind by the mix and run its looks; ExampleError("compose", "no_kind_fits") when none can be made.

    `direct` may be drawn where the evidence can't be read in the whole view, too, for a model to try; `unfit` are kinds
    that have been tried. The draw is seeded by `seed` and the example's id, so it doesn't depend on what else is in the
    run.
    """
    rng = random.Random(hashlib.sha256(f"{seed}/{example.id}".encode()).digest())
    is_video = example.media[regions[0].media].kind == "video"
    board: Ground = (Reel if is_video else Board)(example, regions, episode, settings, rng)
    fitting = (board.eligible() | ({"direct"} if direct else set())) - set(unfit)
    eligible = {kind: share for kind, share in mix.items() if share > 0 and kind in fitting}
    unfit = list(unfit)
    while eligible:
        kind = rng.choices(list(eligible), weights=list(eligible.values()))[0]
        try:
            looks = board.run(kind)
        except Unfit:
            unfit.append(kind)
            del eligible[kind]
            continue
        bare = example.model_copy(update={"evidence": (), "context": ()})
        return Draft(bare, regions, kind, tuple(unfit), episode.opening, tuple(looks))
    tried = f"tried {', '.join(unfit)}" if unfit else f"the mix has only {', '.join(mix)}"
    raise ExampleError("compose", "no_kind_fits", tried)
