"""vLLM's platform of CPUs with the same kernels on every processor: `actors.cpu_kernels` says why and when."""

from importlib.util import find_spec

import torch
from vllm.platforms.cpu import CpuPlatform


class PortableCpu(CpuPlatform):
    """CPUs, of which no more than AVX2 is used."""

    @classmethod
    def import_kernels(cls) -> None:
        """Register the operators that are compiled for AVX2. Raises `ImportError` if vLLM was built without them."""
        library = find_spec("vllm._C_AVX2")
        if library is None or library.origin is None:
            raise ImportError("this vLLM has no kernels for AVX2 (vllm._C_AVX2): set MKL_CBWR=AUTO to use what it has")
        torch.ops.load_library(library.origin)
