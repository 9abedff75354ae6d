"""A recipe: everything that makes an experiment, checked when it is made (`rl/recipe/reader.py` reads it)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from actors.adapters import check_adapters
from actors.config import (
    EvidenceConfig,
    GeneratorConfig,
    JudgeConfig,
    LossConfig,
    RolloutWorkersConfig,
)
from actors.resources import Role, check_colocation
from data.records.image_paths import parse_prefixes
from data.records.on_bad import OnBad
from rewards.compose import TermConfig
from rl.recipe.benchmark_config import BenchmarkConfig
from rl.recipe.jobs import TrainingRecipe
from rl.recipe.keep_best import RL_FIGURES, check_is_measured, check_keep_best
from rollout.single_step import Baseline, Regenerate
from rollout.text.limits import (
    NonNegativeInt,
    Noun,
    PathText,
    PositiveInt,
    RequiredPath,
    Rule,
    Seed,
    Share,
    Temperature,
    Tilde,
    check_fields,
    is_own,
    one_of,
    one_of_or_own,
)
from rollout.text.readers import READERS

REPO = Path(__file__).resolve().parent.parent.parent
UNFIT_ADVANTAGES = (
    *("gae", "remax", "reinforce_plus_plus", "grpo_passk", "optimal_token_baseline", "tir_optimal_token_baseline"),
)
"""Those of verl's that ask for more than we have; `rl.advantages.check_estimator` says what."""
ADVANTAGES = (
    *("grpo", "gdpo", "rloo", "opo", "gpg", "reinforce_plus_plus_baseline", "grpo_vectorized", "rloo_vectorized"),
    *UNFIT_ADVANTAGES,
)
"""verl's registered estimators."""
_Prefix = Annotated[
    str, Tilde("="), Rule("old=new, like /mnt/theirs=/data/ours", lambda text: "=" in text and not text.startswith("="))
]
_Score = Annotated[float, Gt(0), Le(10), Rule("a judge's score in (0, 10]", lambda score: 0 < score <= 10)]


@dataclass(frozen=True)
class DataConfig:
    """RL records, of any format (see data/records/rl.py and data/formats/reader.py)."""

    train: RequiredPath = "???"
    """Path of the training records."""
    heldout: RequiredPath = "???"
    """Path of the held-out records."""
    image_prefix: PathText = ""
    """Put before relative image paths; empty: relative to `image_root`, or else to the records' own folder."""
    image_root: PathText = ""
    """No image may lie outside this folder; empty: anywhere."""
    prefixes: list[_Prefix] = field(default_factory=list)
    """old=new: a path that starts with the folder `old` is read as if it started with `new`."""
    white_canvas: str = ""
    """An image path with this end stands for a white canvas (the public system's: white.png); empty: none does."""
    on_bad: Annotated[str, one_of(*OnBad)] = "raise"
    """What a bad record does: raise (a large file's: when it is drawn), or skip (all are checked at the start)."""

    def __post_init__(self) -> None:
        check_fields(self, "data")
        parse_prefixes(self.prefixes)


