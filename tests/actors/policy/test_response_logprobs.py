"""Log-probabilities and entropies at chosen places, in blocks, against the whole softmax."""

from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def response_logprobs() -> ModuleType:
    """The module, imported where it is tested: verl takes seconds."""
    from actors.policy import response_logprobs

    return response_logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_blocks_are_the_whole_and_so_are_their_gradients(
    response_logprobs: ModuleType, temperature: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(response_logprobs, "_BLOCK", 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 9).double()
    hidden = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    places, labels = torch.tensor([2, 3, 2, 7, 8, 9, 10]), torch.tensor([1, 8, 0, 3, 3, 5, 2])
    weights = torch.randn(2, 7, dtype=torch.float64)
    found = response_logprobs.Targets(places, labels, temperature, has_entropy=True).ask(
        lambda states: head(states), hidden
    )
    logs = (head(hidden[places]) / temperature).log_softmax(-1)
    wanted = {"log_probs": logs.gather(1, labels[:, None])[:, 0], "entropy": -(logs.exp() * logs).sum(-1)}
    gradients = []
    for values in (found, wanted):
        (torch.stack([values["log_probs"], values["entropy"]]) * weights).sum().backward()
        assert hidden.grad is not None
        assert head.weight.grad is not None
        gradients.append((hidden.grad.clone(), head.weight.grad.clone()))
        hidden.grad = head.weight.grad = None
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_no_logits_are_kept_for_the_backward_pass(response_logprobs: ModuleType):
    head, hidden = torch.nn.Linear(4, 5_000, bias=False), torch.randn(2_000, 4, requires_grad=True)
    places = torch.arange(2_000)
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        response_logprobs.Targets(places, places % 5_000, 1.0, has_entropy=True).ask(head, hidden)["log_probs"].sum()
    assert max(kept) < 100_000


def test_entropy_is_computed_where_it_is_wanted(response_logprobs: ModuleType):
    targets = response_logprobs.Targets(torch.tensor([0]), torch.tensor([1]), 1.0, has_entropy=False)
    assert list(targets.ask(torch.nn.Linear(2, 3), torch.randn(1, 2))) == ["log_probs"]
