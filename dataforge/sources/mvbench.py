"""MVBench: 20 tasks of 200 multiple-choice questions on short videos.

A folder `json` with one list a task of `video, question, candidates, answer` (and `start`, `end` where the question is
on a part of a video), and a folder `video` with a folder for each data set that the clips are from. The clips of
`star`, `sta` and `tvqa` exist cut (`..._segment`) and whole; a question on a part of a whole one is refused, since its
frames would be drawn from all of it. The licence of NTU RGB+D keeps `fine_grained_pose` out of the release: its rows
end as `missing_media`, and are counted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.media import MediaStore
from dataforge.plugins import Row, Source
from dataforge.records import Example, Failure

STAR = ("star/Charades_segment", "star/Charades_v1_480")
CLEVRER, PERCEPTION = ("clevrer/video_validation",), ("perception/videos",)
FOLDERS: dict[str, tuple[str, ...]] = {
    "action_antonym": ("ssv2_video_mp4", "ssv2_video"),
    "action_count": PERCEPTION,
    "action_localization": ("sta/sta_video_segment", "sta/sta_video"),
    "action_prediction": STAR,
    "action_sequence": STAR,
    "character_order": PERCEPTION,
    "counterfactual_inference": CLEVRER,
    "egocentric_navigation": ("vlnqa",),
    "episodic_reasoning": ("tvqa/video_fps3_hq_segment",),
    "fine_grained_action": ("Moments_in_Time_Raw/videos",),
    "fine_grained_pose": ("nturgbd_convert", "nturgbd"),
    "moving_attribute": CLEVRER,
    "moving_count": CLEVRER,
    "moving_direction": CLEVRER,
    "object_existence": CLEVRER,
    "object_interaction": STAR,
    "object_shuffle": PERCEPTION,
    "scene_transition": ("scene_qa/video",),
    "state_change": PERCEPTION,
    "unexpected_action": ("FunQA_test/test",),
}
"""Task -> where its clips lie in the releases, those of cut clips first."""


class Mvbench(Source):
    """MVBench from its folder."""

    path: Path = Field(description="folder with json/<task>.json and video")
    tasks: tuple[str, ...] = Field(default=(), description="tasks to read; default: all that are there")
    start: int = Field(default=0, ge=0, description="first question read of each task")
    count: int | None = Field(default=None, ge=1, description="questions read of each task; default: all")

    @property
    def licence(self) -> str:
        return "MVBench: MIT questions; clips of eleven data sets, each under its own terms, not passed on"

    def read(self) -> Iterator[Row | Failure]:
        """Task by task in the order of their names; UsageError where a task isn't there."""
        for task, file in self._files():

            def make(number: int, entry: dict[str, Any], task: str = task) -> Row:
                return self._row(task, number, entry)

            yield from reading.rows(f"mvbench-{task}", reading.table(file), make, self.start, self.count)

    def _files(self) -> list[tuple[str, Path]]:
        folder = self.path / "json" if (self.path / "json").is_dir() else self.path
        there = {file.stem: file for file in sorted(folder.glob("*.json")) if file.stem in FOLDERS}
        if missing := [task for task in self.tasks or list(there) or list(FOLDERS)[:1] if task not in there]:
            raise UsageError(f"no {missing[0]}.json in {folder}: there is {', '.join(there) or 'no task of MVBench'}")
        return [(task, there[task]) for task in self.tasks or there]

    def _row(self, task: str, number: int, entry: dict[str, Any]) -> Row:
        name = reading.relative(reading.text(entry, "video"), "video")
        options = reading.texts(entry.get("candidates"), "candidates")
        answer = reading.text(entry, "answer")
        if answer not in options:
            raise ExampleError("read", "bad_row", f"answer {answer!r} is none of the candidates")
        places = [root / folder for folder in FOLDERS[task] for root in (self.path / "video", self.path)]
        clip = reading.pick(places, name)
        if entry.get("start") is not None and clip.is_file() and not clip.parent.match("*_segment*"):
            raise ExampleError("read", "not_cut", f"{task} {name}: the question is on a part of it; get the cut clips")
        content = {
            "question": reading.text(entry, "question"),
            "options": options,
            "answers": (answer,),
            "task": task,
            "clip": clip,
            "origin": f"MVBench/{task}/{name}",
        }
        return Row(f"mvbench-{task}-{number}", f"mvbench/{FOLDERS[task][0]}/{name}", content)

    def example(self, row: Row, store: MediaStore) -> Example:
        found = row.content
        media = store.add_video(found["clip"], self.licence, found["origin"])
        return self.asked(
            row, media, split="test", category=found["task"], answer_type="choice", choices=found["options"]
        )
