"""Log-probabilities in blocks are those of softmax, and verl still asks the function that they replace."""

import pytest
import torch
from torch.nn.functional import log_softmax

from actors.policy.token_logprobs import _BLOCK, token_logprobs


@pytest.mark.parametrize("shape", [(3,), (2 * _BLOCK + 5,), (2, 700)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-1)])
def test_values_and_gradients_are_those_of_log_softmax(shape, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, 11, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, 11, shape, generator=generator)
    weights = torch.randn(shape, generator=generator)
    expected = log_softmax(logits.float(), -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    found = token_logprobs(logits, labels)
    assert found.shape == shape
    assert torch.allclose(found.float(), expected, atol=tolerance)
    gradients = [torch.autograd.grad((values * weights).sum(), logits)[0] for values in (found, expected)]
    assert torch.allclose(*gradients, atol=tolerance)


def test_verl_asks_the_function_that_is_replaced(monkeypatch):
    from verl.utils import torch_functional

    monkeypatch.setattr(torch_functional, "FLAH_ATTN_CROSS_ENTROPY_LOSS_AVAILABLE", False)
    asked = []
    monkeypatch.setattr(torch_functional, "logprobs_from_logits_v2", lambda logits, labels: asked.append(labels))
    torch_functional.logprobs_from_logits(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    assert len(asked) == 1
