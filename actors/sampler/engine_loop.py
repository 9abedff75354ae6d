"""One thread that owns a vLLM engine: it steps while there are requests and runs commands between steps.

Only this thread touches the engine, so a weight load can never overlap with a step. With asynchronous scheduling a step
is still in flight when the next one is prepared; a pause waits for it.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.sampler.stepped_engine import Generation, Output, Renderer, SteppedEngine
from rollout.roles import SamplerError, SamplerUnavailable
from rollout.text.marks import without_objects

Result = TypeVar("Result")

_COMMANDS_BETWEEN_STEPS = 16
"""So that many new requests neither hold up those that run nor wait long themselves: two groups of the usual size."""

_log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """An unfinished request."""

    prompt: Mapping[str, object]
    params: object
    answer: Future[Generation]
    version: int | None = None
    """The version that drew the first token, once another one draws."""


class EngineLoop:
    """Futures outside, one thread inside. `version` is that of the engine's weights."""

    def __init__(self, build: Callable[[], SteppedEngine]):
        """`build` makes the engine inside the thread; `ready` receives its renderer, or why there is none."""
        self.version = 0
        self.busy_s = 0.0
        """Seconds spent in the engine's steps; there are none without requests."""
        self.ready: Future[Renderer] = Future()
        self.error: BaseException | None = None
        self._build = build
        self._commands: queue.SimpleQueue[tuple[Callable[[SteppedEngine], object], Future[Any]]] = queue.SimpleQueue()
        self._waiting: dict[str, _Waiting] = {}
        self._num_ended = 0
        """Tokens of requests that ended."""
        self._ids = itertools.count()
        self._is_paused = False
        self._finishing: list[Future[None]] = []
        """Pauses that wait for what has begun; new requests are held back meanwhile."""
        threading.Thread(target=self._main, name="engine", daemon=True).start()

    def generate(self, prompt: Mapping[str, object], params: object) -> tuple[str, Future[Generation]]:
        """Queue a rendered prompt; return the request's id and a future of its answer, or of why there is none."""
        request_id = str(next(self._ids))
        answer: Future[Generation] = Future()

        def add(engine: SteppedEngine) -> None:
            self._waiting[request_id] = _Waiting(prompt, params, answer)
            if not self._finishing:
                self._add(engine, request_id)

        self._run_for(answer, add)
        return request_id, answer

    def abort(self, request_id: str) -> None:
        """Drop a request whose answer is no longer needed."""

        def drop(engine: SteppedEngine) -> None:
            if self._waiting.pop(request_id, None) is not None:
                self._withdraw(engine, [request_id])

        self.run(drop)

    def run(self, command: Callable[[Any], Result]) -> Future[Result]:
        """Call `command(engine)` between two steps and return a future of its result."""
        result: Future[Result] = Future()
        self._commands.put((command, result))
        if self.error is not None:  # the thread may have ended before it saw this
            self._fail_commands()
        return result

    def pause(self, in_flight: str = "keep") -> Future[None]:
        """Stop stepping, once the step in flight has ended; new requests queue up.

        `in_flight` says what becomes of requests that have begun (`samplers.in_flight`): keep, they wait where they
        are; wait, they are finished first; abort, they will be drawn again from the start, as if they had not begun. A
        loop that is paused cannot finish any, so that wait means abort there.
        """
        paused: Future[None] = Future()

        def stop(engine: SteppedEngine) -> None:
            self._work(engine.drain)
            if in_flight == "wait" and not self._is_paused:
                self._withdraw(engine, [request_id for request_id, drawn in engine.num_drawn().items() if not drawn])
                self._finishing.append(paused)
                return
            self._is_paused = True
            if in_flight != "keep" and any(engine.num_drawn().values()):
                self._withdraw(engine, self._waiting)
                self._add_missing(engine)
            _settle(paused, None)

        self._run_for(paused, stop)
        return paused

    def resume(self, version: int) -> Future[None]:
        """Continue, with weights of another version; what has begun was begun by the last one."""

        def go(engine: SteppedEngine) -> None:
            for request_id, num_tokens in engine.num_drawn().items():
                waiting = self._waiting[request_id]
                if num_tokens and waiting.version is None:
                    waiting.version = self.version
            self.version = version
            self._is_paused = False

        return self.run(go)

    def num_tokens(self) -> Future[int]:
        """Count the tokens drawn so far."""
        return self.run(lambda engine: self._num_ended + sum(engine.num_drawn().values()))

    def _run_for(self, future: Future[Result], command: Callable[[SteppedEngine], None]) -> None:
        """Run a command between two steps; its failure is that of a future that is settled later."""

        def fail(done: Future[None]) -> None:
            if (error := done.exception()) is not None:
                _fail(future, error)

        self.run(command).add_done_callback(fail)

    def _add(self, engine: SteppedEngine, request_id: str) -> None:
        waiting = self._waiting[request_id]
        try:
            engine.add_request(request_id, waiting.prompt, waiting.params)
        except Exception as error:
            del self._waiting[request_id]
            _fail(waiting.answer, refusal(error))

    def _add_missing(self, engine: SteppedEngine) -> None:
        """Add the requests that the engine has not, in the order in which they came."""
        known = engine.num_drawn()
        for request_id in [one for one in self._waiting if one not in known]:
            self._add(engine, request_id)

    def _withdraw(self, engine: SteppedEngine, request_ids: Iterable[str]) -> None:
        """Take requests from the engine, where it has them."""
        drawn = engine.num_drawn()
        known = [request_id for request_id in request_ids if request_id in drawn]
        self._num_ended += sum(drawn[request_id] for request_id in known)
        engine.abort_request(known)

    def _finish(self, engine: SteppedEngine) -> None:
        """Begin the pauses that have waited, with what was held back queued up."""
        self._work(engine.drain)
        self._is_paused = True
        pauses, self._finishing = self._finishing, []
        self._add_missing(engine)
        for paused in pauses:
            _settle(paused, None)

    def _main(self) -> None:
        try:
            engine = self._build()
            _settle(self.ready, engine.renderer)
            while True:
                is_idle = self._is_paused or not engine.has_unfinished_requests()
                self._run_commands(engine, is_idle)
                if not self._is_paused and engine.has_unfinished_requests():
                    self._work(engine.step)
                if self._finishing and (self._is_paused or not engine.has_unfinished_requests()):
                    self._finish(engine)
        except BaseException as error:  # the thread ends here: all who wait have to be told
            _log.exception("the vLLM engine died")
            self.error = error
            self._fail_all()

    def _work(self, step: Callable[[], Sequence[Output]]) -> None:
        began = time.monotonic()
        try:
            outputs = step()
        except BaseException as error:
            self.error = error
            raise
        self.busy_s += time.monotonic() - began
        for output in outputs:
            self._deliver(output)

    def _run_commands(self, engine: SteppedEngine, is_idle: bool) -> None:
        """Run a few of the queued commands; an idle engine waits for one."""
        for _ in range(_COMMANDS_BETWEEN_STEPS):
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
                if self.error is not None:
                    result.set_exception(self._dead())
                    raise
                result.set_exception(error)

    def _deliver(self, output: Output) -> None:
        [drawn] = output.outputs
        self._num_ended += len(drawn.token_ids)
        waiting = self._waiting.pop(output.request_id, None)
        if waiting is None:
            return
        generation = Generation(
            output.prompt_token_ids,
            drawn.token_ids,
            drawn.logprobs.logprobs,
            self.version if waiting.version is None else waiting.version,
            is_truncated=drawn.finish_reason == "length",
        )
        _settle(waiting.answer, generation)

    def _fail_all(self) -> None:
        _fail(self.ready, self._dead())
        for waiting in self._waiting.values():
            _fail(waiting.answer, self._dead())
        for paused in self._finishing:
            _fail(paused, self._dead())
        self._waiting.clear()
        self._fail_commands()

    def _fail_commands(self) -> None:
        try:
            while True:
                _fail(self._commands.get_nowait()[1], self._dead())
        except queue.Empty:
            return

    def _dead(self) -> SamplerUnavailable:
        return SamplerUnavailable(f"the vLLM engine died: {type(self.error).__name__}: {self.error}")


def refusal(error: BaseException) -> SamplerError:
    """Return what is wrong with a request: vLLM's errors list all of it, and only their first cause says it."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = " ".join(without_objects(str(error)).split()) or type(error).__name__
    return SamplerError(f"vLLM refused the request: {reason}")


def _settle(future: Future[Result], result: Result) -> None:
    """Set a future's result, unless it has one already or was cancelled by its caller."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_result(result)


def _fail(future: Future[Result], error: BaseException) -> None:
    """Set a future's error, likewise."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
