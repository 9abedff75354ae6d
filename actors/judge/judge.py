"""The judge that a recipe asks for: what a kind of it is to everything else, and one entrance to them all.

Nothing beside its own file asks which kind a judge has.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from actors.judge.config import JudgeConfig
from actors.judge.registry import KINDS, OWN_KIND, JudgeTraits
from actors.metered.config import EndpointConfig
from actors.run_context import RunContext
from actors.user_classes.trial import Code
from rewards.functions.import_path import load_object
from rollout.roles import Judge
from rollout.single_step import Baseline


class JudgeKind(JudgeTraits, ABC):
    """One kind of judge. Its file is read with every recipe: what takes long to import, its methods import."""

    @abstractmethod
    def describe(self, config: JudgeConfig) -> dict[str, str]:
        """Return what its scores depend on, by content. Raises ValueError for what is missing."""

    @abstractmethod
    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        """Start what it needs. Raises ValueError for one that cannot work."""

    def check(self, config: JudgeConfig, where: str) -> None:
        """Raise ValueError for what it lacks beyond `describe`: a model, a key. Starts nothing."""

    def check_settings(self, config: JudgeConfig, where: str) -> None:
        """Raise ValueError for what `describe` and `check` refuse, as far as that shows without keys and models."""
        self.describe(config)
        self.check(config, where)

    def sees_both(self, config: JudgeConfig) -> bool:
        """Return whether it sees two attempts side by side; other judges compare them in two separate calls."""
        return False

    def endpoints(self, config: JudgeConfig) -> list[EndpointConfig]:
        """Return the servers of others that answer its calls, to be tried before a run starts."""
        return []

    def code_of(self, config: JudgeConfig) -> Code | None:
        """Return the code that judges; None where a model does."""
        return None

    def num_gpus(self, config: JudgeConfig) -> float:
        """Return the GPUs that the run gives it."""
        return 0.0


def kind_of(config: JudgeConfig) -> JudgeKind:
    """Return what a judge's kind is and can do."""
    kind = load_object(KINDS.get(config.kind, OWN_KIND))
    assert isinstance(kind, JudgeKind)
    return kind


async def start_judge(
    config: JudgeConfig,
    store_root: Path | str,
    service: str = "judge",
    ledger_folder: Path | str | None = None,
    *,
    area: str = "judge",
) -> Judge:
    """Start what a judge needs and return it. Raises ValueError for one that cannot work.

    `service` names its actors: different for each run on a cluster. `area` is the first part of its metrics'
    names, and its name in the ledger, which gets a row for each call (a local model's log lies beside it).
    What is started ends with the cluster (`actors.cluster`).
    """
    check_judge(config)
    return await kind_of(config).start(config, RunContext(store_root, service, ledger_folder, area))


def check_judge(config: JudgeConfig, where: str = "judge") -> dict[str, str]:
    """Return what a judge's scores depend on: its model or function, and its prompts by version and digest.

    Raises ValueError for what it lacks: a prompt file, a scorer, a model, a key. Starts nothing.
    """
    kind = kind_of(config)
    described = kind.describe(config)
    kind.check(config, where)
    for number, member in enumerate(config.member_configs):
        check_judge(member, f"{where}.members.{number}")
    return described


def check_judge_settings(config: JudgeConfig, where: str = "judge") -> None:
    """Raise ValueError for what `check_judge` refuses, as far as that shows without keys and models: for a plan."""
    kind_of(config).check_settings(config, where)
    for number, member in enumerate(config.member_configs):
        check_judge_settings(member, f"{where}.members.{number}")


def check_baseline(baseline: Baseline, config: JudgeConfig) -> None:
    """Raise ValueError where attempts are to be judged side by side by a judge that cannot."""
    if baseline is Baseline.SIDE_BY_SIDE and not kind_of(config).sees_both(config):
        raise ValueError(
            "rollout.baseline=side_by_side: this judge (an embedded scorer, a check-list, or an ensemble with one) "
            "looks at one image at a time; use rollout.baseline=judge, or judges of kind openai or vllm with "
            "rubric scores"
        )
