"""A recipe of SFT: what `interleave sft` reads (`rl/recipe/reader.py`), checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.config import PolicyConfig, SamplerConfig
from data.records.sft import Kind
from rl.recipe.config import DataConfig, TrackingConfig

_LOSS = "eval/loss"
FIGURES = {
    Kind.CRITIC_SFT: ("eval/parse_rate", "eval/verdict_accuracy", "eval/verdict_balanced"),
    Kind.PLANNER_SFT: ("eval/parse_rate", "eval/same_num_steps", "eval/same_instructions"),
}
"""What greedy answers are measured by; more is better."""


@dataclass(frozen=True)
class SftDataConfig(DataConfig):
    """SFT records of one kind, of any format (see data/records/sft.py)."""

    kind: str = "critic_sft"
    """critic_sft or planner_sft: what an answer has to parse as."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in FIGURES:
            raise ValueError(f"data.kind is {self.kind!r}; expected {' or '.join(FIGURES)}")


@dataclass(frozen=True)
class SftEvaluationConfig:
    """Held-out records: their loss, and greedy answers to their questions."""

    every: int = 0
    """Steps between evaluations; the last step always has one. 0: only that."""
    num_losses: int = 400
    """Held-out records whose loss is measured; 0: all."""
    num_answers: int = 200
    """Held-out records that are answered; 0: none, and no sampler is started."""
    max_tokens: int = 1024
    """Longest answer."""
    best: str = _LOSS
    """Figure by which the weights to export are chosen; empty: the last step's are."""

    def __post_init__(self) -> None:
        if min(self.every, self.num_losses, self.num_answers) < 0 or self.max_tokens < 1:
            raise ValueError(
                f"evaluation: every={self.every}, num_losses={self.num_losses}, num_answers={self.num_answers} "
                f"(each 0 or more), max_tokens={self.max_tokens} (1 or more)"
            )

    @property
    def is_less_better(self) -> bool:
        return self.best == _LOSS


@dataclass(frozen=True)
class SftRecipe:
    """One cold start."""

    name: str = "???"
    run_dir: str = "runs/${name}"
    store: str = "runs/store"
    """Declared canvases; the images of records stay where they are."""
    store_is_shared: bool = True
    """All nodes see the same folder; false: what a node misses is sent by another."""
    seed: int = 0
    num_epochs: float = 1.0
    """How often each record is learned from."""
    num_steps: int = 0
    """Optimizer steps; 0: as many as `num_epochs` takes."""
    batch_size: int = 64
    """Records of one optimizer step, over all ranks."""
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises (unless policy.warmup_steps says how many)."""
    save_every: int = 0
    """Steps between checkpoints; 0: only at the end."""
    num_cpus: int = 16
    """Logical CPUs told to a Ray that this run starts itself."""
    ray_address: str = ""
    """A running cluster's address (or `auto`); empty: start Ray on this machine."""
    data: SftDataConfig = field(default_factory=SftDataConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    samplers: SamplerConfig = field(default_factory=SamplerConfig)
    evaluation: SftEvaluationConfig = field(default_factory=SftEvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_steps < 0 or self.num_epochs <= 0 or self.save_every < 0:
            raise ValueError(
                f"batch_size={self.batch_size} (1 or more), num_steps={self.num_steps} (0 or more), "
                f"num_epochs={self.num_epochs} (above 0), save_every={self.save_every} (0 or more)"
            )
        if not 0 <= self.warmup_share <= 1:
            raise ValueError(f"warmup_share is {self.warmup_share}; expected a share from 0 to 1")
        best, figures = self.evaluation.best, FIGURES[Kind(self.data.kind)]
        if best not in ("", _LOSS, *figures):
            raise ValueError(
                f"evaluation.best is {best!r}; of {self.data.kind} it may be {_LOSS}, {', '.join(figures)}, or empty"
            )
        if best in figures and not self.evaluation.num_answers:
            raise ValueError(f"evaluation.best is {best}, but evaluation.num_answers=0: set how many are answered")

    @property
    def num_warmup_steps(self) -> int:
        return self.policy.warmup_steps or round(self.warmup_share * self.num_steps)

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step`, counted from 1."""
        every = self.evaluation.every
        return step == self.num_steps or (every > 0 and step % every == 0)

    def saves_at(self, step: int) -> bool:
        return step == self.num_steps or (self.save_every > 0 and step % self.save_every == 0)
