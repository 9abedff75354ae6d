"""Weights leave rank 0, and the others keep in step."""

from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError

from actors.weights import send
from actors.weights.send import describe_base_tensors


def test_the_ranks_stay_in_step_where_a_sampler_is_lost(monkeypatch):
    def lost(replies):
        raise ActorDiedError()

    monkeypatch.setattr(send, "ray", SimpleNamespace(put=lambda bucket: bucket, get=lost))
    receiver = SimpleNamespace(load_bucket=SimpleNamespace(remote=lambda reference: reference))
    gathered = iter([(f"w{number}", torch.zeros(4)) for number in range(9)])
    with pytest.raises(ActorDiedError):
        send.push(gathered, [receiver], "float32", bucket_bytes=1)
    assert next(gathered, None) is None


def test_who_only_iterates_describes_nothing(weights: dict[str, torch.Tensor]):
    pending = iter(weights.items())
    assert describe_base_tensors(pending, {"lm_head.weight"}, "float32", is_sender=False) == {}
    assert next(pending, None) is None
