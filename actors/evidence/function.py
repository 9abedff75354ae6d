"""fn: a function of the pictures, whose answer is the evidence."""

from functools import partial

from actors.evidence.config import EvidenceConfig
from actors.evidence.kind import EvidenceKind
from actors.run_context import RunContext
from actors.user_classes.trial import Code, Replica
from rewards.compose import RewardError
from rewards.functions.import_path import identity_of
from rollout.roles import EvidenceProvider


class FunctionEvidence(EvidenceKind):
    """A function (`fn`): a built-in one runs in threads, a user-defined one in its own process."""

    unused = frozenset({"judge"})

    def check(self, name: str, config: EvidenceConfig) -> None:
        from actors.user_functions.looks import check_function

        try:
            check_function(config.fn)
        except RewardError as error:
            raise ValueError(f"evidence.{name}.fn {config.fn}: {error.detail}") from error

    def describe(self, config: EvidenceConfig) -> dict[str, str]:
        return {"fn": identity_of(config.fn)}

    async def start(self, config: EvidenceConfig, context: RunContext) -> EvidenceProvider:
        from actors.evidence.look import start_function

        return await start_function(config, context)

    def code_of(self, config: EvidenceConfig) -> Code:
        return Code("fn", config.fn, partial(_replica, config.fn, config.timeout_s))


def _replica(fn: str, timeout_s: float, store_root: str) -> Replica:
    from actors.evidence.look import EvidenceReplica

    return EvidenceReplica(fn, store_root, timeout_s)


KIND = FunctionEvidence()
