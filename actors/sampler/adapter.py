"""The policy's adapter in a live model of vLLM. Imports vLLM: to be imported late.

An engine holds one adapter, whose matrices a publish replaces: requests name the adapter, not its version, and go on
with the next one. Until the first publish it is zero.
"""

from collections.abc import Mapping
from typing import Any

from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest

import torch  # isort: skip

from actors.weights.live import DOWN, UP, layer_of

_ID = 1
REQUEST = LoRARequest("policy", _ID, "/held by the engine, in no file")
"""What requests name. vLLM would read the path if the adapter were not there."""


def hold_zero_adapter(model: Any, rank: int) -> None:
    """Give a model that has just been loaded an adapter that changes nothing."""
    _hold(model, model.lora_manager.create_dummy_lora(_ID, rank, model.embedding_modules))


def load_adapter(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace the adapter; a layer of which a matrix is missing gets none.

    `tensors` are named as in peft's files, (rank, inputs) and (outputs, rank), and scaled already.
    """
    layers = {layer_of(name) for name in tensors}
    whole = {layer + end: tensors[layer + end] for layer in layers if _is_whole(layer, tensors) for end in (DOWN, UP)}
    if not whole:
        return
    rank = next(len(tensor) for name, tensor in whole.items() if name.endswith(DOWN))
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    adapter = LoRAModel.from_lora_tensors(
        _ID,
        whole,
        PEFTHelper(r=rank, lora_alpha=rank, target_modules=[]),  # a scale of 1
        device="cpu",
        dtype=model.lora_manager.lora_config.lora_dtype,
        weights_mapper=None if mapper is None else mapper.get_rename_mapper(),
    )
    _hold(model, adapter)


def _is_whole(layer: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    return layer + DOWN in tensors and layer + UP in tensors


def _hold(model: Any, adapter: LoRAModel) -> None:
    manager = model.lora_manager
    manager.remove_adapter(_ID)
    manager.add_adapter(adapter)
    manager.activate_adapter(_ID)
    # Which token uses which slot is computed anew: an engine that slept has lost it.
    manager._last_mapping = None
