"""A trajectory's plan, attempts and images as records of each kind (`data.records.rl`, `data.records.sft`)."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from actors.store.store import Store
from data.records.rl import VERSION
from rollout.text.critique import format_critique, render_messages
from rollout.text.messages import as_texts
from rollout.text.plan import format_plan, render_request
from rollout.types import ImageRef, Trajectory

Keep = Callable[[ImageRef], str]
"""Puts an image next to the records and returns its path as they hold it."""
CANVAS = {"canvas": "white"}


def planner_record(trajectory: Trajectory, template: str, keep: Keep) -> dict[str, object]:
    """Return the SFT record of a plan."""
    request, plan = trajectory.request, trajectory.plan
    assert plan is not None
    asked = as_texts(render_request(template, request.text, len(request.images)))
    return {
        "id": request.id,
        "version": VERSION,
        "messages": [*asked, {"role": "assistant", "content": format_plan(plan)}],
        "images": [keep(image) for image in request.images],
        "source_prompt": request.text,
    }


def critic_record(trajectory: Trajectory, place: int, template: str, keep: Keep) -> dict[str, object]:
    """Return the SFT record of an attempt: the teacher's critique of it, or the expert's (`Attempt.lesson`)."""
    attempt = trajectory.attempts[place]
    assert attempt.lesson is not None
    asked = as_texts(render_messages(template, attempt))
    return {
        "id": _id(trajectory, place),
        "version": VERSION,
        "messages": [*asked, {"role": "assistant", "content": format_critique(attempt.lesson)}],
        "images": [CANVAS if attempt.before is None else keep(attempt.before), keep(attempt.after)],
        "source_prompt": attempt.instruction,
    }


def rl_record(trajectory: Trajectory, place: int, keep: Keep, *, is_success: bool) -> dict[str, object]:
    """Return the RL record of an attempt, labelled by its scores."""
    attempt = trajectory.attempts[place]
    scores = attempt.judged
    return {
        "id": _id(trajectory, place),
        "version": VERSION,
        "origin_prompt": attempt.instruction,
        "rewritten_prompt": attempt.prompt,
        "origin_image_path": None if attempt.before is None else keep(attempt.before),
        "edited_image_path": keep(attempt.after),
        "evaluation": {"success": is_success, "semantics": scores.semantics, "quality": scores.quality},
    }


def sequence_record(trajectory: Trajectory, keep: Keep) -> dict[str, object]:
    """Return a complete trajectory as a sequence of texts and images, for models that generate both.

    `input` is the original request, `output` its result: the texts of each step, and the image that was accepted.
    Parts are `{"type": "text", "text"}` or `{"type": "image", "image": path}`.
    """
    request, plan = trajectory.request, trajectory.plan
    assert plan is not None
    output: list[dict[str, str]] = []
    for step in plan.steps:
        texts = [step.instruction, step.auxiliary_text]
        output.extend({"type": "text", "text": text} for text in texts if text)
        if not step.is_text_only:
            image = trajectory.attempts[trajectory.accepted[step.number]].after
            output.append({"type": "image", "image": keep(image)})
    asked, images = render_request("{request}", request.text, len(request.images))[-1], iter(request.images)
    return {
        "id": request.id,
        "version": VERSION,
        "input": [
            part | {"image": keep(next(images))} if part["type"] == "image" else part for part in asked["content"]
        ],
        "output": output,
        "source_prompt": request.text,
    }


class ImageFolder:
    """The images of a set, next to its records: hard links to the store's files, else copies."""

    def __init__(self, store: Store, folder: Path):
        self._store = store
        self._folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def keep(self, ref: ImageRef) -> str:
        """Put an image of the store there, once. Raises FileNotFoundError if the store no longer has it."""
        digest = self._store.digest(ref)
        name = f"images/{digest[:2]}/{digest}.png"
        target = self._folder / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            source = self._store.image_file(ref)
            with suppress(OSError):
                os.link(source, target)
                return name
            shutil.copyfile(source, target)
        return name


def _id(trajectory: Trajectory, place: int) -> str:
    attempt = trajectory.attempts[place]
    return f"{trajectory.request.id}-{attempt.step}-{attempt.number - 1}"
