"""The loss of what a rank gets, against hand-computed numbers."""

from functools import partial
from typing import Any

import pytest
import torch

from actors.config import LossConfig
from tests.support.micro_batches import micro_batch, model_output

LOSSES = ["vanilla", "gspo", "cispo", "sapo", "gpg", "dppo_tv", "dppo_kl"]


def policy_loss(output: dict[str, torch.Tensor], data: Any, **settings: Any) -> tuple[torch.Tensor, dict]:
    from actors.policy.verl_loss import PolicyLoss

    return PolicyLoss(LossConfig(**settings))(output, data)


def lesson_loss(output: dict[str, torch.Tensor], data: Any) -> tuple[torch.Tensor, dict]:
    from actors.policy import verl_loss as policy_loss

    return policy_loss.sft_loss(output, data)


def test_vanilla_loss_by_hand():
    # ratios: e^0.1 (advantage 2, unclipped), e^0.5 (advantage 1, clipped at 1.2), e^-0.5 (advantage -1, clipped at 0.8)
    data = micro_batch([[2.0, 1.0], [-1.0]], [[-1.0, -1.0], [-1.0]], [[1.0, 1.0], [1.0]], total=3)
    loss, metrics = policy_loss(model_output([[-0.9, -0.5], [-1.5]]), data)
    expected = -(2 * 2.718281828**0.1 + 1.2 - 0.8) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["clip_fraction"].aggregate() == pytest.approx(2 / 3)
    assert metrics["entropy"].aggregate() == pytest.approx(2.0)
    assert metrics["sampler_gap_max"].aggregate() == 0.0


@pytest.mark.parametrize(
    ("settings", "third"), [({}, 3.0), ({"clip_dual": 2.0}, 2.0), ({"clip_dual": 1e6}, 2.718281828**2)]
)
def test_dual_clip_bounds_what_a_bad_token_that_became_likely_costs(settings: dict[str, float], third: float):
    # ratio e^2 at advantage -1: e^2, or the dual clip times 1; at advantage 1 it is clipped at 1.2 as ever
    data = micro_batch([[-1.0, 1.0]], [[-3.0, -3.0]], [[1.0, 1.0]], total=2)
    loss, _ = policy_loss(model_output([[-1.0, -1.0]]), data, **settings)
    assert loss.item() == pytest.approx((third - 1.2) / 2, rel=1e-6)


def test_one_step_a_batch_takes_the_present_policy_for_the_old_one():
    data = micro_batch([[2.0, 1.0], [-1.0]], None, [[1.0, 1.0], [1.0]], total=3)
    output = model_output([[-0.9, -0.5], [-1.5]])
    loss, metrics = policy_loss(output, data)
    loss.backward()
    assert loss.item() == pytest.approx(-(2 + 1 - 1) / 3)
    assert metrics["ratio"].aggregate() == pytest.approx(1.0)
    gradient = output["log_probs"].grad.values()
    assert gradient.tolist() == pytest.approx([-2 / 3, -1 / 3, 0, 1 / 3, 0])


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_and_padding_add_up(name: str, aggregation: str):
    from verl.utils import tensordict_utils as tu

    advantages, old = [[0.5, -1.0, 2.0], [1.5]], [[-1.0, -2.0, -0.5], [-1.2]]
    now = [[-1.1, -1.7, -0.4], [-1.0]]
    loss = partial(policy_loss, policy_loss=name, aggregation=aggregation)
    ones = [[1.0] * len(values) for values in advantages]
    whole, _ = loss(model_output(now), micro_batch(advantages, old, ones, total=4))
    parts = torch.zeros(())
    for place in (0, 1):
        padded = micro_batch([advantages[place], [9.0]], [old[place], [-3.0]], [ones[place], [0.0]], total=4)
        tu.assign_non_tensor(padded, global_batch_size=2)
        parts = parts + loss(model_output([now[place], [-7.0]]), padded)[0]
    assert torch.isfinite(whole)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)


def test_stale_responses_are_weighed_and_the_weight_is_cut_off():
    # The trainer's old log-probabilities are 0.5 and 2.0 above the sampler's: weights e^0.5 and, cut off, 2.
    data = micro_batch([[1.0, 1.0]], [[-0.5, 1.0]], [[1.0, 1.0]], total=2)
    value, metrics = policy_loss(model_output([[-0.5, 1.0]]), data, rollout_correction="token")
    assert value.item() == pytest.approx(-(2.718281828**0.5 + 2.0) / 2, rel=1e-5)
    assert metrics["correction_mean"].aggregate() == pytest.approx((2.718281828**0.5 + 2.0) / 2)
    assert metrics["correction_clipped"].aggregate() == 0.5
    # k3 of gaps 0.5 and 2.0: e^gap - 1 - gap
    assert metrics["sampler_kl"].aggregate() == pytest.approx((0.148721 + 4.389056) / 2, rel=1e-5)


def test_a_lessons_loss_is_the_mean_over_what_is_taught():
    whole = micro_batch([[0.0, 0.0, 0.0], [0.0]], None, [[1.0, 0.0, 1.0], [1.0]], total=3)
    output = model_output([[-0.5, -9.0, -0.25], [-1.5]])
    loss, metrics = lesson_loss(output, whole)
    loss.backward()
    assert loss.item() == pytest.approx((0.5 + 0.25 + 1.5) / 3)
    assert metrics["loss"].aggregate() == pytest.approx(loss.item())
    assert output["log_probs"].grad.values().tolist() == pytest.approx([-1 / 3, 0, -1 / 3, 0, -1 / 3, 0])


def test_lessons_in_micro_batches_with_padding_add_up():
    whole, _ = lesson_loss(
        model_output([[-0.5, -2.0], [-1.5]]), micro_batch([[0.0] * 2, [0.0]], None, [[1.0, 1.0], [1.0]], total=3)
    )
    parts = torch.zeros(())
    for logprobs in ([-0.5, -2.0], [-1.5]):
        masks = [[1.0] * len(logprobs), [0.0]]
        padded = micro_batch([[0.0] * len(logprobs), [0.0]], None, masks, total=3)
        parts = parts + lesson_loss(model_output([logprobs, [-float("inf")]]), padded)[0]
    assert parts.item() == pytest.approx(whole.item())
