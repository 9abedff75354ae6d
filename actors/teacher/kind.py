"""The interface of a kind of teacher."""

from abc import ABC, abstractmethod

from actors.run_context import RunContext
from actors.teacher.config import TeacherConfig
from actors.teacher.registry import TeacherTraits, load_kind
from rollout.roles import Critic, Planner


class TeacherKind(TeacherTraits, ABC):
    """One kind of teacher. Its file is imported for every recipe, so its methods import what loads slowly."""

    @abstractmethod
    def describe(self, config: TeacherConfig, role: str) -> dict[str, str]:
        """Return what its answers depend on besides the prompt. Raises ValueError for what is missing."""

    @abstractmethod
    def check(self, config: TeacherConfig, role: str) -> None:
        """Raise ValueError for what it lacks beyond `describe`. Starts nothing."""

    @abstractmethod
    async def start(self, config: TeacherConfig, context: RunContext, template: str) -> Planner | Critic:
        """Return both in one, or only that of `context.area` (an expert is a critic)."""


def kind_of(config: TeacherConfig) -> TeacherKind:
    """Return a teacher's kind."""
    kind: TeacherKind = load_kind(config.kind_name)
    return kind
