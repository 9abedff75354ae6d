"""A whole trajectory as data: a request, its plan, every attempt at every step; as a row of a log, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rollout.plan import Mode, Plan, PlanStep
from rollout.types import Critique, Failure, ImageRef, Scores, Stage

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for."""

    id: str
    text: str
    images: tuple[ImageRef, ...] = ()

    @property
    def mode(self) -> Mode:
        return Mode.GUIDANCE if self.images else Mode.NARRATIVE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a step, judged and criticised."""

    step: int
    """The step's number in the plan."""
    index: int
    """Which try at the step, from 0."""
    instruction: str
    prompt: str
    """What the generator was told."""
    seed: int
    """Of the generation."""
    before: ImageRef | None
    after: ImageRef
    scores: Scores
    answer: str = ""
    """What the critic said, word for word."""
    critique: Critique | None = None
    retried: tuple[Scores, ...] = ()
    """Scores of the same prompt with other seeds: how hard the step is."""
    refined: tuple[Scores, ...] = ()
    """Scores of further prompts of the critic's, all with one seed."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A request carried as far as it went."""

    request: Request
    plan_text: str = ""
    """What the planner said, word for word."""
    plan: Plan | None = None
    attempts: tuple[Attempt, ...] = ()
    """In the order of steps and tries."""
    accepted: Mapping[int, int] = field(default_factory=dict)
    """Step number -> place in `attempts` of the try that the critic accepted."""
    failure: Failure | None = None

    @property
    def is_complete(self) -> bool:
        """Every step that makes an image was accepted; a plan of texts alone is complete as it is."""
        if self.plan is None or self.failure is not None:
            return False
        return all(step.is_text_only or step.number in self.accepted for step in self.plan.steps)


def row_of_trajectory(trajectory: Trajectory) -> Row:
    """Return plain JSON."""
    accepted = {str(step): place for step, place in trajectory.accepted.items()}
    return {
        **asdict(trajectory),
        "accepted": accepted,
        "failure": trajectory.failure and _failure_row(trajectory.failure),
    }


def trajectory_of(row: Row) -> Trajectory:
    """Return the trajectory of a row."""
    request, plan, trouble = row["request"], row["plan"], row["failure"]
    return Trajectory(
        request=Request(request["id"], request["text"], tuple(request["images"])),
        plan_text=row["plan_text"],
        plan=plan and Plan(tuple(PlanStep(**step) for step in plan["steps"]), plan["thought"]),
        attempts=tuple(map(_attempt_of, row["attempts"])),
        accepted={int(step): place for step, place in row["accepted"].items()},
        failure=trouble and Failure(**{**trouble, "stage": Stage(trouble["stage"])}),
    )


def _failure_row(failure: Failure) -> Row:
    return {
        "stage": failure.stage.value,
        "kind": failure.kind,
        "error": failure.error,
        "is_final": failure.is_final,
    }


def _attempt_of(row: Row) -> Attempt:
    parts = {
        "scores": Scores(**row["scores"]),
        "critique": row["critique"] and Critique(**row["critique"]),
        "retried": tuple(Scores(**scores) for scores in row["retried"]),
        "refined": tuple(Scores(**scores) for scores in row["refined"]),
    }
    return Attempt(**{**row, **parts})
