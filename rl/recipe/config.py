"""A recipe: everything that makes an experiment, checked when it is made (`rl/recipe/reader.py` reads it)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from actors.config import (
    EvidenceConfig,
    GeneratorConfig,
    JudgeConfig,
    LossConfig,
    PolicyConfig,
    RolloutWorkersConfig,
    SamplerConfig,
)
from data.records.image_paths import ImageRules, parse_prefixes
from data.records.on_bad import OnBad
from rewards.compose import TermConfig
from rl.recipe.alerts import AlertConfig, check_alert_names
from rollout.single_step import Baseline, Regenerate

REPO = Path(__file__).resolve().parent.parent.parent
BACKENDS = ("wandb", "tensorboard")
"""Trackers (`rl/tracking/trackers.py`)."""


@dataclass(frozen=True)
class DataConfig:
    """RL records, of any format (see data/records/rl.py and data/formats/reader.py)."""

    train: str = "???"
    """Path of the training records."""
    heldout: str = "???"
    """Path of the held-out records."""
    image_prefix: str = ""
    """Put before relative image paths; empty: relative to `image_root`, or else to the records' own folder."""
    image_root: str = ""
    """No image may lie outside this folder; empty: anywhere."""
    prefixes: list[str] = field(default_factory=list)
    """old=new: a path that starts with the folder `old` is read as if it started with `new`."""
    white_canvas: str = ""
    """An image path with this end stands for a white canvas (the public system's: white.png); empty: none does."""
    on_bad: str = "raise"
    """What a bad record does: raise (a large file's: when it is drawn), or skip (all are checked at the start)."""

    def __post_init__(self) -> None:
        if self.on_bad not in list(OnBad):
            raise ValueError(f"data.on_bad is {self.on_bad!r}; expected {' or '.join(OnBad)}")
        parse_prefixes(self.prefixes)

    @property
    def image_rules(self) -> ImageRules:
        """How image paths are read."""
        return ImageRules(
            folder=resolve_path(self.image_prefix) if self.image_prefix else None,
            root=resolve_path(self.image_root) if self.image_root else None,
            prefixes=parse_prefixes(self.prefixes),
            white_canvas=self.white_canvas,
        )


@dataclass(frozen=True)
class RolloutConfig:
    """How groups are made."""

    prompt: str = "recipes/prompts/critic.txt"
    """The critic's prompt file."""
    groups_per_step: int = 16
    n: int = 8
    """Responses of one group."""
    success_share: float | None = None
    """Share of each step's tasks that are labelled successful; unset: as the records have it."""
    temperature: float = 1.0
    max_tokens: int = 512
    """Longest response."""
    regenerate: str = "by_label"
    """Which critiques are tried out: by_label, by_verdict or always (`rollout.single_step.Regenerate`)."""
    baseline: str = "record"
    """What a regenerated image is compared with: record, judge or side_by_side (`rollout.single_step.Baseline`)."""
    min_valid: int = 0
    """Fewest valid samples of a group that is learned from; 0: half of n, at least 2."""
    max_refills: int = 4
    """Further groups a step may draw in place of those with too few valid samples (or, if wished, no variance)."""
    refill_zero_variance: bool = False
    """Also replace groups whose rewards are all equal: dynamic sampling (DAPO, arXiv 2503.14476, 3.2), bounded."""
    max_failure_share: float = 0.5
    """Share of failed samples in one step that stops the run."""

    def __post_init__(self) -> None:
        _positive(self, "rollout", "groups_per_step", "max_tokens", "temperature")
        if self.max_refills < 0:
            raise ValueError(f"rollout.max_refills is {self.max_refills}; expected 0 or more")
        if not 0 <= self.max_failure_share < 1:
            raise ValueError(f"rollout.max_failure_share is {self.max_failure_share}; expected a share below 1")
        if self.success_share is not None and not 0 <= self.success_share <= 1:
            raise ValueError(f"rollout.success_share is {self.success_share}; expected a share from 0 to 1, or null")
        if self.regenerate not in list(Regenerate):
            known = ", ".join(Regenerate)
            raise ValueError(f"rollout.regenerate is {self.regenerate!r}; expected one of {known}")
        if self.baseline not in list(Baseline):
            known = ", ".join(Baseline)
            raise ValueError(f"rollout.baseline is {self.baseline!r}; expected one of {known}")
        if self.n < 2:
            raise ValueError(f"rollout.n is {self.n}; GRPO compares within a group, so it needs at least 2")
        if self.min_valid == 1 or self.min_valid > self.n:
            raise ValueError(f"rollout.min_valid is {self.min_valid}; expected 0 (half of n) or 2 to n={self.n}")

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

    advantage: str = "grpo"
    """verl's advantage estimator."""
    normalise_by_std: bool = True
    """Divide a group's advantages by its standard deviation."""
    filter_zero_variance: bool = True
    """Leave groups out whose rewards are all equal: they teach nothing and would only dilute the mean."""
    overlong: str = "keep"
    """keep, or mask: a truncated answer counts in its group's baseline, but nothing is learned from its tokens."""
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        if self.overlong not in ("keep", "mask"):
            raise ValueError(f"algorithm.overlong is {self.overlong!r}; expected keep or mask")


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out tasks, the same seeds each time."""

    num_tasks: int = 400
    """How many of the held-out tasks before and after; 0: all."""
    num_tasks_during: int = 100
    """How many at `every`."""
    num_seeds: int = 2
    """Responses, and generation seeds, of one task."""
    every: int = 0
    """Steps between evaluations during training; 0: only before and after."""
    fixed_semantics: float = 7.0
    """A failed task counts as fixed when the new image's semantics reach this, of 10, ..."""
    fixed_quality: float = 7.0
    """... and its quality this."""
    seed: int = 1234

    def __post_init__(self) -> None:
        _positive(self, "evaluation", "num_seeds")
        if self.num_tasks < 0 or self.num_tasks_during < 0:
            raise ValueError("evaluation.num_tasks and num_tasks_during are 0 (all) or more")
        for name in ("fixed_semantics", "fixed_quality"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"evaluation.{name} is {getattr(self, name)}; expected a judge's score in (0, 10]")


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go, beside the run folder's metrics.jsonl."""

    backends: list[str] = field(default_factory=lambda: ["wandb"])
    """wandb (offline, in the run folder, unless WANDB_API_KEY is set) and tensorboard; [] for plain files alone."""
    project: str = "interleave"
    """W&B's project."""
    alerts: AlertConfig = field(default_factory=AlertConfig)
    """When to say that a run collapses."""
    stop_on: list[str] = field(default_factory=list)
    """Names of alerts that also save a checkpoint and stop the run."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.backends) - set(BACKENDS)):
            raise ValueError(f"tracking.backends has {', '.join(unknown)}; known are {', '.join(BACKENDS)}")
        check_alert_names(self.stop_on)


class NamedRecipe(Protocol):
    """What recipes of every kind have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...


