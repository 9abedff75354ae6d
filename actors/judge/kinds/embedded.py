"""kind: embedded, a function in this process or in replicas."""

from actors.judge.config import JudgeConfig
from actors.judge.judge import JudgeKind
from actors.run_context import RunContext
from rewards.functions.import_path import FunctionError, identity_of, load_function
from rollout.roles import Judge


class EmbeddedKind(JudgeKind):
    """`judge.scorer`: a function of the images and the instruction."""

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        try:
            load_function(config.scorer)
        except (FunctionError, ImportError) as error:
            raise ValueError(f"judge.scorer is {config.scorer!r}: {error}") from error
        return {"scorer": identity_of(config.scorer)}

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.embedded import start_embedded_judge

        return await start_embedded_judge(config, context)

    def num_gpus(self, config: JudgeConfig) -> float:
        return config.num_replicas * config.gpus_per_replica


KIND = EmbeddedKind()
