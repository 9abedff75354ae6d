"""A data recipe: what `interleave data build` reads (`rl/recipe/reader.py`), checked on construction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from actors.config import GeneratorConfig, JudgeConfig
from actors.resources import Role
from actors.teacher.config import TeacherConfig
from data.build.rules import CriticSetConfig, PlannerSetConfig, RlSetConfig, SetConfig, SplitConfig
from data.records.image_paths import parse_prefixes
from data.records.on_bad import OnBad
from rl.recipe.jobs import RunRecipe
from rl.recipe.resumable import SERVICE_MAY_CHANGE
from rollout.collect import CollectConfig, Success
from rollout.text.limits import (
    NonNegativeInt,
    PathText,
    PositiveInt,
    RequiredPath,
    Seed,
    Share,
    Tilde,
    check_fields,
    one_of,
)

_DECIDES = ("seed", "store", "planner", "critic", "expert", "generator", "judge", "success", "collect")
"""Keys that decide how requests are carried out and where their images are; service endpoints may still change."""


@dataclass(frozen=True)
class RequestsConfig:
    """What users ask for (see data/build/requests.py)."""

    file: RequiredPath = "???"
    """A text file with one request per line (.txt), or records of any format."""
    image_root: PathText = ""
    """Base of relative paths, outside of which no image may lie; empty: the file's folder, and images anywhere."""
    prefixes: list[Annotated[str, Tilde("=")]] = field(default_factory=list)
    """old=new: an image path that starts with the folder `old` is read as if it started with `new`."""
    limit: NonNegativeInt = 0
    """Maximum number of requests to read; 0: all."""

    def __post_init__(self) -> None:
        check_fields(self, "requests")
        parse_prefixes(self.prefixes)


@dataclass(frozen=True)
class BuildRecipe(RunRecipe):
    """One build of planner SFT, critic SFT and critic RL sets; its folder holds them, the trajectories and the bill."""

    seed: Seed = 0
    on_bad: Annotated[str, one_of(*OnBad)] = "skip"
    """What to do with a bad request or answer: skip (leave it out, count and locate it), or raise."""
    max_failure_share: Share = 0.5
    """Share of the last 50 requests with failed calls that stops the build; unreadable answers do not count."""
    in_flight: PositiveInt = 16
    """Requests carried out at a time."""
    requests: RequestsConfig = field(default_factory=RequestsConfig)
    planner: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of plans."""
    critic: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of critiques; or, with an expert, the critic that is to learn (`critic.model`)."""
    expert: TeacherConfig = field(default_factory=lambda: TeacherConfig(prompt="recipes/prompts/critic.txt"))
    """Says of each of the critic's attempts what it should have said: critic_sft teaches the expert's thought and
    verdict with the critic's own prompt (DAgger). Without fn, model, ask.model and kind there is none, and
    critic_sft teaches the critic's answers."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    success: Success = field(default_factory=Success)
    collect: CollectConfig = field(default_factory=CollectConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    planner_sft: PlannerSetConfig = field(default_factory=PlannerSetConfig)
    critic_sft: CriticSetConfig = field(default_factory=CriticSetConfig)
    critic_rl: RlSetConfig = field(default_factory=RlSetConfig)
    sequences: SetConfig = field(default_factory=SetConfig)
    """Complete trajectories as sequences of texts and images, for models that generate both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rl, collect = self.critic_rl, self.collect
        for rule, is_set, tries in (
            ("max_retried", rl.max_retried is not None, "num_retries"),
            ("min_refined or max_refined", (rl.min_refined, rl.max_refined) != (None, None), "num_refinements"),
        ):
            if rl.is_made and is_set and not (collect.num_measured and getattr(collect, tries)):
                raise ValueError(
                    f"critic_rl.{rule} needs a measurement: set collect.num_measured and collect.{tries} above 0"
                )
        temperature = self.critic.ask.call.get("temperature", 0.0)
        if self.critic.asked is not None and collect.num_measured and collect.num_refinements > 1 and not temperature:
            raise ValueError(
                f"collect.num_refinements={collect.num_refinements} at temperature {temperature} would be "
                "the same prompt, "
                f"paid for {collect.num_refinements} times: set critic.ask.call.temperature, to 0.7 for example"
            )

    @property
    def teachers(self) -> dict[str, TeacherConfig]:
        """Those that there are, by role."""
        teachers = {"planner": self.planner, "critic": self.critic}
        return teachers | ({"expert": self.expert} if self.expert.is_set else {})

    @property
    def roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = {}
        for key, teacher in self.teachers.items():
            if teacher.asked is not None:
                roles[f"{key}.ask"] = teacher.asked
            if teacher.served is not None:
                roles[f"{key}.samplers"] = teacher.served
        return roles | {"generator": self.generator, "judge": self.judge}


def is_resumable_change(key: str) -> bool:
    """Return whether a resumed build may change a key: how sets are chosen, which services are asked and how fast.

    >>> [is_resumable_change(key) for key in ("critic_rl.failed_share", "planner.ask.budget_usd", "collect.tries")]
    [True, True, False]
    """
    section, *rest = key.split(".")
    return section not in _DECIDES or not SERVICE_MAY_CHANGE.isdisjoint(rest)
