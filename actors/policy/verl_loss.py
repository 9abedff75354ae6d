"""The loss of one micro-batch: verl's `ppo_loss`, given what the batch lacks, with exact metrics.

A loss of your own is a function anywhere: `actors/user_loss.py` says what it is given.
"""

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, agg_loss
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import FSDPActorConfig
from verl.workers.config.actor import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_from_nested

from actors.config import LossConfig
from actors.policy.update_metrics import token_metrics
from actors.user_loss import UserLoss
from rollout.roles import OwnCodeError
from rollout.text.limits import is_own


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
        clip_ratio_c=loss.clip_dual,
        loss_agg_mode=loss.aggregation,
        loss_scale_factor=loss.scale_factor,
        entropy_coeff=loss.entropy_coef,
        use_kl_loss=loss.kl_coef > 0,
        kl_loss_coef=loss.kl_coef,
        kl_loss_type=loss.kl_type,
    )


_OF_PPO_LOSS = frozenset({"pg_loss", "entropy_loss", "kl_loss", "kl_coef"})
"""Metrics that verl's `ppo_loss` adds: parts of the loss, replaced by `entropy` and `reference_kl`."""
_INEXACT = frozenset({"pg_clipfrac", "ppo_kl"})
"""Metrics of verl's losses, replaced by `clip_fraction` and `kl`: means over tokens, not micro-batches."""
_JOINED_BY = {"max": AggregationType.MAX, "min": AggregationType.MIN}
"""Suffix of a metric's name -> how its values are combined; all others are means over tokens, or sums."""


class PolicyLoss:
    """verl's `ppo_loss` as a callable of one micro-batch."""

    def __init__(self, loss: LossConfig):
        self._loss = loss
        self._config = actor_config(loss)
        self._replaced = _OF_PPO_LOSS if is_own(loss.policy_loss) else _OF_PPO_LOSS | _INEXACT
        if is_own(loss.policy_loss):
            POLICY_LOSS_REGISTRY[loss.policy_loss] = UserLoss(loss.policy_loss, agg_loss)

    def __call__(
        self, model_output: dict[str, torch.Tensor], data: TensorDict, dp_group: object = None
    ) -> tuple[torch.Tensor, dict[str, Metric]]:
        """Return the scaled loss and metrics that sum up to the mean over the mini-batch's valid tokens."""
        if "old_log_probs" not in data:
            # With one optimizer step per batch, the policy before the update is the current one: a second
            # forward pass would yield the same numbers.
            current = model_output["log_probs"].detach()
            data["old_log_probs"] = response_from_nested(current, data["response_mask"])
        if self._loss.rollout_correction is not None:
            data["rollout_is_weights"] = self._importance_weights(data)
        metrics = token_metrics(model_output, data, self._loss)
        if self._loss.entropy_coef == 0:
            model_output = {key: value for key, value in model_output.items() if key != "entropy"}
        loss, said = ppo_loss(self._config, model_output, data, dp_group)
        metrics["loss"] = Metric(AggregationType.SUM, loss)
        return loss, metrics | self._joinable(said, data, taken=metrics)

    def _joinable(self, said: Mapping[str, Any], data: TensorDict, taken: Mapping[str, Metric]) -> dict[str, Metric]:
        """Return the loss's own metrics, so that they can be combined over micro-batches and ranks by their names."""
        share = (data["response_mask"].values().sum() * data["dp_size"] / data["batch_num_tokens"]).item()
        joined = {}
        for key, metric in said.items():
            name = key.removeprefix("actor/")
            if name in self._replaced:
                continue
            if name in (*taken, "grad_norm", "lr", "seconds", "tokens"):
                raise OwnCodeError(
                    f"algorithm.loss.policy_loss {self._loss.policy_loss!r} has a metric {name}, which every loss has: "
                    "give it another name"
                )
            value = metric.aggregate()
            how = _JOINED_BY.get(name.rpartition("_")[2], AggregationType.SUM)
            if name.endswith("_sum"):
                value *= data["dp_size"]  # verl averages over ranks
            elif how is AggregationType.SUM:
                value = value * share if share else 0.0
            joined[name] = Metric(how, value)
        return joined

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
    model_output: dict[str, torch.Tensor], data: TensorDict, dp_group: object = None
) -> tuple[torch.Tensor, dict[str, Metric]]:
    """Return the scaled negative log-likelihood: summed over micro-batches and averaged over ranks, a token mean."""
    logprobs = no_padding_2_padding(model_output["log_probs"], data)
    mask = data.select("response_mask").to_padded_tensor()["response_mask"]
    # `where` instead of a product: tokens outside the mask may be -inf.
    taught = torch.where(mask.bool(), logprobs, torch.zeros_like(logprobs))
    loss = -taught.sum() * (data["dp_size"] / data["batch_num_tokens"])
    return loss, {"loss": Metric(AggregationType.SUM, loss)}
