"""judge: {...}: a second judge, whose scores are the evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from actors.evidence.config import EvidenceConfig
from actors.evidence.kind import EvidenceKind
from actors.judge.config import JudgeConfig
from actors.judge.judge import check_judge, check_judge_settings, kind_of
from actors.run_context import RunContext
from rollout.roles import Judge
from rollout.types import ScoreRequest, Scores


@dataclass(frozen=True)
class JudgeObserver:
    """Satisfies `rollout.roles.EvidenceProvider`."""

    judge: Judge

    async def observe(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError`, `BudgetSpent`."""
        return await self.judge.score(request)

    async def stats(self) -> dict[str, float]:
        """Return the judge's bill, keyed `evidence/<name>/...`."""
        return await self.judge.stats()


class JudgeEvidence(EvidenceKind):
    """A whole judge (`judge`), which has these keys of its own."""

    unused = frozenset(
        {"fn", "num_replicas", "gpus_per_replica", "cpus_per_replica", "max_concurrency", "timeout_s", "probe"}
    )

    def check(self, name: str, config: EvidenceConfig) -> None:
        with _of_evidence(name):
            check_judge(_judge(config))

    def check_settings(self, name: str, config: EvidenceConfig) -> None:
        with _of_evidence(name):
            check_judge_settings(_judge(config))

    def describe(self, config: EvidenceConfig) -> dict[str, str]:
        return kind_of(_judge(config)).describe(_judge(config))

    async def start(self, config: EvidenceConfig, context: RunContext) -> JudgeObserver:
        judge = _judge(config)
        return JudgeObserver(await kind_of(judge).start(judge, context))

    def num_gpus(self, config: EvidenceConfig) -> float:
        return kind_of(_judge(config)).num_gpus(_judge(config))


@contextmanager
def _of_evidence(name: str) -> Iterator[None]:
    """Say of a judge's errors whose evidence it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"evidence.{name}: {error}") from error


def _judge(config: EvidenceConfig) -> JudgeConfig:
    assert config.judge is not None
    return config.judge


KIND = JudgeEvidence()
