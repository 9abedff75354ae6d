"""What a build makes of its trajectories: the rules by which each set is chosen."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class SplitConfig:
    """Which side a record is on: no prompt is on both."""

    heldout: float = 0.1
    """Share that is held out."""
    side: str = ""
    """Critic: `side(before, instruction)` of an image (or None) and a text says train or heldout, by what a step is
    whatever its words. Empty: all steps of a request are on its side. The planner's sides always go by requests."""
    rl_share: float = 0.0
    """Critic: share of the requests whose steps are for RL alone, all others for SFT alone; 0: both use all."""

    def __post_init__(self) -> None:
        if not 0 < self.heldout < 1 or not 0 <= self.rl_share < 1:
            raise ValueError(
                f"split: heldout={self.heldout} (a share between 0 and 1), rl_share={self.rl_share} "
                "(0, or a share below 1)"
            )


@dataclass(frozen=True)
class SetConfig:
    """What every set has."""

    is_made: bool = True
    num_train: int = 0
    """Most records for training; 0: all that the rules leave."""
    num_heldout: int = 0
    """Most held-out ones; 0: all."""

    def __post_init__(self) -> None:
        for name in fields(self):
            value = getattr(self, name.name)
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"{name.name} is {value} in the rules of a set; expected 0 or more")


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
    max_spread: float | None = None
    """Largest standard deviation of the judge's repeats; unset: any."""
    min_gain: float | None = None
    """Of a failed attempt: least rise of the mean score with the teacher's prompt; unset: none is asked for."""
    failed_share: float | None = None
    """Share of failed attempts, of either side; unset: as it comes."""
    per_request: int = 0
    """Most records of one request; 0: no limit."""
    per_prompt: int = 0
    """Most records with one instruction; 0: no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.failed_share is not None and not 0 <= self.failed_share <= 1:
            raise ValueError(f"failed_share is {self.failed_share}; expected a share from 0 to 1, or null")


@dataclass(frozen=True)
class RlSetConfig(CriticSetConfig):
    """RL of the critic: a record for each attempt that was judged. The limits of difficulty are for failed ones."""

    max_retried: float | None = None
    """Largest share of successes with the same prompt and other seeds: luck is nothing to learn. Unset: any."""
    min_refined: float | None = None
    """Smallest share of successes with the critic's further prompts: a group that is never solved teaches nothing."""
    max_refined: float | None = None
    """Largest such share: nor does one that is always solved."""

    @property
    def needs_measure(self) -> bool:
        return (self.max_retried, self.min_refined, self.max_refined) != (None, None, None)
