"""The pictures of one edit: what is handed in, and what the judge sees."""

from evals.official.benchmark import Output, Picture
from rollout.types import ImageRef


def edited(output: Output) -> ImageRef | None:
    """Return the picture that an agent hands in: its last one."""
    return output.images[-1] if output.images else None


def pair(source: ImageRef, made: ImageRef, max_side: int = 0) -> tuple[Picture, Picture]:
    """Return source and edit as the judge sees them."""
    return Picture(source, max_side=max_side), Picture(made, max_side=max_side)
