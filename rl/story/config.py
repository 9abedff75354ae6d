"""A recipe of stories: what `interleave generate` reads, a file or a bundle's folder, checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from actors.config import GeneratorConfig, JudgeConfig, SamplerConfig
from actors.image_limit import MODEL_PIXELS
from actors.resources import Role
from actors.web.config import ServiceConfig
from rl.recipe.jobs import JobRecipe
from rl.recipe.layers import recipe_path
from rl.recipe.reader import load_as
from rollout.agents import ImageLimit
from rollout.step_runner import Shown
from rollout.story import DEFAULT_TRIES
from rollout.text.limits import (
    Name,
    NonNegativeInt,
    PathText,
    PositiveInt,
    RequiredPath,
    Share,
    Temperature,
    check_fields,
    one_of,
)
from rollout.text.readers import READERS
from rollout.text.success_probability import SureBy

BUNDLED = "bundle:"
"""Begins a path of a bundle's recipe that lies in the bundle's own folder."""
BUNDLE_RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class PlannerConfig:
    """Who turns a request into steps."""

    kind: Annotated[str, one_of("model", "function")] = "model"
    """model, or function: `fn` reads requests of a grammar."""
    fn: PathText = ""
    """`fn(request, num_images)` to a `rollout.plan.Plan`; by import path or in a file (`./my_plans.py:plan`)."""
    model: PathText = ""
    """Folder or hub id of a Qwen-VL checkpoint in Hugging Face format."""
    prompt: RequiredPath = "recipes/prompts/planner.txt"
    """Prompt file, or `FILE.py:NAME`: a text that a Python file gives a name."""
    guidance_prompt: PathText = ""
    """Another one for requests with images; empty: `prompt` is for all."""
    left_out: list[Name] = field(default_factory=list)
    """What is taken out of a request before the planner reads it, word for word."""
    many_images: ImageLimit = field(default_factory=ImageLimit)
    """Smaller images where a request has many; off by default."""
    temperature: Temperature = 0.7
    max_tokens: PositiveInt = 4096
    """Longest answer."""
    num_attempts: PositiveInt = 3
    """How often it is asked, with new seeds, until its plan can be read."""
    samplers: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        check_fields(self, "planner")


@dataclass(frozen=True)
class CriticConfig:
    """Who says whether a step succeeded, and what to tell the generator if it did not."""

    kind: Annotated[str, one_of("model", "none")] = "model"
    """model, or none: each step's first image is taken as it is."""
    model: PathText = ""
    """Folder or hub id of a Qwen-VL checkpoint in Hugging Face format: an export of SFT or RL."""
    prompt: RequiredPath = "recipes/prompts/critic.txt"
    """Prompt file, or `FILE.py:NAME`: a text that a Python file gives a name."""
    shown: Annotated[str, one_of(*Shown)] = "instruction"
    """What stands for the instruction: instruction, or prompt, the plan's own (`rollout.step_runner.Shown`)."""
    temperature: Temperature = 0.7
    max_tokens: PositiveInt = 1024
    """Longest answer."""
    num_attempts: PositiveInt = 3
    """How often it is asked about one image, with new seeds, until its answer can be read."""
    votes: PositiveInt = 1
    """Answers about each image; more than half of them have to accept it."""
    threshold: Share = 0.0
    """Least probability of success, averaged over the votes, from which an image is accepted; 0: the majority decides.
    That of an answer is of its tokens as they were drawn, which `sure_by` says (`rollout.verdict`)."""
    sure_by: Annotated[str, one_of(*SureBy)] = SureBy.VERDICT.value
    """verdict: the verdict's first token, given the thought; answer: all up to it, the thought's doubts too
    (`rollout.text.success_probability.SureBy`)."""
    samplers: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        check_fields(self, "critic")
        if self.votes > 1 and self.temperature == 0:
            raise ValueError(
                f"critic.votes is {self.votes} and critic.temperature 0: greedy answers are all the same; expected "
                "critic.votes=1, or a temperature above 0"
            )


