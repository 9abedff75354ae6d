"""The generator alone as an agent: one image from the request as it is, neither planned nor criticised."""

from dataclasses import replace

from rollout.agents import FunctionPlanner
from rollout.storyline import Storyline
from rollout.text.marks import without_image_marks
from rollout.text.plan import Plan, PlanStep


def alone(storyline: Storyline) -> Storyline:
    """Return the storyline without planner and critic."""
    return replace(storyline, planner=FunctionPlanner(_one_step), critic=None, judge=None, tries=1)


def _one_step(request: str, num_images: int) -> Plan:
    text = without_image_marks(request)
    return Plan((PlanStep(1, "Image", text, text),))
