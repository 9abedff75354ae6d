"""One sample's journey: response -> critique -> image -> scores -> reward.

Every response of a group travels by itself: its image is being generated while its siblings are still
being sampled. What is raised on the way becomes the sample's status: the run goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rollout.attempt import Ended, Progress
from rollout.concurrency import all_of, all_settled
from rollout.critic import CritiqueError, parse_critique, render_messages
from rollout.roles import BudgetSpent, EvidenceError, EvidenceProvider, Generator, Judge, Sampler
from rollout.seeds import seed_of
from rollout.types import (
    CompareRequest,
    Critique,
    EditRequest,
    Evidence,
    Failure,
    Group,
    GroupRequest,
    Response,
    Reward,
    Sample,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Scores,
    Stage,
    Task,
)


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
        return Group(request.task, tuple(await all_of(self._sample(request, i) for i in range(request.n))))

    async def stats(self) -> dict[str, float]:
        """Return what generator, judge and observers counted in this process."""
        others: list[Generator | Judge | EvidenceProvider] = [self.generator, self.judge, *self.observers.values()]
        counts = await all_of(other.stats() for other in others)
        return {name: count for one in counts for name, count in one.items()}

    async def _sample(self, request: GroupRequest, index: int) -> Sample:
        task, seed = request.task, seed_of(request.seed, request.task.id, index)
        progress = Progress()
        evidence = reward = None
        with suppress(Ended):
            async with progress.at(Stage.SAMPLE):
                response = await self.sampler.sample(self._request(task, seed))
                evidence = _read(task, response)
            if evidence.critique is not None and self.regenerate.applies(task, evidence.critique):
                async with progress.at(Stage.GENERATE):
                    edit_seed = request.edit_seeds[index % len(request.edit_seeds)]
                    edit = EditRequest(task.before, evidence.critique.refine_prompt, edit_seed)
                    evidence = replace(evidence, image=await self.generator.edit(edit))
                async with progress.at(Stage.JUDGE):
                    evidence = await self._judged(evidence)
            async with progress.at(Stage.REWARD):
                reward = await call_reward(self.reward, evidence)
        return Sample(task.id, index, seed, evidence, reward, progress.failure, progress.seconds)

    def _request(self, task: Task, seed: int) -> SampleRequest:
        return SampleRequest(render_messages(self.template, task), (task.before, task.after), self.params, seed)

    async def _judged(self, evidence: Evidence) -> Evidence:
        """Return the evidence with everything that somebody has to look at the image for, all at once."""
        assert evidence.image is not None
        task = evidence.task
        look = ScoreRequest(task.before, evidence.image, task.instruction)
        observed = [_observe(name, observer, look) for name, observer in self.observers.items()]
        (rejudged, scores), *seen = await all_settled([self._scores(task, look), *observed])
        extra = dict(zip(self.observers, seen, strict=True))
        return replace(evidence, scores=scores, baseline_scores=rejudged, extra=extra)

    async def _scores(self, task: Task, look: ScoreRequest) -> tuple[Scores | None, Scores]:
        """Return the judge's scores of the recorded attempt, where they are asked for, and of the new one."""
        if self.baseline is Baseline.SIDE_BY_SIDE:
            return await self.judge.compare(CompareRequest(task.before, task.after, look.after, task.instruction))
        if self.baseline is Baseline.JUDGE:
            old, new = await all_settled(map(self.judge.score, (replace(look, after=task.after), look)))
            return old, new
        return None, await self.judge.score(look)


def failed_group(request: GroupRequest, error: str) -> Group:
    """Return the group of a task that nobody could carry: every sample failed."""
    task, failure = request.task, Failure(Stage.WORKER, error)
    seeds = [seed_of(request.seed, task.id, i) for i in range(request.n)]
    return Group(task, tuple(Sample(task.id, i, seed, None, None, failure) for i, seed in enumerate(seeds)))


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
