"""Questions to a vision-language judge behind OpenAI-compatible endpoints, each paid for once in a run.

The owner itself sends the HTTP requests: they are nothing but waiting, only one process can hold to the
limits of a minute, and a replica in between would copy every image once more and know less.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.config import EndpointConfig, JudgeConfig
from actors.judge.question import TEXT, Question
from actors.metered.connections import Secret, connect, read_key
from actors.metered.endpoints import Endpoint, Endpoints, Slot, with_defaults
from actors.metered.http_faults import fault_of_http
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Count
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.store import Store
from rewards.rubric import FORMS, IMAGE_MARK, RubricError

DEFAULT_CALL = {"temperature": 0.0, "max_tokens": 1024}


@dataclass(frozen=True)
class OpenAIAsker:
    """Satisfies `actors.judge.question.Asker`. Picklable.

    An answer is cached by model, call arguments, question, images, form, size and repeat: not by the
    endpoint or key that gave it, which are equals. So the model's name has to tell what it is.
    """

    identity: str
    """The model and its call's arguments."""
    store_root: str
    owner: SharedCalls

    async def ask(self, question: Question) -> dict[str, Any]:
        """Return the answer as its form reads it. Raises `CallError` or `BudgetSpent`."""
        store = Store(self.store_root)
        try:
            images = [store.digest(image) for image in question.images]
        except FileNotFoundError as error:
            raise CallError(Fault("no_image", str(error), is_retryable=False)) from error
        depends_on = {
            "service": "judge",
            "judge": self.identity,
            "question": question.text,
            "images": images,
            "form": question.form,
            "size": question.size,
            "repeat": question.repeat,
        }
        if question.system:
            depends_on["system"] = question.system
        return await self.owner.get(depends_on, question)

    async def stats(self) -> dict[str, float]:
        """Return the bill since the run's start, keyed `service/...`."""
        return await self.owner.stats()


async def start_asker(
    config: JudgeConfig, store_root: Path | str, service: str = "judge", ledger_folder: Path | str | None = None
) -> OpenAIAsker:
    """Start the owner of a judge's calls. Raises ValueError for a judge that cannot be asked.

    `service` names the judge in metrics and in the ledger, where its calls are written if there is one.
    `config.num_replicas=0` does without Ray: each process by itself.
    """
    check_asker(config)
    root = str(Path(store_root).absolute())
    ledger = None if ledger_folder is None else str(Path(ledger_folder).absolute())
    make = partial(_make_calls, config, read_keys(config), root, service, ledger)
    owner = await SharedCalls.start(make, is_local=config.num_replicas == 0)
    return OpenAIAsker(f"{config.model} with {sorted(_arguments(config).items())}", root, owner)


def check_asker(config: JudgeConfig) -> None:
    """Raise ValueError for a judge without a model or a key."""
    if not config.model:
        raise ValueError("judge.model is empty: name the model at the endpoint")
    read_keys(config)


def endpoints_of(config: JudgeConfig) -> list[EndpointConfig]:
    """Return a judge's endpoints, each with model and concurrency filled in."""
    only = EndpointConfig(
        config.base_url,
        config.api_key_env,
        usd_per_million_input_tokens=config.usd_per_million_input_tokens,
        usd_per_million_output_tokens=config.usd_per_million_output_tokens,
    )
    return with_defaults(config.endpoints or [only], model=config.model, max_concurrency=config.max_concurrency)


def read_keys(config: JudgeConfig) -> list[Secret]:
    """Return the endpoints' keys from the environment. Raises ValueError with the variable's name."""
    return [read_key(endpoint.api_key_env, "judge") for endpoint in endpoints_of(config)]


def _arguments(config: JudgeConfig) -> dict[str, Any]:
    merged = {**DEFAULT_CALL, **config.call}
    return {name: value for name, value in merged.items() if value is not None}


def _make_calls(
    config: JudgeConfig, keys: Sequence[Secret], root: str, service: str, ledger: str | None, is_continued: bool
) -> MeteredCalls:
    budget = Budget(config.budget_calls, config.budget_usd)
    return MeteredCalls(
        Store(root),
        RetryPolicy(config.timeout_s, config.num_attempts),
        OpenAIService(config, keys, root),
        UsageLedger(service, ledger, budget=budget, is_continued=is_continued),
        hedge_after_s=config.hedge_after_s,
    )


