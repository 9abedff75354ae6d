"""Complete stories as conversations for unified models, in the two forms of the public system.

Easy: the plan's thought, then for each step its prompt, the image that was accepted, and its text. With reflection,
each try's image instead, with the critic's thought and verdict after it, so that a model learns to correct itself.
Marks: `<gthink>`, `<plan>`, `<image>`, `<critic>` with `<think>` in it, `<info>`.
"""

import json
from dataclasses import dataclass

from data.public.recorded_story import critic_said
from rollout.text.marks import IMAGE_MARK
from rollout.types import Attempt, ImageRef, Trajectory

PLACE = "<image><img_token></image>"
"""Where an image of the sequence is."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A conversation of one question and its answer."""

    question: str
    answer: str
    images: tuple[ImageRef, ...]
    """One for each `PLACE`, in order."""

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.answer}]


def sequence_of(trajectory: Trajectory, *, has_reflection: bool) -> Sequence | None:
    """Return a trajectory as a sequence; None for one whose every step did not succeed."""
    request, plan = trajectory.request, trajectory.plan
    if plan is None or not trajectory.is_complete:
        return None
    parts, images = [_marked("gthink", plan.thought)] if plan.thought else [], list(request.images)
    for step in plan.steps:
        if step.prompt is not None:
            parts.append(_marked("plan", step.prompt))
            accepted = trajectory.attempts[trajectory.accepted[step.number]]
            tries = [attempt for attempt in trajectory.attempts if attempt.step == step.number]
            for attempt in tries if has_reflection else [accepted]:
                parts.append(f"{PLACE}\n")
                images.append(attempt.after)
                if has_reflection:
                    parts.append(_criticised(attempt))
        if step.auxiliary_text is not None:
            parts.append(_marked("info", step.auxiliary_text))
    text = request.text if IMAGE_MARK in request.text else IMAGE_MARK * len(request.images) + request.text
    return Sequence(text.replace(IMAGE_MARK, PLACE), "".join(parts), tuple(images))


def _criticised(attempt: Attempt) -> str:
    said = critic_said(attempt)
    if said is None:
        return ""
    verdict = json.dumps({key: said[key] for key in ("success", "refine_prompt")}, ensure_ascii=False)
    return _marked("critic", f"{_marked('think', said['reasoning'])}{verdict}")


def _marked(mark: str, text: str) -> str:
    return f"<{mark}>\n{text}\n</{mark}>\n"