@dataclass(frozen=True)
class RolloutConfig:
    """How groups are made."""

    prompt: RequiredPath = "recipes/prompts/critic.txt"
    """The critic's prompt file."""
    groups_per_step: PositiveInt = 16
    n: int = 8
    """Responses of one group."""
    success_share: Share | None = None
    """Share of each step's tasks that are labelled successful; unset: as the records have it."""
    temperature: Annotated[Temperature, Gt(0)] = 1.0
    max_tokens: PositiveInt = 512
    """Longest response."""
    regenerate: Annotated[str, one_of(*Regenerate)] = "by_label"
    """Which critiques are tried out: by_label, by_verdict or always (`rollout.single_step.Regenerate`)."""
    baseline: Annotated[str, one_of(*Baseline)] = "record"
    """What a regenerated image is compared with: record, judge or side_by_side (`rollout.single_step.Baseline`)."""
    min_valid: NonNegativeInt = 0
    """Fewest valid samples of a group that is learned from; 0: half of n, at least 2."""
    max_refills: NonNegativeInt = 4
    """Further groups a step may draw in place of those with too few valid samples (or, if wished, no variance)."""
    refill_zero_variance: bool = False
    """Also replace groups whose rewards are all equal: dynamic sampling (DAPO, arXiv 2503.14476, 3.2), bounded."""
    first_complete: NonNegativeInt = 0
    """Groups in flight beyond those of the steps that have begun: a step learns from the first that are complete, the
    others go into the next one, within max_staleness. Such a run cannot be repeated. 0: a step waits for all its own.
    """
    max_failure_share: Annotated[float, Ge(0), Lt(1), Noun("a share")] = 0.5
    """Share of failed samples in one step that stops the run."""

    def __post_init__(self) -> None:
        check_fields(self, "rollout")
        if self.n < 2:
            raise ValueError(f"rollout.n is {self.n}; GRPO compares within a group, so it needs at least 2")
        if self.min_valid == 1 or self.min_valid > self.n:
            raise ValueError(f"rollout.min_valid is {self.min_valid}; expected 0 (half of n) or 2 to n={self.n}")

        if self.first_complete > self.groups_per_step:
            raise ValueError(
                f"rollout.first_complete is {self.first_complete}; expected at most "
                f"rollout.groups_per_step={self.groups_per_step}: a late group goes into the next step"
            )
        if self.first_complete and self.refill_zero_variance:
            raise ValueError("rollout.first_complete takes what there is: set rollout.refill_zero_variance=false")

    @property
    def fewest_valid(self) -> int:
        return self.min_valid or max(2, self.n // 2)


@dataclass(frozen=True)
class RewardConfig:
    """Weighted terms; `recipes/reward/*.yaml` are named sets."""

    terms: list[TermConfig] = field(default_factory=list)
    probe: bool = True
    """Try each term on the built-in samples (`interleave reward test`) before anything starts."""
    replaced: dict[str, Any] = field(default_factory=dict, compare=False)
    """Written by the reader: what a named set changed elsewhere, by key, as it would be without the set."""


@dataclass(frozen=True)
class AlgorithmConfig:
    """Advantages and the loss, by verl's registered names."""

    advantage: Annotated[str, Tilde(), one_of_or_own(*ADVANTAGES)] = "grpo"
    """verl's advantage estimator, or a function of your own, of token_level_rewards (the sample's reward on its last
    token), response_mask and index (the group of each row), to advantages of that shape."""
    normalise_by_std: bool = True
    """Divide a group's advantages by its standard deviation."""
    filter_zero_variance: bool = True
    """Leave groups out whose rewards are all equal: they teach nothing and would only dilute the mean."""
    overlong: Annotated[str, one_of("keep", "mask")] = "keep"
    """keep, or mask: a truncated answer counts in its group's baseline, but nothing is learned from its tokens."""
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        check_fields(self, "algorithm")


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out tasks, the same seeds each time."""

    num_tasks: NonNegativeInt = 400
    """How many of the held-out tasks before and after; 0: all."""
    num_tasks_during: NonNegativeInt = 100
    """How many at `every`."""
    num_seeds: PositiveInt = 2
    """Responses, and generation seeds, of one task."""
    every: NonNegativeInt = 0
    """Steps between evaluations during training; 0: only before and after."""
    fixed_semantics: _Score = 7.0
    """A failed task counts as fixed when the new image's semantics reach this, of 10, ..."""
    fixed_quality: _Score = 7.0
    """... and its quality this."""
    seed: Seed = 1234

    def __post_init__(self) -> None:
        check_fields(self, "evaluation")


@dataclass(frozen=True)
class Recipe(TrainingRecipe):
    """One experiment."""

    num_steps: PositiveInt = 100
    max_staleness: NonNegativeInt = 0
    """How many consumed steps the rollouts may run ahead of the policy; 0: on-policy."""
    placement: Annotated[str, one_of("separate", "colocate")] = "separate"
    """separate, or colocate: samplers take turns with the policy's ranks on the same devices, which both need whole."""
    answers: Annotated[str, one_of(*READERS)] = "contract"
    """contract, or public: also count what only that reader reads (`rollout.text.readers`); it earns nothing either."""
    data: DataConfig = field(default_factory=DataConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    evidence: dict[str, EvidenceConfig] = field(default_factory=dict)
    """What else is gathered for the reward's terms that need it, by name."""
    workers: RolloutWorkersConfig = field(default_factory=RolloutWorkersConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    """A small part of a public benchmark, beside some of the evaluations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        every = self.evaluation.every
        if self.benchmark.name and (not every or self.benchmark.every % every):
            raise ValueError(
                f"benchmark.every is {self.benchmark.every}, evaluation.every {every}: expected a multiple of it, and "
                "evaluations during training (evaluation.every above 0)"
            )
        check_keep_best(self.keep_best, RL_FIGURES)
        check_is_measured(self.keep_best, save_every=self.save_every, evaluate_every=every, num_steps=self.num_steps)
        self.samplers.check_answers(self.rollout.max_tokens, "rollout.max_tokens")
        check_adapters(self.policy, self.samplers)
        if self.is_colocated:
            check_colocation(self.policy, self.samplers)
        if not self.reward.terms:
            raise ValueError("the recipe has no reward; add `reward: released` or a list of terms")
        if not any(term.weight for term in self.reward.terms if not term.is_format):
            raise ValueError("the reward's terms beside the format weigh nothing; evaluation needs one that does")
        if self.rollout.refill_zero_variance and not self.algorithm.filter_zero_variance:
            raise ValueError(
                "rollout.refill_zero_variance replaces the groups that algorithm.filter_zero_variance leaves out; "
                "set both to true, or the first to false"
            )
        for name, evidence in self.evidence.items():
            if [bool(evidence.fn), evidence.judge is not None, is_own(evidence.kind)].count(True) != 1:
                raise ValueError(
                    f"evidence.{name}: give either fn (a function) or judge (a second judge), or kind (a class)"
                )
        if self.max_staleness > 0 and self.algorithm.loss.rollout_correction is None:
            raise ValueError(
                f"max_staleness is {self.max_staleness}, so samples are older than the policy: set "
                "algorithm.loss.rollout_correction to token or sequence (importance sampling)"
            )

        if self.rollout.first_complete and not self.max_staleness:
            raise ValueError(
                f"rollout.first_complete is {self.rollout.first_complete}, so groups are learned from a step late: set "
                "max_staleness to 1 or more"
            )

    @property
    def is_reproducible(self) -> bool:
        """Whether what a step learns from is fixed by the seed alone."""
        return not self.rollout.first_complete

    @property
    def roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = {
            "policy": self.policy,
            "samplers": self.samplers,
            "generator": self.generator,
            "judge": self.judge,
            "workers": self.workers,
        }
        return roles | ({"benchmark.judge": self.benchmark.judge} if self.benchmark.name else {})

    @property
    def is_colocated(self) -> bool:
        return self.placement == "colocate"

    @property
    def colocated(self) -> Collection[str]:
        return ("samplers",) if self.is_colocated else ()

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation during training is due after `step` (counted from 1; the last one has its own)."""
        every = self.evaluation.every
        return every > 0 and step % every == 0 and 0 < step < self.num_steps
