"""Questions to a vision-language judge behind OpenAI-compatible endpoints, each paid for once in a run.

The owner itself sends the HTTP requests: they are nothing but waiting, only one process can hold to the
limits of a minute, and a replica in between would copy every image once more and know less.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.judge.config import JudgeConfig
from actors.judge.question import TEXT, Question
from actors.judge.schema_trial import Asking, SchemaTrial, Verdict
from actors.metered.answers import text_of, usage_of
from actors.metered.call_arguments import check_chat_call
from actors.metered.config import EndpointConfig
from actors.metered.connections import Secret, check_connections, connect, read_key
from actors.metered.endpoints import Endpoint, Endpoints, Slot, with_defaults
from actors.metered.http_faults import fault_at
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Count
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.image_files import image_part
from actors.store.place import placed
from actors.store.store import Store
from rewards.judging.rubric import FORMS
from rollout.text.marks import IMAGE_MARK
from rollout.text.messages import message_parts
from rollout.text.unwrap import unwrapped

DEFAULT_CALL = {"temperature": 0.0, "max_tokens": 1024}
_WITHOUT_SCHEMA = Asking(has_schema=False)
_NO_MODEL = re.compile(r"no (such )?model|model_not_found|model\b.{0,200}(not exist|not found|unknown)", re.IGNORECASE)
"""How endpoints say that it is the model which they do not have."""


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

    async def ask(self, question: Question) -> dict[str, object]:
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
        answer: dict[str, object] = await self.owner.get(depends_on, question)
        return answer

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
    root = placed(store_root)
    ledger = None if ledger_folder is None else str(Path(ledger_folder).absolute())
    make = partial(_make_calls, config, read_keys(config), root, service, ledger)
    owner = await SharedCalls.start(make, is_local=config.num_replicas == 0)
    return OpenAIAsker(f"{config.model} with {sorted(arguments_of(config).items())}", root, owner)


def check_asker(config: JudgeConfig, where: str = "judge") -> None:
    """Raise ValueError for a judge without a model or a key, or whose client or call cannot be made here.

    `where` is its section of the recipe.
    """
    if not config.model:
        raise ValueError(f"{where}.model is empty: name the model at the endpoint")
    read_keys(config, where)
    check_chat_call(config.call, where)
    check_connections(endpoints_of(config), where, are_listed=bool(config.endpoints))


def endpoints_of(config: JudgeConfig) -> list[EndpointConfig]:
    """Return a judge's endpoints, each with model and concurrency filled in."""
    only = EndpointConfig(
        config.base_url,
        config.api_key_env,
        usd_per_million_input_tokens=config.usd_per_million_input_tokens,
        usd_per_million_output_tokens=config.usd_per_million_output_tokens,
    )
    return with_defaults(config.endpoints or [only], model=config.model, max_concurrency=config.max_concurrency)


def read_keys(config: JudgeConfig, where: str = "judge") -> list[Secret]:
    """Return the endpoints' keys from the environment. Raises ValueError with the variable's name."""
    return [read_key(endpoint.api_key_env, where) for endpoint in endpoints_of(config)]


