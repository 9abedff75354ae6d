"""The terminal's table: one line a step."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

Column = tuple[str, str, str]
"""Title, metric and format."""
RL_COLUMNS: tuple[Column, ...] = (
    ("reward", "reward/mean", "{:6.3f}"),
    ("sem. gain", "critique/semantic_gain", "{:+9.2f}"),
    ("verdict", "critique/verdict_accuracy", "{:7.0%}"),
    ("parsed", "critique/parse_rate", "{:6.0%}"),
    ("zero-var", "rollout/zero_variance_share", "{:8.0%}"),
    ("failed", "rollout/failure_share", "{:6.0%}"),
    ("entropy", "policy/entropy", "{:7.3f}"),
    ("grad", "policy/grad_norm", "{:6.2f}"),
    ("gap", "publish/max_logprob_gap", "{:7.0e}"),
)
SFT_COLUMNS: tuple[Column, ...] = (
    ("loss", "sft/loss", "{:7.4f}"),
    ("grad", "policy/grad_norm", "{:6.2f}"),
    ("lr", "policy/lr", "{:7.1e}"),
    ("tokens", "sft/tokens", "{:7.0f}"),
    ("seconds", "seconds/step", "{:7.1f}"),
)
_HEADER_EVERY = 20


class StepTable:
    """Prints the header now and then, and a line for each step."""

    def __init__(self, console: Console, num_steps: int, columns: tuple[Column, ...] = RL_COLUMNS):
        self._console = console
        self._num_steps = num_steps
        self._columns = columns
        self._num_lines = 0

    def show(self, step: int, row: Mapping[str, float], seconds_left: float) -> None:
        if self._num_lines % _HEADER_EVERY == 0:
            titles = "  ".join(title.rjust(len(form.format(0.0))) for title, _, form in self._columns)
            self._console.print(f"[bold]{'step':>9}  {titles}     ETA[/]")
        self._num_lines += 1
        cells = "  ".join(
            form.format(row[key]) if key in row else "-".rjust(len(form.format(0.0))) for _, key, form in self._columns
        )
        self._console.print(f"{step:>4}/{self._num_steps:<4}  {cells}  {_minutes(seconds_left):>6}")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
