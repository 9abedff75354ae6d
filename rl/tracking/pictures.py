"""What the critic looked at and what came of it, as one picture."""

from collections.abc import Iterator, Sequence

from PIL import Image

from actors.store.store import NO_IMAGE, Store, load_images
from rollout.types import Group

_GAP = 4


def strips(groups: Sequence[Group], store: Store, limit: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield `before | rejected | regenerated` with a caption, one a group, for groups that were regenerated."""
    shown = 0
    for group in groups:
        sample = next((s for s in group.valid if s.evidence is not None and s.evidence.image is not None), None)
        if sample is None or shown == limit:
            continue
        evidence = sample.evidence
        assert evidence is not None
        assert evidence.critique is not None
        assert evidence.scores is not None
        try:
            images = load_images(store, (group.task.before, group.task.after, evidence.image))
        except NO_IMAGE:  # a store that is kept to a size may have let go of it
            continue
        caption = (
            f"{group.task.instruction} -> {evidence.critique.refine_prompt} "
            f"(semantics {group.task.scores.semantics:.1f} -> {evidence.scores.semantics:.1f})"
        )
        shown += 1
        yield _beside(images), caption


def _beside(images: Sequence[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    strip = Image.new("RGB", (width, max(image.height for image in images)), (128, 128, 128))
    x = 0
    for image in images:
        strip.paste(image, (x, 0))
        x += image.width + _GAP
    return strip
