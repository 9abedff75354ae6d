"""The times of an earlier run's stages, from its folder: metrics.jsonl and the ledger.

What a stage does is told apart from what it waits for, where the run's books do: an image's time on its replica, a
call's from when it is sent. Responses are taken as they came: in a run that gives them all a place at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, linear_regression, median
from typing import Any

from actors.generator.kind import kind_of
from actors.generator.kind import resolve as resolve_generator
from actors.store.append_log import read_log
from actors.store.ledger import CALLS, read_ledger
from rl.plan.models import model_size
from rl.plan.workload import Workload, workload_of
from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.tracking.metrics_file import read_metrics
from rollout.text.limits import is_own
from rollout.types import Phase

_WARM = 1
"""First steps that are left out where there are more: they compile, load and fill caches."""
_INSIDE = 0.1
"""Share of a user's generator's own times below which an image did not wait inside it for another one."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Batches:
    """Edits that share a forward pass: how many, and what a pass takes beside its images."""

    mean_size: float = 1.0
    fixed_s: float = 0.0
    """Seconds of a pass, ..."""
    image_s: float = 1.0
    """... and of each of its images."""

    def slower(self, size: float) -> float:
        """Return how much longer an image takes where batches are of another mean size."""
        return (self.fixed_s / size + self.image_s) / (self.fixed_s / self.mean_size + self.image_s)


@dataclass(frozen=True)
class RunTimes:
    """Of the steps of one run; seconds."""

    folder: Path
    recipe: Recipe
    workload: Workload
    responses: tuple[float, ...]
    """From when a response is asked for until it is there."""
    edits: tuple[float, ...]
    """On a replica, or at an endpoint, for each response that was tried out; 0 for an image that was there."""
    batches: Batches
    """Of the generator's replicas."""
    judge_calls: tuple[float, ...]
    """From when a call is sent; 0 for an answer that was there."""
    update_s: float
    publish_s: float
    driver_s: float
    """Of a step, beside waiting for rollouts, update and publish."""
    engine_s: float
    """In which a step's samplers had work, on average; 0: they do not tell."""
    step_s: float
    """Median of the steps, evaluations left out; the mean where rollouts run ahead: long and short ones take turns."""

    @property
    def source(self) -> str:
        return f"{self.folder}"


def read_run_times(folder: Path, recipe: Recipe | None = None) -> RunTimes:
    """Return the times of a run; its recipe is that of its folder. Raises ValueError for a folder that has none."""
    recipe = recipe or _recipe_of(folder)
    steps = _steps(folder)
    # The last steps of a run that is ahead have less to do beside them.
    kept = steps[_WARM : len(steps) - recipe.max_staleness] or steps
    numbers = {int(row["step"]) for row in kept}
    samples = [
        row for row in read_ledger(folder / "ledger") if row["phase"] == Phase.TRAIN and int(row["step"]) in numbers
    ]
    drawn = [row for row in samples if "sample" in row["seconds"] and row.get("num_tokens")]
    if not drawn:
        raise ValueError(f"{folder}: its ledger has no sample of a training step, so that it tells no times")
    tried = [row for row in drawn if "generate" in row["seconds"]]
    span = float(kept[0]["time"]) - float(kept[0]["seconds/step"]), float(kept[-1]["time"])
    calls = [row for row in read_log(folder / "ledger", CALLS) if span[0] <= row["at"] <= span[1]]
    expected = workload_of(recipe, model_size(recipe.policy.model))
    workload = Workload(
        groups=len(samples) / len(kept) / recipe.rollout.n,
        n=recipe.rollout.n,
        prompt_tokens=expected.prompt_tokens,
        response_tokens=fmean(row["num_tokens"] for row in drawn),
        image_pixels=expected.image_pixels,
        edited_share=len(tried) / len(drawn),
        learned_share=_mean(kept, "batch/learned_groups") / (_mean(kept, "rollout/groups") or 1.0) or 1.0,
    )
    return RunTimes(
        folder,
        recipe,
        workload,
        responses=tuple(sorted(row["seconds"]["sample"] for row in drawn)),
        edits=_edits(recipe, calls, tried),
        batches=_batches(calls),
        judge_calls=_judge_calls(calls, kept),
        update_s=_median(kept, "seconds/update"),
        publish_s=_median(kept, "seconds/publish"),
        driver_s=median(_driver_seconds(row) for row in kept),
        engine_s=_mean(kept, "samplers/seconds") / recipe.samplers.num_samplers,
        step_s=(fmean if recipe.max_staleness else median)(
            [row["seconds/step"] - row.get("seconds/evaluation", 0.0) for row in kept]
        ),
    )


