"""The times of a recipe's stages on its devices, and what a run of them comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import floor, log
from statistics import fmean, median, pstdev

from rl.plan.rules import Rules
from rl.plan.simulation import STAGES, simulate
from rl.plan.stage_times import DrawnTimes, Spread, Work

_STEPS = 8
"""Steps that a simulation counts."""


@dataclass(frozen=True)
class Quantiles(Spread):
    """Measured times as they are: draws come from between them."""

    values: tuple[float, ...] = ()
    """Sorted; at least one."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles:
        """Return the distribution of some seconds.

        >>> Quantiles.of([3.0, 1.0, 2.0]).at(0.5), Quantiles.of([3.0, 1.0, 2.0]).mean
        (2.0, 2.0)
        """
        found = tuple(sorted(values))
        logs = [log(value) for value in found if value > 0]
        # `sigma` says only that they differ: no draw reads it.
        return cls(median(found), (pstdev(logs) if logs else 0.0) or 1e-9, found)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    def at(self, share: float) -> float:
        place = share * (len(self.values) - 1)
        low = min(int(place), len(self.values) - 2) if len(self.values) > 1 else 0
        high = min(low + 1, len(self.values) - 1)
        return self.values[low] + (place - low) * (self.values[high] - self.values[low])

    def times(self, factor: float) -> Quantiles:
        """Return the same, so many times as long."""
        return Quantiles.of(value * factor for value in self.values)


@dataclass(frozen=True)
class Stages:
    """What each piece of work takes, and how many of them there are."""

    spreads: Mapping[Work, Spread]
    """Publishing includes what the driver does between updates."""
    edited_share: float
    has_whole_groups: bool = True
    sampler_places: int | None = None
    """Responses in flight that a response's time holds for; None: it does not depend on them."""
    generator_places: int | None = None
    """Images at a time, where the recipe's rules know only how many are asked for."""
    core_seconds: float = 0.0
    """What a step computes on CPU cores that its stages share; 0: each has its own device."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the times are from, by stage."""

    def seconds(self, work: Work) -> float:
        """Return the mean of a piece of work; 0 if there is none."""
        return self.spreads[work].mean if work in self.spreads else 0.0


@dataclass(frozen=True)
class StagedTimes:
    """Satisfies `rl.plan.stage_times.StageTimes`; as large a share of the tasks is tried out in each step."""

    stages: Stages
    groups_per_step: int

    def seconds(self, work: Work, step: int, task: int = 0, sample: int = 0, call: int = 0) -> float:
        """Return how long a piece of work takes once it has a place."""
        return self._drawn.seconds(work, step, task, sample, call)

    def has_edit(self, step: int, task: int, sample: int) -> bool:
        """Whether a response is tried out."""
        if not self.stages.has_whole_groups:
            return self._drawn.has_edit(step, task, sample)
        place, share = (step - 1) * self.groups_per_step + task, self.stages.edited_share
        return floor((place + 1) * share + 1e-9) > floor(place * share + 1e-9)

    @cached_property
    def _drawn(self) -> DrawnTimes:
        return DrawnTimes(self.stages.spreads, self.stages.edited_share, has_whole_groups=False)


@dataclass(frozen=True)
class Prediction:
    """What a step comes to."""

    step_s: float
    bottleneck: str
    busy: Mapping[str, float]
    """Share of a step in which the places of a stage are taken."""


def predict(
    rules: Rules, stages: Stages, cores: float = 0.0, num_steps: int = _STEPS, *, takes_turns: bool = False
) -> Prediction:
    """Simulate some steps after those that fill the pipeline.

    Where stages share CPU cores, a step takes at least what all of them compute, over the cores (0: they do not); where
    samplers and policy take turns on the same devices, at least what both need of them.
    """
    if stages.sampler_places is not None:
        rules = replace(rules, sampler_places=min(rules.sampler_places, stages.sampler_places))
    if stages.generator_places is not None:
        rules = replace(rules, generator_places=min(rules.generator_places, stages.generator_places))
    times = StagedTimes(stages, rules.groups_per_step)
    found = simulate(rules, times, num_steps, warm_steps=rules.max_staleness + 1)
    of_cores = stages.core_seconds / cores if cores else 0.0
    of_turns = drawing_seconds(rules, stages) + learning_seconds(stages) if takes_turns else 0.0
    least = max(of_cores, of_turns)
    if found.step_seconds >= least:
        return Prediction(found.step_seconds, found.bottleneck, found.busy)
    busy = {stage: found.busy[stage] * found.step_seconds / least for stage in STAGES}
    return Prediction(least, "CPU cores" if of_cores >= of_turns else "samplers and policy in turns", busy)


def drawing_seconds(rules: Rules, stages: Stages) -> float:
    """Return the seconds in which a step's responses are drawn, as many at a time as there are places."""
    places = min(rules.sampler_places, stages.sampler_places or rules.sampler_places)
    return stages.seconds(Work.SAMPLE) * max(1.0, rules.groups_per_step * rules.n / places)


def learning_seconds(stages: Stages) -> float:
    """Return the seconds of an update and its publish."""
    return stages.seconds(Work.UPDATE) + stages.seconds(Work.PUBLISH)
