"""A story's folder: `story.json`, its images as PNG, and `index.html`, a page that needs nothing beside it."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from actors.generator.kind import resolve
from actors.store.store import Store
from rl.atomic_write import atomic_write
from rl.story.config import StoryRecipe
from rl.story.page import Embedded, render_story
from rollout.story import Story
from rollout.story_json import story_as_json
from rollout.types import ImageRef

STORY_FILE = "story.json"


class StoryFolder:
    """Written again as a story goes on: an interrupted one is there as far as it was told."""

    def __init__(self, path: Path, store: Store, made_by: Mapping[str, str]):
        """Raises ValueError where another story is."""
        if (path / STORY_FILE).exists():
            raise ValueError(f"{path} holds a story already; give another --out")
        self.path = path
        self._store = store
        self._made_by = dict(made_by)
        self._embedded = Embedded(store)
        self._names: dict[ImageRef, str] = {}

    def save(self, story: Story) -> Path:
        """Write what there is of the story; return the page's path."""
        for name, ref in _images(story):
            if ref not in self._names:
                self._names[ref] = name
                atomic_write(self.path / name, self._store.png_bytes(ref))
        data = story_as_json(story, self._names.__getitem__) | {"made_by": self._made_by}
        atomic_write(self.path / STORY_FILE, json.dumps(data, indent=1, ensure_ascii=False))
        page = self.path / "index.html"
        # The same JSON, with the pictures themselves in place of their files' names.
        atomic_write(page, render_story(story_as_json(story, self._embedded), self._made_by))
        return page


def made_by(recipe: StoryRecipe) -> dict[str, str]:
    """Return who makes a recipe's stories, by role."""
    planner, critic, generator = recipe.planner, recipe.critic, resolve(recipe.generator)
    return {
        "recipe": recipe.name,
        "planner": planner.fn if planner.kind == "function" else planner.model,
        "critic": critic.model if critic.kind == "model" else "none",
        "generator": f"{generator.model} ({generator.pipeline or generator.name})",
    }


def default_folder(text: str) -> Path:
    """Return a new folder's path by the request's first words and the time."""
    words = "-".join(re.findall(r"\w+", text.lower())[:6])[:48] or "story"
    return Path("runs") / "stories" / f"{words}-{datetime.now():%Y%m%d-%H%M%S}"


def _images(story: Story) -> Iterator[tuple[str, ImageRef]]:
    """Yield each image with its file's name; an image that is there twice keeps the first one."""
    for number, ref in enumerate(story.request.images, 1):
        yield f"images/input-{number}.png", ref
    for step in story.steps:
        for attempt in step.tries:
            if attempt.image is not None:
                yield f"images/step-{step.plan.number:02d}-try-{attempt.number}.png", attempt.image
