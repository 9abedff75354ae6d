"""What an ablation found: steps satisfied by every arm, and the differences between arms, with their intervals.

A variant's arm is all its seeds together. Differences are paired: by story, and by training seed where both sides have
several; where 0 lies inside a difference's 95 % interval it is a tie.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from evals.clusters import ByCluster, ByRun, Interval, crossed_difference, crossed_gain, crossed_share
from evals.stories import ALONE, PLANNED
from rl.ablation.config import SFT, VariantConfig
from rl.ablation.plan import AblationPlan, Kind
from rl.json_file import read_object

SCHEMA = "interleave.ablation_table/1"
PAPER_GAIN = 2.8
"""By how many per cent the RL critic is above the SFT critic in arXiv 2606.13679."""
_ARM = f"{PLANNED} + "


@dataclass(frozen=True)
class Row:
    """An arm: who tells the stories, with how many tries a step."""

    name: str
    tries: int
    num_seeds: int
    """Training seeds; 0 for what is not trained here."""
    satisfied: Interval
    """Share of steps."""
    by_seed: Mapping[str, float]
    """The share of each training seed alone."""
    num_errors: int
    """Steps on whose way a call failed: an outage, not a bad agent."""


@dataclass(frozen=True)
class Gap:
    """What one arm has over another."""

    what: str
    tries: int
    num_seeds: int
    """Training seeds on both sides, or on the one that is trained; 0: neither is."""
    gap: Interval
    """Of shares: a difference, or a ratio less one."""

    @property
    def verdict(self) -> str:
        return ("above" if self.gap.low > 0 else "below") if self.gap.is_apart_from_zero else "a tie"


@dataclass(frozen=True)
class Table:
    """All figures of an ablation that are there by now."""

    rows: Sequence[Row]
    order: Sequence[Gap]
    """Generator < planner < SFT < RL."""
    variants: Sequence[Gap]
    """The first variant over each other one."""
    gains: Sequence[Gap]
    """RL's relative gain over SFT, as a share."""
    missing: Sequence[str]
    """Parts without which it is not whole."""

    def as_json(self) -> dict[str, object]:
        """Return plain values, with the verdict of every difference."""
        gaps = {
            name: [asdict(gap) | {"verdict": gap.verdict} for gap in getattr(self, name)]
            for name in ("order", "variants", "gains")
        }
        rows = [asdict(row) for row in self.rows]
        return {"schema": SCHEMA, "rows": rows, **gaps, "paper_gain_percent": PAPER_GAIN, "missing": [*self.missing]}


@dataclass(frozen=True)
class _Told:
    """An arm's stories: whether each step is satisfied, by story, and how many steps met an error."""

    trials: ByCluster
    num_errors: int

    @property
    def share(self) -> float:
        return sum(map(sum, self.trials.values())) / sum(map(len, self.trials.values()))


_Arms = Mapping[tuple[str, int], _Told]
"""By critic (or `ALONE` and `PLANNED`) and tries."""


def has_figures(plan: AblationPlan) -> bool:
    """Whether the stories are told that all others are compared with."""
    return plan.part(Kind.STORIES, SFT).is_done


def make_table(plan: AblationPlan) -> Table:
    """Return the figures of the parts that are done; the first stories have to be (`has_figures`)."""
    return _Figures(plan, told_arms(plan)).table()


def told_arms(plan: AblationPlan) -> "_Arms":
    """Return the arms of the stories that are told. Raises ValueError for a file that is damaged."""
    arms: dict[tuple[str, int], _Told] = {}
    for critic in (SFT, *plan.trainings):
        if plan.part(Kind.STORIES, critic).is_done:
            arms |= dict(_read(plan, critic))
    return arms


