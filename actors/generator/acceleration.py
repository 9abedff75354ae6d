"""Faster forward passes of a pipeline: compiled blocks and another attention back-end, by diffusers' own means."""

import re
import shutil
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from actors.generator.config import GeneratorConfig
from rollout.text.limits import nearest

_ON_CPU = ("native", "_native_math", "flex")
_HALF = ("flash", "cudnn", "sage", "aiter", "npu")
"""Parts of the names of those that take no float32."""
_PACKAGES = {
    "flash": "flash_attn",
    "flash_varlen": "flash_attn",
    "_flash_3": "flash_attn_interface",
    "_flash_varlen_3": "flash_attn_interface",
    "_native_npu": "torch_npu",
    "_native_xla": "torch_xla",
    "xformers": "xformers",
}
"""What an attention back-end needs beside torch; those of the hub and of SageAttention tell by their names."""
_RECOMPILE_LIMIT = 64
"""Graphs of one block. FLUX.2-klein KV needs seven, for sizes, batches and steps with a reference and without; beyond
torch's own limit of eight it would raise, since no block may run uncompiled."""


class _Transformer(Protocol):
    def set_attention_backend(self, backend: str) -> None: ...

    def compile_repeated_blocks(self, *, fullgraph: bool) -> None: ...


def check_acceleration(config: GeneratorConfig) -> None:
    """Raise ValueError for a back-end or a compilation that cannot work here. Imports neither torch nor diffusers."""
    name, known = config.attention_backend, known_backends()
    if name and known and name not in known:
        raise ValueError(
            f"generator.attention_backend is {name!r}; diffusers has {', '.join(known)}{nearest(name, known)}"
        )
    if name and not config.gpus_per_replica and name not in _ON_CPU:
        raise ValueError(
            f"generator.attention_backend {name!r} needs a GPU, and generator.gpus_per_replica is 0; "
            f"on a CPU there are {', '.join(_ON_CPU)}"
        )
    if config.dtype == "float32" and any(part in name for part in _HALF):
        raise ValueError(
            f"generator.attention_backend {name!r} computes in 16 bits, and generator.dtype is float32: "
            "make it bfloat16"
        )
    package = _package(name)
    if package and find_spec(package) is None:
        raise ValueError(
            f"generator.attention_backend {name!r} needs the package {package}, which is not installed: install it, "
            "or take native"
        )
    if config.compile and not any(map(shutil.which, ("gcc", "g++", "cc", "clang"))):
        raise ValueError("generator.compile needs a C compiler, and none is on PATH: install gcc, or set it to false")


def accelerate(config: GeneratorConfig, components: Mapping[str, _Transformer]) -> None:
    """Set the attention back-end of a loaded pipeline and compile its blocks, as its settings say.

    Raises ValueError for a model without a transformer, or whose blocks diffusers does not know.
    """
    if not (config.compile or config.attention_backend):
        return
    transformer = components.get("transformer") or components.get("unet")
    if transformer is None:
        raise ValueError(
            f"{config.pipeline} has neither a transformer nor a unet: leave generator.compile and "
            "generator.attention_backend out"
        )
    if config.attention_backend:
        transformer.set_attention_backend(config.attention_backend)
    if config.compile:
        import torch

        torch._dynamo.config.recompile_limit = _RECOMPILE_LIMIT
        transformer.compile_repeated_blocks(fullgraph=True)


def _package(backend: str) -> str:
    """Return the package that a back-end comes with, by its import name; empty: torch's own.

    >>> _package("_flash_3_hub"), _package("sage"), _package("flash"), _package("native")
    ('kernels', 'sageattention', 'flash_attn', '')
    """
    if "_hub" in backend:
        return "kernels"
    return "sageattention" if "sage" in backend else _PACKAGES.get(backend, "")


@cache
def known_backends() -> tuple[str, ...]:
    """Return the names of diffusers' back-ends, read from its source; none where that does not tell."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return ()
    file = Path(spec.origin).parent / "models" / "attention_dispatch.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    _, _, rest = text.partition("class AttentionBackendName(")
    members, _, _ = rest.partition("\nclass ")
    return tuple(re.findall(r'^    \w+ = "(\w+)"', members, re.MULTILINE))
