"""Settings of evidence: what a reward reads besides the judge's scores."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from actors.evidence.registry import KINDS
from actors.judge.config import JudgeConfig
from rollout.text.limits import (
    Cpus,
    Gpus,
    NonNegativeInt,
    PathText,
    PositiveInt,
    Seconds,
    Tilde,
    check_fields,
    is_own,
    one_of_or_own,
)


@dataclass(frozen=True)
class EvidenceConfig:
    """What a reward reads besides the judge's scores: a function's answer, or a second judge's scores."""

    fn: PathText = ""
    """`fn(before, after, instruction)`, from PIL images and a text to anything that JSON can hold; by import path
    or in a file (`./my_scores.py:aesthetic`)."""
    judge: JudgeConfig | None = None
    """Instead of `fn`: a whole judge, whose `Scores` are the evidence."""
    kind: Annotated[str, Tilde(), one_of_or_own(*KINDS)] | None = None
    """Null: whichever of the two is given; or a class of your own: my_module:MyObserver, ./my_file.py:MyObserver."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of a class of your own."""
    num_replicas: NonNegativeInt = 1
    """fn: replica processes; 0: threads of the caller's process, without Ray."""
    gpus_per_replica: Gpus = 0
    cpus_per_replica: Cpus = 0.1
    """Ray's logical CPUs."""
    max_concurrency: PositiveInt = 8
    """Built-in fn: calls in flight in a replica, each in a thread. Your own fn: one call at a time, in a process."""
    timeout_s: Seconds = 120.0
    """fn: deadline of one call; your own function is then killed."""
    probe: bool = True
    """A function or a class of your own: ask it about a record, in a process of its own, before anything starts."""

    def __post_init__(self) -> None:
        check_fields(self, "evidence")
        if self.options and not is_own(self.kind):
            raise ValueError("evidence: options are for a class of your own, which `kind` names")

    @property
    def kind_name(self) -> str:
        """The kind of evidence: as set, or determined by whether `judge` is set."""
        return self.kind or ("function" if self.judge is None else "judge")
