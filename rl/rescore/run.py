"""Recompute a run's rewards and advantages from its ledger: no model, no Ray, no costs.

    ledger ─▶ one step's groups ─▶ rewards ─▶ advantages ─▶ <run>/rescored/<name>.parquet
                                      └──────────┴────────▶ what changed

One step is in memory at a time, since estimators may compare across a step's groups.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from actors.policy.check import check_loss
from actors.store.ledger import LedgerRow
from actors.user_functions.runner import RewardRunner
from rewards.signature import RewardSignature
from rl.advantages import check_estimator
from rl.recipe.config import AlgorithmConfig, Recipe
from rl.recipe.reader import differences
from rl.rescore.change import GroupChanges, RescoredStep, SampleChanges
from rl.rescore.table import RescoredTable
from rl.run_dir.read import advantages_of, groups_of, recipe_of, steps_of
from rl.run_dir.trust import check_trusted, code_of_advantages, code_of_reward
from rollout.concurrency import all_of
from rollout.single_step import call_reward
from rollout.stages import failure_of
from rollout.text.limits import is_own
from rollout.types import Evidence, Group, Phase, Reward, Sample, Stage

RewardOf = Callable[[Evidence], Reward | Awaitable[Reward]]

_LONGEST_NAME = 80


@dataclass(frozen=True)
class Rescored:
    """The result of rescoring."""

    path: Path
    is_own: bool
    """The reward is the run's own: every sample must get the same reward again."""
    is_same_algorithm: bool
    """Advantages are computed from rewards as in the run."""
    estimators: tuple[str, str] = ("", "")
    """How rewards became advantages and the loss in the run, and how they would now."""
    ignored: Sequence[str] = ()
    """Overrides that have no effect."""
    samples: SampleChanges = field(default_factory=SampleChanges)
    """Changes in all phases."""
    groups: GroupChanges = field(default_factory=GroupChanges)
    """Changes in training steps only: nothing is learned from the others."""

    @property
    def is_good(self) -> bool:
        """Whether there are rewards and, under the run's own recipe, whether they are the same."""
        is_same = self.samples.num_identical == self.samples.num_rewarded_before
        return self.samples.num_rewarded > 0 and (is_same or not self.is_own)


async def rescore(run_dir: Path, overrides: Sequence[str] = (), *, trusts_code: bool = False) -> Rescored:
    """Recompute a run's rewards under its recipe with `overrides`, and write them as Parquet.

    Raises ValueError for a folder without a run or samples, for a recipe that is invalid or needs
    evidence that the run did not gather, and for code that the run's recipe names unless it is trusted.
    """
    own, other = recipe_of(run_dir), recipe_of(run_dir, overrides)
    if not trusts_code:
        code = [*code_of_reward(other), *code_of_advantages(other), *code_of_advantages(own)]
        check_trusted(run_dir, code, overrides)
    check_estimator(other.algorithm.advantage)
    if not is_own(other.algorithm.loss.policy_loss):  # a loss of the user's own is not needed here, and not loaded
        check_loss(other.algorithm.loss)
    result = Rescored(
        run_dir / "rescored" / f"{name_of(overrides)}.parquet",
        is_own=own.reward.terms == other.reward.terms,
        is_same_algorithm=(own.algorithm, own.rollout) == (other.algorithm, other.rollout),
        estimators=(estimator_of(own.algorithm), estimator_of(other.algorithm)),
        ignored=ignored_of(own, other),
    )
    reward = RewardRunner(other.reward.terms)
    _check_evidence(await asyncio.to_thread(reward.check), own)
    try:
        with _one_thread(), RescoredTable(result.path, _terms(own), _terms(other)) as table:
            for rows in steps_of(run_dir):
                await _rescore_step(rows, (own, other), reward, result, table)
    finally:
        reward.close()
    return result


async def _rescore_step(
    rows: Sequence[LedgerRow], recipes: tuple[Recipe, Recipe], reward: RewardOf, result: Rescored, table: RescoredTable
) -> None:
    phase, step, (own, other) = rows[0]["phase"], rows[0]["step"], recipes
    old = groups_of(rows)
    new = await all_of(_rewarded(group, reward) for group in old)
    rescored = RescoredStep(phase, step, old, new)
    if phase == Phase.TRAIN:
        before = advantages_of(old, own)
        after = before if own == other and old == new else advantages_of(new, other)
        rescored = replace(rescored, old_advantages=before, new_advantages=after)
        result.groups.add(rescored)
    result.samples.add(rescored)
    table.write(rescored)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread: a step's tensors are too small for a second one to help."""
    import torch  # late: `actors` has to be imported before it

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def ignored_of(own: Recipe, other: Recipe) -> list[str]:
    """Return the settings that differ but have no effect: what was rolled out stays as it was."""
    ignored = differences(own, other) - {"reward", "algorithm", "rollout"}
    for name in (setting.name for setting in fields(own.rollout)):
        if name != "min_valid" and getattr(own.rollout, name) != getattr(other.rollout, name):
            ignored.add(f"rollout.{name}")
    return sorted(ignored)


def estimator_of(algorithm: AlgorithmConfig) -> str:
    """Return how rewards are turned into advantages and the loss, in a few words.

    >>> estimator_of(AlgorithmConfig("gdpo"))
    'gdpo, by std, token-mean'
    """
    scale = "by std" if algorithm.normalise_by_std else "not by std"
    return f"{algorithm.advantage}, {scale}, {algorithm.loss.aggregation}"


def _check_evidence(traits: Mapping[str, RewardSignature], own: Recipe) -> None:
    for name, trait in traits.items():
        missing = [wanted for wanted in trait.needs if wanted not in own.evidence]
        if missing:
            gathered = ", ".join(own.evidence) or "none"
            raise ValueError(
                f"reward term {name} needs the evidence {', '.join(missing)}, which this run did not gather "
                f"(it gathered {gathered}); a ledger can only be rescored with what is in it"
            )


def name_of(overrides: Sequence[str]) -> str:
    """Return the name of the file for these overrides.

    >>> name_of([]), name_of(["reward=paper"]), name_of(["reward=my/terms.yaml", "algorithm.normalise_by_std=false"])
    ('own', 'paper', 'terms,algorithm.normalise_by_std=false')
    """
    name = re.sub(r"[^\w.,=+-]+", "_", ",".join(map(_short, overrides))) or "own"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(repr(list(overrides)).encode()).hexdigest()[:8]}"


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    is_set = key == "reward" and not value.startswith(("[", "{"))  # a name or a file, not the terms themselves
    return Path(value).stem if is_set else override


def _terms(recipe: Recipe) -> list[str]:
    return [term.key for term in recipe.reward.terms]


async def _rewarded(group: Group, reward: RewardOf) -> Group:
    return replace(group, samples=tuple(await all_of(_rewarded_again(sample, reward) for sample in group.samples)))


async def _rewarded_again(sample: Sample, reward: RewardOf) -> Sample:
    """Return the sample with its reward recomputed.

    A sample without complete evidence keeps its failure; one that failed at the reward gets another chance;
    and one whose new reward raises fails there, as it would in training.
    """
    if sample.evidence is None or (sample.failure is not None and sample.failure.stage is not Stage.REWARD):
        return sample
    try:
        again = await call_reward(reward, sample.evidence)
    except Exception as error:
        return replace(sample, reward=None, failure=failure_of(Stage.REWARD, error))
    return replace(sample, reward=again, failure=None)
