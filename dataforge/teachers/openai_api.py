"""A model behind any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, a gateway; or several such.

Servers differ in what they do with a schema: some enforce it, some refuse it, some ignore it without a word. So the
best form is tried first (a strict schema, then a JSON object, then plain text, the latter two with the schema in the
prompt), and what a server has shown is remembered for the session. A request that is too long for the model, or has too
large a picture for the server, is sent once more with its pictures at half the size, and the reply says so. What else
goes wrong is told apart in `faults`; when to ask again is not decided here.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, PrivateAttr, StringConstraints

from dataforge.ask.faults import Asked, TooMuch, by_status, clean, error_in, failure, hold_s, spoken
from dataforge.ask.prices import Pictures, find_price
from dataforge.ask.request import Reply, Request, Setback
from dataforge.ask.tokens import request_tokens
from dataforge.ask.transport import CONNECT_S, Answer, Transport, connected, encode
from dataforge.ask.wire import SMALLER, as_sent, fits, has_pictures, smaller, strict
from dataforge.dialect import message_text
from dataforge.errors import ExampleError, UsageError
from dataforge.plugins import Teacher

OPENAI = "https://api.openai.com/v1"
ADDRESS = r"^https?://[^/@\s]+(/[^\s?]*)?$"
"""No password or token in it: it is stored with a run and shown in errors."""
Address = Annotated[str, StringConstraints(pattern=ADDRESS)]

FORM_NOTE = "Reply with one JSON object and nothing else. It must fit this JSON schema:\n"
"""Goes before the schema where the server does not take it as a setting: form alone, no wish about the content."""
ABOUT_FORM = re.compile(r"response_?format|json_?schema|json_?object|schema|grammar|structured|guided", re.IGNORECASE)

Form = Literal["json_schema", "json_object", "text"]
WORSE: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}


class Habit(NamedTuple):
    """What the server has shown to take: the form of a reply, and the name of the limit on its length."""

    form: Form = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class OpenaiApi(Teacher):
    """A vision model behind an OpenAI-compatible server; the key comes from an environment variable."""

    beside_the_digest: ClassVar[frozenset[str]] = Teacher.beside_the_digest | {
        *("base_url", "key_env", "timeout_s", "input_usd", "output_usd")
    }

    model: str = Field(min_length=1)
    base_url: Address | tuple[Address, ...] | None = Field(
        default=None,
        description="of the server, /v1 included; several with one model as a list; default OPENAI_BASE_URL or OpenAI",
    )
    key_env: str = Field(default="OPENAI_API_KEY", description="name of the variable that holds the key")
    temperature: float | None = Field(default=0.7, ge=0, description="null where the model takes none")
    max_tokens: int = Field(default=2048, gt=0)
    detail: Literal["auto", "low", "high"] = "high"
    timeout_s: float = Field(default=120.0, gt=0)
    input_usd: float | None = Field(
        default=None, ge=0, description="US dollars for a million input tokens, instead of the list price"
    )
    output_usd: float | None = Field(default=None, ge=0, description="the same for output tokens")

    _transport: Transport | None = PrivateAttr(default=None)
    _habit: Habit = PrivateAttr(default=Habit())
    _kept_to_schema: bool = PrivateAttr(default=False)

    @property
    def title(self) -> str:
        return f"{self.name} {self.model}"

    @property
    def endpoints(self) -> int:
        return len(self.addresses())

    @property
    def habit(self) -> Habit:
        """How requests are put at present: what the server has shown to take."""
        return self._habit

    def price(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float | None:
        """US dollars by the manifest's prices, of which a batch costs half, else by the list; None if in neither."""
        if self.input_usd is not None or self.output_usd is not None:
            cost = (input_tokens * (self.input_usd or 0.0) + output_tokens * (self.output_usd or 0.0)) / 1e6
            return cost / 2 if batch else cost
        listed = find_price(self.model)
        return listed.cost(input_tokens, output_tokens, batch) if listed else None

    def price_note(self, batch: bool = False) -> str:
        """Whose prices these are and of which day, for an estimate; empty where there are none."""
        if self.input_usd is not None or self.output_usd is not None:
            return "the manifest's prices" + (", half of them in a batch" if batch else "")
        listed = find_price(self.model)
        return f"{'batch' if batch else 'list'} prices of {listed.checked}" if listed else ""

    def forecast(self, request: Request) -> tuple[int, int]:
        listed = find_price(self.model)
        return request_tokens(request, listed.pictures if listed else Pictures()), self.max_tokens

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Teacher]:
        """Holds the connections; UsageError when there is no key or no proper address."""
        async with connected(self.addresses(), self.key() or "none", self.timeout_s) as self._transport:
            try:
                yield self
            finally:
                self._transport = None

    async def check(self) -> str:
        """One line on each server and whether it lists the model; UsageError when one can't be used."""
        return "; ".join([await self._check(number) for number in range(self.endpoints)])

    async def _check(self, endpoint: int) -> str:
        import openai

        address, asked = self.addresses()[endpoint], self._asked(endpoint)
        try:
            async with openai.AsyncOpenAI(
                api_key=self.key() or "none", base_url=address, max_retries=0, timeout=CONNECT_S
            ) as client:
                listed = [str(model.id) for model in (await client.models.list()).data]
        except openai.APIStatusError as error:
            if error.status_code in (404, 405):
                return f"{address} answers, but lists no models"
            said = f"{error.code or ''} {error.message}"
            raise UsageError(str(by_status(error.status_code, said, clean(error.message, asked.key), asked))) from None
        except (openai.OpenAIError, ValueError) as error:
            why = clean(str(error.__cause__ or error), asked.key)
            raise UsageError(f"{address} gives no answer: {why}") from None
        except (AttributeError, TypeError):
            return f"{address} answers, but its list of models can't be read"
        if self.model not in listed:
            near = get_close_matches(self.model, listed, n=3, cutoff=0.3) or listed[:3]
            raise UsageError(f"{address} lists no model {self.model!r}: it has {', '.join(near) or 'none at all'}")
        return f"{address} answers and has {self.model}"

    async def ask(self, request: Request) -> Reply:
        """One reply; its `finish` is `stop`, or why the text is of no use (cut_off, refused, empty_reply)."""
        assert self._transport is not None, "ask in a session"
        asked, scale = self._asked(request.endpoint), 1.0
        input_tokens = output_tokens = 0
        while True:
            habit = self._habit
            answer = await self._transport.post(asked.address, "/chat/completions", encode(self.body(request, habit)))
            if answer.status != 200:
                if self.learn(answer, habit):
                    continue
                error = failure(answer, asked)
                if isinstance(error, TooMuch) and scale == 1.0 and has_pictures(request):
                    request, scale = await asyncio.to_thread(smaller, request), SMALLER
                    continue
                raise error
            reply = self.read(answer.content(), asked)
            input_tokens += reply.input_tokens
            output_tokens += reply.output_tokens
            if self._ignored(reply, request, habit):
                continue
            cost = self.price(input_tokens, output_tokens) or 0.0
            return reply._replace(
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd=cost,
                scale=scale,
                hold_s=hold_s(answer.headers),
            )

    # ------------------------------------------------------------------ what is sent

    def key(self) -> str:
        """The key, empty where none is set; UsageError where one is needed, or no header can carry it."""
        key = os.environ.get(self.key_env, "").strip()
        if not key and OPENAI in self.addresses():
            raise UsageError(f"no key for {self.model}: set the environment variable {self.key_env}, or base_url")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(f"the key in {self.key_env} has characters that no key has: set it again")
        return key

    def addresses(self) -> tuple[str, ...]:
        """Where to ask; UsageError for an address from the environment that is none."""
        if isinstance(self.base_url, tuple):
            return tuple(address.rstrip("/") for address in self.base_url)
        address = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        if not re.match(ADDRESS, address):
            raise UsageError("OPENAI_BASE_URL must look like http://localhost:8000/v1, with no password in it")
        return (address.rstrip("/"),)

    def _asked(self, endpoint: int) -> Asked:
        key = os.environ.get(self.key_env, "").strip()
        return Asked(self.addresses()[endpoint], self.model, self.key_env, key, self.temperature)

    def body(self, request: Request, habit: Habit | None = None) -> dict[str, Any]:
        """The request as the API wants it, with each Picture in the place of its URL: `transport.encode` it."""
        habit = habit or self._habit
        messages = [as_sent(message, self.detail) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, habit.limit: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if request.tools:
            body["tools"] = [dict(tool) for tool in request.tools]
        if not request.schema:
            return body
        if habit.form == "json_schema":
            wanted = {"name": "reply", "strict": True, "schema": strict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
            return body
        if habit.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        note = FORM_NOTE + json.dumps(request.schema, ensure_ascii=False, default=dict)
        last = request.messages[-1]
        messages[-1] = as_sent(last._replace(parts=(*last.parts, note)), self.detail)
        return body

    # ------------------------------------------------------------------ what comes back

    def read(self, completion: Any, asked: Asked | None = None) -> Reply:
        """The reply in a completion of unknown honesty; Setback or another error when it is none."""
        asked = asked or self._asked(0)
        choices = completion.get("choices") if isinstance(completion, Mapping) else None
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
        message = first.get("message")
        if not isinstance(message, Mapping):
            raise _no_reply(completion, asked)
        content, refusal = message.get("content"), message.get("refusal")
        if content is not None and not isinstance(content, str):
            raise ExampleError("teacher", "bad_reply", f"content is a {type(content).__name__}")
        ended = first.get("finish_reason")
        finish = "refused" if refusal or ended == "content_filter" else "cut_off" if ended == "length" else "stop"
        text = message_text(message) if message.get("tool_calls") else content or str(refusal or "")
        text = text.encode("utf-8", "replace").decode()
        if not text.strip() and finish == "stop":
            finish = "empty_reply"
        usage = completion.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        return Reply(
            text=text,
            model=str(completion.get("model") or self.model),
            input_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
            finish=finish,
        )

    def learn(self, answer: Answer, sent: Habit) -> bool:
        """Whether the error shows how this server wants to be asked, so that asking again makes sense."""
        if answer.status not in (400, 422, 500, 501):
            return False
        said = spoken(answer)
        if answer.status == 400 and "max_completion_tokens" in said and sent.limit == "max_tokens":
            return self._change(sent, sent._replace(limit="max_completion_tokens"))
        if ABOUT_FORM.search(said) and sent.form in WORSE:
            return self._change(sent, sent._replace(form=WORSE[sent.form]))
        return False

    def _ignored(self, reply: Reply, request: Request, sent: Habit) -> bool:
        """Whether the server took the schema and ignored it, so that the model has never been told of it."""
        if sent.form != "json_schema" or reply.finish != "stop" or self._kept_to_schema:
            return False
        if fits(reply.text, request.schema):
            # one that keeps to the schema once always does: what doesn't fit later is a slip of the model
            self._kept_to_schema = True
            self._habit = sent
            return False
        return self._change(sent, sent._replace(form="json_object"))

    def _change(self, sent: Habit, better: Habit) -> bool:
        # requests in flight learn the same thing at the same time: only the first one changes the habit
        if self._habit == sent:
            self._habit = better
        return True


def _no_reply(completion: Any, asked: Asked) -> Exception:
    """What a body with status 200 and no reply in it means."""
    if found := error_in(completion):
        status, said = found
        if status:
            return by_status(status, said, clean(said, asked.key), asked)
        return Setback("bad_reply", clean(said, asked.key))
    shown = "the body is no JSON" if completion is None else clean(json.dumps(completion), asked.key)
    return Setback("bad_reply", shown, charged=True)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
