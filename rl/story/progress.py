"""What `interleave generate` says in the terminal while a story is told."""

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from rollout.step_runner import Tried, TryStarted
from rollout.story import Planned, StepStatus, StepTold, StoryEvent, StoryTold
from rollout.text.readers import told

_MARKS = {
    StepStatus.ACCEPTED: "[green]accepted[/]",
    StepStatus.BEST_OF_TRIES: "[yellow]best of its tries[/]",
    StepStatus.UNJUDGED: "not judged",
    StepStatus.TEXT: "text",
    StepStatus.FAILED: "[red]no image[/]",
    StepStatus.SKIPPED: "not reached",
}


class Progress:
    """Prints a line for each thing done; a spinner says what is under way, where there is a terminal."""

    def __init__(self, console: Console, status: Status):
        self._console = console
        self._status = status
        self._num_steps = 0

    def show(self, event: StoryEvent) -> None:
        """Show one event."""
        if isinstance(event, Planned):
            assert event.story.plan is not None
            self._num_steps = len(event.story.plan.steps)
            self._console.print(f"plan    {self._num_steps} step{'s' if self._num_steps != 1 else ''}")
        elif isinstance(event, TryStarted):
            self._status.update(f"step {event.step.number}, try {event.number}: {escape(event.step.name)}")
        elif isinstance(event, Tried):
            self._tried(event)
        elif isinstance(event, StepTold):
            step = event.step
            self._console.print(f"step {step.plan.number:<2} {_MARKS[step.status]}  {escape(step.plan.name)}")
        elif isinstance(event, StoryTold):
            if event.story.leniencies:
                self._console.print(f"[yellow]read leniently[/]  {told(event.story.leniencies)}")
            if event.story.error:
                self._console.print(f"[red]{event.story.status}[/]  {escape(event.story.error)}")

    def _tried(self, event: Tried) -> None:
        attempt, where = event.attempt, f"  try {event.attempt.number} "
        if attempt.image is None and attempt.failure is not None:
            self._console.print(f"{where} [red]failed[/]  {escape(attempt.failure.error)}")
        elif attempt.critique is not None and not attempt.is_accepted:
            self._console.print(f"{where} rejected  {escape(attempt.critique.thought)}", style="dim")
