"""What the roles are asked: one call of a sampler, a generator, a judge; a group of a worker."""

from dataclasses import dataclass
from enum import StrEnum

from rollout.text.messages import Message
from rollout.types.sample import Failure, ImageRef, Response, Task


class Phase(StrEnum):
    """What a group was rolled out for."""

    TRAIN = "train"
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a sampler drew for one sample: a response, or why there is none, and the wall time that it took."""

    answer: Response | Failure
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """Ask for the group of a task. Response i is tried out with `edit_seeds[i % len(edit_seeds)]`.

    One generation seed makes the prompts of a group comparable, several average over the generator's luck.
    """

    task: Task
    n: int
    seed: int
    """Draws the responses."""
    edit_seeds: tuple[int, ...]
    phase: Phase = Phase.TRAIN
    step: int = 0
    drawn: tuple[Drawn, ...] | None = None
    """The responses, where they were drawn before (`SingleStep.draw`); None: the rollout draws them."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How responses are drawn. `temperature=0` is greedy."""

    temperature: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One prompt for a sampler: chat messages with `{"type": "image"}` parts, and their images in order."""

    messages: tuple[Message, ...]
    images: tuple[ImageRef | None, ...]
    """None stands for a white canvas as large as the other image."""
    params: SamplingParams
    seed: int
    max_pixels: int | None = None
    """Larger images are scaled down to so many; None: as the sampler does with all."""


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One call of a generator. Equal requests give equal images."""

    image: ImageRef | None
    """The image to edit; None: text-to-image."""
    prompt: str
    seed: int
    references: tuple[ImageRef, ...] = ()
    """Further images to go by, for a generator that takes several."""
    mask: ImageRef | None = None
    """Where to paint (white) and what to leave (black), for a generator that inpaints."""
    size: tuple[int, int] | None = None
    """Width and height in pixels; None: as `image` is, or as the generator likes it."""
    options: tuple[tuple[str, object], ...] = ()
    """Settings of this call over the recipe's: negative_prompt, guidance_scale, num_inference_steps."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One call of a judge: how well does `after` carry out `instruction` on `before`?"""

    before: ImageRef | None
    after: ImageRef
    instruction: str


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """One call of a judge that sees two attempts side by side."""

    before: ImageRef | None
    old: ImageRef
    """The recorded attempt."""
    new: ImageRef
    """The regenerated one."""
    instruction: str
