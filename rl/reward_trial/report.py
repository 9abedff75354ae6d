"""What a trial of a reward found, as a page on the terminal."""

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rewards.compose import TermConfig
from rewards.functions.sample_cases import Case, sample_cases
from rewards.signature import RewardSignature
from rl.reward_trial.trial import Trial, TrialVerdict, functions_of, ledger_cases, try_reward

_NUM_SHOWN = 24
"""Of more samples, only the ends are shown."""
_UNKNOWN = 0.5
"""What is put for evidence that a gold sample cannot have."""


def try_rewards(target: str, *, ledger: Path | None, limit: int, timeout_s: float, extra: str, weight: float) -> int:
    """Try each of the target's functions and print what was found; return 1 when one is not fit to train with.

    Raises ValueError for a target, a ledger or an `extra` that is none.
    """
    console = Console(highlight=False, soft_wrap=True)
    given = _extra(extra)
    from_ledger = None if ledger is None else ledger_cases(ledger, limit)

    def cases_for(traits: RewardSignature) -> list[Case]:
        if from_ledger is not None:
            return from_ledger
        return sample_cases(dict.fromkeys(traits.needs, _UNKNOWN) | given)

    is_good = True
    functions, others = functions_of(target)
    for fn in functions:
        trial = asyncio.run(try_reward(TermConfig(fn, weight, timeout_s=timeout_s), cases_for))
        print_trial(trial, console)
        is_good &= trial.is_good
        guessed = [] if ledger is not None else [name for name in trial.traits.needs if name not in given]
        if guessed:
            console.print(
                f"[yellow]{escape(', '.join(guessed))} was taken to be {_UNKNOWN}; say with --extra what it is[/]\n"
            )
    for name, why in others.items():
        console.print(f"{name}: skipped, {why}", markup=False)
    return 0 if is_good else 1


def _extra(text: str) -> dict[str, object]:
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"--extra is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f'--extra is {text}; expected an object, like {{"aesthetic": 0.7}}')
    return given


def print_trial(trial: Trial, console: Console) -> None:
    """Print what a function returned, its range, its cost, its likeness to our terms and what looks wrong."""
    kind = "async" if trial.traits.is_async else "sync"
    console.print(f"[bold]{escape(trial.fn)}[/]  {kind}, started in {trial.start_s:.2f} s", end="")
    console.print(escape(f", needs {', '.join(trial.traits.needs)}") if trial.traits.needs else "")
    console.print(_table(trial.verdicts))
    values = trial.values
    if len(values):
        mean_ms, p95_ms = trial.milliseconds()
        console.print(f"range        {values.min():g} to {values.max():g}, mean {values.mean():.3f}")
        console.print(f"cost         {mean_ms:.2f} ms a call, p95 {p95_ms:.2f} ms (the way to its process included)")
        likeness = (f"{name} {_number(value)}" for name, value in trial.correlations().items())
        console.print(f"correlation  {', '.join(likeness)}")
    if order := trial.order():
        console.print(f"by image     {', '.join(f'{name} {value:.3f}' for name, value in order.items())}")
    for kind, (count, example) in trial.kinds().items():
        console.print(f"[red]{kind:<12} {count} of {len(trial.verdicts)}, for example: {escape(example)}[/]")
    if trial.is_given_up:
        console.print("[red]it was not asked about the rest[/]")
    for warning in trial.warnings():
        console.print(f"[yellow]warning      {escape(warning)}[/]")
    why = ": no answer that does not parse got a number" if trial.is_lost_on_unparsable else ""
    why = why if len(values) else ": no sample got a number"
    console.print(
        "[green]every answer that parses got a number[/]\n"
        if trial.is_good
        else f"[red]not fit to train with{why}[/]\n"
    )


def _table(verdicts: Sequence[TrialVerdict]) -> Table:
    shown = list(verdicts)
    if len(shown) > _NUM_SHOWN:
        # what failed first, then the lowest, then the highest
        shown.sort(key=lambda verdict: -math.inf if verdict.value is None else verdict.value)
        shown = shown[: _NUM_SHOWN // 2] + shown[-_NUM_SHOWN // 2 :]
    table = Table("sample", "returned", box=None, padding=(0, 3, 0, 0))
    for verdict in shown:
        cell = f"[red]{escape(verdict.error)}[/]" if verdict.value is None else f"{verdict.value:.4f}"
        table.add_row(escape(verdict.case.name), cell)
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"
