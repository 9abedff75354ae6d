"""A fake for every role: no model, no Ray, the same contracts."""

import math
import random
import shutil
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from rollout.roles import GeneratorError, JudgeError
from rollout.text.critique import format_critique
from rollout.types import (
    Batch,
    CompareRequest,
    Critique,
    EditRequest,
    ImageRef,
    Response,
    SampleRequest,
    ScoreRequest,
    Scores,
    SftExample,
    Task,
)

PHRASINGS = ("a red box", "a crimson box", "a scarlet box", "a ruby box")
"""What the fake policy can say; the fake generator follows the last one only."""
GOOD = PHRASINGS[-1]


def make_task(number: int, *, is_success: bool = False) -> Task:
    score = 9.0 if is_success else 2.0
    return Task(
        f"task-{number:03d}", "a red box", "a red box", None, f"after-{number}", is_success, Scores(score, score)
    )


class FakePolicy:
    """A softmax over `PHRASINGS` that learns by plain policy gradient, and from examples by heart."""

    def __init__(self, lr: float = 1.0):
        self.version = 0
        self.logits = [0.0] * len(PHRASINGS)
        self.lr = lr
        self.batches: list[Batch] = []
        self.examples: list[list[SftExample]] = []
        self.prepared: list[tuple[ImageRef | None, ...]] = []

    def probabilities(self) -> list[float]:
        weights = [math.exp(logit) for logit in self.logits]
        return [weight / sum(weights) for weight in weights]

    def prepare(self, images: tuple[ImageRef | None, ...]) -> None:
        self.prepared.append(images)

    async def update(self, batch: Batch) -> dict[str, float]:
        self.batches.append(batch)
        probabilities = self.probabilities()
        for row in batch.rows:
            for j, probability in enumerate(probabilities):
                gradient = (j == int(row.token_ids[0])) - probability
                self.logits[j] += self.lr * float(row.advantages[0]) * gradient / len(batch.rows)
        self.version += 1
        return {"policy/loss": 0.0}

    async def fit(self, examples: Sequence[SftExample]) -> dict[str, float]:
        self.examples.append(list(examples))
        loss = sum(await self.losses(examples)) / len(examples)
        probabilities = self.probabilities()
        for example in examples:
            for j, probability in enumerate(probabilities):
                self.logits[j] += self.lr * ((j == int(example.token_ids[0])) - probability) / len(examples)
        self.version += 1
        return {"sft/loss": loss, "sft/tokens": float(len(examples)), "policy/grad_norm": 1.0, "policy/lr": self.lr}

    async def losses(self, examples: Sequence[SftExample]) -> list[float]:
        probabilities = self.probabilities()
        return [-math.log(probabilities[int(example.token_ids[0])]) for example in examples]

    async def publish(self, samplers: Any) -> dict[str, float]:
        samplers.probabilities, samplers.version = self.probabilities(), self.version
        return {"publish/max_logprob_gap": 0.0}

    async def save(self, folder: Path) -> None:
        await (await self.begin_save(folder))

    async def begin_save(self, folder: Path) -> Awaitable[None]:
        return self._write(folder, " ".join(map(repr, [self.version, *self.logits])))

    async def _write(self, folder: Path, staged: str) -> None:
        folder.mkdir(parents=True)
        (folder / "logits.txt").write_text(staged)

    async def load(self, folder: Path) -> None:
        version, *logits = map(float, (folder / "logits.txt").read_text().split())
        self.version, self.logits = int(version), logits

    async def export(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        await self.save(folder)


class FakeSampler:
    """Draws a phrasing; `garbage` of the answers do not parse."""

    def __init__(self, garbage: float = 0.0):
        self.probabilities = [1 / len(PHRASINGS)] * len(PHRASINGS)
        self.version = 0
        self.garbage = garbage
        self.requests: list[SampleRequest] = []

    async def sample(self, request: SampleRequest) -> Response:
        self.requests.append(request)
        rng = random.Random(request.seed)
        (choice,) = rng.choices(range(len(PHRASINGS)), self.probabilities)
        text = format_critique(Critique(False, PHRASINGS[choice], "looks wrong"))
        if rng.random() < self.garbage:
            text = "it is fine"
        return Response((1, 2), (choice, 99), text, (math.log(self.probabilities[choice]), 0.0), self.version)


class FakeGenerator:
    """Names the image after the prompt; raises for a `failing` share of seeds."""

    def __init__(self, failing: float = 0.0):
        self.failing = failing
        self.requests: list[EditRequest] = []

    async def edit(self, request: EditRequest) -> ImageRef:
        self.requests.append(request)
        if random.Random(f"{request.prompt}{request.seed}").random() < self.failing:
            raise GeneratorError("out of memory")
        return f"image of {request.prompt}"

    async def stats(self) -> dict[str, float]:
        return {"generator/calls": float(len(self.requests))}


class FakeJudge:
    """Likes the good phrasing."""

    def __init__(self, failing: bool = False):
        self.failing = failing
        self.requests: list[ScoreRequest] = []

    async def score(self, request: ScoreRequest) -> Scores:
        self.requests.append(request)
        if self.failing:
            raise JudgeError("no JSON in the answer")
        return self._look(request.after)

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        if self.failing:
            raise JudgeError("no JSON in the answer")
        return self._look(request.old), self._look(request.new)

    def _look(self, image: ImageRef) -> Scores:
        score = 9.0 if image == f"image of {GOOD}" else 3.0
        return Scores(score, score)

    async def stats(self) -> dict[str, float]:
        return {"judge/calls": float(len(self.requests))}
