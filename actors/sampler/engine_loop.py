"""One thread that owns a vLLM engine: it steps while there are requests and runs commands between steps.

Only this thread touches the engine, so a weight load can never overlap with a step.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rollout.roles import SamplerError, SamplerUnavailable
from rollout.text.marks import without_objects

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


@dataclass
class Generation:
    """What the engine has drawn for one request so far."""

    prompt_token_ids: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    version: int | None = None
    """The version that drew the first token."""
    is_truncated: bool = False


class EngineLoop:
    """Futures outside, one thread inside. `version` is that of the engine's weights."""

    def __init__(self, build: Callable[[], Any]):
        """`build` makes the LLMEngine; it is called inside the thread and `ready` receives its failure."""
        self.version = 0
        self.busy_s = 0.0
        """Seconds spent in the engine's steps; there are none without requests."""
        self.num_tokens = 0
        """Tokens drawn."""
        self.ready: Future[None] = Future()
        self.error: BaseException | None = None
        self._build = build
        self._commands: queue.SimpleQueue[tuple[Callable[[Any], Any], Future[Any]]] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[Generation, Future[Generation]]] = {}
        self._ids = itertools.count()
        self._is_paused = False
        threading.Thread(target=self._main, name="engine", daemon=True).start()

    def generate(self, prompt: dict[str, Any], params: Any) -> tuple[str, Future[Generation]]:
        """Queue a request; return its id and a future of its answer, or of why there is none."""
        request_id = str(next(self._ids))
        answer: Future[Generation] = Future()

        def add(engine: Any) -> None:
            self._waiting[request_id] = (Generation(), answer)
            try:
                engine.add_request(request_id, prompt, params)
            except Exception as error:
                del self._waiting[request_id]
                _settle(answer, error=SamplerError(f"vLLM refused the request: {_reason(error)}"))

        def fail(done: Future[None]) -> None:
            if done.exception() is not None:
                _settle(answer, error=done.exception())

        self.run(add).add_done_callback(fail)
        return request_id, answer

    def abort(self, request_id: str) -> None:
        """Drop a request whose answer is no longer needed."""

        def drop(engine: Any) -> None:
            if self._waiting.pop(request_id, None) is not None:
                engine.abort_request([request_id])

        self.run(drop)

    def run(self, command: Callable[[Any], Result]) -> Future[Result]:
        """Call `command(engine)` between two steps and return a future of its result."""
        result: Future[Result] = Future()
        if self.error is not None:
            result.set_exception(self._dead())
        else:
            self._commands.put((command, result))
        return result

    def pause(self) -> Future[None]:
        """Stop stepping; requests wait where they are and new ones queue up."""
        return self.run(lambda engine: setattr(self, "_is_paused", True))

    def resume(self, version: int) -> Future[None]:
        """Continue, with weights of another version."""

        def go(engine: Any) -> None:
            self.version = version
            self._is_paused = False

        return self.run(go)

    def _main(self) -> None:
        try:
            engine = self._build()
            _settle(self.ready)
            while True:
                is_idle = self._is_paused or not engine.has_unfinished_requests()
                self._run_commands(engine, is_idle)
                if not self._is_paused and engine.has_unfinished_requests():
                    began = time.monotonic()
                    outputs = engine.step()
                    self.busy_s += time.monotonic() - began
                    for output in outputs:
                        self._deliver(output)
        except BaseException as error:  # the thread ends here: all who wait have to be told
            _log.exception("the vLLM engine died")
            self.error = error
            self._fail_all()

    def _run_commands(self, engine: Any, is_idle: bool) -> None:
        """Run the queued commands; an idle engine waits for one."""
        while True:
            try:
                command, result = self._commands.get(block=is_idle)
            except queue.Empty:
                return
            is_idle = False
            if not result.set_running_or_notify_cancel():
                continue
            try:
                result.set_result(command(engine))
            except Exception as error:
                result.set_exception(error)

    def _deliver(self, output: Any) -> None:
        if output.request_id not in self._waiting:
            return
        generation, answer = self._waiting[output.request_id]
        piece = output.outputs[0]
        if output.prompt_token_ids is not None:
            generation.prompt_token_ids = output.prompt_token_ids
        if generation.version is None and piece.token_ids:
            generation.version = self.version
        generation.token_ids += piece.token_ids
        self.num_tokens += len(piece.token_ids)
        generation.logprobs += [
            entry[token].logprob for token, entry in zip(piece.token_ids, piece.logprobs or [], strict=True)
        ]
        if output.finished:
            del self._waiting[output.request_id]
            generation.is_truncated = piece.finish_reason == "length"
            _settle(answer, generation)

    def _fail_all(self) -> None:
        _settle(self.ready, error=self._dead())
        for _, answer in self._waiting.values():
            _settle(answer, error=self._dead())
        self._waiting.clear()
        while not self._commands.empty():
            _settle(self._commands.get()[1], error=self._dead())

    def _dead(self) -> SamplerUnavailable:
        return SamplerUnavailable(f"the vLLM engine died: {type(self.error).__name__}: {self.error}")


def _reason(error: BaseException) -> str:
    """Return what is wrong: vLLM's errors list the whole request, and only their first cause says it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(without_objects(str(error)).split()) or type(error).__name__


def _settle(future: Future[Any], result: Any = None, *, error: BaseException | None = None) -> None:
    """Set a future's result or error, unless it has one already or was cancelled by its caller."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
