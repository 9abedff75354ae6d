"""What `keep_best` may name: figures of held-out evaluations, of which some checkpoint has one."""

import math
from collections.abc import Sequence

from rollout.text.limits import nearest

LOSS = "eval/loss"
RL_FIGURES = tuple(f"eval/{name}" for name in ("reward", "semantic_gain", "fixed", "verdict_accuracy", "parsed"))
"""Those of `rl.evaluation.FIGURES`, as rows of metrics have them; more is better."""


def is_less_better(figure: str) -> bool:
    return figure == LOSS


def check_keep_best(figure: str, known: Sequence[str]) -> None:
    """Raise ValueError for a figure that evaluations do not have; empty: none is asked for."""
    if figure and figure not in known:
        raise ValueError(
            f"keep_best is {figure!r}, which no evaluation has{nearest(figure, known)}; known are {', '.join(known)}"
        )


def check_is_measured(figure: str, *, save_every: int, evaluate_every: int, num_steps: int) -> None:
    """Raise ValueError where no step before the last one is both saved and evaluated."""
    if not figure:
        return
    if not (save_every and evaluate_every and math.lcm(save_every, evaluate_every) < num_steps):
        raise ValueError(
            f"keep_best is {figure}, but no checkpoint has it: save_every is {save_every}, evaluation.every "
            f"{evaluate_every}, num_steps {num_steps}; set the first two so that steps before the last have both"
        )
