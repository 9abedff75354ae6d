"""A recipe: one YAML that says everything about an experiment, checked before anything starts."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

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
        _positive(self, "rollout", "groups_per_step", "max_tokens", "temperature")
        if self.max_refills < 0:
            raise ValueError(f"rollout.max_refills is {self.max_refills}; expected 0 or more")
        if not 0 <= self.max_failure_share < 1:
            raise ValueError(f"rollout.max_failure_share is {self.max_failure_share}; expected a share below 1")
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
        _positive(self, "evaluation", "num_seeds")
        if self.num_tasks < 0 or self.num_tasks_during < 0:
            raise ValueError("evaluation.num_tasks and num_tasks_during are 0 (all) or more")
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
        _positive(self, "", "num_steps")
        if self.max_staleness < 0:
            raise ValueError(f"max_staleness is {self.max_staleness}; expected 0 (on-policy) or more")
        if not self.reward.terms:
            raise ValueError("the recipe has no reward; add `reward: released` or a list of terms")
        if sum(term.weight for term in self.reward.terms if not term.is_format) <= 0:
            raise ValueError("the reward's terms beside the format weigh nothing; evaluation needs one that does")
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


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe with what it extends, apply `key=value` overrides and check it.

    Raises ValueError that says which key is wrong, what was given and what would be right.
    """
    tree = _read(Path(path))
    try:
        _override(tree, overrides or [])
        recipe = OmegaConf.to_object(OmegaConf.merge(_schema(), tree))
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(error, path)) from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{path}: {error.full_key} is not set") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {error.full_key or ''}: {str(error).splitlines()[0]}") from None
    assert isinstance(recipe, Recipe)
    return recipe


def differences(one: Recipe, other: Recipe) -> set[str]:
    """Return the top-level keys in which two recipes differ."""
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}


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
    try:
        loaded = OmegaConf.load(path)
    except YAMLError as error:
        raise ValueError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"recipe {path}: expected a mapping of settings, found a {type(loaded).__name__}")
    parent = loaded.pop("extends", None)
    tree = _read(_parent(path, str(parent))) if parent else OmegaConf.create({})
    _put(tree, loaded, where=str(path))
    return tree


def _parent(path: Path, name: str) -> Path:
    """Return the recipe that `path` extends: beside it, or one of ours."""
    beside, ours = path.parent / name, REPO / "recipes" / name
    if path.resolve() == beside.resolve():
        raise ValueError(f"recipe {path} extends itself")
    return beside if beside.exists() or not ours.exists() else ours


def _put(tree: DictConfig, changes: DictConfig, *, where: str) -> None:
    """Merge `changes` into `tree`; `reward` may be the name of a set or a list of terms."""
    if changes.get("reward") is not None:
        changes["reward"] = _reward(changes["reward"], where)
    try:
        tree.merge_with(changes)
    except (OmegaConfBaseException, TypeError) as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from None


def _reward(reward: Any, where: str) -> Any:
    if isinstance(reward, ListConfig):
        return {"terms": reward}
    if not isinstance(reward, str):
        return reward
    path = REPO / "recipes" / "reward" / f"{reward}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise ValueError(f"{where}: reward set {reward!r} is unknown; known are {', '.join(known)}")
    return OmegaConf.load(path)


def _override(tree: DictConfig, overrides: list[str]) -> None:
    """Set `key=value`s from the command line; a key may go into a list (`reward.terms.0.weight=0.9`)."""
    for override in overrides:
        key, is_pair, _ = override.partition("=")
        if not is_pair or not key:
            raise ValueError(f"override {override!r}: expected key=value, like rollout.n=8")
        value = OmegaConf.select(OmegaConf.from_dotlist([f"it={override.partition('=')[2]}"]), "it")
        if key == "reward":
            value = _reward(value, "command line")
        OmegaConf.update(tree, key, value, force_add=True)


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
    section = OmegaConf.select(node, parent) if parent else node
    siblings = list(section)
    if not parent:  # an item of a list: OmegaConf names it without its place
        siblings += [item.name for item in fields(TermConfig)]
    nearest = difflib.get_close_matches(last, siblings, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{path}: unknown key {key}{hint}"


def _positive(config: Any, section: str, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            key = f"{section}.{name}".lstrip(".")
            raise ValueError(f"{key} is {getattr(config, name)}; expected more than 0")
