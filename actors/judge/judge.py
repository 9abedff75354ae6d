"""The judge that a recipe asks for, whatever its kind: one entrance."""

from __future__ import annotations

from pathlib import Path

from actors.judge.config import JudgeConfig, member_configs
from actors.judge.kind import kind_of
from actors.run_context import RunContext
from rollout.roles import Judge
from rollout.single_step import Baseline


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


def check_judge(config: JudgeConfig, where: str = "judge") -> None:
    """Raise ValueError for what a judge lacks: a prompt file, a scorer, a model, a key. Starts nothing."""
    describe_judge(config)
    kind_of(config).check(config, where)
    for number, member in enumerate(member_configs(config)):
        check_judge(member, f"{where}.members.{number}")


def sees_both(config: JudgeConfig) -> bool:
    """Say whether a judge looks at two attempts side by side; others compare them in two calls of their own."""
    return kind_of(config).sees_both(config)


def check_baseline(baseline: Baseline, config: JudgeConfig) -> None:
    """Raise ValueError where attempts are to be judged side by side by a judge that cannot."""
    if baseline is Baseline.SIDE_BY_SIDE and not sees_both(config):
        raise ValueError(
            "rollout.baseline=side_by_side: this judge (an embedded scorer, a check-list, or an ensemble with one) "
            "looks at one image at a time; use rollout.baseline=judge, or judges of kind openai or vllm with "
            "rubric scores"
        )


def describe_judge(config: JudgeConfig) -> dict[str, str]:
    """Return what a judge's scores depend on: its model or function, and its prompts by version and digest.

    Raises ValueError where a file or function is missing.
    """
    return kind_of(config).describe(config)
