"""One encoding for SFT, RL and evaluation: a conversation becomes token ids, and grows by appending.

A `Codec` is one student's way of reading: its tokenizer, chat template and image processor, and the `Student` that says
how it writes calls. An `Encoding` is one conversation as the student reads it; it only ever grows, and every token says
from the moment it is appended whether the loss sees it.

    codec = Codec.load(checkpoint, student, operations)   # local folder or Hub name; UsageError when it can't fit
    encoding = codec.opening(example, views)              # system turn, pictures, question
    encoding.ask()                                        # the header after which the student writes
    span = encoding.sampled(ids)                          # what it wrote, token by token, never encoded again
    encoding.append(turn, views)                          # a chat.ChatTurn: an observation, or a stored trace's turn
    other = encoding.fork()                               # G rollouts share one opening

    encoding.ids                                          # an image is as many image_pad as it has features
    encoding.learn                                        # per token: the loss sees it
    encoding.views                                        # the views shown, in order; pixels come from codec.pixels
    encoding.positions()                                  # int64 [3, tokens]: time, row, column, as M-RoPE takes them
    codec.pixels(picture)                                 # float32 [patches, values]
    codec.end_id, codec.vision_ids                        # what stops sampling; what must not be sampled

Each turn's text is what the student's own template adds for it, so what has been appended is what the template renders
for the whole. A template that goes back on what stood before (drops earlier thoughts, say) is refused, as is one that
doesn't render native calls, or a processor that would change a view's size. Pieces are cut where a special token
stands, so their ids are those of the whole; a turn's body is cut from the header before it, as sampling does.

`AutoProcessor` needs torchvision for every Qwen-VL; tokenizer and image processor are put together here by hand, which
works with and without it. Frames go in as images.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dataforge import chat
from dataforge.chat import ChatTurn
from dataforge.errors import UsageError
from dataforge.plugins import Operation
from dataforge.records import Example, Student, View
from training.fit import message, probe, refuse_other_sizes, rest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
"""`model_type` of the checkpoints that can be trained; what differs is read from their files."""

SYSTEM = "You are a helpful assistant."
"""What opens the system turn: the words that Qwen2.5-VL's own template puts there, and Pixel Reasoner's."""

Grid = tuple[int, int, int]


class Codec:
    """How one student reads: tokenizer, template, image processor, and the dialect of its calls."""

    def __init__(
        self,
        tokenizer: Any,
        image_processor: Any,
        student: Student,
        operations: Sequence[Operation],
        *,
        system: str | None = SYSTEM,
        beside: Path | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.student = student
        self.operations = tuple(operations)
        self.system = system
        self.beside = beside
        self.tools = chat.tool_schemas(operations, student) if operations and student.calls == "native" else None
        self.image_id = self._id("<|image_pad|>")
        self.pad_id: int = tokenizer.pad_token_id
        self.vision_ids = tuple(self._id(f"<|{name}|>") for name in _VISION)
        """Never to be sampled: `image_pad` and its like stand for pixels."""
        refuse_other_sizes(image_processor, student)
        self.header, self.closing = probe(self)
        self.end_id = self.encode(self.closing)[0]
        """Ends a student's turn: what stops sampling."""

    @classmethod
    def load(
        cls,
        checkpoint: str,
        student: Student,
        operations: Sequence[Operation],
        *,
        system: str | None = SYSTEM,
        beside: Path | None = None,
    ) -> Self:
        """The codec of a checkpoint, a local folder or a name on the Hub; UsageError says what doesn't fit and why."""
        folder = files_of(checkpoint)
        from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            processor: Any = Qwen2VLImageProcessorPil.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise UsageError(f"{checkpoint}: no tokenizer or image processor: {_one_line(error)}") from None
        if template := _processor_template(folder):
            tokenizer.chat_template = template
        if not tokenizer.chat_template:
            raise UsageError(f"{checkpoint} has no chat template: it is a base model; name an instruct one")
        return cls(tokenizer, processor, student, operations, system=system, beside=beside)

    def opening(self, example: Example, views: Sequence[View]) -> Encoding:
        """The conversation before the student's first turn."""
        turns = chat.opening(example, views, self.operations, self.student, system=self.system, beside=self.beside)
        return self.start(turns, views)

    def start(self, turns: Sequence[ChatTurn], views: Sequence[View]) -> Encoding:
        """A conversation that begins with these turns, a system and a user turn or the latter alone."""
        first = [turn.role for turn in turns].index("user") + 1
        encoding = Encoding(self)
        encoding._open(turns[:first], views)
        for turn in turns[first:]:
            encoding.append(turn, views)
        return encoding

    def text(self, messages: Sequence[dict[str, Any]], ask: bool = False) -> str:
        """What the student's template makes of messages, each image as one image_pad."""
        rendered: str = self.tokenizer.apply_chat_template(
            list(messages), tools=self.tools, tokenize=False, add_generation_prompt=ask
        )
        return rendered

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens are read where they stand."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and for each the character at which it starts."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], [start for start, _ in found["offset_mapping"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, tags included, without the end of the turn."""
        kept = [one for one in ids if one != self.end_id]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def grid(self, view: View) -> tuple[int, int]:
        """Rows and columns of the tokens that a view costs."""
        return view.height // self.student.patch, view.width // self.student.patch

    def patch_grid(self, view: View) -> Grid:
        """What the model takes as `image_grid_thw`: one frame, rows and columns of vision patches."""
        merge = self.image_processor.merge_size
        rows, columns = self.grid(view)
        return 1, rows * merge, columns * merge

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """A view's pixels as the vision tower takes them: float32 [patches, values], in the order of its tokens.

        The picture has the size of a view, so the processor is told not to resize it.
        """
        import torch

        made = self.image_processor(images=[picture], do_resize=False, return_tensors="np")
        return torch.from_numpy(made["pixel_values"])

    def refuse_resized(self, view: View) -> None:
        """UsageError for a view that the processor would show in another size."""
        patch, size = self.student.patch, self.image_processor.size
        fits = size["shortest_edge"] <= view.width * view.height <= size["longest_edge"]
        if view.width % patch or view.height % patch or not fits:
            raise UsageError(
                f"the checkpoint's processor would resize a view of {view.width}x{view.height}: it takes multiples of "
                f"{patch} with {size['shortest_edge']} to {size['longest_edge']} pixels; make the traces for it"
            )

    def _id(self, token: str) -> int:
        found: int | None = self.tokenizer.convert_tokens_to_ids(token)
        if found is None or found == self.tokenizer.unk_token_id:
            raise UsageError(f"the tokenizer has no {token}: known students are {', '.join(FAMILIES)}")
        return found


_VISION = ("image_pad", "video_pad", "vision_start", "vision_end")


class Span(NamedTuple):
    """Where a turn lies among the tokens; a student's without its header and with the token that ends it."""

    role: str
    start: int
    end: int
    step: int | None
    """Index into the trace's steps; None before the first."""


class Encoding:
    """One conversation as its student reads it: it grows by turns, and nothing in it changes."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.ids: list[int] = []
        self.learn: list[bool] = []
        self.views: list[View] = []
        self.spans: list[Span] = []
        self._messages: list[dict[str, Any]] = []
        self._text = ""
        self._blocks: list[np.ndarray] = []
        self._next = 0
        self._asked: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def fork(self) -> Encoding:
        """A copy that grows on its own."""
        other = copy.copy(self)
        for name in ("ids", "learn", "views", "spans", "_messages", "_blocks"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def append(self, turn: ChatTurn, views: Sequence[View]) -> Span:
        """Add a turn. `views` holds at least those that the turn shows; none of it is learned but as the turn says."""
        if turn.role == "assistant":
            return self._append_written(turn)
        start = len(self)
        added = self._grow(message(turn))
        self._take(self.codec.encode(added), _shown(turn, views))
        return self._span(turn, start)

    def ask(self) -> Span:
        """Add the header after which the student writes; `sampled` comes next."""
        start = len(self)
        whole = self.codec.text(self._messages, ask=True)
        self._asked = rest(whole, self._text)
        self._take(self.codec.encode(self._asked), ())
        return Span("header", start, len(self), None)

    def sampled(self, ids: Sequence[int], step: int | None = None) -> Span:
        """Add what the student wrote after `ask`, learned to its last token; returns where it stands.

        A turn that was cut off gets the end that it lacks, not learned. ValueError for a token that stands for pixels.
        """
        if self._asked is None:
            raise ValueError("ask() comes before sampled()")
        if bad := set(ids) & set(self.codec.vision_ids):
            raise ValueError(f"sampled tokens {sorted(bad)} stand for pixels: suppress them when sampling")
        span = Span("assistant", len(self), len(self) + len(ids), step)
        self._take(list(ids), (), learn=[True] * len(ids))
        ended = bool(ids) and ids[-1] == self.codec.end_id
        self._take(self.codec.encode(self.codec.closing)[ended:], ())
        # later turns don't depend on what was said here, so what stands for it need not be what was said
        self._messages.append({"role": "assistant", "content": "..."})
        self._text = self.codec.text(self._messages)
        self._asked = None
        self.spans.append(span)
        return span

    def positions(self) -> np.ndarray:
        """int64 [3, tokens]: time, row and column of each token, as the model's rotary embedding takes them.

        Text counts on in all three; an image's tokens share one time, and what follows goes on after its longer side.
        """
        import numpy as np

        return np.concatenate(self._blocks, axis=1) if self._blocks else np.zeros((3, 0), dtype=np.int64)

    @property
    def next_position(self) -> int:
        """The position of the token that comes next."""
        return self._next

    def _open(self, turns: Sequence[ChatTurn], views: Sequence[View]) -> None:
        """The first turns at once: a template may put something before them."""
        self._messages = [message(turn) for turn in turns]
        self._text = self.codec.text(self._messages)
        self._take(self.codec.encode(self._text), [view for turn in turns for view in _shown(turn, views)])
        self._span(turns[-1], 0)

    def _append_written(self, turn: ChatTurn) -> Span:
        """A turn of the student's that a trace holds: its parts say what is learned, `turn.learn` the rest.

        A token is learned if the part is in which it starts: one may hold the end of the thought and a line's end.
        """
        self.ask()
        start, header = len(self), str(self._asked)
        added = rest(self._grow(message(turn)), header)
        body = added.removesuffix(self.codec.closing)
        if not body.startswith("".join(part.text for part in turn.parts)):
            raise UsageError("the student's chat template rewrites what its turns say: use one that doesn't")
        flags = [part.learn for part in turn.parts for _ in part.text]
        flags += [turn.learn] * (len(body) - len(flags))
        ids, starts = self.codec.encode_with_starts(body)
        self._take(ids, (), learn=[flags[at] for at in starts])
        closing = self.codec.encode(self.codec.closing)
        self._take(closing[:1], (), learn=[turn.learn])
        span = self._span(turn, start)
        self._take(closing[1:], ())
        self._asked = None
        return span

    def _grow(self, new: dict[str, Any]) -> str:
        """The text that the template adds for a message; UsageError where it changes what stood before."""
        self._messages.append(new)
        whole = self.codec.text(self._messages)
        added = rest(whole, self._text)
        self._text = whole
        return added

    def _take(self, ids: list[int], views: Sequence[View], learn: list[bool] | None = None) -> None:
        """Append ids, each image_pad grown to as many as the view that it stands for has features."""
        import numpy as np

        if ids.count(self.codec.image_id) != len(views):
            raise UsageError(f"the template shows {ids.count(self.codec.image_id)} images where {len(views)} stand")
        shown = iter(views)
        flags = learn or [False] * len(ids)
        run = 0
        for one, flag in zip(ids, flags, strict=True):
            if one != self.codec.image_id:
                self.ids.append(one)
                self.learn.append(flag)
                run += 1
                continue
            self._blocks.append(np.tile(np.arange(self._next, self._next + run), (3, 1)))
            self._next, run = self._next + run, 0
            self._show(next(shown))
        self._blocks.append(np.tile(np.arange(self._next, self._next + run), (3, 1)))
        self._next += run

    def _show(self, view: View) -> None:
        import numpy as np

        self.codec.refuse_resized(view)
        rows, columns = self.codec.grid(view)
        row, column = np.divmod(np.arange(rows * columns), columns)
        self._blocks.append(np.stack([np.zeros_like(row), row, column]) + self._next)
        self._next += max(rows, columns)
        self.ids += [self.codec.image_id] * (rows * columns)
        self.learn += [False] * (rows * columns)
        self.views.append(view)

    def _span(self, turn: ChatTurn, start: int) -> Span:
        self.spans.append(Span(turn.role, start, len(self), turn.step))
        return self.spans[-1]


def _shown(turn: ChatTurn, views: Sequence[View]) -> list[View]:
    known = {view.number: view for view in views}
    return [known[part.view] for part in turn.parts if part.view is not None]


# ------------------------------------------------------------------------------------------------ a checkpoint's files


def files_of(checkpoint: str) -> Path:
    """The folder with a checkpoint's small files, fetched from the Hub where there is no such folder."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(checkpoint, allow_patterns=["*.json", "*.jinja", "*.txt"]))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise UsageError(f"no student {checkpoint}: no such folder, and the Hub says: {_one_line(error)}") from None
    try:
        family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError):
        raise UsageError(f"{checkpoint} is no checkpoint: it has no config.json that can be read") from None
    if family not in FAMILIES:
        raise UsageError(f"{checkpoint} is a {family}: students that can be trained are {', '.join(FAMILIES)}")
    return folder


def _processor_template(folder: Path) -> str | None:
    """The template in a processor's own file, which wins over the tokenizer's: only it may know of images."""
    try:
        content = json.loads((folder / "chat_template.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'chat_template.json'}: {_one_line(error)}") from None
    return content.get("chat_template") if isinstance(content, dict) else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
