"""From a task to a group: each response -> critique -> image -> scores -> reward.

Every response of a group goes its way by itself: its image is being generated while its siblings are still
being sampled. What is raised on the way becomes the sample's status: the run goes on.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from rollout.agents import critic_request
from rollout.concurrency import all_of, all_settled
from rollout.roles import BudgetSpent, EvidenceError, EvidenceProvider, Generator, Judge, Sampler
from rollout.stages import StageTimer
from rollout.step_runner import StepRunner
from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.seeds import seed_of
from rollout.types import (
    Attempt,
    CompareRequest,
    Critique,
    Drawn,
    Evidence,
    Failure,
    Group,
    GroupRequest,
    Response,
    Reward,
    Sample,
    SamplingParams,
    ScoreRequest,
    Scores,
    Stage,
    Task,
)
from rollout.types.arrays import TokenIds, as_token_ids


class Regenerate(StrEnum):
    """Which parsed critiques are tried out on the generator."""

    BY_LABEL = "by_label"
    """Failed records only, whatever the verdict: claiming success dodges nothing (as released)."""
    BY_VERDICT = "by_verdict"
    """Where the critic says that the step failed (as at inference)."""
    ALWAYS = "always"

    def applies(self, task: Task, critique: Critique) -> bool:
        if self is Regenerate.BY_LABEL:
            return not task.is_success
        if self is Regenerate.BY_VERDICT:
            return not critique.is_success
        return True


class Baseline(StrEnum):
    """What a regenerated image is compared with."""

    RECORD = "record"
    """The recorded attempt's scores, as the data set has them."""
    JUDGE = "judge"
    """The recorded attempt, scored now by the same judge in a call of its own (paid for once a task)."""
    SIDE_BY_SIDE = "side_by_side"
    """Both images, scored in one call that sees them side by side: for judges that are asked by the rubric of scores.

    A check-list, and a function, looks at one image at a time: for them it would be JUDGE by another name.
    """


class _SharedPrompt:
    """The prompt of a group's responses, each of which comes from the sampler with a copy of it.

    What is one array here is sent, and kept by the driver, as one.
    """

    def __init__(self) -> None:
        self._token_ids: TokenIds | None = None

    def in_place_of_own(self, response: Response) -> Response:
        if self._token_ids is None:
            self._token_ids = as_token_ids(response.prompt_token_ids)
        if not np.array_equal(self._token_ids, response.prompt_token_ids):
            return response
        return replace(response, prompt_token_ids=self._token_ids)


