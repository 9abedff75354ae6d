"""Make CPU-only torch live with companions that are built for CUDA.

The registry's torchvision, torchaudio and torchcodec link against CUDA. Beside a CPU build of torch
`import torchvision` fails for two missing operator schemas, and the other two raise OSError, which
vLLM takes for a broken installation. `install()` puts a finder first on `sys.meta_path` that declares
the schemas before torchvision is loaded and hides the other two. It imports nothing by itself.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HIDDEN = frozenset({"torchaudio", "torchcodec"})
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class _NeedsCuda(importlib.abc.Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        raise ModuleNotFoundError(f"{spec.name} needs CUDA and this torch has none", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        raise AssertionError("create_module never returns")


class _CpuTorchFinder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self._library: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _HIDDEN and _is_cpu_torch():
            return importlib.util.spec_from_loader(fullname, _NeedsCuda())
        if fullname == "torchvision" and self._library is None and _is_cpu_torch():
            import torch

            self._library = torch.library.Library("torchvision", "DEF")
            for schema in _SCHEMAS:
                self._library.define(schema)
        return None


def _is_cpu_torch() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def install() -> None:
    """Install the finder once a process; a no-op beside a CUDA build of torch."""
    if not any(isinstance(finder, _CpuTorchFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _CpuTorchFinder())
