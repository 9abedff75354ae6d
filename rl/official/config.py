"""Settings of a benchmark's run: the agent's recipe with a folder, and the judge's."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from actors.judge.config import JudgeConfig
from actors.judge.judge import kind_of
from actors.judge.registry import traits_of
from evals.official.benchmark import Benchmark
from rl.recipe.jobs import RunRecipe
from rl.recipe.reader import load_as
from rl.recipe.resumable import SERVICE_MAY_CHANGE
from rl.story.config import CriticConfig, PlannerConfig, StoryRecipe
from rollout.text.limits import Seed

_DECIDES = {field.name for field in fields(StoryRecipe)} - {field.name for field in fields(RunRecipe)}
_DECIDES = (_DECIDES - {"service"}) | {"store", "benchmark", "seed"}
"""Keys that decide what an agent makes, and where its images are; how many replicas make it may still change."""
JUDGES = Path("recipes/judges")
"""A file for each benchmark: the judge that its own script asks."""


@dataclass(frozen=True)
class OfficialRecipe(StoryRecipe, RunRecipe):
    """A storyteller that answers a benchmark."""

    benchmark: str = ""
    seed: Seed = 0
    """Of every story."""


@dataclass(frozen=True)
class JudgeSettings:
    """A file of `recipes/judges`, or one of your own."""

    judge: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="openai"))


def agent_of(
    recipe: StoryRecipe, benchmark: str, out: Path, *, seed: int = 0, is_alone: bool = False
) -> OfficialRecipe:
    """Return a story recipe as the agent of a benchmark. `is_alone` leaves its generator and nothing else."""
    if is_alone:
        planner = PlannerConfig(kind="function", fn="evals.official.alone.one_step")
        recipe = replace(recipe, planner=planner, critic=CriticConfig(kind="none"), tries=1, best_of="last")
    known = {one.name: getattr(recipe, one.name) for one in fields(StoryRecipe)}
    return OfficialRecipe(**known, run_dir=str(out), benchmark=benchmark, seed=seed)


def load_judge(benchmark: Benchmark, said: Sequence[str], budget_usd: float = 0.0) -> JudgeConfig:
    """Read a judge: the benchmark's own, or a settings file, with overrides (`model=...`). Raises ValueError."""
    files = [text for text in said if "=" not in text]
    if len(files) > 1:
        raise ValueError(f"--judge names {len(files)} files, {' and '.join(files)}; expected one, or KEY=VALUE")
    path = files[0] if files else JUDGES / f"{benchmark.name}.yaml"
    judge = load_as(JudgeSettings, path, [f"judge.{text}" for text in said if "=" in text]).judge
    if not traits_of(judge.kind).is_asked:
        raise ValueError(f"--judge kind={judge.kind}: a benchmark's judge is asked in words; expected openai or vllm")
    # A model of the run's own has no price, and nothing to stop for.
    return replace(judge, budget_usd=budget_usd) if budget_usd and kind_of(judge).has_prices else judge


def is_resumable_change(key: str) -> bool:
    """Return whether a key may differ between two starts in one folder.

    >>> [is_resumable_change(key) for key in ("tries", "critic.model", "generator.num_replicas", "num_cpus", "store")]
    [False, False, True, True, False]
    """
    section, *rest = key.split(".")
    return section not in _DECIDES or not SERVICE_MAY_CHANGE.isdisjoint(rest)
