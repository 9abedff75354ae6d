"""What an update reports, keyed `policy/...`: token means of a micro-batch, combined over ranks and steps.

One more is a line in `token_metrics`, or whatever a loss of your own returns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.padding import no_padding_2_padding

from actors.config import LossConfig


@torch.no_grad()
def token_metrics(model_output: dict[str, torch.Tensor], data: TensorDict, loss: LossConfig) -> dict[str, Metric]:
    """Return token means over the whole mini-batch: sums over micro-batches, averaged over ranks by verl."""
    padded = data.select("old_log_probs", "rollout_log_probs", "response_mask").to_padded_tensor()
    mask = padded["response_mask"].bool()
    scale = data["dp_size"] / data["batch_num_tokens"]
    log_ratio = no_padding_2_padding(model_output["log_probs"], data) - padded["old_log_probs"]
    ratio = log_ratio.exp()
    is_clipped = (ratio < 1 - loss.clip_low) | (ratio > 1 + loss.clip_high)
    mismatch = padded["old_log_probs"] - padded["rollout_log_probs"]
    gap = mismatch.abs()
    means = {
        "ratio": ratio,
        "clip_fraction": is_clipped.float(),
        # Schulman's k3, http://joschu.net/blog/kl-approx.html: unbiased for KL(old || new), never negative
        "kl": ratio - 1 - log_ratio,
        "sampler_gap_mean": gap,
        "sampler_kl": mismatch.exp() - 1 - mismatch,
    }
    if "entropy" in model_output:
        means["entropy"] = no_padding_2_padding(model_output["entropy"], data)
    if "rollout_is_weights" in data:
        weights = data["rollout_is_weights"]
        means["correction_mean"] = weights
        means["correction_clipped"] = (weights >= loss.rollout_correction_limit).float()
    if "ref_log_prob" in data:
        reference = data.select("ref_log_prob").to_padded_tensor()["ref_log_prob"]
        difference = reference - padded["old_log_probs"]
        means["reference_kl"] = difference.exp() - 1 - difference
    metrics = {name: Metric(AggregationType.SUM, (value * mask).sum() * scale) for name, value in means.items()}
    metrics["sampler_gap_max"] = Metric(AggregationType.MAX, (gap * mask).max())
    return metrics


@dataclass(frozen=True)
class StepMetric:
    """A metric of one optimizer step, over micro-batches and ranks."""

    value: float
    over_steps: Callable[[list[float]], float] = fmean


_OVER_STEPS = {AggregationType.MAX: max, AggregationType.MIN: min}


def over_ranks(metrics: dict[str, Any]) -> dict[str, StepMetric]:
    """Combine one optimizer step's values over micro-batches and ranks: the loss's metrics and the gradient norm.

    What verl adds (memory, the learning rate) is left out.
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
    """Return an update's metrics, keyed `policy/...`: means over its optimizer steps, or maxima or minima."""
    return {f"policy/{name}": one.over_steps([step[name].value for step in steps]) for name, one in steps[0].items()}
