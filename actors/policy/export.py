"""Write what was trained as folders that others load as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_model(source: str, state: dict[str, torch.Tensor], dtype: str, folder: Path) -> None:
    """Write a Hugging Face folder: weights, and configuration, generation settings and processor of `source`."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

    # Read anew: verl edits the configuration that it trains with.
    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
    model.generation_config = GenerationConfig.from_pretrained(source)
    model.save_pretrained(folder, state_dict=state)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)


def save_adapter(settings: Any, state: Mapping[str, torch.Tensor], base: str, folder: Path) -> None:
    """Write a folder that peft puts on the model `base`; `settings` is peft's own LoraConfig."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(dict(state), folder / "adapter_model.safetensors")
    settings = copy.copy(settings)
    settings.inference_mode = True
    settings.base_model_name_or_path = base
    settings.save_pretrained(folder)
