"""kind: ensemble, several judges as one."""

from actors.judge.config import JudgeConfig, member_names
from actors.judge.judge import JudgeKind, kind_of
from actors.judge.registry import ASKING
from actors.run_context import RunContext
from rollout.concurrency import all_of
from rollout.roles import Judge


class EnsembleKind(JudgeKind):
    """`judge.members`, combined by `judge.combine`."""

    has_members = True
    unused = ASKING | {"scorer"}

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        return {
            f"{name}.{key}": what
            for name, member in zip(member_names(config), config.member_configs, strict=True)
            for key, what in kind_of(member).describe(member).items()
        }

    def check_settings(self, config: JudgeConfig, where: str) -> None:
        """Nothing is its own: the members are checked by themselves."""

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.ensemble import EnsembleJudge

        names = member_names(config)
        starting = [
            kind_of(member).start(member, context.member(number, name))
            for number, (name, member) in enumerate(zip(names, config.member_configs, strict=True))
        ]
        members = dict(zip(names, await all_of(starting), strict=True))
        return EnsembleJudge(members, config.combine, context.area)

    def sees_both(self, config: JudgeConfig) -> bool:
        return all(kind_of(member).sees_both(member) for member in config.member_configs)

    def num_gpus(self, config: JudgeConfig) -> float:
        return sum(kind_of(member).num_gpus(member) for member in config.member_configs)


KIND = EnsembleKind()
