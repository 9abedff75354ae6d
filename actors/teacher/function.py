"""fn: a function of texts and pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.run_context import RunContext
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import TeacherKind
from actors.teacher.registry import SERVED
from rewards.compose import why_not_loaded
from rewards.functions.import_path import anchored, identity_of, load_function
from rollout.roles import Critic, Planner


class FunctionKind(TeacherKind):
    """A function (`fn`), in threads of this process."""

    unused = SERVED | {"ask"}

    def describe(self, config: TeacherConfig, role: str) -> dict[str, str]:
        with _explained(config.fn):
            return {"fn": identity_of(anchored(config.fn, Path.cwd()))}

    def check(self, config: TeacherConfig, role: str) -> None:
        _load(config.fn)

    async def start(self, config: TeacherConfig, context: RunContext, template: str) -> Planner | Critic:
        from actors.store.store import Store
        from actors.teacher.teacher import FunctionTeacher

        return FunctionTeacher(_load(config.fn), Store(context.store_root))


def _load(path: str) -> Any:
    with _explained(path):
        return load_function(anchored(path, Path.cwd()))


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"a teacher's fn is {path!r}: {why_not_loaded(error)}") from error


KIND = FunctionKind()
