"""What a rank does for those who get the policy's weights: samplers and exports."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from verl.single_controller.base.decorator import Dispatch, register

from actors.config import PolicyConfig
from actors.policy import lora
from actors.policy.export import bytes_saved, write_export
from actors.weights.send import Sender, describe_base_tensors
from actors.weights.wire import BaseTensor, Manifest, Order, Shapes


class WeightSharing:
    """Part of a rank; its methods are collectives, since gathering a tensor is one."""

    rank: int
    engine: Any
    model_config: Any

    def share_weights(self, config: PolicyConfig) -> None:
        """Begin, with the model loaded."""
        self._config = config
        self._sender = Sender()
        self._shapes: dict[bool, Shapes] = {}
        self._origins: tuple[object, dict[str, BaseTensor]] = None, {}
        self._base_digest = ""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def tensor_shapes(self, as_adapters: bool) -> Shapes:
        """Return the shapes of the tensors that are published, by their names: Hugging Face's, or peft's."""
        if as_adapters not in self._shapes:
            with torch.no_grad():
                weights = self._weights(as_adapters=as_adapters)
                self._shapes[as_adapters] = {name: tuple(tensor.shape) for name, tensor in weights}
        return self._shapes[as_adapters]

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def base_tensors(self, order: Order) -> dict[str, BaseTensor]:
        """Describe the model before training; on rank 0, and only with LoRA, which keeps it."""
        asked = order.dtype, order.has_gpus, order.as_adapters, {name: order.parts_of(name) for name in order.shapes}
        if self._origins[0] != asked:
            trained, tensors = self._base_weights()
            changed = set() if order.as_adapters else trained
            with torch.no_grad():
                self._origins = asked, describe_base_tensors(tensors, changed, order, is_sender=self.rank == 0)
        return self._origins[1]

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def base_digest(self) -> str:
        """Return a digest of the model before training and of what is trained; only with LoRA."""
        if not self._base_digest:
            trained, tensors = self._base_weights()
            with torch.no_grad():
                self._base_digest = lora.base_digest(self._config.lora, tensors, trained)
        return self._base_digest

    def _base_weights(self) -> tuple[set[str], Iterator[tuple[str, torch.Tensor]]]:
        """Return the names of the trained tensors, and all tensors as they were before training."""
        assert self._config.lora.rank, "without LoRA the model before training is gone"
        state = self.engine.module.state_dict()
        trained = {name for name, weight in lora.plain_weights(state).items() if weight.is_adapted}
        return trained, self._unfused(lora.base_weights(state))

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def push_weights(self, receivers: Sequence[object], order: Order) -> Manifest:
        """Send what is ordered to sampler actors; rank 0 returns what it sent, the others nothing."""
        with torch.no_grad():
            weights = self._weights(order.skipped, as_adapters=order.as_adapters)
            return self._sender.send(weights, receivers if self.rank == 0 else None, order)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def export(self, folder: str) -> None:
        """Write a Hugging Face folder, with adapters in a subfolder; the other ranks help rank 0 to gather."""
        config, module = self._config, self.engine.module
        with torch.no_grad():
            state = self._on_first_rank(self._weights())
            adapters = self._on_first_rank(lora.adapter_weights(module.state_dict())) if self._config.lora.rank else {}
        if self.rank == 0:
            write_export(self.model_config.local_path, config, module, state, adapters, Path(folder))
        torch.distributed.barrier()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def try_export(self, folder: str) -> int:
        """Write an export without its weights, on rank 0; return the bytes that an export and a checkpoint take."""
        config, module = self._config, self.engine.module
        if self.rank == 0:
            write_export(self.model_config.local_path, config, module, {}, {}, Path(folder))
        return bytes_saved(config, module)

    def _weights(
        self, skipped: Collection[str] = (), *, as_adapters: bool = False
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (name, full tensor) pairs with Hugging Face names; every rank has to iterate to the end.

        `as_adapters`: those of the model before training, then the adapters'; else both are merged.
        """
        if self._config.lora.rank:
            state, scale = self.engine.module.state_dict(), self._config.lora.scale
            if as_adapters:
                base = self._unfused(lora.base_weights(state, skipped))
                return itertools.chain(base, lora.separate_weights(state, scale))
            return self._unfused(lora.merged_weights(state, scale, skipped))
        assert not as_adapters, "without LoRA there are no adapters"
        assert not skipped, "without LoRA every tensor may have changed"
        weights: Iterator[tuple[str, torch.Tensor]] = self.engine.get_per_tensor_param()[0]
        return weights

    def _unfused(self, weights: Iterator[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """Split fused experts into one tensor each, as in checkpoints."""
        from verl.workers.engine.fsdp.utils import unfuse_moe_params

        model_type = self.model_config.hf_config.model_type
        unfused: Iterator[tuple[str, torch.Tensor]] = unfuse_moe_params(weights, model_type)
        return unfused

    def _on_first_rank(self, weights: Iterator[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return tensors in host memory on rank 0; other ranks only iterate, since gathering is a collective."""
        kept = {}
        for name, tensor in weights:
            if self.rank == 0:
                kept[name] = tensor.detach().cpu().contiguous()
        return kept
