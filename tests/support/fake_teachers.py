"""Teachers, a generator and a judge that know a little world by heart: no model, no Ray, outcomes by content alone.

An image's name tells prompt and seed. A step asks for `thing N`; an attempt at it succeeds where its digest says so.
"""

from collections import Counter

from PIL import Image

from actors.store.store import Store
from rollout.collect import CollectConfig, Success, TrajectoryCollector
from rollout.roles import GeneratorError
from rollout.text.critique import format_critique
from rollout.text.plan import Mode, Plan, PlanStep, format_plan
from rollout.text.seeds import seed_of
from rollout.types import CriticInput, Critique, EditRequest, ImageRef, ModelAnswer, Request, ScoreRequest, Scores


def is_good(image: ImageRef, share: float = 0.4) -> bool:
    return seed_of(image) / 2**31 < share


class FakePlanner:
    """Plans two steps of a narrative, words for a question about an image, and whatever it is told to say instead."""

    def __init__(self, instead: dict[str, str] | None = None):
        self.instead = instead or {}
        self.calls: Counter[str] = Counter()

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        self.calls[request.id] += 1
        return ModelAnswer(seed, self._answer(request))

    def _answer(self, request: Request) -> str:
        if request.text in self.instead:
            return self.instead[request.text]
        if request.mode is Mode.GUIDANCE:
            return format_plan(Plan((PlanStep(1, "Words", None, None, "a box"),)))
        steps = [PlanStep(n, f"Step {n}", f"{request.text} {n}", f"{request.text} {n} please") for n in (1, 2)]
        return format_plan(Plan(tuple(steps)))


class FakeCritic:
    """Is right about most attempts, and has a new prompt each time."""

    def __init__(self, wrong: float = 0.1):
        self.wrong = wrong

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        is_wrong = seed_of("wrong", shown.after) / 2**31 < self.wrong
        said = Critique(is_good(shown.after) != is_wrong, f"{shown.instruction} {seed % 97}", "I look")
        return ModelAnswer(seed, format_critique(said))


class StoreGenerator:
    """Puts a small image into the store whose colour tells prompt and seed; fails where the prompt says `fail`."""

    def __init__(self, store: Store):
        self.store = store
        self.calls: Counter[EditRequest] = Counter()

    async def edit(self, request: EditRequest) -> ImageRef:
        self.calls[request] += 1
        if "fail" in request.prompt:
            raise GeneratorError("out of memory")
        digest = seed_of(request.image, request.prompt, request.seed)
        return self.store.put_image(Image.new("RGB", (4, 4), (digest & 255, digest >> 8 & 255, digest >> 16 & 255)))

    async def stats(self) -> dict[str, float]:
        return {}


class GoodJudge:
    """Scores by `is_good`."""

    async def score(self, request: ScoreRequest) -> Scores:
        return Scores(9.0, 9.0) if is_good(request.after) else Scores(3.0, 8.0, spread=seed_of(request.after) % 3)

    async def compare(self, request):
        raise NotImplementedError

    async def stats(self) -> dict[str, float]:
        return {}


def make_collector(store: Store, rules: CollectConfig | None = None, **roles) -> TrajectoryCollector:
    """Return a collector on fakes; each may be given instead."""
    chosen = {
        "planner": FakePlanner(),
        "critic": FakeCritic(),
        "generator": StoreGenerator(store),
        "judge": GoodJudge(),
        "rules": rules or CollectConfig(num_measured=1, num_retries=2, num_refinements=2),
        "success": Success(),
    }
    return TrajectoryCollector(**{**chosen, **roles})
