"""The rules by which a build chooses the records of each set."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from rollout.text.limits import NonNegativeFloat, NonNegativeInt, Noun, PathText, Share, check_fields


@dataclass(frozen=True)
class SplitConfig:
    """Which side a record is on; no prompt is on both."""

    heldout: Annotated[float, Gt(0), Lt(1), Noun("a share")] = 0.1
    """Share that is held out."""
    side: PathText = ""
    """Critic: a function of an image (or None) and a text, `side(before, instruction)`, that returns train or heldout
    by what a step does, not by its wording. Empty: by request, as the planner's side always is."""
    rl_share: Annotated[float, Ge(0), Lt(1), Noun("a share")] = 0.0
    """Critic: share of the requests whose steps are only for RL, the others only for SFT; 0: both use all."""

    def __post_init__(self) -> None:
        check_fields(self, "split")


@dataclass(frozen=True)
class SetConfig:
    """The settings that every set has."""

    is_made: bool = True
    num_train: NonNegativeInt = 0
    """Maximum number of training records; 0: all that meet the rules."""
    num_heldout: NonNegativeInt = 0
    """Maximum number of held-out records; 0: all."""

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
    """Only attempts whose success teacher and scores agree about."""
    max_spread: NonNegativeFloat | None = None
    """Largest standard deviation of the judge's repeats; unset: any."""
    min_gain: NonNegativeFloat | None = None
    """Failed attempts: minimum gain in mean score with the teacher's prompt; unset: not required."""
    failed_share: Share | None = None
    """Share of failed attempts on each side; unset: not balanced."""
    per_request: NonNegativeInt = 0
    """Maximum number of records per request; 0: no limit."""
    per_prompt: NonNegativeInt = 0
    """Maximum number of records per instruction; 0: no limit."""


@dataclass(frozen=True)
class RlSetConfig(CriticSetConfig):
    """RL of the critic: a record for each attempt that was judged. The difficulty limits apply to failed ones."""

    max_retried: Share | None = None
    """Maximum share of successes with the same prompt and other seeds: luck teaches nothing. Unset: any."""
    min_refined: Share | None = None
    """Minimum share of successes with the critic's further prompts: a group that is never solved teaches nothing."""
    max_refined: Share | None = None
    """Maximum such share: a group that is always solved teaches nothing either."""

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
