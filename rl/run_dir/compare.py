"""Runs side by side, from their folders alone: what differs in their recipes, and what each came to."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards.compose import TermConfig
from rl.evaluation import Change, Evaluation, compare
from rl.json_file import read_object
from rl.recipe.config import Recipe
from rl.recipe.resumable import differing_keys, value_told
from rl.run_dir.read import recipe_of
from rl.tracking.counted import counted_names
from rl.tracking.metrics_file import read_metrics

_PLACES = frozenset({"name", "run_dir", "store", "ray_address"})
"""Keys in which any two runs differ, and which explain nothing."""


@dataclass(frozen=True)
class Ran:
    """A run as its folder tells of it."""

    folder: Path
    recipe: Recipe
    rows: Sequence[Mapping[str, Any]]
    """Of its metrics.jsonl."""
    before: Evaluation | None
    after: Evaluation | None

    code: Mapping[str, str]
    """Term of its reward -> its function by content, of those that are not built in."""

    @property
    def reward(self) -> str:
        """What an evaluation's reward is made of: the terms but the format, whose weights it is divided by."""
        terms = [term for term in self.recipe.reward.terms if not term.is_format]
        signed = " ".join(f"{'-' if term.weight < 0 else '+'} {_term_told(term)}" for term in terms)
        return signed.removeprefix("+ ") or "nothing"

    @property
    def tasks(self) -> frozenset[str]:
        """Those of the evaluation after training."""
        return frozenset(row.task_id for row in self.after.rows) if self.after else frozenset()

    @property
    def num_steps(self) -> int:
        """Steps that are done."""
        return max((row["step"] for row in self.rows), default=0)

    @property
    def hours(self) -> float:
        """Of its steps; evaluations before and after and the start are in none."""
        return self._sum("seconds/step") / 3600

    @property
    def usd(self) -> float:
        """What its services were paid, in US dollars by the recipe's prices."""
        return sum(self._sum(key) for key in self._keys("usd"))

    @property
    def calls(self) -> float:
        """Answers that steps asked of judges, evidence and generators, those that the store had among them."""
        return sum(self._sum(key) for key in self._keys("calls"))

    @property
    def free_calls(self) -> float:
        """Those that the store had, or an equal call under way gave: nothing was sent for them."""
        return sum(self._sum(key) for name in ("hits", "shared") for key in self._keys(name))

    @property
    def failure_share(self) -> float | None:
        """Share of the training samples that failed; None before the first step."""
        samples = self._sum("rollout/samples")
        failed = sum(row.get("rollout/failure_share", 0.0) * row.get("rollout/samples", 0.0) for row in self.rows)
        return failed / samples if samples else None

    def _sum(self, key: str) -> float:
        return float(sum(row.get(key, 0.0) for row in self.rows))

    def _keys(self, counted: str) -> set[str]:
        return counted_names((key for row in self.rows for key in row), counted)


@dataclass(frozen=True)
class Comparison:
    """Runs, the first of which the others are held against."""

    runs: Sequence[Ran]
    differences: Mapping[str, Sequence[str]]
    """Key of the recipe -> its value in each run, as text."""
    changes: Sequence[Mapping[str, Change] | str]
    """For each run but the first: the first's figures after training and its own, paired; or why there are none."""


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read runs and hold them against the first. Raises ValueError for a folder that is not a run's."""
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} run given; comparing takes two or more")
    runs = [read_run(folder) for folder in folders]
    return Comparison(
        runs, _differences([asdict(run.recipe) for run in runs]), [_against(runs[0], run) for run in runs[1:]]
    )


def read_run(folder: Path) -> Ran:
    """Return a run, finished or not. Raises ValueError for a folder that is not a run's."""
    recipe = recipe_of(folder)
    before, after = (_evaluation(folder / f"evaluation_{phase}.json") for phase in ("before", "after"))
    return Ran(folder, recipe, read_metrics(folder), before, after, _own_code(folder, recipe))


def why_other_reward(first: Ran, other: Ran) -> str:
    """Return why the rewards of two runs are not of one meaning, with both sets; empty where they are."""
    if first.reward != other.reward:
        return f"{first.reward} in the first, {other.reward} in the second"
    if changed := sorted(key for key in first.code.keys() & other.code.keys() if first.code[key] != other.code[key]):
        return f"the code of {', '.join(changed)} has changed"
    return ""


def _term_told(term: TermConfig) -> str:
    return f"{abs(term.weight):g} {term.fn.removeprefix('rewards.')}"


def _own_code(folder: Path, recipe: Recipe) -> dict[str, str]:
    """Return the user's own reward functions by content, as the run's folder has them."""
    own = {term.key for term in recipe.reward.terms if not term.is_builtin}
    with suppress(OSError, ValueError, AttributeError):
        noted = read_object(folder / "versions.json").get("reward", {})
        return {key: str(what) for key, what in noted.items() if key in own}
    return {}


def _evaluation(file: Path) -> Evaluation | None:
    """Return an evaluation; None where it was not made, or not by a version that is read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Evaluation.load(file)
    return None


def _differences(recipes: Sequence[dict[str, object]]) -> dict[str, list[str]]:
    first, *others = recipes
    keys = {key for other in others for key in differing_keys(first, other)}
    told = {key: [value_told(recipe, key) for recipe in recipes] for key in sorted(keys)}
    return {key: values for key, values in told.items() if key.split(".")[0] not in _PLACES}


def _against(first: Ran, other: Ran) -> dict[str, Change] | str:
    for run in (first, other):
        if run.after is None or not run.after.rows:
            return f"not compared: {run.folder} has no evaluation after training"
    if first.recipe.evaluation.seed != other.recipe.evaluation.seed:
        return f"not compared: {other.folder} was evaluated with other seeds (evaluation.seed) than {first.folder}"
    assert first.after is not None
    assert other.after is not None
    try:
        return compare(first.after, other.after)
    except ValueError:
        return f"not compared: {other.folder} and {first.folder} share no held-out task"
