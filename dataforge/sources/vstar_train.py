"""Photos with tiny targets in V*Bench's file layout, for training: `<name>.jpg` beside `<name>.json`, in any folders.

The JSON is V*Bench's (`vstar`). That benchmark itself is for evaluation: a set that is trained on keeps clear of it
with the check `contaminated`.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from dataforge import reading
from dataforge.errors import ExampleError, UsageError
from dataforge.sources.vstar import Vstar, picture_of


class VstarTrain(Vstar):
    """Questions on tiny targets, with their boxes, from folders of pictures with a JSON file beside each."""

    split: str = "train"
    licence_: str = Field(default="unknown", alias="licence", description="of the pictures")
    redistributable_: bool = Field(default=False, alias="redistributable", description="the pictures may be published")

    @property
    def licence(self) -> str:
        return self.licence_

    @property
    def redistributable(self) -> bool:
        return self.redistributable_

    def _files(self) -> Iterator[reading.Entry]:
        folder = Path(str(self.path))
        files = sorted(folder.rglob("*.json"))
        if not files:
            raise UsageError(f"no JSON file in {folder} or a folder in it")
        for file in files:
            name = file.relative_to(folder).with_suffix("")
            try:
                content = reading.load_json(file)
            except UsageError:
                yield ExampleError("read", "bad_json", f"{name}.json")
                continue
            own = content if isinstance(content, dict) else {"question": content}
            category = name.parent.as_posix() if name.parent.parts else "photos"
            yield own | {"category": category, "stem": name.name, "image": picture_of(file)}
