"""Which row brought a gradient that is not finite: found by halves, without learning."""

import math
from collections.abc import Awaitable, Callable, Sequence

from rollout.types import TrainingRow

GradientNorm = Callable[[Sequence[TrainingRow]], Awaitable[float]]
"""Returns the norm of the gradient of some rows."""


async def culprit(norm_of: GradientNorm, rows: Sequence[TrainingRow]) -> int | None:
    """Return the first row whose own gradient is not finite; None: none is, and only their sum overflows.

    Asks for about log2(n) norms.
    """
    first, last = 0, len(rows)
    while last - first > 1:
        middle = (first + last) // 2
        if math.isfinite(await norm_of(rows[first:middle])):
            first = middle
        else:
            last = middle
    return None if math.isfinite(await norm_of(rows[first:last])) else first
