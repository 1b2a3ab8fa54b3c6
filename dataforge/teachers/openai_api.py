"""A model behind any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, a gateway.

Servers differ in what they do with a schema: some enforce it, some refuse it, some ignore it without a word. So the
best form is tried first (a strict schema, then a JSON object, then plain text, the latter two with the schema in the
prompt), and what a server has shown is remembered for the session. The SDK does all the retrying; what it gives up on
is told apart here: one spoiled example, or something that a person must change.
"""

import base64
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, PrivateAttr

from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Message, Picture, Reply, Request, Teacher
from dataforge.tolerant import parse_object

OPENAI = "https://api.openai.com/v1"
ADDRESS = r"^https?://[^/@\s]+(/[^\s?]*)?$"
"""No password or token in it: it is stored with a run and shown in errors."""
CONNECT_S = 10.0
SHOWN = 200
"""Characters of a server's message that an error shows."""

SHORTEST_KEY = 8
"""Characters; what is shorter is a local server's dummy, and may be part of any word."""

FORM_NOTE = "Reply with one JSON object and nothing else. It must fit this JSON schema:\n"
"""Goes before the schema where the server does not take it as a setting: form alone, no wish about the content."""

ABOUT_FORM = re.compile(r"response_?format|json_?schema|json_?object|schema|grammar|structured|guided", re.IGNORECASE)
MODERATED = re.compile(r"content.?(filter|policy|management)|moderation|flagged", re.IGNORECASE)
OUT_OF_MONEY = re.compile(r"insufficient.?(quota|balance|credit|funds)|exceeded your current quota", re.IGNORECASE)

Form = Literal["json_schema", "json_object", "text"]
WORSE: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}


