"""The loss of one micro-batch: verl's `ppo_loss`, fed with what the batch leaves out, and exact metrics."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import FSDPActorConfig
from verl.workers.config.actor import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_from_nested

from actors.config import LossConfig


def actor_config(loss: LossConfig) -> FSDPActorConfig:
    """Translate to verl's configuration of a policy loss."""
    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        use_dynamic_bsz=True,
        policy_loss=PolicyLossConfig(loss_mode=loss.policy_loss),
        clip_ratio=loss.clip_low,
        clip_ratio_low=loss.clip_low,
        clip_ratio_high=loss.clip_high,
        loss_agg_mode=loss.aggregation,
        loss_scale_factor=loss.scale_factor,
        entropy_coeff=loss.entropy_coef,
        use_kl_loss=loss.kl_coef > 0,
        kl_loss_coef=loss.kl_coef,
        kl_loss_type=loss.kl_type,
    )


class PolicyLoss:
    """verl's `ppo_loss` as a callable of one micro-batch."""

    def __init__(self, loss: LossConfig):
        self._loss = loss
        self._config = actor_config(loss)

    def __call__(
        self, model_output: dict[str, torch.Tensor], data: TensorDict, dp_group: Any = None
    ) -> tuple[torch.Tensor, dict[str, Metric]]:
        """Return the scaled loss and metrics that sum up to the mean over the mini-batch's valid tokens."""
        if "old_log_probs" not in data:
            # One optimizer step a batch: the policy before the update is the policy now, so that a second
            # forward pass would only find these numbers again.
            current = model_output["log_probs"].detach()
            data["old_log_probs"] = response_from_nested(current, data["response_mask"])
        if self._loss.rollout_correction is not None:
            data["rollout_is_weights"] = self._importance_weights(data)
        metrics = _token_metrics(model_output, data, self._loss)
        if self._loss.entropy_coef == 0:
            model_output = {key: value for key, value in model_output.items() if key != "entropy"}
        loss, _ = ppo_loss(self._config, model_output, data, dp_group)
        metrics["loss"] = Metric(AggregationType.SUM, loss)
        return loss, metrics

    def _importance_weights(self, data: TensorDict) -> torch.Tensor:
        """Return truncated trainer/sampler importance weights, (rows, longest response)."""
        padded = data.select("old_log_probs", "rollout_log_probs", "response_mask").to_padded_tensor()
        mask = padded["response_mask"]
        if not mask.any():
            return mask
        weights, _, _ = compute_rollout_correction_and_rejection_mask(
            padded["old_log_probs"],
            padded["rollout_log_probs"],
            mask,
            rollout_is=self._loss.rollout_correction,
            rollout_is_threshold=self._loss.rollout_correction_limit,
        )
        return weights.batch["rollout_is_weights"]


def sft_loss(
    model_output: dict[str, torch.Tensor], data: TensorDict, dp_group: Any = None
) -> tuple[torch.Tensor, dict[str, Metric]]:
    """Return the scaled negative log-likelihood: summed over micro-batches and averaged over ranks, a token mean."""
    logprobs = no_padding_2_padding(model_output["log_probs"], data)
    mask = data.select("response_mask").to_padded_tensor()["response_mask"]
    # `where` and not a product: what is not taught may be -inf.
    taught = torch.where(mask.bool(), logprobs, torch.zeros_like(logprobs))
    loss = -taught.sum() * (data["dp_size"] / data["batch_num_tokens"])
    return loss, {"loss": Metric(AggregationType.SUM, loss)}


@torch.no_grad()
def _token_metrics(model_output: dict[str, torch.Tensor], data: TensorDict, loss: LossConfig) -> dict[str, Metric]:
    """Return token means over the whole mini-batch: sums over micro-batches, averaged over ranks by verl."""
    padded = data.select("old_log_probs", "rollout_log_probs", "response_mask").to_padded_tensor()
    mask = padded["response_mask"].bool()
    scale = data["dp_size"] / data["batch_num_tokens"]
    log_ratio = no_padding_2_padding(model_output["log_probs"], data) - padded["old_log_probs"]
    ratio = log_ratio.exp()
    is_clipped = (ratio < 1 - loss.clip_low) | (ratio > 1 + loss.clip_high)
    gap = (padded["rollout_log_probs"] - padded["old_log_probs"]).abs()
    means = {
        "ratio": ratio,
        "clip_fraction": is_clipped.float(),
        # Schulman's k3, http://joschu.net/blog/kl-approx.html: unbiased for KL(old || new), never negative
        "kl": ratio - 1 - log_ratio,
        "sampler_gap_mean": gap,
    }
    if "entropy" in model_output:
        means["entropy"] = no_padding_2_padding(model_output["entropy"], data)
    if "ref_log_prob" in data:
        reference = data.select("ref_log_prob").to_padded_tensor()["ref_log_prob"]
        difference = reference - padded["old_log_probs"]
        means["reference_kl"] = difference.exp() - 1 - difference
    metrics = {name: Metric(AggregationType.SUM, (value * mask).sum() * scale) for name, value in means.items()}
    metrics["sampler_gap_max"] = Metric(AggregationType.MAX, (gap * mask).max())
    return metrics
