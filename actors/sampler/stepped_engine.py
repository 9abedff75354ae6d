"""What an engine loop calls of an engine, and what it makes of the answers. Does not import vLLM."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Generation:
    """What the engine has drawn for one request."""

    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]
    logprobs: Sequence[float]
    """One per token of `token_ids`."""
    version: int
    """The version of the weights that drew the first token."""
    is_truncated: bool


class Output(Protocol):
    """A finished request, as vLLM's `RequestOutput`."""

    request_id: str
    prompt_token_ids: Sequence[int]
    outputs: Sequence["Completion"]


class Completion(Protocol):
    """What was drawn, as vLLM's `CompletionOutput`."""

    token_ids: Sequence[int]
    logprobs: "Logprobs"
    finish_reason: str | None


class Logprobs(Protocol):
    """Of drawn tokens alone, as vLLM's `FlatLogprobs`."""

    logprobs: Sequence[float]


class Renderer(Protocol):
    """vLLM's `BaseRenderer`: it has threads of its own, and caches processed images by their content."""

    def render_cmpl_async(self, prompts: Sequence[Mapping[str, object]]) -> Awaitable[list[dict[str, object]]]: ...


class SteppedEngine(Protocol):
    """What the loop calls of `actors.sampler.vllm_engine.VllmEngine`."""

    @property
    def renderer(self) -> Renderer: ...

    def add_request(self, request_id: str, prompt: Mapping[str, object], params: object) -> object: ...

    def abort_request(self, request_ids: list[str]) -> None: ...

    def has_unfinished_requests(self) -> bool: ...

    def step(self) -> Sequence[Output]:
        """Start a step, end the oldest one that there is room for; return the requests that it finished."""
        ...

    def drain(self) -> Sequence[Output]:
        """End the steps in flight, start none; return the requests that they finished."""
        ...

    def num_drawn(self) -> Mapping[str, int]:
        """Return the number of tokens that ended steps drew for each unfinished request."""
        ...