class Job(NamedRecipe, Protocol):
    """A recipe whose work has a folder of its own."""

    @property
    def run_dir(self) -> str: ...


class Run(Job, Protocol):
    """A job that takes steps: enough for checkpoints, trackers and a log."""

    @property
    def num_steps(self) -> int: ...
    @property
    def tracking(self) -> TrackingConfig: ...


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    name: str = "???"
    run_dir: str = "runs/${name}"
    """All that explains a run, checkpoints and export too: driver and policy ranks have to see the same folder."""
    store: str = "runs/store"
    """Images and paid-for answers, shared by runs."""
    store_is_shared: bool = True
    """All nodes see the same folder; false: each node has its own, and an image that it misses is sent by another.

    The images of data sets are no part of it: they have to be at the same paths on every node.
    """
    store_limit_gib: float = 0.0
    """Least recently used images and answers go above this size, in GiB; never those of a running run. 0: no limit."""
    seed: int = 0
    num_steps: int = 100
    max_staleness: int = 0
    """How many consumed steps the rollouts may run ahead of the policy; 0: on-policy."""
    save_every: int = 0
    """Steps between checkpoints; 0: only at the end."""
    num_cpus: int = 16
    """Logical CPUs told to a Ray that this run starts itself."""
    ray_address: str = ""
    """A running cluster's address (or `auto`); empty: start Ray on this machine."""
    data: DataConfig = field(default_factory=DataConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    samplers: SamplerConfig = field(default_factory=SamplerConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    evidence: dict[str, EvidenceConfig] = field(default_factory=dict)
    """What else is gathered for the reward's terms that need it, by name."""
    workers: RolloutWorkersConfig = field(default_factory=RolloutWorkersConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        _positive(self, "", "num_steps")
        if self.store_limit_gib < 0:
            raise ValueError(f"store_limit_gib is {self.store_limit_gib}; expected 0 (no limit) or more")
        if self.max_staleness < 0:
            raise ValueError(f"max_staleness is {self.max_staleness}; expected 0 (on-policy) or more")
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
            if bool(evidence.fn) == (evidence.judge is not None):
                raise ValueError(f"evidence.{name}: give either fn (a function) or judge (a second judge)")
        if self.max_staleness > 0 and self.algorithm.loss.rollout_correction is None:
            raise ValueError(
                f"max_staleness is {self.max_staleness}, so samples are older than the policy: set "
                "algorithm.loss.rollout_correction to token or sequence (importance sampling)"
            )

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation during training is due after `step` (counted from 1; the last one has its own)."""
        every = self.evaluation.every
        return every > 0 and step % every == 0 and step < self.num_steps

    def saves_at(self, step: int) -> bool:
        return step == self.num_steps or (self.save_every > 0 and step % self.save_every == 0)


def resolve_path(path: str) -> Path:
    """Return a recipe's path: as given, from the working folder or from the checkout; hub ids stay as they are."""
    given = Path(path).expanduser()
    return given if given.is_absolute() or given.exists() else REPO / given


def _positive(config: Any, section: str, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            key = f"{section}.{name}".lstrip(".")
            raise ValueError(f"{key} is {getattr(config, name)}; expected more than 0")