class OpenAIService(Endpoints):
    """Sends a question to an endpoint; each answer is read strictly or is a fault."""

    def __init__(self, config: JudgeConfig, keys: Sequence[Secret], store_root: str):
        super().__init__(
            connect(settings, key, config.timeout_s, is_structured=config.structured_output)
            for settings, key in zip(endpoints_of(config), keys, strict=True)
        )
        self._store = Store(store_root)
        self._arguments = _arguments(config)
        self._is_structured = config.structured_output
        self._max_chars = config.max_reasoning_chars

    async def send(self, payload: Question, place: Slot, count: Count) -> dict[str, Any]:
        """Return the answer. Raises `CallError` with what went wrong."""
        endpoint = place.endpoint
        has_schema, is_sent = endpoint.is_structured and payload.form != TEXT, False
        try:
            content: Any = await asyncio.to_thread(_content, self._store, payload)
            is_sent = True
            completion = await endpoint.connection.chat.completions.create(
                model=endpoint.config.model,
                messages=[*_system(payload), {"role": "user", "content": content}],
                **{**(self._response_format(payload) if has_schema else {}), **self._arguments},
            )
            self._settle(place, completion, count)
            answer = _read(_text_of(completion), payload)
        except Exception as error:
            fault = fault_of_http(error)
            # It may have been answered and charged for; only the server knows.
            count("unbilled", fault.kind in ("timeout", "connection"))
            if fault.kind == "bad_request":
                fault = self._without_schema(endpoint, fault, has_schema)
            raise CallError(fault) from error
        except asyncio.CancelledError:
            count("unbilled", is_sent)
            raise
        self.record_success(place)
        return answer

    def _without_schema(self, endpoint: Endpoint, fault: Fault, had_schema: bool) -> Fault:
        """Ask an endpoint that refuses a request with a schema without one; when that is no better, it was not that."""
        endpoint.is_structured = self._is_structured and not had_schema
        return Fault("unstructured", fault.error, is_counted=False) if had_schema else fault

    def _response_format(self, question: Question) -> dict[str, Any]:
        schema = FORMS[question.form].schema(question.size, max_chars=self._max_chars)
        json_schema = {"name": question.form, "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": json_schema}}

    def _settle(self, place: Slot, completion: Any, count: Count) -> None:
        """Put on the bill what the server counted, whatever the answer is worth."""
        usage, prices = getattr(completion, "usage", None), place.endpoint.config
        if usage is None:
            count("without_usage", 1)
            place.used = place.reserved  # it has used some: the limit of a minute has to hold here too
            return
        tokens_in, tokens_out = usage.prompt_tokens or 0, usage.completion_tokens or 0
        place.used = float(tokens_in + tokens_out)
        count("tokens_in", tokens_in)
        count("tokens_out", tokens_out)
        usd = tokens_in * prices.usd_per_million_input_tokens + tokens_out * prices.usd_per_million_output_tokens
        count("usd", usd / 1e6)


def _read(text: str, question: Question) -> dict[str, Any]:
    return {"text": text} if question.form == TEXT else FORMS[question.form].parse(text, question.size)


def _system(question: Question) -> list[dict[str, Any]]:
    return [{"role": "system", "content": question.system}] if question.system else []


def _content(store: Store, question: Question) -> list[dict[str, Any]]:
    """Return the parts of a chat message, images as data URLs. Reads and encodes: call it in a thread."""
    pieces = question.text.split(IMAGE_MARK)
    if len(pieces) != len(question.images) + 1:
        raise ValueError(f"{len(pieces) - 1} {IMAGE_MARK} marks for {len(question.images)} images")
    parts: list[dict[str, Any]] = []
    for position, piece in enumerate(pieces):
        if position > 0:
            data = base64.b64encode(store.png_bytes(question.images[position - 1])).decode()
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
        if piece.strip():
            parts.append({"type": "text", "text": piece})
    return parts


def _text_of(completion: Any) -> str:
    if not getattr(completion, "choices", None):
        raise RubricError("unreadable", f"the endpoint sent no completion: {str(completion)[:200]!r}")
    choice = completion.choices[0]
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        raise RubricError("refusal", str(choice.message.refusal or "filtered")[:200])
    if choice.finish_reason == "length":
        raise RubricError("truncated", "the answer hit max_tokens: raise it in judge.call")
    return choice.message.content or ""
