"""A progress bar with a rate, for passes that report their progress as a share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, float, int], None]]:
    """Yield a function of (activity, share done, number done); on a terminal it draws a bar for each activity."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[num]:,} ({task.fields[rate]:,.0f}/s)"),
        TimeRemainingColumn(),
    )
    bars: dict[str, tuple[TaskID, float]] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def report(what: str, share: float, num: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=1.0, num=0, rate=0.0), time.monotonic()
            bar, started = bars[what]
            progress.update(bar, completed=share, num=num, rate=num / max(time.monotonic() - started, 1e-3))

        yield report
