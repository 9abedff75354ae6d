"""A trajectory as the public system records it, in both forms of `execution_record.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.public.import_records import WHITE
from rollout.types import Attempt, ImageRef, Trajectory

_MOST_SEED = 100
"""Seeds below it are those of an imported record, where they number its files."""


@dataclass
class Files:
    """The image files of one record, and what they hold."""

    folder: str
    """Written before their names in the record."""
    images: dict[str, ImageRef] = field(default_factory=dict)
    accepted: dict[ImageRef, str] = field(default_factory=dict)
    """The newest name of each image that a step ended with."""

    def add(self, name: str, image: ImageRef) -> str:
        """Take an image; return its path as the record says it."""
        assert self.images.setdefault(name, image) == image, f"{name} would hold two images"
        return f"{self.folder}/{name}"

    def source(self, image: ImageRef | None) -> str:
        """Return the path of the image that a try began with: an earlier one's, or else one of its own."""
        if image is None:
            return WHITE
        known = self.accepted.get(image) or next((name for name, other in self.images.items() if other == image), None)
        return f"{self.folder}/{known}" if known else self.add(f"source{len(self.images)}.png", image)


def story_record(trajectory: Trajectory, files: Files) -> dict[str, object] | None:
    """Return the record of a story, with an entry for each try that was criticised; None for one without a plan."""
    plan, request = trajectory.plan, trajectory.request
    if plan is None:
        return None
    given = [files.add(f"input{number}.png", image) for number, image in enumerate(request.images, 1)]
    context = planned(trajectory)
    places = {step.number: place for place, step in enumerate(plan.steps, 1)}
    steps = []
    seeds = [(attempt.step, attempt.seed) for attempt in trajectory.attempts]
    is_numbered = len(set(seeds)) == len(seeds) and all(0 <= seed < _MOST_SEED for _, seed in seeds)
    for number, attempt in enumerate(trajectory.attempts):
        said, place = critic_said(attempt), places[attempt.step]
        if said is None:
            continue
        source = files.source(attempt.before)
        name = f"step{place}_{attempt.seed if is_numbered else 2 * number}.png"
        entry = {
            "step": place,
            "prompt": context["execution_plan"][place - 1]["prompt"],
            "refine_prompt": said["refine_prompt"],
            "source_img": source,
            "target_img": files.add(name, attempt.after),
            "success": said["success"],
            "reasoning": said["reasoning"],
        }
        steps.append(entry)
        if said["success"]:
            files.accepted[attempt.after] = name
    images = {"user_input_image": given} if given else {}
    return {"user_input": request.text, **images, "global_context": context, "steps": steps}


def answer_record(trajectory: Trajectory, files: Files) -> dict[str, object] | None:
    """Return the record of an answer to UEval: the last try of each step; None for a trajectory without any."""
    record: dict[str, object] = {}
    last = {attempt.step: attempt for attempt in trajectory.attempts}
    plan = trajectory.plan
    prompts = {step.number: step.prompt for step in plan.steps} if plan is not None else {}
    for place, attempt in enumerate(last.values(), 1):
        prompt = prompts.get(attempt.step) or attempt.instruction
        said = _imported(attempt, {"refine_prompt"})
        name = f"step{place}.png"
        record[str(place)] = {
            "prompt": prompt,
            "refine_prompt": said["refine_prompt"] if said else "" if attempt.prompt == prompt else attempt.prompt,
            "source_img": files.source(attempt.before),
            "target_img": files.add(name, attempt.after),
        }
        files.accepted[attempt.after] = name
    return record or None


def planned(trajectory: Trajectory) -> dict[str, Any]:
    """Return the plan as `global_context` holds it: word for word where it was imported."""
    plan = trajectory.plan
    assert plan is not None
    if not trajectory.plan_text.lstrip().startswith("<"):
        try:
            context = json.loads(trajectory.plan_text)
        except ValueError:
            context = None
        if isinstance(context, dict) and "execution_plan" in context:
            return context
    steps = [
        {
            "step_number": step.number,
            "step_name": step.name,
            "instruction": step.instruction,
            "prompt": step.prompt,
            "auxiliary_text": step.auxiliary_text,
        }
        for step in plan.steps
    ]
    return {"reasoning": plan.thought, "execution_plan": steps}


def critic_said(attempt: Attempt) -> Mapping[str, Any] | None:
    """Return verdict, prompt and thought as a record holds them; None where the critic's answer was not read.

    A success has an empty `refine_prompt`, since nothing is to be tried again.
    """
    if imported := _imported(attempt, {"success", "refine_prompt", "reasoning"}):
        return imported
    critique = attempt.critique
    if critique is None:
        return None
    refined = "" if critique.is_success else critique.refine_prompt
    return {"success": critique.is_success, "refine_prompt": refined, "reasoning": critique.thought}


def _imported(attempt: Attempt, keys: set[str]) -> dict[str, object] | None:
    """Return what an imported attempt's record held of these keys, word for word."""
    if not attempt.answers or not attempt.answers[-1].text.startswith("{"):
        return None
    try:
        said = json.loads(attempt.answers[-1].text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.keys() == keys else None
