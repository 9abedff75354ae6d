"""What our samplers add to a worker of vLLM: weights come in, and are compared where they are.

vLLM mixes the class into its own worker (`worker_extension_cls`), in the engine's process or, with tensor parallelism,
in one process for each shard.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from actors.weights.receive import WeightReceiver, missing_tensors
from actors.weights.wire import BaseTensor, Manifest, Place, Shapes, Ticket, Verdict, WorkerState, gpu_of


class WeightWorker:
    """Methods that `LLMEngine.collective_rpc` calls in each worker."""

    rank: int
    """Of the worker in its engine; vLLM's own attribute."""
    model_runner: Any

    def weight_state(self, node: str, host: str, shapes: Shapes) -> WorkerState:
        """Describe this worker, which is on a node of that Ray id and address."""
        receiver, model = self._weights(), self._live_model()
        place = Place(node, host, gpu_of(next(model.parameters()).device))
        return WorkerState(receiver.process, place, receiver.parts(model, shapes), receiver.version)

    def missing_weights(self, origins: Mapping[str, BaseTensor]) -> set[str]:
        """Return the names of the untrained tensors that have to be sent nevertheless."""
        return missing_tensors(self._live_model(), origins)

    def receive_weights(self, tickets: Sequence[Ticket]) -> None:
        """Receive by this worker's ticket. Raises `TransferError`, `WrongBase`."""
        ticket = tickets[self.rank]
        dtype = getattr(torch, ticket.dtype)
        blocks = ticket.end.open()
        try:
            self._weights().receive(self._live_model(), blocks, dtype, ticket.shapes, ticket.base_version)
        except BaseException:
            blocks.close()
            ticket.end.give_up()
            raise

    def verify_weights(self, manifest: Manifest) -> Verdict:
        """Compare the live parameters with what was sent."""
        return self._weights().verify(self._live_model(), manifest)

    def hold_zero_adapter(self, rank: int) -> None:
        """Hold an adapter of that rank from now on: the policy's, which changes nothing before training."""
        from actors.sampler import adapter  # imports vLLM

        adapter.hold_zero_adapter(self._live_model(), rank)

    def distrust_weights(self) -> None:
        """Take nothing for granted that earlier comparisons have shown."""
        self._weights().distrust()

    def _weights(self) -> WeightReceiver:
        if not hasattr(self, "_weight_receiver"):  # vLLM calls no constructor of an extension
            self._weight_receiver = WeightReceiver(_load_adapter)
        return self._weight_receiver

    def _live_model(self) -> torch.nn.Module:
        model: torch.nn.Module = self.model_runner.get_model()
        return model


def _load_adapter(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    from actors.sampler import adapter  # imports vLLM

    adapter.load_adapter(model, tensors)