class Habit(NamedTuple):
    """What the server has shown to take: the form of a reply, and the name of the limit on its length."""

    form: Form = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class OpenaiApi(Teacher):
    """A vision model behind an OpenAI-compatible server; the key comes from an environment variable."""

    beside_the_digest: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "key_env", "timeout_s", "retries", "in_flight", "input_usd", "output_usd"}
    )

    model: str = Field(min_length=1)
    base_url: str | None = Field(
        default=None, pattern=ADDRESS, description="of the server, /v1 included; default OPENAI_BASE_URL or OpenAI"
    )
    key_env: str = Field(default="OPENAI_API_KEY", description="name of the variable that holds the key")
    temperature: float | None = Field(default=0.7, ge=0, description="null where the model takes none")
    max_tokens: int = Field(default=2048, gt=0)
    detail: Literal["auto", "low", "high"] = "high"
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=5, ge=0)
    in_flight: int = Field(default=16, gt=0)
    input_usd: float = Field(default=0.0, ge=0, description="US dollars for a million input tokens")
    output_usd: float = Field(default=0.0, ge=0, description="US dollars for a million output tokens")

    _client: Any = PrivateAttr(default=None)
    _habit: Habit = PrivateAttr(default=Habit())

    @property
    def title(self) -> str:
        return f"{self.name} {self.model}"

    def price(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Teacher]:
        """Holds the connections; UsageError when there is no key or no proper address."""
        import openai

        async with openai.AsyncOpenAI(
            api_key=self._key() or "none",
            base_url=self._address(),
            max_retries=self.retries,
            timeout=openai.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s)),
        ) as client:
            self._client = client
            try:
                yield self
            finally:
                self._client = None

    async def check(self) -> str:
        """One line on the server and whether it lists the model; UsageError when it can't be used."""
        import openai

        client = self._client.with_options(max_retries=0, timeout=CONNECT_S)
        try:
            listed = [str(model.id) for model in (await client.models.list()).data]
        except openai.APIStatusError as error:
            if error.status_code in (404, 405):
                return f"{self._address()} answers, but lists no models"
            raise UsageError(str(self._failure(error))) from None
        except (openai.OpenAIError, ValueError) as error:
            raise UsageError(f"{self._address()} gives no answer: {self._failure(error)}") from None
        except (AttributeError, TypeError):
            return f"{self._address()} answers, but its list of models can't be read"
        if self.model not in listed:
            near = get_close_matches(self.model, listed, n=3, cutoff=0.3) or listed[:3]
            raise UsageError(
                f"{self._address()} lists no model {self.model!r}: it has {', '.join(near) or 'none at all'}"
            )
        return f"{self._address()} answers and has {self.model}"

    async def ask(self, request: Request) -> Reply:
        """One reply; its `finish` is `stop`, or why the text is of no use (cut_off, refused, empty_reply)."""
        import openai

        input_tokens = output_tokens = 0
        while True:
            habit = self._habit
            try:
                completion = await self._client.chat.completions.create(**self._body(request, habit))
            except (openai.OpenAIError, ValueError) as error:
                if isinstance(error, openai.APIStatusError) and self._learn(error, habit):
                    continue
                raise self._failure(error) from None
            reply = self._read(completion)
            input_tokens += reply.input_tokens
            output_tokens += reply.output_tokens
            if habit.form == "json_schema" and reply.finish == "stop" and not _fits(reply.text, request.schema):
                # taken, but ignored; the model has never been told the schema
                self._change(habit, habit._replace(form="json_object"))
                continue
            cost = self.price(input_tokens, output_tokens)
            return reply._replace(input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost)

    # ------------------------------------------------------------------ what is sent

    def _key(self) -> str:
        key = os.environ.get(self.key_env, "").strip()
        if not key and self._address() == OPENAI:
            raise UsageError(f"no key for {self.model}: set the environment variable {self.key_env}, or base_url")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(f"the key in {self.key_env} has characters that no key has: set it again")
        return key

    def _address(self) -> str:
        address = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        if not re.match(ADDRESS, address):
            raise UsageError("OPENAI_BASE_URL must look like http://localhost:8000/v1, with no password in it")
        return address

    def _body(self, request: Request, habit: Habit) -> dict[str, Any]:
        messages = [_content(message, self.detail) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, habit.limit: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if not request.schema:
            return body
        if habit.form == "json_schema":
            wanted = {"name": "reply", "strict": True, "schema": _strict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
            return body
        if habit.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        note = FORM_NOTE + json.dumps(request.schema, ensure_ascii=False, default=dict)
        last = request.messages[-1]
        messages[-1] = _content(last._replace(parts=(*last.parts, note)), self.detail)
        return body

    # ------------------------------------------------------------------ what comes back

    def _read(self, completion: Any) -> Reply:
        """The reply in a completion of unknown honesty; ExampleError when it is none."""
        choices: Any = getattr(completion, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if message is None:
            said = getattr(completion, "error", None) or completion
            raise ExampleError("teacher", "bad_reply", self._clean(str(said)))
        content, refusal = getattr(message, "content", None), getattr(message, "refusal", None)
        if content is not None and not isinstance(content, str):
            raise ExampleError("teacher", "bad_reply", f"content is a {type(content).__name__}")
        ended = getattr(choices[0], "finish_reason", None)
        finish = "refused" if refusal or ended == "content_filter" else "cut_off" if ended == "length" else "stop"
        text = (content or refusal or "").encode("utf-8", "replace").decode()
        if not text.strip() and finish == "stop":
            finish = "empty_reply"
        usage = getattr(completion, "usage", None)
        return Reply(
            text=text,
            model=str(getattr(completion, "model", None) or self.model),
            input_tokens=_count(getattr(usage, "prompt_tokens", 0)),
            output_tokens=_count(getattr(usage, "completion_tokens", 0)),
            finish=finish,
        )

    def _learn(self, error: Any, sent: Habit) -> bool:
        """Whether the error shows how this server wants to be asked, so that asking again makes sense."""
        said = f"{error.message} {error.body}"
        if error.status_code == 400 and "max_completion_tokens" in said and sent.limit == "max_tokens":
            return self._change(sent, sent._replace(limit="max_completion_tokens"))
        rejected = error.status_code in (400, 422, 500, 501) and ABOUT_FORM.search(said)
        if rejected and sent.form in WORSE:
            return self._change(sent, sent._replace(form=WORSE[sent.form]))
        return False

    def _change(self, sent: Habit, better: Habit) -> bool:
        # requests in flight learn the same thing at the same time: only the first one changes the habit
        if self._habit == sent:
            self._habit = better
        return True

    def _failure(self, error: Exception) -> Exception:
        """The error as one of ours, without the key."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return ExampleError("teacher", "timeout", f"no reply from {self._address()} in {self.timeout_s:g} s")
        if isinstance(error, openai.APIConnectionError):
            cause = self._clean(str(error.__cause__ or error))
            return ExampleError("teacher", "unreachable", f"{self._address()}: {cause}")
        if isinstance(error, openai.APIStatusError):
            said = f"{error.code or ''} {error.message}"
            return self._by_status(error.status_code, said, self._clean(error.message))
        return ExampleError("teacher", "bad_reply", self._clean(str(error)))

    def _by_status(self, status: int, said: str, shown: str) -> Exception:
        if status in (400, 403) and MODERATED.search(said):
            return ExampleError("teacher", "refused", shown)
        if status in (401, 403):
            return UsageError(f"the key in {self.key_env} was refused by {self._address()}: {shown}")
        if status in (404, 405):
            return UsageError(f"{self._address()} has no model {self.model!r}, or base_url lacks its /v1: {shown}")
        if status == 402 or (status == 429 and OUT_OF_MONEY.search(said)):
            return UsageError(f"the account behind {self.key_env} has run out of money at {self._address()}: {shown}")
        if status == 400 and "temperature" in said and "support" in said:
            return UsageError(
                f"{self.model} takes no temperature {self.temperature}: set temperature to null ({shown})"
            )
        if status == 429:
            return ExampleError("teacher", "rate_limited", shown)
        if status == 408:
            return ExampleError("teacher", "timeout", shown)
        return ExampleError("teacher", "server_error" if status >= 500 else "bad_request", shown)

    def _clean(self, said: str) -> str:
        key = os.environ.get(self.key_env, "").strip()
        said = " ".join((said.replace(key, "***") if len(key) >= SHORTEST_KEY else said).split())
        return said if len(said) <= SHOWN else said[:SHOWN] + "..."


def _content(message: Message, detail: str) -> dict[str, Any]:
    """A message as the API wants it; plain text where there is no picture, which every server takes."""
    if all(isinstance(part, str) for part in message.parts):
        return {"role": message.role, "content": "\n\n".join(str(part) for part in message.parts)}
    return {"role": message.role, "content": [_part(part, detail) for part in message.parts]}


def _part(part: str | Picture, detail: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = "data:image/jpeg;base64," + base64.b64encode(part.jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as strict mode demands it: each object lists all of its properties and allows no other."""
    strict = {key: _strict(value) if isinstance(value, Mapping) else value for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        strict |= {"required": list(schema["properties"]), "additionalProperties": False}
    return strict


def _fits(text: str, schema: Mapping[str, Any]) -> bool:
    """Whether the text is an object with what the schema requires."""
    if not schema:
        return True
    found = parse_object(text)
    return found is not None and all(name in found for name in schema.get("required", ()))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
