"""Do what is left of an ablation, one part after the other; after each, the table of what there is."""

import time
from collections.abc import Callable, Iterable
from itertools import product

from rich.console import Console
from rich.markup import escape

from actors.losses.lost import ComponentLost
from rl.ablation.plan import AblationPlan, Kind, Part
from rollout.roles import RunStopped

CarryOut = Callable[[Part], bool]
"""Does a part; returns whether it was done from its beginning, so that its time says how long one takes."""
Stopped = dict[str, str]
"""Why a training stopped, by its critic."""


def run_parts(
    plan: AblationPlan,
    carry_out: CarryOut,
    console: Console,
    *,
    after_each: Callable[[Stopped], None],
    clock: Callable[[], float] = time.monotonic,
) -> Stopped:
    """Do the parts that are left; return why which trainings stopped: the others go on without them.

    A training that lost one of its processes goes on once more when all others are done.
    """
    stopped: Stopped = {}
    lost: set[str] = set()
    parts = plan.parts
    for is_again, (number, part) in product((False, True), enumerate(parts, 1)):
        if part.is_done or part.critic in stopped or (part.critic in lost and not is_again):
            continue
        told = time_left(parts)
        console.print(f"[bold]part {number} of {len(parts)}  {escape(str(part))}[/]  {told}")
        start = clock()
        try:
            is_whole = carry_out(part)
        except RunStopped as error:
            console.print(f"[red]{escape(str(part))} stopped: {escape(str(error))}[/]")
            if isinstance(error, ComponentLost) and not is_again:
                console.print("[yellow]it goes on after the other parts[/]")
                lost.add(part.critic)
            else:
                stopped[part.critic] = str(error)
            continue
        seconds = clock() - start
        part.finish(seconds if is_whole else None)
        console.print(f"[bold]part {number} of {len(parts)}  {escape(str(part))}[/]  done after {_minutes(seconds)}")
        after_each(stopped)
    return stopped


def time_left(parts: Iterable[Part]) -> str:
    """Say how long the parts that are left will take, by the mean of those of their kinds that are done."""
    parts, left_s, unknown = list(parts), 0.0, 0
    for kind in Kind:
        times = [part.seconds for part in parts if part.kind is kind]
        known = [seconds for seconds in times if seconds is not None]
        num_left = sum(part.kind is kind and not part.is_done for part in parts)
        if known:
            left_s += num_left * sum(known) / len(known)
        else:
            unknown += num_left
    if unknown:
        return f"{sum(not part.is_done for part in parts)} parts left"
    return f"about {_minutes(left_s)} left" if left_s else "nothing left"


def _minutes(seconds: float) -> str:
    """Return a duration for people.

    >>> _minutes(59), _minutes(600), _minutes(9000)
    ('1 minute', '10 minutes', '2.5 hours')
    """
    minutes = max(1, round(seconds / 60))
    if minutes >= 120:
        return f"{seconds / 3600:.1f} hours"
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
