"""What a story comes to as an item's output."""

from collections.abc import Iterator
from dataclasses import replace

from evals.official.benchmark import Form, Output, Part, Picture
from rollout.story import Story, StoryStatus


def output_of(story: Story, form: Form) -> Output:
    """Return a story's last image, or all of its texts and images; what it lacks is its error.

    A step's text is its auxiliary text, else its instruction: what the image beside it shows.
    """
    return replace(_output(story, form), leniencies=dict(story.leniencies))


def _output(story: Story, form: Form) -> Output:
    if form is Form.STORY:
        parts = tuple(_parts(story))
        error = None if story.status is StoryStatus.DONE else story.error or f"the story is {story.status}"
        return Output(parts, error)
    images = [step.image for step in story.steps if step.image is not None]
    if story.status is StoryStatus.DONE and not images:
        return Output((), "the plan has words alone, no image")
    if story.status is not StoryStatus.DONE:
        # An image of an earlier step is no answer: it is what the last step was to change.
        return Output((), story.error or f"the story is {story.status}")
    return Output((Picture(images[-1]),))


def _parts(story: Story) -> Iterator[Part]:
    for step in story.steps:
        if text := step.plan.auxiliary_text or step.plan.instruction:
            yield text
        if step.image is not None:
            yield Picture(step.image)
