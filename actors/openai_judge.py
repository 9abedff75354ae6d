"""A judge behind an OpenAI-compatible endpoint: one question with images in, two checked scores out."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from actors.config import JudgeConfig
from actors.retry import Fault
from actors.store import Store
from rewards.rubric import IMAGE_MARK, RubricError, parse_scores
from rollout.types import ImageRef

DEFAULT_CALL = {"temperature": 0.0, "max_tokens": 1024}
RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
KIND_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 408: "timeout", 429: "rate_limit"}


@dataclass(frozen=True, slots=True)
class Question:
    """A rendered rubric with an `<image>` mark for each image, in order."""

    text: str
    images: tuple[ImageRef, ...]


class Secret:
    """A string that no repr, log or traceback shows."""

    def __init__(self, value: str):
        self.value = value

    def __repr__(self) -> str:
        return "Secret(***)"


def read_key(config: JudgeConfig) -> str:
    """Return the key from the environment. Raises ValueError with the variable's name."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ValueError(
            f"the judge's key is missing: set the environment variable {config.api_key_env} "
            f"(any text for an endpoint without keys), or name another one in judge.api_key_env"
        )
    return key


class OpenAIReplica:
    """Asks the endpoint; each answer is either scores or a `Fault` that says whether to try again."""

    def __init__(self, config: JudgeConfig, key: Secret, store_root: str):
        from openai import AsyncOpenAI

        # Its own retries are off: they would hide from our count and our deadline.
        self._client = AsyncOpenAI(api_key=key.value, base_url=config.base_url, max_retries=0, timeout=config.timeout_s)
        self._store = Store(store_root)
        self._model = config.model
        merged = {**DEFAULT_CALL, **config.call}
        self._arguments = {name: value for name, value in merged.items() if value is not None}

    async def __call__(self, question: Question) -> dict[str, Any] | Fault:
        """Return `{"scores": [a, b], "reasoning": str}`, or why there are none."""
        import openai

        try:
            messages: Any = [{"role": "user", "content": await asyncio.to_thread(self._content, question)}]
            completion = await self._client.chat.completions.create(
                model=self._model, messages=messages, **self._arguments
            )
            return parse_scores(_text_of(completion))
        except FileNotFoundError as error:
            return Fault("no_image", str(error), is_retryable=False)
        except RubricError as error:
            return Fault(error.kind, str(error))
        except openai.APITimeoutError:
            return Fault("timeout", "the endpoint did not answer in time")
        except openai.APIConnectionError as error:
            return Fault("connection", str(error.__cause__ or error)[:500])
        except openai.APIStatusError as error:
            return _status_fault(error)
        except Exception as error:
            return Fault("unreadable", f"{type(error).__name__}: {error}"[:500])

    def check_health(self) -> None:
        """A client without state is always well; the endpoint's health shows in the answers."""

    def _content(self, question: Question) -> list[dict[str, Any]]:
        pieces = question.text.split(IMAGE_MARK)
        if len(pieces) != len(question.images) + 1:
            raise RubricError("shape", f"{len(pieces) - 1} {IMAGE_MARK} marks for {len(question.images)} images")
        parts: list[dict[str, Any]] = []
        for position, piece in enumerate(pieces):
            if position > 0:
                data = base64.b64encode(self._store.png_bytes(question.images[position - 1])).decode()
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


def _status_fault(error: Any) -> Fault:
    status = error.status_code
    kind = KIND_BY_STATUS.get(status, "server_error" if status >= 500 else "bad_request")
    # An exhausted account answers 429 too, but waiting does not fill it.
    is_broke = getattr(error, "code", None) == "insufficient_quota"
    is_retryable = (status in RETRYABLE_STATUS or status >= 500) and not is_broke
    wish = error.response.headers.get("retry-after")
    return Fault(kind, f"HTTP {status}: {str(error)[:400]}", is_retryable, retry_after_s=retry_after_s(wish))


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds or a date.

    >>> retry_after_s("1.5"), retry_after_s("soon"), retry_after_s(None)
    (1.5, None, None)
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
