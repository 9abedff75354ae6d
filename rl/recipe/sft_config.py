"""A recipe of SFT: what `interleave sft` reads (`rl/recipe/reader.py`), checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from actors.adapters import check_adapters
from actors.resources import Role
from data.records.sft import Kind
from rl.recipe.config import DataConfig
from rl.recipe.jobs import TrainingRecipe
from rl.recipe.keep_best import LOSS, check_keep_best, is_less_better
from rollout.text.limits import (
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    check_fields,
    one_of,
)

FIGURES = {
    Kind.CRITIC_SFT: ("eval/parse_rate", "eval/verdict_accuracy", "eval/verdict_balanced"),
    Kind.PLANNER_SFT: ("eval/parse_rate", "eval/same_num_steps", "eval/same_instructions"),
}
"""What greedy answers are measured by; more is better."""


@dataclass(frozen=True)
class SftDataConfig(DataConfig):
    """SFT records of one kind, of any format (see data/records/sft.py)."""

    kind: Annotated[str, one_of(*FIGURES)] = "critic_sft"
    """critic_sft or planner_sft: what an answer has to parse as."""


@dataclass(frozen=True)
class SftEvaluationConfig:
    """Held-out records: their loss, and greedy answers to their questions."""

    every: NonNegativeInt = 0
    """Steps between evaluations; the last step always has one. 0: only that."""
    num_losses: NonNegativeInt = 400
    """Held-out records whose loss is measured; 0: all."""
    num_answers: NonNegativeInt = 200
    """Held-out records that are answered; 0: none, and no sampler is started."""
    max_tokens: PositiveInt = 1024
    """Longest answer."""
    best: str = LOSS
    """Figure by which the weights to export are chosen; empty: the last step's are."""

    def __post_init__(self) -> None:
        check_fields(self, "evaluation")

    @property
    def is_less_better(self) -> bool:
        return is_less_better(self.best)


@dataclass(frozen=True)
class SftRecipe(TrainingRecipe):
    """One cold start. Its store has declared canvases; the images of records stay where they are."""

    num_epochs: PositiveFloat = 1.0
    """How often each record is learned from."""
    num_steps: NonNegativeInt = 0
    """Optimizer steps; 0: as many as `num_epochs` takes."""
    batch_size: PositiveInt = 64
    """Records of one optimizer step, over all ranks."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises (unless policy.warmup_steps says how many)."""
    data: SftDataConfig = field(default_factory=SftDataConfig)
    evaluation: SftEvaluationConfig = field(default_factory=SftEvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluation.num_answers:
            self.samplers.check_answers(self.evaluation.max_tokens, "evaluation.max_tokens")
            check_adapters(self.policy, self.samplers)
        if self.tracking.metrics:
            raise ValueError(
                f"tracking.metrics has {self.tracking.metrics[0]}; they are computed of the groups of RL alone"
            )
        best, figures = self.evaluation.best, FIGURES[Kind(self.data.kind)]
        check_keep_best(self.keep_best, (LOSS, *(figures if self.evaluation.num_answers else ())))
        if best not in ("", LOSS, *figures):
            raise ValueError(
                f"evaluation.best is {best!r}; of {self.data.kind} it may be {LOSS}, {', '.join(figures)}, or empty"
            )
        if best in figures and not self.evaluation.num_answers:
            raise ValueError(f"evaluation.best is {best}, but evaluation.num_answers=0: set how many are answered")

    @property
    def roles(self) -> Mapping[str, Role]:
        return {"policy": self.policy} | ({"samplers": self.samplers} if self.evaluation.num_answers else {})

    @property
    def num_warmup_steps(self) -> int:
        return self.policy.warmup_steps or round(self.warmup_share * self.num_steps)

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step`, counted from 1."""
        every = self.evaluation.every
        return step == self.num_steps or (every > 0 and step % every == 0)
