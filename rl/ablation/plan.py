"""An ablation as parts, one after the other, each in the ablation's folder and done once.

FOLDER/
  ablation.json, story.yaml   what its figures depend on (`rl.ablation.identity`)
  parts/<part>.json           a part that is done, and the seconds it took
  runs/<critic>/              a run of `interleave train`
  stories/<critic>.json       an evaluation of `interleave eval stories`
  table.json  plot.svg  plot.png  index.html
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path

from evals.stories import EvalStory, read_stories
from recipes.shapes.stories import eval_stories
from rl.ablation.config import SFT, AblationRecipe, StoriesConfig
from rl.atomic_write import atomic_write
from rl.json_file import read_object
from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.story.config import StoryRecipe, load_story_recipe


class Kind(StrEnum):
    """What a part does."""

    TRAIN = "train"
    STORIES = "stories"


@dataclass(frozen=True)
class Part:
    """A critic's training, or its stories."""

    kind: Kind
    critic: str
    """`sft`, or a variant with a seed, like full-seed0."""
    record: Path
    """Is there when the part is done."""

    def __str__(self) -> str:
        return f"{self.kind} {self.critic}"

    @property
    def is_done(self) -> bool:
        return self.record.is_file()

    @property
    def seconds(self) -> float | None:
        """How long it took; None where that is not known: it is not done, or was done in several starts."""
        said = read_object(self.record).get("seconds") if self.is_done else None
        return said if isinstance(said, int | float) else None

    def finish(self, seconds: float | None) -> None:
        """Note that it is done."""
        atomic_write(self.record, json.dumps({"part": str(self), "seconds": seconds}))


@dataclass(frozen=True)
class AblationPlan:
    """An ablation's recipe with all that it names, read and checked."""

    recipe: AblationRecipe
    folder: Path
    story: StoryRecipe
    stories: list[EvalStory]
    trainings: Mapping[str, Recipe]
    """By critic, in the order in which they run: the first seed of every variant, then the second, ..."""

    @property
    def parts(self) -> list[Part]:
        """All parts in their order: a critic's stories come right after its training."""
        parts = [self.part(Kind.STORIES, SFT)]
        for critic in self.trainings:
            parts += [self.part(Kind.TRAIN, critic), self.part(Kind.STORIES, critic)]
        return parts

    def part(self, kind: Kind, critic: str) -> Part:
        """Return one part."""
        return Part(kind, critic, self.folder / "parts" / f"{kind}-{critic}.json")

    def model(self, critic: str) -> str:
        """Return the checkpoint of a critic."""
        if critic == SFT:
            return next(iter(self.trainings.values())).policy.model
        return str(Path(self.trainings[critic].run_dir) / "export")

    def told(self, critic: str) -> Path:
        """Return the file of a critic's stories."""
        return self.folder / "stories" / f"{critic}.json"


def make_plan(recipe: AblationRecipe, folder: Path) -> AblationPlan:
    """Read all that an ablation names. Raises ValueError that names the variant whose training cannot be read."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is no folder; an ablation needs one (--out)")
    story = load_story_recipe(recipe.story, recipe.story_overrides)
    trainings = dict(_trainings(recipe, folder, story.store))
    models = {training.policy.model for training in trainings.values()}
    if len(models) > 1:
        raise ValueError(f"the variants begin from several critics: {', '.join(sorted(models))}; expected one")
    return AblationPlan(recipe, folder, story, _stories(recipe.stories), trainings)


def _trainings(recipe: AblationRecipe, folder: Path, store: str) -> Iterator[tuple[str, Recipe]]:
    for seeds in zip_longest(*(variant.seeds for variant in recipe.variants)):
        for variant, seed in zip(recipe.variants, seeds, strict=True):
            if seed is None:
                continue
            critic = variant.critic(seed)
            own = [f"seed={seed}", f"run_dir={folder / 'runs' / critic}", f"store={store}"]
            try:
                yield critic, load_recipe(recipe.train, [*recipe.overrides, *variant.overrides, *own])
            except ValueError as error:
                raise ValueError(f"variant {variant.name}: {error}") from error


def _stories(config: StoriesConfig) -> list[EvalStory]:
    if not config.file:
        return eval_stories(config.num, config.form)
    stories = read_stories(Path(config.file))
    if len(stories) < config.num:
        raise ValueError(f"stories.file {config.file} has {len(stories)} stories, stories.num is {config.num}")
    return stories[: config.num]
