"""kind: embedded, a function in this process or in replicas."""

from __future__ import annotations

from actors.judge.config import JudgeConfig
from actors.judge.kind import JudgeKind
from actors.run_context import RunContext
from rewards.functions import identity_of
from rollout.roles import Judge


class EmbeddedKind(JudgeKind):
    """`judge.scorer`: a function of the images and the instruction."""

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        from actors.judge.embedded import load_scorer

        load_scorer(config.scorer)
        return {"scorer": identity_of(config.scorer)}

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.embedded import start_embedded_judge

        return await start_embedded_judge(config, context)

    def num_gpus(self, config: JudgeConfig) -> float:
        return config.num_replicas * config.gpus_per_replica


KIND = EmbeddedKind()
