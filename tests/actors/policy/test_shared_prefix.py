"""Attention over groups, by each kernel's arguments, against each row by itself."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from actors.policy.shared_prefix import Layout

GROUPS = [(5, [3, 1, 4]), (2, [6]), (7, [2, 2]), (1, [1])]
HEADS, KV_HEADS, WIDTH = 4, 2, 8


@pytest.fixture(scope="module")
def shared_prefix() -> ModuleType:
    """The module, imported where it is tested: verl takes seconds."""
    from actors.policy import shared_prefix

    return shared_prefix


def states(layout: Layout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)

    def of(heads: int) -> torch.Tensor:
        return torch.randn(1, heads, layout.length, WIDTH, dtype=torch.float64, requires_grad=True)

    return of(HEADS), of(KV_HEADS), of(KV_HEADS)


def row_by_row(layout: Layout, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the same (1, tokens, heads, width), each row attended to as if it were alone."""
    out = torch.zeros(1, layout.length, HEADS, WIDTH, dtype=query.dtype)
    for span in layout.spans:
        prompt, at = list(range(span.start, span.start + span.prompt)), span.start + span.prompt
        for size in span.responses:
            places = [*prompt, *range(at, at + size)]
            q, k, v = (one[:, :, places] for one in (query, key, value))
            k, v = (one.repeat_interleave(HEADS // KV_HEADS, dim=1) for one in (k, v))
            out[:, places] = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3).transpose(1, 2)
            at += size
    return out


def a_kernel_of_varying_lengths(q, k, v, borders_q, borders_k, longest_q, longest_k, *, scale, window_size, enable_gqa):
    """What torch's varlen_attn computes, without a GPU: bottom-right causal, as window_size (-1, 0) says."""
    assert window_size == (-1, 0)
    assert enable_gqa
    found = []
    for start_q, end_q, start_k, end_k in zip(
        borders_q.tolist(), borders_q.tolist()[1:], borders_k.tolist(), borders_k.tolist()[1:], strict=False
    ):
        num_q, num_k = end_q - start_q, end_k - start_k
        assert num_q <= longest_q
        assert num_k <= longest_k
        mask = torch.ones(num_q, num_k, dtype=torch.bool).tril(num_k - num_q)
        query, key, value = (part.transpose(0, 1) for part in (q[start_q:end_q], k[start_k:end_k], v[start_k:end_k]))
        out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=True)
        found.append(out.transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
def test_each_row_attends_as_if_it_were_alone(shared_prefix: ModuleType, kernel: str, monkeypatch):
    import torch.nn.attention.varlen

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", a_kernel_of_varying_lengths)
    layout = shared_prefix.Layout(GROUPS, torch.device("cpu"), kernel)
    query, key, value = given = states(layout)
    out, _ = shared_prefix.shared_prefix_attention(
        torch.nn.Module(), query, key, value, None, scaling=0.3, layout=layout
    )
    expected = row_by_row(layout, query, key, value)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    # A prompt's states are set by one row alone there: its outputs count once, its keys for all of the group.
    gradients = torch.autograd.grad((out * weight).sum(), given)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weight).sum(), given))


def test_each_response_is_predicted_from_its_prompts_end(shared_prefix: ModuleType):
    layout = shared_prefix.Layout([(3, [2, 1]), (2, [2])], torch.device("cpu"))
    assert layout.length == 10
    assert layout.predicting.tolist() == [2, 3, 2, 7, 8]


@pytest.mark.parametrize(
    ("attention", "has_flash_attn", "kernel"),
    [
        ("sdpa", True, "sdpa"),
        ("flash_attention_2", True, "flash_attn"),
        ("flash_attention_2", False, "varlen"),
    ],
)
def test_flash_attn_is_used_where_it_is_installed(
    shared_prefix: ModuleType, attention: str, has_flash_attn: bool, kernel: str, monkeypatch
):
    monkeypatch.setattr(shared_prefix, "find_spec", lambda name: name if has_flash_attn else None)
    assert shared_prefix.attention_kernel(attention) == kernel


def test_no_kernel_passes_by_the_exchange_of_sequence_parallel_ranks(shared_prefix: ModuleType, monkeypatch):
    class Exchanged(Exception):
        pass

    def over_heads(*_: object) -> None:
        raise Exchanged

    monkeypatch.setattr(shared_prefix, "over_heads", over_heads)
    for kernel in shared_prefix.KERNELS:
        layout = shared_prefix.Layout(GROUPS, torch.device("cpu"), kernel)
        query, key, value = states(layout)
        with pytest.raises(Exchanged):
            shared_prefix.shared_prefix_attention(torch.nn.Module(), query, key, value, None, layout=layout)
