"""Scores for attempts that came without any, those of imported trajectories: a build asks its judge for them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from data.build.trajectory_log import TrajectoryLog, request_digest
from data.errors import RecordError
from data.records.on_bad import BadRecords
from rollout.concurrency import all_settled
from rollout.roles import Judge
from rollout.stages import StageTimer
from rollout.types import Attempt, ScoreRequest, Stage, Trajectory


async def judge_imported(
    log: TrajectoryLog,
    judge: Judge,
    places: Mapping[int, str],
    bad: BadRecords,
    *,
    in_flight: int,
    note: Callable[[Trajectory], None],
) -> None:
    """Judge what is not judged, a few trajectories at a time; each is committed when it is.

    `places` says where each request is, by its digest. A call that failed is counted in `bad` and made again by the
    next start; `note` is told of each trajectory, with its failure if it has one.
    """
    waiting = filter(_lacks, log.read(places))

    async def work() -> None:
        for trajectory in waiting:
            judged = await _judged(trajectory, judge)
            await log.append(replace(judged, failure=None))
            if (failure := judged.failure) is not None:
                where = f"{places[request_digest(trajectory.request)]}: {failure.stage}"
                bad.add(RecordError(f"{failure.stage}.{failure.kind}", failure.error, where=where))
            note(judged)

    async with asyncio.TaskGroup() as workers:
        for _ in range(in_flight):
            workers.create_task(work())


def _lacks(trajectory: Trajectory) -> bool:
    return any(attempt.scores is None for attempt in trajectory.attempts)


async def _judged(trajectory: Trajectory, judge: Judge) -> Trajectory:
    """Return a trajectory with all scores that could be had, and what kept it from the others."""
    timers = [StageTimer() for _ in trajectory.attempts]

    async def scored(attempt: Attempt, timer: StageTimer) -> Attempt:
        with timer.failing(), timer.at(Stage.JUDGE):
            request = ScoreRequest(attempt.before, attempt.after, attempt.instruction)
            return attempt if attempt.scores is not None else replace(attempt, scores=await judge.score(request))
        return attempt

    attempts = await all_settled(scored(*each) for each in zip(trajectory.attempts, timers, strict=True))
    failure = next((timer.failure for timer in timers if timer.failure is not None), None)
    return replace(trajectory, attempts=tuple(attempts), failure=failure)
