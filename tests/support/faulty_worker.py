"""A worker of vLLM with a switch for the faults that a publish has to notice."""

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.sampler.cpu_worker import WeightWorker  # first: vLLM is imported before torch

import torch  # isort: skip

from actors.weights.blocks import is_last
from actors.weights.live import LiveWeights
from actors.weights.wire import Manifest, ReceivingEnd, Ticket, Verdict


class FaultyWorker(WeightWorker):
    """Healthy until `set_fault` says otherwise."""

    _fault = ""

    def set_fault(self, fault: str) -> None:
        """Break something: "stale_head", or what `_FaultyEnd` and `verify_weights` know; "": mend it."""
        _freeze_head(self.model_runner.get_model().language_model.lm_head, fault == "stale_head")
        self._fault = fault

    def differing(self, weights: Mapping[str, torch.Tensor]) -> list[str]:
        """Return the names of tensors whose part here is not bit-equal, or is not found."""
        live = LiveWeights(self._live_model(), {name: tuple(tensor.shape) for name, tensor in weights.items()})
        found = {name: live.find(name) for name in weights}
        return [
            name for name, held in found.items() if held is None or not torch.equal(held[0].of(weights[name]), held[1])
        ]

    def receive_weights(self, tickets: Sequence[Ticket]) -> None:
        """Receive through what breaks it."""
        if self._fault == "wrong_base":
            self._weights().version = -1
        super().receive_weights([replace(ticket, end=_FaultyEnd(ticket.end, self._fault)) for ticket in tickets])

    def verify_weights(self, manifest: Manifest) -> Verdict:
        """Compare, after a bit has changed in the live model of the last shard."""
        if self._fault == "flipped_live_bit" and self.rank == torch.distributed.get_world_size() - 1:
            weight = self.model_runner.get_model().language_model.model.layers[0].mlp.down_proj.weight
            weight.data.view(torch.int32).view(-1)[-1] ^= 1
        if self._fault == "flipped_adapter_bit" and self.rank == torch.distributed.get_world_size() - 1:
            layer = self.model_runner.get_model().language_model.model.layers[0].mlp.down_proj
            layer.lora_b_stacked[0].view(torch.int32)[0, 0, 0, 0] ^= 1
        return super().verify_weights(manifest)


@dataclass(frozen=True)
class _FaultyEnd:
    """The first block of a transfer is lost, damaged or deadly."""

    end: ReceivingEnd
    fault: str

    def open(self) -> Generator[torch.Tensor, None, None]:
        for number, block in enumerate(self.end.open()):
            if number == 0 and self.fault == "death":
                os._exit(1)
            if number == 0 and self.fault == "skipped_bucket" and not is_last(block):
                continue
            if number == 0 and self.fault == "flipped_bit":
                block[1 << 16] ^= 1  # of the first tensor: behind the table
            yield block

    def give_up(self) -> None:
        self.end.give_up()


def _freeze_head(head: Any, is_frozen: bool) -> None:
    """Multiply by a copy of today's head from now on, as vLLM does on CPU when it packs a tied head's weight."""
    linear = torch.nn.functional.linear
    if is_frozen:
        stale = head.weight.detach().clone()
        head.cpu_linear = lambda hidden, weight, bias: linear(hidden, stale, bias)
    else:
        head.cpu_linear = linear
