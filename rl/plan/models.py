"""How large a model is: from its folder where it is on disk, else from what is known of its name."""

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from rl.plan.known_models import known_critic, known_pipeline
from rl.plan.tensor_shapes import EMBEDDING, HEAD, LAYERS, NORM, TYPES, VISION, Tensors, is_tied, tensors_of
from rl.recipe.paths import resolve_path

PARTS = (EMBEDDING, LAYERS, NORM, HEAD, VISION)


@dataclass(frozen=True)
class ModelSize:
    """A vision-language model, as far as memory and time depend on it."""

    name: str
    config: Mapping[str, Any] = field(repr=False)
    """Its config.json."""
    where: str
    """Its folder, or `kept table`."""

    @cached_property
    def tensors(self) -> Sequence[Tensors]:
        return tensors_of(self.config)

    @cached_property
    def parts(self) -> Mapping[str, int]:
        """Parameters by part (`PARTS`); a head that is the embedding counts there."""
        return {part: sum(one.num_parameters for one in self.tensors if one.part == part) for part in PARTS}

    @property
    def num_parameters(self) -> int:
        return sum(self.parts.values())

    @property
    def text(self) -> Mapping[str, Any]:
        """The settings of the text layers."""
        text: Mapping[str, object] = self.config.get("text_config") or self.config
        return text

    @property
    def vision(self) -> Mapping[str, Any]:
        vision: Mapping[str, object] = self.config["vision_config"]
        return vision

    @property
    def num_layers(self) -> int:
        return int(self.text["num_hidden_layers"])

    @property
    def hidden_size(self) -> int:
        return int(self.text["hidden_size"])

    @property
    def vocabulary(self) -> int:
        return int(self.text["vocab_size"])

    @property
    def head_dim(self) -> int:
        return int(self.text.get("head_dim") or self.hidden_size // self.text["num_attention_heads"])

    @property
    def num_key_heads(self) -> int:
        return int(self.text["num_key_value_heads"])

    @property
    def is_tied(self) -> bool:
        return is_tied(self.config)

    @property
    def cache_values_per_token(self) -> int:
        """Keys and values that one token takes in the cache, over all layers."""
        return 2 * self.num_layers * self.num_key_heads * self.head_dim

    @property
    def pixels_per_token(self) -> int:
        """Pixels of an image that become one token."""
        return int(self.vision["patch_size"] * self.vision["spatial_merge_size"]) ** 2


@dataclass(frozen=True)
class PipelineSize:
    """A pipeline of diffusers."""

    name: str
    parts: Mapping[str, int]
    """Parameters by component."""
    where: str

    @property
    def num_parameters(self) -> int:
        return sum(self.parts.values())

    @property
    def transformer(self) -> int:
        """Parameters of what is run at each step; of all where it has no such part."""
        return self.parts.get("transformer") or self.parts.get("unet") or self.num_parameters


def model_size(name: str) -> ModelSize | None:
    """Return the size of a vision-language model, named by folder or hub id; None where nothing tells it.

    Raises ValueError for a config.json that cannot be read.
    """
    folder = local_folder(name)
    file = folder / "config.json" if folder else None
    if file and file.is_file():
        config = _read_json(file)
        return ModelSize(name, config, str(folder)) if config.get("model_type") in TYPES else None
    known = known_critic(name)
    return ModelSize(name, known, "kept table") if known else None


def pipeline_size(name: str) -> PipelineSize | None:
    """Return the size of a pipeline, by the headers of its files or by its name; None where nothing tells it."""
    folder = local_folder(name)
    if folder and (folder / "model_index.json").is_file():
        parts = {part.name: _count_parameters(part) for part in sorted(folder.iterdir()) if part.is_dir()}
        if found := {part: count for part, count in parts.items() if count}:
            return PipelineSize(name, found, str(folder))
    known = known_pipeline(name)
    return PipelineSize(name, known, "kept table") if known else None


def local_folder(name: str) -> Path | None:
    """Return the folder of a model that is on this machine: itself, or its newest snapshot in the hub's cache."""
    given = resolve_path(name)
    if given.is_dir():
        return given
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    snapshots = list((cache / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/"))
    return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)


def _count_parameters(folder: Path) -> int:
    """Return the parameters of a component, by the headers of its files; 0 where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if ".fp16." not in file.name]  # a second copy in another dtype
    return sum(prod(shape) for file in whole or files for shape in _shapes(file))


def _shapes(file: Path) -> Iterator[tuple[int, ...]]:
    """Yield the shapes in a safetensors file: eight bytes of length, then JSON. Raises ValueError for another file."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(opened.read(length))
    except (struct.error, ValueError) as error:
        raise ValueError(f"{file} is no safetensors file ({error}); get the model anew") from None
    for name, entry in header.items():
        if name != "__metadata__":
            yield tuple(entry["shape"])


def _read_json(file: Path) -> Mapping[str, object]:
    try:
        config: Mapping[str, object] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); get the model anew") from None
    return config
