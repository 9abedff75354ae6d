"""A run's folder as training leaves it, made on fakes: recipe and ledger, with every kind of sample."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.store.append_log import AppendLog
from actors.store.ledger import SAMPLES, Ledger
from rewards.compose import WeightedSum
from rl.recipe.config import REPO, Recipe, RewardConfig
from rl.recipe.reader import load_recipe, to_yaml
from rollout.rows import row_of
from rollout.single_step import SingleStep
from rollout.types import Group, GroupRequest, Phase, SamplingParams, Task
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task
from tests.support.training import TERMS

NUM_STEPS, GROUPS, N = 3, 4, 8


@dataclass(frozen=True)
class FinishedRun:
    """What lies in the folder."""

    folder: Path
    recipe: Recipe
    steps: dict[int, list[Group]] = field(default_factory=dict)
    """The training groups as they were rolled out."""


def finished_run(folder: Path, *, generator=None, sampler=None) -> FinishedRun:
    """Roll three steps and an evaluation out into a ledger; a fifth of the answers do not parse, some edits fail."""
    settings = [f"run_dir={folder}", f"store={folder}/store", f"rollout.n={N}", f"rollout.groups_per_step={GROUPS}"]
    recipe = replace(load_recipe(REPO / "recipes" / "shapes_grpo.yaml", settings), reward=RewardConfig(TERMS))
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    run = FinishedRun(folder, recipe)
    journey = SingleStep(
        sampler or FakeSampler(garbage=0.2),
        generator or FakeGenerator(failing=0.2),
        FakeJudge(),
        WeightedSum(TERMS),
        "<image><image>",
        SamplingParams(),
    )
    asyncio.run(_roll_out(run, journey))
    return run


async def _roll_out(run: FinishedRun, journey: SingleStep) -> None:
    ledger = Ledger.open(run.folder / "ledger")
    for step in range(1, NUM_STEPS + 1):
        tasks = [make_task(step * GROUPS + i, is_success=i == 0) for i in range(GROUPS)]
        run.steps[step] = [await _group(journey, ledger, task, Phase.TRAIN, step) for task in tasks]
    for number in (100, 101):
        await _group(journey, ledger, make_task(number), Phase.AFTER, NUM_STEPS)


async def _group(journey: SingleStep, ledger: Ledger, task: Task, phase: Phase, step: int) -> Group:
    n = N if phase is Phase.TRAIN else 2
    request = GroupRequest(task, n, step, tuple(range(step, step + n)), phase, step)
    group = await journey.roll_out(request)
    await ledger.record(request, group)
    return group


def add_rows(folder: Path, groups: list[Group], step: int = 1, phase: Phase = Phase.TRAIN) -> None:
    """Put groups made by hand into a run's ledger; a row of a sample that is there already takes its place."""
    log = AppendLog(folder / "ledger", SAMPLES)
    place = {"attempt": 0, "phase": phase.value, "step": step, "edit_seed": 0}
    log.append(place | row_of(group.task, sample) for group in groups for sample in group.samples)
    log.close()
