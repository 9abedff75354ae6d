"""kind: my_module:MyTeacher, a user-defined class (`actors.user_classes.roles.UserTeacher`)."""

from actors.run_context import RunContext
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import TeacherKind
from actors.teacher.registry import SERVED
from actors.user_classes.classes import UserClass
from rollout.roles import Critic, Planner

_CRITICISE = {"criticise": ("question", "seed")}
_METHODS = {"planner": {"plan": ("question", "seed")}, "critic": _CRITICISE, "expert": _CRITICISE}


class OwnKind(TeacherKind):
    """The class that `kind` names, made with `options`, in this process."""

    unused = SERVED | {"fn", "ask"}

    def describe(self, config: TeacherConfig, role: str) -> dict[str, str]:
        return {"class": _class(config, role).anchored().identity}

    def check(self, config: TeacherConfig, role: str) -> None:
        _class(config, role).make()

    async def start(self, config: TeacherConfig, context: RunContext, template: str) -> Planner | Critic:
        from actors.store.store import Store
        from actors.teacher.teacher import OwnTeacher

        made = _class(config, context.area).make()
        if load := getattr(made, "load", None):
            load()
        return OwnTeacher(made, Store(context.store_root))


def _class(config: TeacherConfig, role: str) -> UserClass:
    assert config.kind is not None
    return UserClass(config.kind, config.options, _METHODS[role], f"{role}.kind")


KIND = OwnKind()
