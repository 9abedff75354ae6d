"""Write what was trained as folders that others load as they are."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_GENERATION = "generation_config.json"


def save_model(source: str, state: dict[str, torch.Tensor], dtype: str, folder: Path) -> None:
    """Write a Hugging Face folder: weights, and configuration, generation settings and processor of `source`.

    With no weights it tries whether the rest can be written.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

    # Read anew: verl edits the configuration that it trains with.
    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, state_dict=state)
    _save_generation_config(source, config, folder)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)
    let_others_read(folder)


def save_adapter(settings: Any, state: Mapping[str, torch.Tensor], base: str, folder: Path) -> None:
    """Write a folder that peft puts on the model `base`; `settings` is peft's own LoraConfig."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(dict(state), folder / "adapter_model.safetensors")
    settings = copy.copy(settings)
    settings.inference_mode = True
    settings.base_model_name_or_path = base
    settings.save_pretrained(folder)
    let_others_read(folder)


def let_others_read(folder: Path) -> None:
    """Give all files the mode that the process's umask gives to new ones: safetensors makes its own 0600."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _save_generation_config(source: str, config: Any, folder: Path) -> None:
    """Write the generation settings of `source` as they are; without any, those that transformers would derive.

    Not as transformers writes them: it refuses what it finds odd, like a temperature without sampling.
    """
    from transformers import GenerationConfig
    from transformers.utils import cached_file

    found = cached_file(source, _GENERATION, _raise_exceptions_for_missing_entries=False)
    if found is not None:
        shutil.copyfile(found, folder / _GENERATION)
    else:
        GenerationConfig.from_model_config(config).to_json_file(folder / _GENERATION)
