"""Write the trained model as folders that other programs can load directly."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actors.config import PolicyConfig
from rollout.roles import CheckpointError
from rollout.text.sizes import size_told

_GENERATION = "generation_config.json"


def write_export(
    source: str,
    config: PolicyConfig,
    module: Any,
    state: dict[str, torch.Tensor],
    adapters: Mapping[str, torch.Tensor],
    folder: Path,
) -> None:
    """Write the folder of a policy that started as `source`: model `state`, and with LoRA `adapters` in a subfolder.

    Without weights it tests whether everything else can be written.
    """
    save_model(source, state, config.dtype, folder)
    if config.lora.rank:
        save_adapter(module.peft_config["default"], adapters, config.model, folder / "adapter")


def bytes_saved(config: PolicyConfig, module: torch.nn.Module) -> int:
    """Return about how many bytes an export and a checkpoint take: float32 weights and Adam's two moments."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    num, num_trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    checkpoint = 4 * (num_trained if config.lora.rank else num) + 8 * num_trained
    return int(num * getattr(torch, config.dtype).itemsize + checkpoint)


def check_room(folder: Path, needed: int) -> None:
    """Raise `CheckpointError` if fewer than the `needed` bytes are free where a folder is."""
    if (free := shutil.disk_usage(folder).free) < needed:
        raise CheckpointError(
            f"{folder}: a checkpoint and an export take about {size_told(needed)}, and {size_told(free)} are "
            "free; make room, or set run_dir to a larger disk"
        )


def save_model(source: str, state: dict[str, torch.Tensor], dtype: str, folder: Path) -> None:
    """Write a Hugging Face folder: weights, plus configuration, generation settings and processor of `source`."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

    # Read again from disk: verl edits the configuration that it trains with.
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
    """Write a folder that peft can load onto the model `base`; `settings` is peft's own LoraConfig."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(dict(state), folder / "adapter_model.safetensors")
    settings = copy.copy(settings)
    settings.inference_mode = True
    settings.base_model_name_or_path = base
    settings.save_pretrained(folder)
    let_others_read(folder)


def let_others_read(folder: Path) -> None:
    """Give all files the mode that the umask gives to new files: safetensors creates its own with 0600."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _save_generation_config(source: str, config: object, folder: Path) -> None:
    """Copy the generation settings of `source` verbatim; if it has none, write those that transformers would derive.

    Not saved through transformers, which refuses settings that it finds odd, like a temperature without sampling.
    """
    from transformers import GenerationConfig
    from transformers.utils import cached_file

    found = cached_file(source, _GENERATION, _raise_exceptions_for_missing_entries=False)
    if found is not None:
        text = Path(found).read_text(encoding="utf-8")
        if not isinstance(json.loads(text), dict):
            raise ValueError(f"{found} is not a JSON object")
        (folder / _GENERATION).write_text(text, encoding="utf-8")
    else:
        GenerationConfig.from_model_config(config).to_json_file(folder / _GENERATION)
