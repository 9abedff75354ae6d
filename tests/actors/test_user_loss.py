"""A policy loss of the user's own: what it is given, how its tokens and metrics are joined, and what it may not do."""

import sys

import pytest
import torch

from actors.config import LossConfig
from actors.policy.check import check_loss
from rollout.roles import OwnCodeError
from tests.support.micro_batches import micro_batch, model_output

LOSSES = """
from tests.support.unsayable import UnsayableError


def plain(log_prob, old_log_prob, advantages):
    return -advantages * (log_prob - old_log_prob).exp(), {"mean": 0.0}


def telling(log_prob, response_mask, **more):
    seen = log_prob[response_mask.bool()]
    metrics = {"seen": seen.mean() if len(seen) else 0.0, "num_sum": response_mask.sum()}
    metrics["seen_max"] = log_prob.masked_fill(response_mask == 0, -99.0).max()
    return log_prob * 0, metrics


def summed(log_prob, response_mask):
    return (log_prob * response_mask).sum()


def greedy(log_prob, values):
    return log_prob


def wide(log_prob):
    return log_prob.new_zeros(3, 9)


def clash(log_prob):
    return log_prob, {"kl": 0.0}


def rude(log_prob):
    raise LookupError("half \\ud83d")


def unsayable(log_prob):
    raise UnsayableError
"""


@pytest.fixture(autouse=True)
def losses(tmp_path, monkeypatch):
    (tmp_path / "losses_of_a_user.py").write_text(LOSSES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("losses_of_a_user", None)


def loss_of(name, output, data, **settings):
    from actors.policy.verl_loss import PolicyLoss

    return PolicyLoss(LossConfig(policy_loss=f"losses_of_a_user:{name}", **settings))(output, data)


ADVANTAGES, OLD, NOW = [[0.5, -1.0, 2.0], [1.5]], [[-1.0, -2.0, -0.5], [-1.2]], [[-1.1, -1.7, -0.4], [-1.0]]


def flat(lists):
    return [value for values in lists for value in values]


def parts(total=4):
    """The same rows, one a micro-batch, each beside a padding row."""
    from verl.utils import tensordict_utils as tu

    for place in (0, 1):
        ones = [1.0] * len(NOW[place])
        data = micro_batch([ADVANTAGES[place], [9.0]], [OLD[place], [-3.0]], [ones, [0.0]], total=total)
        yield model_output([NOW[place], [-7.0]]), tu.assign_non_tensor(data, global_batch_size=2)


def whole():
    return model_output(NOW), micro_batch(ADVANTAGES, OLD, [[1.0] * 3, [1.0]], total=4)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_the_losses_of_tokens_are_aggregated_over_the_mini_batch_as_the_recipe_says(aggregation):
    value, _ = loss_of("plain", *whole(), aggregation=aggregation)
    expected = [-a * 2.718281828 ** (n - o) for a, n, o in zip(*map(flat, (ADVANTAGES, NOW, OLD)), strict=True)]
    by_hand = {
        "token-mean": sum(expected) / 4,
        "seq-mean-token-sum": sum(expected) / 2,
        "seq-mean-token-mean": (sum(expected[:3]) / 3 + expected[3]) / 2,
    }
    assert value.item() == pytest.approx(by_hand[aggregation], rel=1e-5)
    apart = sum(loss_of("plain", *part, aggregation=aggregation)[0].item() for part in parts())
    assert apart == pytest.approx(value.item(), rel=1e-5)


def test_importance_weights_are_applied_to_the_tokens_of_a_loss_that_does_not_ask_for_them():
    data = micro_batch([[1.0, 1.0]], [[-0.5, 1.0]], [[1.0, 1.0]], total=2)
    value, _ = loss_of("plain", model_output([[-0.5, 1.0]]), data, rollout_correction="token")
    assert value.item() == pytest.approx(-(2.718281828**0.5 + 2.0) / 2, rel=1e-5)


def test_a_number_is_taken_as_it_is():
    value, _ = loss_of("summed", *whole())
    assert value.item() == pytest.approx(sum(flat(NOW)))


def test_metrics_are_joined_by_their_names_over_micro_batches_and_steps():
    from actors.policy.update_metrics import over_ranks, over_steps

    joined: dict = {}
    for output, data in parts():
        for name, metric in loss_of("telling", output, data)[1].items():
            joined.setdefault(name, metric.init_list()).extend(metric)
    step = over_ranks({name: [metric] for name, metric in joined.items()} | {"grad_norm": 2.0, "perf/memory": 1.0})
    metrics = over_steps([step])
    assert metrics["policy/seen"] == pytest.approx(sum(flat(NOW)) / 4)
    assert metrics["policy/num_sum"] == 4
    assert metrics["policy/seen_max"] == pytest.approx(-0.4)
    assert metrics["policy/grad_norm"] == 2.0
    assert "policy/perf/memory" not in metrics
    louder = {name: type(one)(one.value + 1, one.over_steps) for name, one in step.items()}
    assert over_steps([step, louder])["policy/seen_max"] == pytest.approx(0.6)
    assert over_steps([step, louder])["policy/grad_norm"] == 2.5


def test_verls_losses_are_logged_by_the_names_of_before_and_what_they_say_beyond():
    _, metrics = _vanilla(*whole())
    before = {"loss", "ratio", "clip_fraction", "kl", "entropy", "sampler_gap_mean", "sampler_gap_max", "sampler_kl"}
    assert metrics.keys() - before == {"pg_clipfrac_lower"}


def _vanilla(output, data):
    from actors.policy.verl_loss import PolicyLoss

    return PolicyLoss(LossConfig())(output, data)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("greedy", "losses_of_a_user:greedy' needs values; a loss may ask for old_log_prob, log_prob, adv"),
        ("absent", "has no absent, only"),
    ],
)
def test_a_loss_that_cannot_be_called_is_refused_when_the_recipe_is_checked(name, said):
    with pytest.raises(ValueError, match=said):
        check_loss(LossConfig(policy_loss=f"losses_of_a_user:{name}"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide", r"returned a Tensor of \(3, 9\) with a dict; expected a tensor of \(2, 3\), or a single number"),
        ("clash", "has a metric kl, which every loss has: give it another name"),
        ("rude", r"losses_of_a_user:rude' raised LookupError: half \\ud83d \(.*losses_of_a_user\.py:\d+\)$"),
        ("unsayable", r"raised UnsayableError: its __str__ raises OSError \(.*losses_of_a_user\.py:\d+\)$"),
    ],
)
def test_a_loss_that_fails_or_gives_none_is_named(name, said):
    with pytest.raises(OwnCodeError, match=said):
        loss_of(name, *whole())


def test_the_gradient_reaches_the_tokens():
    output, data = whole()
    loss_of("plain", output, data)[0].backward()
    assert torch.count_nonzero(output["log_probs"].grad.values()) == 4
