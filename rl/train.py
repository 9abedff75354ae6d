"""The training loop.

tasks -> RolloutStream -> groups -> advantages -> Policy.update -> Policy.publish -> Samplers -> ...
"""

import asyncio

from rl.batch import learnable, make_batch
from rl.checkpoint import Checkpoints
from rl.large_blocks import return_freed_blocks
from rl.lost_weights import LostWeights
from rl.preemption import Preemptible
from rl.recipe.config import Recipe
from rl.side_evaluation import SideEvaluations
from rl.stream import RolloutStream, check_failures
from rl.tracking.alerts import Collapsed
from rl.tracking.rl_log import Log
from rollout.roles import Policy, Sampler


async def train(
    recipe: Recipe,
    policy: Policy,
    samplers: Sampler,
    stream: RolloutStream,
    evaluations: SideEvaluations,
    log: Log,
) -> None:
    """Teach the critic by GRPO: roll out groups, compare within each group, update, publish."""
    lost = LostWeights(policy, samplers, log.warn)
    async with Checkpoints(recipe, policy, log) as checkpoints, stream, evaluations:
        async for step, groups in Preemptible(lost.mended_in(stream)):  # sampled at most max_staleness updates ago
            async with log.step(step):
                await log.groups(groups, policy.version, stream.metrics)
                check_failures(groups, recipe.rollout.max_failure_share, f"step {step}")
                batch = await asyncio.to_thread(make_batch, learnable(groups, recipe), recipe)
                del groups  # their memory is needed for what goes to the ranks
                if batch is None:
                    log.warn("nothing to learn from this step; why is in the metrics batch/...")
                else:
                    with log.timed("update"):
                        log.update(await policy.update(batch), batch)
                        stream.learned = step
                    with log.timed("evaluation"):
                        await lost.mended_during(evaluations.drawn())  # by the weights that they began with
                    with log.timed("publish"):
                        log.metrics(await policy.publish(samplers))
                del batch  # before the next step's groups come in
                if recipe.evaluates_at(step):
                    await evaluations.begin(step)
                await asyncio.to_thread(return_freed_blocks)
                stream.advance(step)
            checkpoints.check()
            if recipe.saves_at(step) or log.collapse:
                with log.timed("saving"):
                    await checkpoints.begin(step, after=evaluations.ended)  # written beside the next steps
            if log.collapse:
                await checkpoints.finish()
                raise Collapsed(log.collapse)
