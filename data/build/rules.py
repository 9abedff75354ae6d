"""What a build makes of its trajectories: the rules by which each set is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from rollout.text.limits import NonNegativeFloat, NonNegativeInt, Noun, PathText, Share, check_fields


@dataclass(frozen=True)
class SplitConfig:
    """Which side a record is on: no prompt is on both."""

    heldout: Annotated[float, Gt(0), Lt(1), Noun("a share")] = 0.1
    """Share that is held out."""
    side: PathText = ""
    """Critic: `side(before, instruction)` of an image (or None) and a text says train or heldout, by what a step is
    whatever its words. Empty: all steps of a request are on its side. The planner's sides always go by requests."""
    rl_share: Annotated[float, Ge(0), Lt(1), Noun("a share")] = 0.0
    """Critic: share of the requests whose steps are for RL alone, all others for SFT alone; 0: both use all."""

    def __post_init__(self) -> None:
        check_fields(self, "split")


@dataclass(frozen=True)
class SetConfig:
    """What every set has."""

    is_made: bool = True
    num_train: NonNegativeInt = 0
    """Most records for training; 0: all that the rules leave."""
    num_heldout: NonNegativeInt = 0
    """Most held-out ones; 0: all."""

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclass(frozen=True)
class PlannerSetConfig(SetConfig):
    """SFT of the planner: a record for each request."""

    is_complete: bool = False
    """Only plans whose every step was accepted."""


@dataclass(frozen=True)
class CriticSetConfig(SetConfig):
    """SFT of the critic: a record for each attempt that was criticised."""

    has_agreement: bool = True
    """Only where teacher and scores say the same of success."""
    max_spread: NonNegativeFloat | None = None
    """Largest standard deviation of the judge's repeats; unset: any."""
    min_gain: NonNegativeFloat | None = None
    """Of a failed attempt: least rise of the mean score with the teacher's prompt; unset: none is asked for."""
    failed_share: Share | None = None
    """Share of failed attempts, of either side; unset: as it comes."""
    per_request: NonNegativeInt = 0
    """Most records of one request; 0: no limit."""
    per_prompt: NonNegativeInt = 0
    """Most records with one instruction; 0: no limit."""


@dataclass(frozen=True)
class RlSetConfig(CriticSetConfig):
    """RL of the critic: a record for each attempt that was judged. The limits of difficulty are for failed ones."""

    max_retried: Share | None = None
    """Largest share of successes with the same prompt and other seeds: luck is nothing to learn. Unset: any."""
    min_refined: Share | None = None
    """Smallest share of successes with the critic's further prompts: a group that is never solved teaches nothing."""
    max_refined: Share | None = None
    """Largest such share: nor does one that is always solved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_refined is not None and self.max_refined is not None and self.min_refined > self.max_refined:
            raise ValueError(
                f"critic_rl.min_refined is {self.min_refined}; expected at most "
                f"critic_rl.max_refined={self.max_refined}"
            )

    @property
    def needs_measure(self) -> bool:
        return (self.max_retried, self.min_refined, self.max_refined) != (None, None, None)