def arguments_of(config: JudgeConfig) -> dict[str, object]:
    """Return the keyword arguments of a judge's calls."""
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
        self._arguments = arguments_of(config)
        self._is_structured = config.structured_output
        self._max_chars = config.max_reasoning_chars
        self._trials: dict[tuple[Endpoint, str], SchemaTrial] = {}

    async def send(self, payload: Question, place: Slot, count: Count) -> dict[str, object]:
        """Return the answer. Raises `CallError` with what went wrong."""
        endpoint, trial = place.endpoint, self._trial(place.endpoint, payload)
        asking = _WITHOUT_SCHEMA if trial is None else trial.ask()
        is_sent, is_answered = False, False
        try:
            content: object = await asyncio.to_thread(_content, self._store, payload)
            is_sent = True
            completion = await endpoint.connection.chat.completions.create(
                model=endpoint.config.model,
                messages=[*_system(payload), {"role": "user", "content": content}],
                **{**(self._response_format(payload) if asking.has_schema else {}), **self._arguments},
            )
            self._settle(place, completion, count)
            text = text_of(completion)
            is_answered = True
            answer = _read(text, payload, endpoint.key, count)
        except Exception as error:
            fault = fault_at(endpoint, error)
            # It may have been answered and charged for; only the server knows.
            count("unbilled", fault.kind in ("timeout", "connection"))
            # Whatever the error itself says (the key, too) is told no further.
            raise CallError(self._without_schema(place, fault, asking, trial)) from None
        except asyncio.CancelledError:
            count("unbilled", is_sent)
            raise
        finally:
            if trial is not None:
                trial.answered(asking) if is_answered else trial.gave_up(asking)
        self.record_success(place)
        count("without_schema", self._is_structured and payload.form != TEXT and not asking.has_schema)
        return answer

    def _trial(self, endpoint: Endpoint, question: Question) -> SchemaTrial | None:
        """Return what is known of an endpoint and a form's schema; None where none is sent."""
        if not endpoint.is_structured or question.form == TEXT:
            return None
        return self._trials.setdefault((endpoint, question.form), SchemaTrial())

    def _without_schema(self, place: Slot, fault: Fault, asking: Asking, trial: SchemaTrial | None) -> Fault:
        """Have an endpoint that refuses a request with a schema asked without one; return the fault as it is meant.

        HTTP 400, and 404 of a model that may be there, mean the schema until the same without one is no better;
        HTTP 5xx has to be found out about.
        """
        is_lost = fault.kind == "not_found" and not _NO_MODEL.search(fault.error)
        if fault.kind == "bad_request" or is_lost:
            place.endpoint.is_structured = self._is_structured and not asking.has_schema
            return Fault("unstructured", fault.error, is_counted=False) if asking.has_schema else fault
        if fault.kind != "server_error" or trial is None:
            return fault
        verdict = trial.failed(asking)
        place.is_echo = verdict is Verdict.ECHO
        return Fault("unstructured", fault.error, is_counted=False) if verdict is Verdict.REFUSAL else fault

    def _response_format(self, question: Question) -> dict[str, object]:
        schema = FORMS[question.form].schema(question.size, max_chars=self._max_chars)
        json_schema = {"name": question.form, "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": json_schema}}

    def _settle(self, place: Slot, completion: object, count: Count) -> None:
        """Put on the bill what the server counted, whatever the answer is worth."""
        usage, prices = usage_of(completion), place.endpoint.config
        place.used = float(usage.tokens_in + usage.tokens_out)
        if not usage.is_whole:
            count("without_usage", 1)
            place.used = max(place.used, place.reserved)  # it has used some: a minute's limit has to hold here too
        count("tokens_in", usage.tokens_in)
        count("tokens_out", usage.tokens_out)
        by_tokens = (
            usage.tokens_in * prices.usd_per_million_input_tokens
            + usage.tokens_out * prices.usd_per_million_output_tokens
        )
        count("usd", by_tokens / 1e6)


def _read(text: str, question: Question, key: Secret | None, count: Count) -> dict[str, object]:
    """Return an answer as its form reads it; what was read round is counted."""
    if key is not None:
        text = key.hidden_in(text, is_answer=True)
    if question.form == TEXT:
        return {"text": text}
    answer = FORMS[question.form].parse(text, question.size)
    _, kinds = unwrapped(text)
    count("lenient_reads", bool(kinds))
    for kind in kinds:
        count(f"lenient_reads_{kind}", 1)
    return answer


def _system(question: Question) -> list[dict[str, object]]:
    return [{"role": "system", "content": question.system}] if question.system else []


def _content(store: Store, question: Question) -> list[dict[str, Any]]:
    """Return the parts of a chat message, images as data URLs. Reads and encodes: call it in a thread."""
    parts = message_parts(question.text, lambda text: text if text.strip() else "")
    if (num_marks := sum(part["type"] == "image" for part in parts)) != len(question.images):
        raise ValueError(f"{num_marks} {IMAGE_MARK} marks for {len(question.images)} images")
    images = iter(question.images)
    return [image_part(store.png_bytes(next(images))) if part["type"] == "image" else part for part in parts]
