"""An ablation's recipe: what `interleave ablate` reads, checked when it is made (see recipes/shapes/ablation.yaml)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from rollout.text.limits import (
    Name,
    NonNegativeInt,
    PathText,
    PositiveInt,
    RequiredPath,
    Rule,
    RunName,
    Score,
    Seed,
    check_fields,
    one_of,
)

SFT = "sft"
"""What the critic is called that every training begins from."""
_OWN = ("seed", "run_dir", "store")
"""Keys of a training that the ablation sets: parts have folders of their own, and pictures in common."""
_VariantName = Annotated[
    Name,
    Rule(
        f"a name of letters, digits and _, other than {SFT}",
        lambda text: text.isascii() and text.isidentifier() and text != SFT,
    ),
]


@dataclass(frozen=True)
class VariantConfig:
    """One way of training the critic."""

    name: _VariantName = "???"
    overrides: list[Name] = field(default_factory=list)
    """What it changes in the training's recipe, as on the command line of `interleave train`; [] for nothing."""
    seeds: list[Seed] = field(default_factory=lambda: [0])
    """One run each. With other variants it is compared by the seeds that both have."""

    def __post_init__(self) -> None:
        check_fields(self, f"variant {self.name}")
        _check_distinct(self.seeds, f"variant {self.name}: seeds")
        _check_overrides(self.overrides, f"variant {self.name}")

    def critic(self, seed: int) -> str:
        """Return the name of the critic that a seed of it makes."""
        return f"{self.name}-seed{seed}"


@dataclass(frozen=True)
class StoriesConfig:
    """What the critics are measured by."""

    file: PathText = ""
    """JSONL of id, request, instructions; empty: stories of the shapes world."""
    num: PositiveInt = 200
    """How many; of a file, its first ones."""
    form: Annotated[str, one_of("then", "show")] = "then"
    """How those of the shapes world ask: Draw X, then Y; or Show in 2 steps: X and Y."""
    semantics: Score = 9.0
    """A step is satisfied from here, of 10, ..."""
    quality: Score = 5.0
    """... and from here."""

    def __post_init__(self) -> None:
        check_fields(self, "stories")


@dataclass(frozen=True)
class QuickConfig:
    """What `--quick` makes smaller."""

    overrides: list[Name] = field(default_factory=list)
    """Of every training, over what its variant says."""
    seeds: list[Seed] = field(default_factory=lambda: [0])
    """Variants keep those of their seeds that are here."""
    num_stories: NonNegativeInt = 0
    """0: as many as without."""

    def __post_init__(self) -> None:
        check_fields(self, "quick")
        _check_distinct(self.seeds, "quick.seeds")
        _check_overrides(self.overrides, "quick")


@dataclass(frozen=True)
class AblationRecipe:
    """One ablation: generator alone, planner, the critic before RL, and that of each variant of RL."""

    name: RunName = "???"
    train: RequiredPath = "???"
    """Recipe of `interleave train`; the critic before RL is its policy.model."""
    overrides: list[Name] = field(default_factory=list)
    """What every variant changes in it."""
    story: RequiredPath = "???"
    """Recipe of stories, for all but the critic's model."""
    story_overrides: list[Name] = field(default_factory=list)
    variants: list[VariantConfig] = field(default_factory=list)
    """The first is the one that each other is compared with."""
    tries: list[PositiveInt] = field(default_factory=lambda: [1, 3, 5])
    """Most tries of a step; each is an arm of its own."""
    stories: StoriesConfig = field(default_factory=StoriesConfig)
    quick: QuickConfig = field(default_factory=QuickConfig)

    def __post_init__(self) -> None:
        check_fields(self, "")
        _check_distinct(self.tries, "tries")
        _check_overrides(self.overrides, "overrides")
        if not self.variants:
            raise ValueError("variants is empty; expected at least one, like [{name: full, seeds: [0, 1, 2]}]")
        _check_distinct([variant.name for variant in self.variants], "variants")
        for variant in self.variants[1:]:
            self.shared_seeds(variant)

    @property
    def full(self) -> VariantConfig:
        """The variant that the others are compared with."""
        return self.variants[0]

    def shared_seeds(self, variant: VariantConfig) -> list[int]:
        """Return the seeds by which a variant is compared with the first. Raises ValueError where there is none."""
        shared = [seed for seed in self.full.seeds if seed in variant.seeds]
        if not shared:
            raise ValueError(
                f"variant {variant.name} has seeds {variant.seeds}, none of them in {self.full.seeds} of "
                f"{self.full.name}, with which it is compared seed by seed"
            )
        return shared

    def made_quick(self) -> "AblationRecipe":
        """Return the recipe of `--quick`. Raises ValueError where a variant would keep no seed."""
        quick, variants = self.quick, []
        for variant in self.variants:
            seeds = [seed for seed in variant.seeds if seed in quick.seeds]
            if not seeds:
                raise ValueError(f"quick.seeds is {quick.seeds}, none of them in {variant.seeds} of {variant.name}")
            variants.append(replace(variant, seeds=seeds, overrides=[*variant.overrides, *quick.overrides]))
        stories = replace(self.stories, num=quick.num_stories or self.stories.num)
        return replace(self, variants=variants, stories=stories, quick=QuickConfig())


def _check_distinct(values: Sequence[object], what: str) -> None:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{what} is {values}; expected at least one, each once")


def _check_overrides(overrides: Iterable[str], where: str) -> None:
    for text in overrides:
        key = text.partition("=")[0].lstrip("~").strip()
        if key in _OWN:
            raise ValueError(f"{where}: {text}: {key} is set for each part by the ablation; leave it out")
        if "=" not in text and not text.startswith("~"):
            raise ValueError(f"{where}: {text!r}: expected key=value, like reward=paper, or ~key")