def _recipe_of(folder: Path) -> Recipe:
    file = folder / "recipe.yaml"
    if not file.is_file():
        raise ValueError(f"--times {folder}: it is not the folder of a run: it has no recipe.yaml")
    return load_recipe(file)


def _steps(folder: Path) -> list[Row]:
    """Return the rows of whole training steps. Raises ValueError where there are none."""
    steps: list[Row] = [row for row in read_metrics(folder) if "seconds/step" in row and "rollout/samples" in row]
    if not steps:
        raise ValueError(f"--times {folder}: its metrics.jsonl has no step, so it gives no times")
    return steps


def _edits(recipe: Recipe, calls: Sequence[Row], tried: Sequence[Row]) -> tuple[float, ...]:
    """Return what each try took where its image was made; without books of calls, what its sample waited for it."""
    bills = [row["bill"] for row in calls if row["service"] == "generator" and row["outcome"] == "answer"]
    has_pool = not kind_of(resolve_generator(recipe.generator)).has_prices
    name = "run_seconds" if has_pool else "seconds"
    found = sorted(float(bill[name]) / max(1.0, bill.get("attempts", 1.0)) for bill in bills if name in bill)
    if not found:
        return tuple(sorted(row["seconds"]["generate"] for row in tried))
    if is_own(recipe.generator.kind):
        # Requests wait for each other inside a class of the user's own, which makes one image at a time.
        return (found[int(_INSIDE * len(found))],)
    return tuple([0.0] * max(0, len(tried) - len(found)) + found)


def _batches(calls: Sequence[Row]) -> Batches:
    """Return what batches took: images of one have one share of its time, to the last digit."""
    bills = [row["bill"] for row in calls if row["service"] == "generator" and row["outcome"] == "answer"]
    shares = Counter(float(bill["run_seconds"]) for bill in bills if bill.get("run_seconds"))
    sizes = [float(size) for size in shares.values()]
    if len(set(sizes)) < 2:
        return Batches(sizes[0] if sizes else 1.0)
    image_s, fixed_s = linear_regression(sizes, [share * size for share, size in shares.items()])
    if image_s <= 0:
        return Batches(fmean(sizes))
    # Weighed by images: of those the times are.
    return Batches(sum(size**2 for size in sizes) / sum(sizes), max(0.0, fixed_s), image_s)


def _judge_calls(calls: Sequence[Row], steps: Sequence[Row]) -> tuple[float, ...]:
    """Return what each of the judge's calls took, an ensemble's members' all together."""
    bills = [row["bill"] for row in calls if row["service"].split("/")[0] == "judge" and row["outcome"] == "answer"]
    found = sorted(float(bill["seconds"]) / max(1.0, bill.get("attempts", 1.0)) for bill in bills if "seconds" in bill)
    asked = sum(value for row in steps for value in _counts(row, "judge", "calls"))
    return tuple([0.0] * max(0, round(asked) - len(found)) + found)


def _counts(row: Row, service: str, name: str) -> Iterator[float]:
    """Yield what a service, or each of its members, counted in a step."""
    for key, value in row.items():
        if key.split("/")[0] == service and key.rpartition("/")[2] == name and "_total/" not in key:
            yield value


def _driver_seconds(row: Row) -> float:
    names = ("waiting_for_rollouts", "update", "publish", "evaluation")
    return max(0.0, float(row["seconds/step"]) - sum(float(row.get(f"seconds/{name}", 0.0)) for name in names))


def _median(rows: Sequence[Row], key: str) -> float:
    found = [row[key] for row in rows if key in row]
    return median(found) if found else 0.0


def _mean(rows: Sequence[Row], key: str) -> float:
    found = [row[key] for row in rows if key in row]
    return fmean(found) if found else 0.0
