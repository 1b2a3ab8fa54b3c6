"""verl's agent loop that plays our episodes: same operations, words, budget and checks as `dataforge train rl`.

Import it in every process of verl's (`VERL_USE_EXTERNAL_MODULES`), and name it in `agent_loop_config_path`:

    - name: dataforge
      _target_: training.adapters.verl_loop.Looking
      manifest: manifests/posters.yaml      # operations, limits, student and train.rl
      media: runs/posters-3fa91c/media      # where the media of the questions lie; without it, pictures of the row

The rows are those of `dataforge export verl_rl --set agent=dataforge`. verl's server samples, through the `Engine` of
all rollouts; ids go in and come out, so what verl learns from is what was sampled. Its templates, tool parsers and
token builders aren't asked.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.trainer.ppo.core_algos import register_adv_est

from dataforge import plugins
from dataforge.errors import ExampleError, UsageError
from dataforge.manifest import load
from dataforge.media import MediaStore
from dataforge.records import Example, Media, parse_line
from training import rewards
from training.adapters.verl import KEY, Estimator
from training.encoding import Codec
from training.engine import Request, Sampled
from training.rollout import Budget, Rollout, Setting, Start, begin, play, right, seed_of, whole

if TYPE_CHECKING:
    from training.encoding import Encoding

for _kind in rewards.RULES:
    _name = _kind.model_fields["name"].default
    register_adv_est(f"{KEY}_{_name}")(Estimator({"name": _name}))


@dataclass
class Server:
    """verl's server as an engine of our rollouts, for one trajectory."""

    client: Any
    sampling: Mapping[str, Any]
    session: str = field(default_factory=lambda: uuid4().hex)
    seconds: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)
    """What the server said beside the tokens: of which step its weights were."""

    async def sample(self, request: Request) -> Sampled:
        codec, began = request.encoding.codec, time.perf_counter()
        sampling = dict(self.sampling) | {
            "max_tokens": request.most,
            "stop_token_ids": [codec.end_id],
            "logit_bias": {str(one): -100.0 for one in codec.vision_ids},
        }
        made = await self.client.generate(
            request_id=self.session,
            prompt_ids=list(request.encoding.ids),
            sampling_params=sampling,
            image_data=_shown(request.encoding, request.pictures),
        )
        self.seconds += time.perf_counter() - began
        oldest = self.told.get("min_global_steps", made.extra_fields.get("min_global_steps"))
        self.told = made.extra_fields | {"min_global_steps": oldest}
        ids = list(made.token_ids)
        ended = ids[-1:] == [codec.end_id]
        return Sampled(ids, list(made.log_probs or [0.0] * len(ids)), "end" if ended else "length")

    def release(self, session: str) -> None:
        pass

    def refresh(self) -> None:
        pass


class Looking(AgentLoopBase):  # type: ignore[misc]
    """A trajectory: the student works on the question of a row, through our episode."""

    def __init__(self, *args: Any, manifest: str, media: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setting = setting(manifest, self.config.actor_rollout_ref.model.path, media)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> Any:
        """Play the row's question; UsageError where verl's lengths have no room for it."""
        example = asked(row, self.setting.store)
        start, where = self._begin(example)
        server = Server(self.server_manager, sampling_params)
        began = time.perf_counter()
        made = await play(start, server, where, 0, seed_of(server.session))
        metrics = AgentLoopMetrics(
            generate_sequences=server.seconds, tool_calls=time.perf_counter() - began - server.seconds
        )
        return output(made, server, metrics)

    def _begin(self, example: Example) -> tuple[Start, Setting]:
        """The opening, and the setting with the room that verl's tensors leave."""
        try:
            start = begin(example, self.setting)
        except ExampleError as error:
            raise UsageError(f"{example.id}: {error}: raise train.rl.tokens, or leave it out of the rows") from None
        length = len(start.encoding)
        if length > self.rollout_config.prompt_length:
            raise UsageError(f"{example.id} opens with {length} tokens: raise rollout.prompt_length")
        room = min(self.setting.budget.tokens, length + self.rollout_config.response_length)
        return start, replace(self.setting, budget=self.setting.budget.model_copy(update={"tokens": room}))


def output(made: Rollout, server: Server, metrics: Any) -> Any:
    """A rollout as verl takes it: prompt and response, which of it was sampled, its pictures, and the facts."""
    tokens, encoding = made.tokens, made.encoding
    first = tokens.spans[0][0]
    mask, scores = [0] * len(tokens.ids), [0.0] * len(tokens.ids)
    said = iter(tokens.logprobs)
    for low, high in tokens.spans:
        for at in range(low, high):
            mask[at], scores[at] = 1, next(said)
    facts = {"outcome": rewards.outcome(made.trace, right(made.trace))._asdict(), "whole": whole(made.trace)}
    return AgentLoopOutput(
        prompt_ids=list(tokens.ids[:first]),
        response_ids=list(tokens.ids[first:]),
        response_mask=mask[first:],
        response_logprobs=scores[first:] if server.sampling.get("logprobs") else None,
        multi_modal_data={"images": _shown(encoding, made.pictures)},
        num_turns=2 * len(tokens.spans),
        metrics=metrics,
        extra_fields={**server.told, KEY: facts, "turn_scores": [], "tool_rewards": []},
    )


def _shown(encoding: Encoding, pictures: Mapping[str, Any]) -> list[Any]:
    return [pictures[view.sha256] for view in encoding.views]


@lru_cache(maxsize=4)
def setting(manifest: str, checkpoint: str, media: str | None) -> Setting:
    """What all trajectories of a process share; verl makes a loop for each of them."""
    chosen = load(Path(manifest))
    recipe = chosen.train.rl
    operations = [plugins.build("operation", spec) for spec in chosen.operations]
    codec = Codec.load(checkpoint, chosen.student, operations, system=recipe.system)
    budget = Budget(**{name: getattr(recipe, name) for name in Budget.model_fields})
    store = MediaStore(Path(media or tempfile.mkdtemp(prefix="dataforge-verl-")), keep=64)
    return Setting(codec, chosen.limits, budget, store, plugins.build("check", "answer"), manifest=chosen.digest())


def asked(row: Mapping[str, Any], store: MediaStore) -> Example:
    """The example of a row; its pictures are taken in where the store doesn't hold its media."""
    line = (row.get("extra_info") or {}).get("example")
    if not line:
        raise UsageError("a row holds no example: write the rows with dataforge export verl_rl")
    example = parse_line(line, Example, "verl's row")
    if all(store.path(one).exists() for one in example.media):
        return example
    if any(one.kind == "video" for one in example.media):
        raise UsageError(f"{example.id} asks about a video: name the folder of its file as media of the loop")
    content = [part for message in row["raw_prompt"] for part in message["content"] if isinstance(part, dict)]
    shown = [part for part in content if part["type"] == "image"]
    media = [_taken(part, one, store) for part, one in zip(shown, example.media, strict=True)]
    return example.model_copy(update={"media": tuple(media)})


def _taken(part: Mapping[str, Any], media: Media, store: MediaStore) -> Media:
    """A picture of a row in the store: as the file that it was, or, where verl has opened it, without loss."""
    content = part.get("bytes")
    if content is not None:
        return store.add_bytes(content, media.suffix, media.licence, media.origin)
    buffer = io.BytesIO()
    part["image"].save(buffer, "PNG", compress_level=1)
    return store.add_bytes(buffer.getvalue(), ".png", media.licence, media.origin)
