"""What an optimizer step and an update say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from verl.utils.metric import AggregationType, Metric


@dataclass(frozen=True)
class StepMetric:
    """A metric of one optimizer step, over micro-batches and ranks."""

    value: float
    over_steps: Callable[[list[float]], float] = fmean


_OVER_STEPS = {AggregationType.MAX: max, AggregationType.MIN: min}


def over_ranks(metrics: dict[str, Any]) -> dict[str, StepMetric]:
    """Join one optimizer step's values over micro-batches and ranks: all that the loss says, and the gradient's norm.

    What verl adds of its own (memory, the learning rate) is no metric of the loss.
    """
    joined = {}
    for name, value in metrics.items():
        if isinstance(value, list) and isinstance(value[0], Metric):
            how = _OVER_STEPS.get(value[0].aggregation, fmean)
            joined[name] = StepMetric(float(Metric.aggregate_dp(value)), how)
        elif name in ("loss", "grad_norm"):
            joined[name] = StepMetric(float(value))
    return joined


def over_steps(steps: list[dict[str, StepMetric]]) -> dict[str, float]:
    """Return metrics of an update, keyed `policy/...`: means over its optimizer steps, or the largest or smallest."""
    return {f"policy/{name}": one.over_steps([step[name].value for step in steps]) for name, one in steps[0].items()}