@dataclass(frozen=True)
class OracleConfig:
    """What is known of a world that no critic can know, for `interleave eval stories`."""

    fn: PathText = ""
    """`fn(instruction)` to the prompt that the generator obeys best; by import path or in a file. Empty: not known."""
    is_measured: bool = False
    """Tell the stories with a perfect verdict, too, and with a perfect critic where there is a `fn`."""


@dataclass(frozen=True)
class StoryRecipe(JobRecipe):
    """A storyteller: planner, generator and critic."""

    num_cpus: PositiveInt = 8
    """Logical CPUs told to a Ray that is started for it."""
    answers: Annotated[str, one_of(*READERS)] = "contract"
    """How planner's and critic's answers are read: contract, or public (`rollout.text.readers`)."""
    tries: PositiveInt = DEFAULT_TRIES
    """Most tries of a step."""
    num_references: NonNegativeInt = 0
    """Earlier images shown to the generator beside the one to edit, for generators that take several."""
    best_of: Annotated[str, one_of("last", "critic", "judge")] = "last"
    """What a step shows when no try is accepted: last (made by the latest prompt), critic: the one of whose success it
    was surest, or judge: the best-scored one."""
    max_pixels: PositiveInt = MODEL_PIXELS
    """Pixels of the largest image that planner and critic are shown; larger ones are scaled down."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Started for best_of=judge, and by `interleave eval stories`."""
    oracle: OracleConfig = field(default_factory=OracleConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)
    """Of `interleave serve`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.planner.kind == "model" and not self.planner.model:
            raise ValueError("planner.kind is model: set planner.model, a folder or a hub id")
        if self.planner.kind == "function" and not self.planner.fn:
            raise ValueError("planner.kind is function: set planner.fn, like my_module.plan or ./my_plans.py:plan")
        if self.critic.kind == "model" and not self.critic.model:
            raise ValueError("critic.kind is model: set critic.model, a folder or a hub id (or critic.kind=none)")

    @property
    def roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = {"generator": self.generator}
        if self.planner.kind == "model":
            roles["planner.samplers"] = self.planner.samplers
        if self.critic.kind == "model":
            roles["critic.samplers"] = self.critic.samplers
        return roles | ({"judge": self.judge} if self.best_of == "judge" else {})


def load_story_recipe(path: Path | str, overrides: list[str] | None = None) -> StoryRecipe:
    """Read a recipe file, or the recipe of a bundle's folder (`interleave export`). Raises ValueError."""
    path = recipe_path(path)
    if not path.is_dir():
        return load_as(StoryRecipe, path, overrides)
    if not (path / BUNDLE_RECIPE).is_file():
        raise ValueError(f"{path} is no bundle: it has no {BUNDLE_RECIPE}; make one with interleave export")
    recipe, folder = load_as(StoryRecipe, path / BUNDLE_RECIPE, overrides), path.resolve()
    planner, critic, generator = recipe.planner, recipe.critic, recipe.generator
    return replace(
        recipe,
        planner=replace(
            planner,
            fn=_placed(planner.fn, folder),
            model=_placed(planner.model, folder),
            prompt=_placed(planner.prompt, folder),
            guidance_prompt=_placed(planner.guidance_prompt, folder),
        ),
        critic=replace(critic, model=_placed(critic.model, folder), prompt=_placed(critic.prompt, folder)),
        generator=replace(generator, model=_placed(generator.model, folder)),
    )


def _placed(path: str, folder: Path) -> str:
    """Return a path of a bundle's recipe where the bundle is. Raises ValueError for one that leads out of it."""
    if not path.startswith(BUNDLED):
        return path
    placed = folder / path.removeprefix(BUNDLED)
    file, mark, _ = str(placed).partition(".py:")
    if not Path(f"{file}.py" if mark else file).resolve().is_relative_to(folder):
        raise ValueError(f"{folder / BUNDLE_RECIPE}: {path} leads out of the bundle")
    return str(placed)
