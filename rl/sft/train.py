"""The training loop of a cold start.

records -> ExampleStream -> examples -> Policy.fit -> now and then: evaluation, best weights, checkpoint
"""

from collections.abc import Awaitable, Callable

from rl.checkpoint import Checkpoints
from rl.preemption import Preemptible
from rl.recipe.sft_config import SftRecipe
from rl.sft.best_checkpoint import BestCheckpoint
from rl.sft.evaluation import Figures
from rl.sft.examples import ExampleStream
from rl.sft.log import SftLog
from rl.tracking.alerts import Collapsed
from rollout.roles import Policy


async def teach(
    recipe: SftRecipe,
    policy: Policy,
    examples_by_step: ExampleStream,
    evaluate: Callable[[int], Awaitable[Figures]],
    best: BestCheckpoint,
    log: SftLog,
) -> None:
    """Teach a model to answer as its records do: one optimizer step per batch of examples."""
    async with Checkpoints(recipe, policy, log) as checkpoints:
        async for step, examples, left_out in Preemptible(examples_by_step):
            async with log.step(step):
                log.left_out(left_out)
                if examples:
                    with log.timed("update"):
                        log.metrics(await policy.fit(examples))
                if recipe.evaluates_at(step):
                    with log.timed("evaluation"):
                        figures = await evaluate(step)
                    log.evaluation(figures)
                    best.note(step, figures)
            checkpoints.check()
            if recipe.saves_at(step) or log.collapse:
                with log.timed("saving"):
                    await checkpoints.begin(step)  # it is written beside the next steps
            # Last, after the checkpoint: a failed export loses nothing, and a resumed run repeats it.
            if best.is_due(step):
                with log.timed("saving"):
                    await checkpoints.finish()
                with log.timed("export"):
                    await best.export(policy)
            if log.collapse:
                await checkpoints.finish()
                raise Collapsed(log.collapse)
