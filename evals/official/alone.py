"""The generator alone as an agent: one image from the request as it is, neither planned nor criticised."""

from rollout.text.marks import without_image_marks
from rollout.text.plan import Plan, PlanStep


def one_step(request: str, num_images: int) -> Plan:
    """Return the plan that passes a request on."""
    text = without_image_marks(request)
    return Plan((PlanStep(1, "Image", text, text),))
