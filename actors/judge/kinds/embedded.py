"""kind: embedded, a function in this process or in replicas."""

from functools import partial
from pathlib import Path

from actors.judge.config import JudgeConfig
from actors.judge.judge import JudgeKind
from actors.judge.registry import ASKING
from actors.run_context import RunContext
from actors.user_classes.trial import Code, Replica
from rewards.compose import RewardError, import_function
from rewards.functions.import_path import anchored, identity_of
from rollout.roles import Judge


class EmbeddedKind(JudgeKind):
    """`judge.scorer`: a function of the images and the instruction."""

    unused = ASKING

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        try:
            import_function(config.scorer)
        except RewardError as error:
            raise ValueError(f"judge.scorer is {config.scorer!r}: {error.detail}") from error
        return {"scorer": identity_of(config.scorer)}

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.embedded import start_embedded_judge

        return await start_embedded_judge(config, context)

    def code_of(self, config: JudgeConfig) -> Code:
        return Code("scorer", config.scorer, partial(_replica, anchored(config.scorer, Path.cwd())))

    def num_gpus(self, config: JudgeConfig) -> float:
        return config.num_replicas * config.gpus_per_replica


def _replica(scorer: str, store_root: str) -> Replica:
    from actors.judge.embedded import EmbeddedReplica

    return EmbeddedReplica(scorer, store_root)


KIND = EmbeddedKind()
