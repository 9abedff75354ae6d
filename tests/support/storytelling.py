"""A storyteller on fakes: plans, critics that read from a script, and generators that stumble or paint."""

import json
import zlib

from PIL import Image

from actors.store.store import Store
from rollout.agents import FunctionPlanner, ModelCritic
from rollout.roles import GeneratorError
from rollout.storyline import Storyline
from rollout.text.critique import format_critique
from rollout.text.plan import Plan, PlanStep
from rollout.types import Critique, Response, SamplingParams
from tests.support.fakes import FakeGenerator

CRITIC_PROMPT = "<image><image>{instruction}|{prompt}"
CAT = Plan(
    (PlanStep(1, "Head", "a head", "draw a head"), PlanStep(2, "Body", "a body", "draw a body", "Then the body."))
)
WORDS = Plan((PlanStep(1, "Why", None, None, "Because."), PlanStep(2, "So", None, None, "Therefore.")))


def accept(prompt="as it is") -> str:
    return format_critique(Critique(True, prompt, "all there"))


def reject(prompt: str) -> str:
    return format_critique(Critique(False, prompt, "it is missing"))


class Script:
    """A sampler that says one line after the other, and the last one for ever; an exception is raised."""

    def __init__(self, *lines: str | Exception):
        self.lines = list(lines)
        self.requests = []

    async def sample(self, request) -> Response:
        self.requests.append(request)
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, Exception):
            raise line
        return Response((1,), (2,), line, (0.0,), 0, is_truncated=line.endswith("..."))


class Stumbling(FakeGenerator):
    """Fails for some prompts."""

    def __init__(self, *prompts: str, error: Exception | None = None):
        super().__init__()
        self.prompts = prompts
        self.error = error or GeneratorError("out of memory")

    async def edit(self, request):
        image = await super().edit(request)
        if request.prompt in self.prompts:
            raise self.error
        return image


def storyline(critic=None, *, plan=CAT, generator=None, **settings):
    return Storyline(
        planner=FunctionPlanner(lambda text, num_images: plan),
        generator=generator or FakeGenerator(),
        critic=critic and ModelCritic(critic, CRITIC_PROMPT, SamplingParams()),
        **settings,
    )


class StorePainter(FakeGenerator):
    """Makes real images in a store, a colour for each prompt."""

    def __init__(self, store: Store):
        super().__init__()
        self.store = store

    async def edit(self, request):
        await super().edit(request)
        return self.store.put_image(Image.new("RGB", (8, 8), (zlib.crc32(request.prompt.encode()) % 256, 0, 0)))


def events(response) -> list[tuple[str, dict]]:
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]
