"""Make CPU-only torch work with companions that are built for CUDA.

PyPI's torchvision, torchaudio and torchcodec link against CUDA. With a CPU build of torch,
`import torchvision` fails because two operator schemas are missing, and the other two raise OSError, which
vLLM takes for a broken installation. `install()` puts a finder first on `sys.meta_path` that declares
the schemas before torchvision is loaded and hides the other two. Companions that are built like torch,
for CUDA or for CPUs, are left alone. Plain scripts get the finder from `actors/cpu_environment.py`, which
copies this file: it imports only the standard library.
"""

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
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
        if fullname not in COMPANIONS or not needs_cuda(fullname):
            return None
        if fullname != "torchvision":
            return importlib.util.spec_from_loader(fullname, _NeedsCuda())
        if self._library is None:
            import torch

            self._library = torch.library.Library("torchvision", "DEF")
            for schema in _SCHEMAS:
                self._library.define(schema)
        return None


def needs_cuda(companion: str) -> bool:
    """Whether a companion is built for CUDA and torch for CPUs: PyTorch's index marks all of its CPU builds +cpu."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch").endswith("+cpu") and not version(companion).endswith("+cpu")
    except PackageNotFoundError:
        return False


def install() -> None:
    """Install the finder once per process, whichever copy of this file is asked to."""
    if not any(type(finder).__name__ == _CpuTorchFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _CpuTorchFinder())
