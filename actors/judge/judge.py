"""The judge that a recipe asks for, whatever its kind: one entrance."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from actors.judge.checklist import ChecklistJudge, ChecklistPrompts
from actors.judge.config import JudgeConfig
from actors.judge.embedded import load_scorer, start_embedded_judge
from actors.judge.ensemble import EnsembleJudge
from actors.judge.local_vlm import LocalJudge, model_of, start_servers
from actors.judge.openai_asker import check_asker, start_asker
from actors.judge.rubric import RubricJudge, RubricPrompts
from actors.judge.settings import member_configs
from rewards.functions import identity_of
from rollout.concurrency import all_of
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
    if config.kind == "ensemble":
        return await _start_ensemble(config, store_root, service, ledger_folder, area)
    if config.kind == "embedded":
        return await start_embedded_judge(config, store_root, service, ledger_folder, area=area)
    if config.kind == "openai":
        return await _start_asking(config, store_root, ledger_folder, area)
    logs = Path(ledger_folder or store_root).absolute().parent
    servers, asked = await start_servers(config, logs, name=service)
    return LocalJudge(await _start_asking(asked, store_root, ledger_folder, area), servers)


def check_judge(config: JudgeConfig, where: str = "judge") -> None:
    """Raise ValueError for what a judge lacks: a prompt file, a scorer, a model, a key. Starts nothing."""
    describe_judge(config)
    if config.kind == "openai":
        check_asker(config, where)
    elif config.kind == "ensemble":
        for number, member in enumerate(member_configs(config)):
            check_judge(member, f"{where}.members.{number}")


def sees_both(config: JudgeConfig) -> bool:
    """Say whether a judge looks at two attempts side by side; others compare them in two calls of their own."""
    if config.kind == "ensemble":
        return all(map(sees_both, member_configs(config)))
    return config.kind in ("openai", "vllm") and config.rubric == "scores"


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
    if config.kind == "ensemble":
        members = zip(member_names(config), member_configs(config), strict=True)
        return {f"{name}.{key}": what for name, member in members for key, what in describe_judge(member).items()}
    if config.kind == "embedded":
        load_scorer(config.scorer)
        return {"scorer": identity_of(config.scorer)}
    prompts: Any = ChecklistPrompts.read(config) if config.rubric == "checklist" else RubricPrompts.read(config)
    model = model_of(config)[1] if config.kind == "vllm" else config.model
    return {"model": model} | {field.name: getattr(prompts, field.name).label for field in fields(prompts)}


def member_names(config: JudgeConfig) -> list[str]:
    """Return a short name for each member of an ensemble: its model or scorer, numbered."""
    names = [Path(member.model or member.scorer or member.kind).name for member in member_configs(config)]
    return [f"{number}-{name}" for number, name in enumerate(names)]


async def _start_ensemble(
    config: JudgeConfig, store_root: Path | str, service: str, ledger_folder: Path | str | None, area: str
) -> EnsembleJudge:
    names = member_names(config)
    starting = [
        start_judge(member, store_root, f"{service}-{number}", ledger_folder, area=f"{area}/{name}")
        for number, (name, member) in enumerate(zip(names, member_configs(config), strict=True))
    ]
    members = dict(zip(names, await all_of(starting), strict=True))
    return EnsembleJudge(members, config.combine, area)


async def _start_asking(
    config: JudgeConfig, store_root: Path | str, ledger_folder: Path | str | None, area: str
) -> Judge:
    asker = await start_asker(config, store_root, area, ledger_folder)
    if config.rubric == "checklist":
        return ChecklistJudge(asker, ChecklistPrompts.read(config), config.max_questions, config.repeats)
    return RubricJudge(asker, RubricPrompts.read(config), config.repeats)
