"""ask: a model behind endpoints, or on the build's own GPUs; each question is paid for once."""

from actors.judge.judge import kind_of
from actors.judge.kinds.asked import AskedKind
from actors.run_context import RunContext
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import TeacherKind
from actors.teacher.registry import SERVED
from rollout.roles import Critic, Planner


class AskedTeacherKind(TeacherKind):
    """A model, configured like a judge that is asked (`ask`)."""

    is_asked = True
    unused = SERVED | {"fn"}

    def describe(self, config: TeacherConfig, role: str) -> dict[str, str]:
        if not config.ask.model:
            raise ValueError(
                f"the teacher {role} needs fn (a function), model (a checkpoint) or ask.model (a model to ask)"
            )
        return {"model": _model(config).model_label(config.ask), "call": str(sorted(config.ask.call.items()))}

    def check(self, config: TeacherConfig, role: str) -> None:
        _model(config).check(config.ask, f"{role}.ask")

    async def start(self, config: TeacherConfig, context: RunContext, template: str) -> Planner | Critic:
        from actors.store.store import Store
        from actors.teacher.teacher import AskedTeacher

        asker, _ = await _model(config).start_asker(config.ask, context)
        return AskedTeacher(asker, template, Store(context.store_root))


def _model(config: TeacherConfig) -> AskedKind:
    kind = kind_of(config.ask)
    assert isinstance(kind, AskedKind)
    return kind


KIND = AskedTeacherKind()
