"""A recipe: one YAML that says everything about an experiment, checked before anything starts."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from actors.config import (
    GeneratorConfig,
    JudgeConfig,
    LossConfig,
    PolicyConfig,
    RolloutWorkersConfig,
    SamplerConfig,
)
from rewards.compose import TermConfig
from rollout.single_step import Regenerate

REPO = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class DataConfig:
    """RL records: one JSON object a line (see data/records.py)."""

    train: str = "???"
    """Path of the training records."""
    heldout: str = "???"
    """Path of the held-out records."""
    image_prefix: str = ""
    """Put before relative image paths; empty: relative to the records' own folder."""


@dataclass(frozen=True)
class RolloutConfig:
    """How groups are made."""

    prompt: str = "recipes/prompts/critic.txt"
    """The critic's prompt file."""
    groups_per_step: int = 16
    n: int = 8
    """Responses of one group."""
    temperature: float = 1.0
    max_tokens: int = 512
    """Longest response."""
    regenerate: str = "by_label"
    """Which critiques are tried out: by_label, by_verdict or always (`rollout.single_step.Regenerate`)."""
    min_valid: int = 0
    """Fewest valid samples of a group that is learned from; 0: half of n, at least 2."""
    max_refills: int = 4
    """Further groups a step may draw in place of those with too few valid samples."""
    max_failure_share: float = 0.5
    """Share of failed samples in one step that stops the run."""

    def __post_init__(self) -> None:
        _positive(self, "groups_per_step", "max_tokens", "temperature")
        if self.regenerate not in list(Regenerate):
            known = ", ".join(Regenerate)
            raise ValueError(f"rollout.regenerate is {self.regenerate!r}; expected one of {known}")
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


@dataclass(frozen=True)
class AlgorithmConfig:
    """Advantages and the loss, by verl's registered names."""

    advantage: str = "grpo"
    """verl's advantage estimator."""
    normalise_by_std: bool = True
    """Divide a group's advantages by its standard deviation."""
    filter_zero_variance: bool = True
    """Leave groups out whose rewards are all equal: they teach nothing and would only dilute the mean."""
    loss: LossConfig = field(default_factory=LossConfig)


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
        _positive(self, "num_seeds")
        for name in ("fixed_semantics", "fixed_quality"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"evaluation.{name} is {getattr(self, name)}; expected a judge's score in (0, 10]")


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go, beside the run folder's metrics.jsonl."""

    wandb: bool = True
    """Weights & Biases; offline (in the run folder) unless WANDB_API_KEY is set."""
    project: str = "interleave"


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    name: str = "???"
    run_dir: str = "runs/${name}"
    store: str = "runs/store"
    """Images and paid-for answers, shared by runs."""
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
    workers: RolloutWorkersConfig = field(default_factory=RolloutWorkersConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        _positive(self, "num_steps")
        if self.max_staleness < 0:
            raise ValueError(f"max_staleness is {self.max_staleness}; expected 0 (on-policy) or more")
        if not self.reward.terms:
            raise ValueError("the recipe has no reward; add `reward: released` or a list of terms")

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation during training is due after `step` (counted from 1; the last one has its own)."""
        every = self.evaluation.every
        return every > 0 and step % every == 0 and step < self.num_steps

    def saves_at(self, step: int) -> bool:
        return step == self.num_steps or (self.save_every > 0 and step % self.save_every == 0)


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe with what it extends, apply `key=value` overrides and check it.

    Raises ValueError that says which key is wrong, what was given and what would be right.
    """
    tree = _read(Path(path))
    for override in overrides or []:
        if "=" not in override:
            raise ValueError(f"override {override!r}: expected key=value, like rollout.n=8")
    try:
        _put(tree, OmegaConf.from_dotlist(overrides or []), where="command line")
        recipe = OmegaConf.to_object(OmegaConf.merge(_schema(), tree))
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(error, path)) from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{path}: {error.full_key} is not set") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {error.full_key or ''}: {str(error).splitlines()[0]}") from None
    assert isinstance(recipe, Recipe)
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True)


def resolve_path(path: str) -> Path:
    """Return a recipe's path: as given, from the working folder or from the checkout; hub ids stay as they are."""
    given = Path(path).expanduser()
    return given if given.is_absolute() or given.exists() else REPO / given


def _read(path: Path) -> DictConfig:
    if not path.exists():
        raise ValueError(f"recipe {path} does not exist; recipes are in {REPO / 'recipes'}")
    loaded = OmegaConf.load(path)
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"recipe {path}: expected a mapping of settings, found a {type(loaded).__name__}")
    parent = loaded.pop("extends", None)
    tree = _read(path.parent / parent) if parent else OmegaConf.create({})
    _put(tree, loaded, where=str(path))
    return tree


def _put(tree: DictConfig, changes: Any, *, where: str) -> None:
    """Merge `changes` into `tree`; `reward: <name>` stands for a named set."""
    reward = changes.get("reward") if "reward" in changes else None
    if isinstance(reward, str):
        path = REPO / "recipes" / "reward" / f"{reward}.yaml"
        if not path.exists():
            known = sorted(file.stem for file in path.parent.glob("*.yaml"))
            raise ValueError(f"{where}: reward set {reward!r} is unknown; known are {', '.join(known)}")
        changes["reward"] = OmegaConf.load(path)
    tree.merge_with(changes)


def _schema() -> DictConfig:
    """Return the empty recipe, writable: OmegaConf makes frozen dataclasses read-only, each node by itself."""
    schema = OmegaConf.structured(Recipe)
    nodes = [schema]
    while nodes:
        node = nodes.pop()
        OmegaConf.set_readonly(node, False)
        nodes += [value for _, value in node.items_ex(resolve=False) if isinstance(value, DictConfig)]
    return schema


def _unknown_key(error: ConfigKeyError, path: Path | str) -> str:
    key = str(error.full_key)
    parent, _, last = key.rpartition(".")
    node = _schema()
    siblings = list(OmegaConf.select(node, parent) if parent else node)
    nearest = difflib.get_close_matches(last, siblings, n=1, cutoff=0.0)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{path}: unknown key {key}{hint}"


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{type(config).__name__}.{name} is {getattr(config, name)}; expected more than 0")
