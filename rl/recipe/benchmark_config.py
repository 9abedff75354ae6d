"""Settings of the part of a public benchmark that is run beside RL (`rl/official/during.py`)."""

from dataclasses import dataclass, field
from typing import Annotated

from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from evals.official.registry import BENCHMARKS
from rollout.text.limits import PathText, PositiveInt, Seed, check_fields, one_of


@dataclass(frozen=True)
class BenchmarkConfig:
    """Every so many steps, the critic as it is then sees the generator through a few items of a public benchmark."""

    name: Annotated[str, one_of("", *BENCHMARKS)] = ""
    """A benchmark that asks for an image or an edit, like wise_verified; empty: none."""
    data: PathText = ""
    """Folder of its data."""
    prompts: PathText = ""
    """A checkout of it, for the judge's prompts."""
    every: PositiveInt = 50
    """Steps between two; a multiple of evaluation.every, which says when there is an evaluation at all."""
    limit: PositiveInt = 32
    """Items, spread evenly over the benchmark."""
    tries: PositiveInt = 3
    """Most tries at an item."""
    at_once: PositiveInt = 4
    """Items at a time: training uses the same samplers and generators."""
    seed: Seed = 0
    judge: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="openai"))
    """With a budget of its own; once that is spent there are no more figures, and training goes on."""

    def __post_init__(self) -> None:
        check_fields(self, "benchmark")
        if not self.name:
            return
        for key in ("data", "prompts"):
            if not getattr(self, key):
                raise ValueError(f"benchmark.name is {self.name}: set benchmark.{key}, a folder")
        if not traits_of(self.judge.kind).is_asked:
            raise ValueError(f"benchmark.judge.kind is {self.judge.kind}: it is asked in words; use openai or vllm")
