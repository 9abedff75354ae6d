"""A story as JSON: the one form of `story.json` and of what a service streams."""

from collections.abc import Callable

from rollout.story import Story, StoryStep
from rollout.types import Attempt, Failure, ImageRef, ModelAnswer, PlanStep, Stage

SCHEMA = "interleave.story/1"
"""Name and version of the form; the number grows when a field changes its meaning or goes."""

ImageNamer = Callable[[ImageRef], object]
"""How an image stands in the JSON: a file's name, its bytes as base64, or its reference as it is."""

_WHO = {Stage.GENERATE: "generator", Stage.CRITIQUE: "critic"}
"""Whose time a stage's is."""


def story_as_json(story: Story, image: ImageNamer) -> dict[str, object]:
    """Return all that there is about a story."""
    request = story.request
    return {
        "schema": SCHEMA,
        "request": {
            "text": request.text,
            "images": [image(ref) for ref in request.images],
            "seed": request.seed,
            "tries": request.tries,
            "mode": str(request.mode),
        },
        "status": str(story.status),
        "error": story.error,
        "plan": None if story.plan is None else plan_as_json(story),
        "plan_answers": [_answer(answer) for answer in story.plan_answers],
        "steps": [step_as_json(step, image) for step in story.steps],
        **({"leniencies": dict(story.leniencies)} if story.leniencies else {}),
    }


def plan_as_json(story: Story) -> dict[str, object]:
    """Return a story's plan."""
    assert story.plan is not None
    return {"thought": story.plan.thought, "steps": [_planned(step) for step in story.plan.steps]}


def step_as_json(step: StoryStep, image: ImageNamer) -> dict[str, object]:
    """Return one step with all its tries; `chosen` counts them from 1."""
    return {
        **_planned(step.plan),
        "status": str(step.status),
        "image": _maybe(image, step.image),
        "before": _maybe(image, step.before),
        "references": [image(ref) for ref in step.references],
        "chosen": step.chosen,
        "tries": [try_as_json(attempt, image) for attempt in step.tries],
    }


def try_as_json(attempt: Attempt, image: ImageNamer) -> dict[str, object]:
    """Return one try: its image, its verdict, and every answer of the critic."""
    critique, scores = attempt.critique, attempt.scores
    return {
        "number": attempt.number,
        "prompt": attempt.prompt,
        "seed": attempt.seed,
        "image": _maybe(image, attempt.image),
        "is_accepted": attempt.is_accepted,
        "critique": critique
        and {"success": critique.is_success, "thought": critique.thought, "refine_prompt": critique.refine_prompt},
        "answers": [_answer(answer) for answer in attempt.answers],
        "scores": scores and {"semantics": scores.semantics, "quality": scores.quality, "reason": scores.reason},
        "error": _error(attempt.failure),
        "seconds": {_WHO[Stage(stage)]: round(seconds, 3) for stage, seconds in attempt.seconds.items()},
    }


def _planned(step: PlanStep) -> dict[str, object]:
    return {
        "number": step.number,
        "name": step.name,
        "instruction": step.instruction,
        "prompt": step.prompt,
        "auxiliary_text": step.auxiliary_text,
    }


def _error(failure: Failure | None) -> str | None:
    if failure is None or failure.stage is Stage.CRITIQUE:  # those of the critic stand with its answers
        return None
    return f"the judge: {failure.error}" if failure.stage is Stage.JUDGE else failure.error


def _answer(answer: ModelAnswer) -> dict[str, object]:
    told: dict[str, object] = {"seed": answer.seed, "text": answer.text, "error": answer.error}
    if answer.success_probability is not None:
        told["success_probability"] = round(answer.success_probability, 6)
    return told | ({"leniencies": [name.value for name in answer.leniencies]} if answer.leniencies else {})


def _maybe(image: ImageNamer, ref: ImageRef | None) -> object:
    return None if ref is None else image(ref)
