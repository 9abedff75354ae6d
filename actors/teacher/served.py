"""model: a checkpoint of planner or critic on the build's own samplers: the one that is to learn, as it acts now."""

from pathlib import Path

from actors.model_digest import model_digest
from actors.run_context import RunContext
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import TeacherKind
from rollout.roles import Critic, Planner


class ServedKind(TeacherKind):
    """A checkpoint (`model`), asked as it is in stories."""

    is_served = True
    unused = frozenset({"fn", "ask"})

    def describe(self, config: TeacherConfig, role: str) -> dict[str, str]:
        if not config.model:
            raise ValueError(f"{role}.kind is served: set {role}.model, a folder or a hub id")
        folder = Path(config.model)
        digest = f"@{model_digest(folder)[:16]}" if folder.is_dir() else ""
        return {"model": f"{config.model}{digest}", "temperature": str(config.temperature)}

    def check(self, config: TeacherConfig, role: str) -> None:
        config.samplers.check_answers(config.max_tokens, f"{role}.max_tokens", f"{role}.samplers")

    async def start(self, config: TeacherConfig, context: RunContext, template: str) -> Planner | Critic:
        from actors.sampler.sampler import Samplers
        from rollout.agents import ModelCritic, ModelPlanner
        from rollout.types import SamplingParams

        samplers = await Samplers.start(
            config.samplers, config.model, store_root=context.store_root, is_published=False
        )
        agent = ModelPlanner if context.area == "planner" else ModelCritic
        return agent(samplers, template, SamplingParams(config.temperature, config.max_tokens))


KIND = ServedKind()
