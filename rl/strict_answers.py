"""Before RL from somebody else's checkpoint: does it keep the contract often enough to be taught by rewards?

An answer that only `answers: public` reads earns what an unparsable one earns. Where hardly any answer keeps the
contract, RL would see nothing but that: it is said before anything is paid for, with what to do.
"""

from collections.abc import Callable, Coroutine, Sequence

from rl.answer_counts import AnswerCounts
from rl.recipe.config import Recipe
from rollout.concurrency import all_of
from rollout.roles import RunStopped
from rollout.text.seeds import seed_of
from rollout.types import Drawn, GroupRequest, Response, Task

NUM_TASKS, NUM_ANSWERS = 32, 2
"""Training tasks that are asked about, and answers to each."""
MIN_STRICT_SHARE = 0.1
"""Of the answers, below which a run does not begin: of eight responses less than one would be tried out."""

Draw = Callable[[GroupRequest], Coroutine[object, object, Sequence[Drawn]]]


async def check_strict_answers(
    recipe: Recipe, tasks: Sequence[Task], draw: Draw, say: Callable[[str], None]
) -> AnswerCounts:
    """Ask the policy about some tasks and say how it answers. Raises `RunStopped` below `MIN_STRICT_SHARE`.

    Responses are drawn and read, nothing else: no image is made and no judge is asked.
    """
    counts, seed = AnswerCounts(), seed_of(recipe.seed, "strict answers")
    asked = [GroupRequest(task, NUM_ANSWERS, seed, (0,)) for task in tasks[:NUM_TASKS]]
    for request, group in zip(asked, await all_of(map(draw, asked)), strict=True):
        for drawn in group:
            if isinstance(drawn.answer, Response):
                counts.read(drawn.answer.text, request.task)
    say(str(counts))
    if counts.num and counts.strict_share < MIN_STRICT_SHARE:
        raise RunStopped(
            f"{counts.strict_share:.0%} of its answers keep the contract, expected at least {MIN_STRICT_SHARE:.0%} "
            f"({counts}); RL learns from these alone: teach it their form first, by SFT on its own answers: "
            f"interleave data rewrite {recipe.run_dir}/recipe.yaml rollout.temperature=0.01 "
            f"--out {recipe.run_dir}/warm_up"
        )
    return counts
