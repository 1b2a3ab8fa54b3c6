"""A scene becomes an example: the teacher chooses a place, sees it, asks about it, and the question is put to the test.

Places are tried one after the other, a bounded number of them; what the last one failed for is the picture's reason. A
picture that is not rich enough isn't tried again. Every call is the run's own: cached, budgeted, counted.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dataforge.answers.metrics import score
from dataforge.ask.asking import together
from dataforge.ask.request import Ask, Picture, Request
from dataforge.ask.tolerant import parse_object
from dataforge.checks.necessary import right_answers, rotated
from dataforge.errors import ExampleError
from dataforge.manifest import Manifest
from dataforge.pose import (
    choose_request,
    chosen,
    known_of,
    others,
    others_request,
    pose_request,
    posed,
    refused,
    told_from_whole,
    try_request,
)
from dataforge.records import Example, Region, Scene

FINAL = frozenset({"not_rich"})
"""Reasons that say something of the whole picture: another place wouldn't help."""

Cut = Callable[[Scene, Region], Awaitable[Picture | None]]
"""Gives a place of a scene enlarged; None for a teacher that doesn't look."""


@dataclass(frozen=True)
class Unposed:
    """A scene with its whole view and its places, encoded where the teacher looks. `scale` is the whole view's."""

    scene: Scene
    whole: Picture | None
    parts: dict[int, Picture]
    scale: float


class Poser:
    """Poses questions for one manifest."""

    def __init__(self, manifest: Manifest, ask: Ask, cut: Cut) -> None:
        self.manifest = manifest
        self.settings = manifest.pose
        self._ask = ask
        self._cut = cut

    async def pose(self, unposed: Unposed) -> Example:
        """The example of a scene; ExampleError("pose", reason) where no place that was tried gives a sound question."""
        left = list(range(len(unposed.scene.places)))[: self.settings.places]
        hint, error = "", refused("no_place")
        for _ in range(self.settings.tries):
            try:
                region, index = await self._choose(unposed, left, hint)
            except ExampleError as fault:
                if fault.stage != "pose" or fault.reason in FINAL:
                    raise
                error, hint = fault, f"An earlier choice was no good: {fault.reason.replace('_', ' ')}."
                continue
            left = [other for other in left if other != index]
            try:
                return await self._try(unposed, region)
            except ExampleError as fault:
                if fault.stage != "pose":
                    raise
                error, hint = fault, f"A place was tried in vain ({fault.reason.replace('_', ' ')}): choose another."
        raise error

    async def _choose(self, unposed: Unposed, left: list[int], hint: str) -> tuple[Region, int | None]:
        request = choose_request(unposed.scene, unposed.whole, unposed.parts, left, hint, self.manifest)
        return chosen(await self._reply(request), unposed.scene, left, self.settings.most_area)

    async def _try(self, unposed: Unposed, region: Region) -> Example:
        """The question about one place, if it holds."""
        scene, known = unposed.scene, known_of(unposed.scene, region)
        part = await self._cut(scene, region)
        said = await self._reply(pose_request(scene, unposed.whole, part, known, self.manifest))
        example = posed(said, scene, region, self.manifest.seed)
        if not await self._answered(example, part, region, scene):
            raise refused("not_answered_from_crop", example.question)
        right, asked = await self._from_whole(example, unposed, region)
        if right > self.settings.most_whole * asked:
            raise refused("answered_from_whole", f"{right} of {asked}: {example.question}")
        await self._refuse_ambiguous(example, unposed, part)
        return example

    async def _answered(self, example: Example, part: Picture | None, place: Region, scene: Scene) -> bool | None:
        """Whether a place alone is answered rightly; None where it doesn't answer at all."""
        known = known_of(scene, place, example.question)
        said = await self._reply(try_request(example, part, known, self.manifest)) or {}
        answer = said.get("answer")
        if said.get("answerable") is not True or not isinstance(answer, str) or not answer.strip():
            return None
        moved = rotated(example, 1)
        return score(answer, moved.answers, moved.answer_type, moved.choices).ok

    async def _from_whole(self, example: Example, unposed: Unposed, region: Region) -> tuple[int, int]:
        """Right answers, and replies, to the question about the whole view as the student first sees it."""
        known = known_of(unposed.scene, region, example.question)
        legible_px = self.manifest.compose.legible_px
        shown = () if unposed.whole is None else (unposed.whole,)
        return await right_answers(
            example,
            shown,
            self.settings.samples,
            self._ask,
            self.manifest.prompt("necessary"),
            lambda moved: told_from_whole(moved, known, unposed.scale, legible_px),
        )

    async def _refuse_ambiguous(self, example: Example, unposed: Unposed, part: Picture | None) -> None:
        """ExampleError where another place that fits the question answers it, be it differently or alike.

        One that answers alike is no use either: a look at the wrong place would show the answer.
        """
        scene, region = unposed.scene, example.evidence[0]
        said = await self._reply(others_request(example, scene, unposed.whole, part, self.manifest))
        found = others(said, scene, region, self.settings.others)
        told = await together(self._other(example, place, scene) for place in found)
        if False in told:
            raise refused("ambiguous", f"another place answers differently: {example.question}")
        if True in told:
            raise refused("told_elsewhere", f"another place answers it, too: {example.question}")

    async def _other(self, example: Example, place: Region, scene: Scene) -> bool | None:
        return await self._answered(example, await self._cut(scene, place), place, scene)

    async def _reply(self, request: Request) -> dict[str, Any] | None:
        return parse_object((await self._ask(request)).text)
