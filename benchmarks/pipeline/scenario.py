"""What is run: tasks, a recipe, latencies for each (step, task, sample, stage), and what every stand-in answers."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from actors.config import GeneratorConfig, JudgeConfig, LossConfig, RolloutWorkersConfig, SamplerConfig
from rewards.compose import TermConfig
from rl.plan.rules import Rules, rules_of
from rl.plan.simulation import Simulated, simulate
from rl.plan.stage_times import DrawnTimes, Spread, Work
from rl.recipe.config import AlgorithmConfig, EvaluationConfig, Recipe, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rollout.text.critique import format_critique
from rollout.text.seeds import seed_of
from rollout.types import Critique, Scores, Task

NUM_TASKS, N = 16, 8
SPREADS = {
    Work.SAMPLE: Spread(18.0, 0.45),
    Work.GENERATE: Spread(0.9),
    Work.JUDGE: Spread(4.0, 0.8),
    Work.UPDATE: Spread(30.0),
}
"""Seconds at full size."""
PROMPT_TOKENS, RESPONSE_TOKENS = 2120, 400
TERMS = [
    TermConfig("rewards.format.is_parsed", 0.5, "format"),
    TermConfig("rewards.accuracy.is_right", 0.1, "accuracy"),
    TermConfig("rewards.stepwise.semantic_gain", 0.3),
    TermConfig("rewards.stepwise.quality_gain", 0.1),
]
SIZE = (64, 64)
Place = tuple[int, int, int]
"""A sample: its step from 1, its task's position in the step, its place in the group."""


@dataclass(frozen=True)
class Schedule:
    """One way to order a step's work."""

    name: str
    max_staleness: int = 0
    is_serial: bool = False
    bar: float = 1.0
    """How many times as fast as the serial one it has to be."""

    @property
    def warm_steps(self) -> int:
        """Steps before the pipeline is full."""
        return self.max_staleness + 1


SCHEDULES = (
    Schedule("serial", is_serial=True),
    Schedule("streamed", bar=1.25),
    Schedule("k=1", 1, bar=2.35),
    Schedule("k=2", 2, bar=3.3),
)


@dataclass(frozen=True)
class Scenario:
    """Which run is made, and in how much less time than at full size. Picklable."""

    factor: float
    """What all latencies are divided by."""
    num_steps: int
    """Counted ones."""
    seed: int = 0
    num_generators: int = 8
    """Replicas, each a process."""

    def recipe(self, schedule: Schedule, folder: Path) -> Recipe:
        """Return the recipe of a schedule, whose files go into a folder."""
        correction = "token" if schedule.max_staleness else None
        return Recipe(
            name=f"pipeline {schedule.name}",
            run_dir=str(folder / "run"),
            store=str(folder / "store"),
            num_steps=schedule.warm_steps + self.num_steps,
            max_staleness=schedule.max_staleness,
            seed=self.seed,
            rollout=RolloutConfig(groups_per_step=NUM_TASKS, n=N),
            reward=RewardConfig(TERMS),
            algorithm=AlgorithmConfig(loss=LossConfig(rollout_correction=correction)),
            samplers=SamplerConfig(num_samplers=1, max_num_seqs=256),
            generator=GeneratorConfig(
                kind="benchmarks.pipeline.generator:StandInGenerator",
                options={"factor": self.factor, "num_steps": self.num_steps, "seed": self.seed},
                num_replicas=self.num_generators,
                cpus_per_replica=0.1,
            ),
            judge=JudgeConfig(kind="openai", model="stand-in", max_concurrency=64),
            workers=RolloutWorkersConfig(num_workers=2, groups_per_worker=32),
            tracking=TrackingConfig(backends=[]),
            evaluation=EvaluationConfig(num_tasks=0),
        )

    def rules(self, schedule: Schedule, folder: Path = Path()) -> Rules:
        """Return the rules of the recipe, of which these generators make one image at a time."""
        rules = rules_of(self.recipe(schedule, folder))
        return replace(rules, generator_places=self.num_generators, is_serial=schedule.is_serial)

    def reference(self, schedule: Schedule) -> Simulated:
        """Return what a schedule comes to without any overhead."""
        return simulate(self.rules(schedule), self.times, self.num_steps, schedule.warm_steps)

    @cached_property
    def times(self) -> DrawnTimes:
        return DrawnTimes(SPREADS, seed=self.seed, factor=self.factor)

    def tasks(self, folder: Path) -> list[Task]:
        """Return as many tasks as a step has, all of them failed ones; their images are written into a folder."""
        tasks = []
        for number in range(NUM_TASKS):
            images = [folder / f"{name}-{number:02d}.png" for name in ("before", "after")]
            for path in images:
                noise(path.name).save(path)
            words = f"a red box beside {number} blue ones"
            scores = Scores(3.0, 3.0)
            tasks.append(Task(f"task-{number:02d}", words, words, str(images[0]), str(images[1]), False, scores))
        return tasks

    def places(self) -> dict[int, Place]:
        """Return the sample of each sampling seed, as `rl.stream` and `rollout.single_step` derive it."""
        places = {}
        most_steps = self.num_steps + max(schedule.warm_steps for schedule in SCHEDULES)
        for step in range(1, most_steps + 1):
            step_seed = seed_of(self.seed, "sample", step)
            for task in range(NUM_TASKS):
                for sample in range(N):
                    places[seed_of(step_seed, f"task-{task:02d}", sample)] = step, task, sample
        assert len(places) == most_steps * NUM_TASKS * N, "two samples have one seed; choose another --seed"
        return places


def response_text(place: Place) -> str:
    """Return what the policy says."""
    return format_critique(Critique(False, "a red box, {} {} {}".format(*place), "the box is missing"))


def place_in(prompt: str) -> Place:
    """Return the sample that a prompt is of.

    >>> place_in("a red box, 3 15 7")
    (3, 15, 7)
    """
    step, task, sample = prompt.split(", ")[1].split()
    return int(step), int(task), int(sample)


def image_of(place: Place) -> Image.Image:
    """Return the generator's image of a sample: its first pixels say which."""
    image = noise("edit", *place)
    step, task, sample = place
    image.putpixel((0, 0), (step // 256, step % 256, task))
    image.putpixel((1, 0), (sample, 0, 0))
    return image


def place_of(image: Image.Image) -> Place:
    """Return the sample that an image is of.

    >>> place_of(image_of((300, 15, 7)))
    (300, 15, 7)
    """
    first, second = image.getpixel((0, 0)), image.getpixel((1, 0))
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    return int(first[0]) * 256 + int(first[1]), int(first[2]), int(second[0])


def judge_scores(place: Place, call: int) -> list[float]:
    """Return the two scores that a call of the judge gives."""
    dice = random.Random(repr((place, call)))
    return [dice.randint(0, 20) / 2, dice.randint(0, 20) / 2]


def noise(*seed: object) -> Image.Image:
    """Return a picture that depends on the seed alone."""
    return Image.frombytes("RGB", SIZE, random.Random(repr(seed)).randbytes(3 * SIZE[0] * SIZE[1]))