@dataclass(frozen=True)
class _Figures:
    """Makes figures of arms."""

    plan: AblationPlan
    arms: _Arms

    def table(self) -> Table:
        return Table(
            rows=list(self._rows()),
            order=list(self._order()),
            variants=list(self._variants()),
            gains=list(self._gains()),
            missing=[str(part) for part in self.plan.parts if part.kind is Kind.STORIES and not part.is_done],
        )

    @property
    def _tries(self) -> list[int]:
        """Numbers of tries that a critic makes a difference at."""
        return [tries for tries in self.plan.recipe.tries if tries > 1]

    def _rows(self) -> Iterator[Row]:
        for name in (ALONE, PLANNED):
            yield self._row(name, 1, {"": self.arms[name, 1]}, num_seeds=0)
        for tries in self.plan.recipe.tries:
            yield self._row(_ARM + SFT, tries, {"": self.arms[SFT, tries]}, num_seeds=0)
        for variant in self.plan.recipe.variants:
            for tries in self.plan.recipe.tries:
                seeds = [seed for seed in variant.seeds if self._has(variant, seed, tries)]
                runs = {str(seed): self.arms[variant.critic(seed), tries] for seed in seeds}
                if runs:
                    yield self._row(_ARM + variant.name, tries, runs, num_seeds=len(runs))

    def _row(self, name: str, tries: int, runs: Mapping[str, _Told], num_seeds: int) -> Row:
        by_seed = {seed: told.share for seed, told in runs.items()} if num_seeds else {}
        satisfied = crossed_share([told.trials for told in runs.values()])
        return Row(name, tries, num_seeds, satisfied, by_seed, sum(told.num_errors for told in runs.values()))

    def _order(self) -> Iterator[Gap]:
        alone, planned = ([self.arms[name, 1].trials] for name in (ALONE, PLANNED))
        yield Gap(f"{PLANNED} over {ALONE}", 1, 0, crossed_difference(alone, planned))
        for tries in self._tries:
            sft = [self.arms[SFT, tries].trials]
            yield Gap(f"{SFT} over {PLANNED}", tries, 0, crossed_difference(planned, sft))
        for tries, before, full in self._sft_and_full():
            what = f"{self.plan.recipe.full.name} over {SFT}"
            yield Gap(what, tries, len(full), crossed_difference(before, full))

    def _gains(self) -> Iterator[Gap]:
        for tries, sft, full in self._sft_and_full():
            what = f"{self.plan.recipe.full.name} over {SFT}"
            gain = crossed_gain(sft, full)
            if not math.isnan(gain.value):  # nothing is no part of anything
                yield Gap(what, tries, len(full), gain)

    def _sft_and_full(self) -> Iterator[tuple[int, ByRun, ByRun]]:
        full = self.plan.recipe.full
        for tries in self._tries:
            if runs := self._runs(full, full.seeds, tries):
                yield tries, [self.arms[SFT, tries].trials], runs

    def _variants(self) -> Iterator[Gap]:
        full, *others = self.plan.recipe.variants
        for variant in others:
            for tries in self._tries:
                seeds = [seed for seed in self.plan.recipe.shared_seeds(variant) if self._has(variant, seed, tries)]
                if seeds := [seed for seed in seeds if self._has(full, seed, tries)]:
                    gap = crossed_difference(self._runs(variant, seeds, tries), self._runs(full, seeds, tries))
                    yield Gap(f"{full.name} over {variant.name}", tries, len(seeds), gap)

    def _has(self, variant: VariantConfig, seed: int, tries: int) -> bool:
        return (variant.critic(seed), tries) in self.arms

    def _runs(self, variant: VariantConfig, seeds: Sequence[int], tries: int) -> list[ByCluster]:
        return [self.arms[variant.critic(seed), tries].trials for seed in seeds if self._has(variant, seed, tries)]


def _read(plan: AblationPlan, critic: str) -> Iterator[tuple[tuple[str, int], _Told]]:
    """Yield the arms of a critic's evaluation, and of the first one those that need no critic."""
    known = {_ARM + critic: critic} | ({ALONE: ALONE, PLANNED: PLANNED} if critic == SFT else {})
    file, record = plan.told(critic), plan.part(Kind.STORIES, critic).record
    again = f"put it back, or remove {record} to have these stories told again"
    try:
        for arm in read_object(file)["arms"]:
            if arm["name"] in known:
                trials: dict[str, list[bool]] = {}
                for step in arm["steps"]:
                    trials.setdefault(step["story"], []).append(step["is_satisfied"])
                told = _Told(trials, sum(step["error"] is not None for step in arm["steps"]))
                yield (known[arm["name"]], arm["tries"]), told
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}; {again}") from None
    except ValueError as error:
        raise ValueError(f"{error}; {again}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}; {again}") from None
