"""The walk from `interleave train` to its first rollout: the files of rl/ and actors/ that it enters, in order.

It is a real command, on a recipe of real components, but for what starts something expensive (`DOORS`): such a door's
file is entered, and what lies behind it is not.

The walk begins when the recipe has been read, and ends where the first group is handed to a rollout worker. A file is
**entered** when a function of it begins and the one that began before it was of another file. An entry of a file that
was entered before is a **return**: to a file already left. So a walk of E entries has F files and E - F returns, and a
caller that calls one file after the other, and helpers of its own in between, is returned to for each of these.

What enters nothing by itself: what runs while a module is imported, `__post_init__`, lambdas, comprehensions, and
coroutines that go on. Of what was handed over to a thread or the event loop nobody can tell when it runs: all that a
thread or a callback of the loop calls, and the function that a task begins with, count as files, but for no return.
"""

from __future__ import annotations

import contextlib
import dis
import importlib
import inspect
import io
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

REPO = Path(__file__).resolve().parents[2]
RECIPE = REPO / "recipes" / "shapes_grpo.yaml"
DOORS = (
    "actors.cluster:ray_cluster",
    "actors.shared_devices:reserve_devices",
    "actors.policy.policy:Policy.start",
    "actors.sampler.sampler:Samplers.start",
    "actors.generator.generator:Generator.start",
    "actors.judge.judge:start_judge",
    "actors.store.ledger_writer:start_ledger",
    "actors.rollout_worker:RolloutWorkers.start",
)
"""Module and name of what is not really started. One that was renamed is an error here, not another number."""

_RESUME = dis.opmap["RESUME"]


class FirstRollout(Exception):
    """The walk is at its end."""


class Walk:
    """The files under `roots` that are entered, in order, until `is_over` is set."""

    def __init__(self, *roots: Path):
        self.entries: list[str] = []
        self._handed_over: dict[str, None] = {}
        self._roots = roots
        self._names: dict[str, str | None] = {}
        self._is_open = False
        self.is_over = False

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys([*self.entries, *self._handed_over]))

    @property
    def num_returns(self) -> int:
        return len(self.entries) - len(set(self.entries))

    @contextlib.contextmanager
    def observing(self, begins_after: CodeType | None = None) -> Iterator[Walk]:
        """Follow all that is called in this block, from where `begins_after` has returned."""
        self._is_open = begins_after is None

        def observe(frame: FrameType, event: str, argument: object) -> None:
            if event == "return" and frame.f_code is begins_after:
                self._is_open = True
            elif event == "call" and self._is_open and self._name(frame.f_code) and _begins(frame):
                self._call(frame)

        threading.setprofile(observe)
        sys.setprofile(observe)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def enter(self, code: CodeType, *, is_handed_over: bool = False) -> None:
        name = self._name(code)
        if name is None or not self._is_open or self.is_over:
            return
        if is_handed_over:
            self._handed_over[name] = None
        elif self.entries[-1:] != [name]:
            self.entries.append(name)

    def _call(self, frame: FrameType) -> None:
        root, at = frame, frame.f_back
        while at is not None and not _hands_over(at):
            if at.f_code.co_filename.startswith("<frozen importlib"):
                return
            if self._name(at.f_code):
                root = at
            at = at.f_back
        is_in_thread = threading.current_thread() is not threading.main_thread()
        is_callback = at is not None and not root.f_code.co_flags & inspect.CO_COROUTINE
        begins_task = at is not None and root is frame
        self.enter(frame.f_code, is_handed_over=is_in_thread or is_callback or begins_task)

    def _name(self, code: CodeType) -> str | None:
        file = code.co_filename
        if file not in self._names:
            root = next((root for root in self._roots if Path(file).is_relative_to(root)), None)
            self._names[file] = None if root is None else Path(file).relative_to(root.parent).as_posix()
        return self._names[file]


def _hands_over(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name in ("_run", "_run_once") and Path(code.co_filename).parent.name == "asyncio"


def _begins(frame: FrameType) -> bool:
    """Whether a function begins: RESUME has another argument where one goes on (Python 3.11, `dis`)."""
    code, at = frame.f_code, frame.f_lasti
    if code.co_name.startswith("<") or code.co_name == "__post_init__" or not code.co_flags & inspect.CO_OPTIMIZED:
        return False
    return code.co_code[at] == _RESUME and code.co_code[at + 1] & 3 == 0


class _Actor:
    """What a door leads to: answers whatever it is asked, at once where its `kind` does; the first group ends it."""

    def __init__(self, walk: Walk, kind: type | None = None):
        self._walk, self._kind = walk, kind

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("__"):
            raise AttributeError(name)

        async def answer(*arguments: Any, **options: Any) -> dict[str, float]:
            return {}

        real = getattr(self._kind, name, None)
        is_plain = inspect.isfunction(real) and not inspect.iscoroutinefunction(real)
        return (lambda *arguments, **options: {}) if is_plain else answer

    def begin(self, step: int) -> None:
        """A ledger's."""

    async def roll_out(self, request: object) -> None:
        self._walk.is_over = True
        raise FirstRollout


def walk_to_first_rollout(recipe: Path = RECIPE) -> Walk:
    """Give the command `interleave train RECIPE` and return its walk. Raises RuntimeError if it rolls nothing out."""
    from rl.cli.main import main
    from rl.recipe.reader import load_recipe

    walk, told = Walk(REPO / "rl", REPO / "actors"), io.StringIO()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for door in DOORS:
            _fake(door, walk, stack)
        stack.enter_context(contextlib.redirect_stdout(told))
        stack.enter_context(contextlib.redirect_stderr(told))
        stack.enter_context(walk.observing(begins_after=load_recipe.__code__))
        overrides = [f"run_dir={folder}/run", f"store={folder}/store", "tracking.backends=[]"]
        try:
            code = main(["train", str(recipe), *overrides])
        except Exception:  # a run that ends there may find other things wrong on its way out
            if not walk.is_over:
                raise
    if not walk.is_over:
        raise RuntimeError(f"`interleave train` ended with {code} before its first rollout: {told.getvalue().strip()}")
    return walk


def _fake(door: str, walk: Walk, stack: contextlib.ExitStack) -> None:
    """Put a fake in the place of a door, wherever it was imported to. Raises RuntimeError where there is none."""
    module, _, path = door.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    try:
        for part in classes:
            owner = getattr(owner, part)
        real = getattr(owner, name)
    except AttributeError:
        raise RuntimeError(f"there is no {door}: name in DOORS of {__file__} what starts it now") from None
    code, kind = inspect.unwrap(real).__code__, owner if classes else None

    async def start(*arguments: Any, **options: Any) -> _Actor:
        return _Actor(walk, kind)

    def fake(*arguments: Any, **options: Any) -> Any:
        walk.enter(code)
        if inspect.isasyncgenfunction(inspect.unwrap(real)):
            return _nothing()
        return start() if inspect.iscoroutinefunction(real) else _Actor(walk, kind)

    for holder in [owner] if classes else list(sys.modules.values()):
        if vars(holder).get(name) is real or classes:
            stack.enter_context(patch.object(holder, name, fake))


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