@dataclass(frozen=True)
class SingleStep:
    """Carries a task to a group. Picklable when its roles are."""

    sampler: Sampler
    generator: Generator
    judge: Judge
    reward: Callable[[Evidence], Reward | Awaitable[Reward]]
    template: str
    """Text of the critic's prompt file."""
    params: SamplingParams
    regenerate: Regenerate = Regenerate.BY_LABEL
    baseline: Baseline = Baseline.RECORD
    observers: Mapping[str, EvidenceProvider] = field(default_factory=dict)
    """What else the reward looks at, gathered beside the judge."""

    async def roll_out(self, request: GroupRequest) -> Group:
        """Return the group of a task; failed samples are in it, with their stage and error.

        Raises `BudgetSpent`, which ends the run, and nothing else.
        """
        prompt = _SharedPrompt()
        samples = await all_of(self._sample(request, i, prompt) for i in range(request.n))
        return Group(request.task, tuple(samples), request.step)

    async def stats(self) -> dict[str, float]:
        """Return what generator, judge and observers counted in this process."""
        others: list[Generator | Judge | EvidenceProvider] = [self.generator, self.judge, *self.observers.values()]
        counts = await all_of(other.stats() for other in others)
        return {name: count for one in counts for name, count in one.items()}

    async def draw(self, request: GroupRequest) -> tuple[Drawn, ...]:
        """Return a group's responses alone, by the weights of now, for a request that goes on from them."""
        return tuple(await all_of(self._draw(request, i) for i in range(request.n)))

    async def _draw(self, request: GroupRequest, index: int) -> Drawn:
        timer = StageTimer()
        answer: Response | Failure
        with timer.failing(), timer.at(Stage.SAMPLE):
            asked = critic_request(self.template, request.task, self.params, _seed(request, index))
            answer = await self.sampler.sample(asked)
        if timer.failure is not None:
            answer = timer.failure
        return Drawn(answer, timer.seconds[Stage.SAMPLE.value])

    async def _sample(self, request: GroupRequest, index: int, prompt: _SharedPrompt) -> Sample:
        task, timer = request.task, StageTimer()
        drawn = await self._draw(request, index) if request.drawn is None else request.drawn[index]
        timer.seconds[Stage.SAMPLE.value] = drawn.seconds
        seed = _seed(request, index)
        if isinstance(drawn.answer, Failure):
            return Sample(task.id, index, seed, None, None, drawn.answer, timer.seconds)
        evidence = reward = None
        with timer.failing():
            evidence = _read(task, prompt.in_place_of_own(drawn.answer))
            if evidence.critique is not None and self.regenerate.applies(task, evidence.critique):
                edit_seed = request.edit_seeds[index % len(request.edit_seeds)]
                evidence, attempt = await self._try_out(evidence, evidence.critique.refine_prompt, edit_seed)
                timer.failure = attempt.failure
                timer.seconds |= attempt.seconds
            if timer.failure is None:
                with timer.at(Stage.REWARD):
                    reward = await call_reward(self.reward, evidence)
        return Sample(task.id, index, seed, evidence, reward, timer.failure, timer.seconds)

    async def _try_out(self, evidence: Evidence, prompt: str, seed: int) -> tuple[Evidence, Attempt]:
        """Return the evidence with the image that a prompt makes and all that is looked at it for, and the attempt."""
        task = evidence.task

        async def score(look: ScoreRequest) -> Scores:
            nonlocal evidence
            scores: Scores
            observed = [_observe(name, observer, look) for name, observer in self.observers.items()]
            (baseline, scores), *seen = await all_settled([self._scores(task, look), *observed])
            extra = dict(zip(self.observers, seen, strict=True))
            evidence = replace(evidence, scores=scores, baseline_scores=baseline, extra=extra)
            return scores

        attempt = Attempt(1, 1, task.instruction, prompt, seed, task.before)
        attempt = await StepRunner(self.generator, score=score).carry_out(attempt)
        return replace(evidence, image=attempt.image), attempt

    async def _scores(self, task: Task, look: ScoreRequest) -> tuple[Scores | None, Scores]:
        """Return the judge's scores of the recorded attempt, where they are asked for, and of the new one."""
        if self.baseline is Baseline.SIDE_BY_SIDE:
            return await self.judge.compare(CompareRequest(task.before, task.after, look.after, task.instruction))
        if self.baseline is Baseline.JUDGE:
            old, new = await all_settled(map(self.judge.score, (replace(look, after=task.after), look)))
            return old, new
        return None, await self.judge.score(look)


def failed_group(request: GroupRequest, error: str) -> Group:
    """Return the group of a task that no worker could roll out: every sample failed."""
    task, failure = request.task, Failure(Stage.WORKER, error)
    seeds = [_seed(request, i) for i in range(request.n)]
    samples = (Sample(task.id, i, seed, None, None, failure) for i, seed in enumerate(seeds))
    return Group(task, tuple(samples), request.step)


def _seed(request: GroupRequest, index: int) -> int:
    """Return the seed of a response."""
    return seed_of(request.seed, request.task.id, index)


async def _observe(name: str, observer: EvidenceProvider, look: ScoreRequest) -> Any:
    try:
        return await observer.observe(look)
    except BudgetSpent:
        raise
    except Exception as error:
        raise EvidenceError(f"{name}: {error}") from error


async def call_reward(function: Callable[[Evidence], Reward | Awaitable[Reward]], evidence: Evidence) -> Reward:
    """Return what a reward function, plain or `async`, gives for some evidence."""
    reward = function(evidence)
    return reward if isinstance(reward, Reward) else await reward


def _read(task: Task, response: Response) -> Evidence:
    try:
        return Evidence(task, response, parse_critique(response.text))
    except CritiqueError as error:
        return Evidence(task, response, None, parse_error="truncated" if response.is_truncated else error.kind)
