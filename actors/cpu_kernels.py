"""Which kernels actors on CPUs compute with: the same ones on every x86 processor that has AVX2.

torch, oneDNN, MKL and vLLM choose by the processor, its vendor too, in which order they add up, so that a run would
repeat to the last digit on machines of its own kind alone. Who sets one of the variables where a run is started chooses
for himself: `MKL_CBWR=AUTO` is enough to let all of them take what is fastest.
"""

import os
import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIABLES = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
"""MKL's other branches differ between vendors."""
FASTEST = {"MKL_CBWR": "AUTO"}
"""For comparisons of speed with programs that choose by the processor."""


def portable_kernels() -> dict[str, str]:
    """Return what to add to the environment of a process that computes on CPUs, before torch is loaded there."""
    return {} if any(name in os.environ for name in VARIABLES) else dict(VARIABLES)


def asked_of_cpus() -> dict[str, str]:
    """Return the variables that actors on CPUs go by, whoever set them."""
    return portable_kernels() or {name: os.environ[name] for name in VARIABLES if name in os.environ}


def are_portable() -> bool:
    """Whether the environment of this process asks for the same kernels everywhere."""
    return all(os.environ.get(name) == value for name, value in VARIABLES.items())


def vllm_platform() -> str | None:
    """Return the class of vLLM's platform, or None for its own; `pyproject.toml` names this function to vLLM."""
    from vllm.platforms import cpu_platform_plugin

    return "actors.sampler.portable_cpu.PortableCpu" if are_portable() and cpu_platform_plugin() else None


@cache
def round_square_roots() -> "torch.library.Library":
    """Round square roots correctly in this process from now on; return the registration of that.

    MKL's begin with the processor's own approximation (RSQRTPS), which is another one for each vendor; NumPy's are
    rounded as IEEE 754 says. `torch.sqrt` of CPU tensors is meant; in place, and as a power of 0.5, they stay MKL's.
    """
    import torch

    overrides = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators", UserWarning)
        overrides.impl("sqrt", _square_root, "CPU")
    return overrides


def _square_root(values: "torch.Tensor") -> "torch.Tensor":
    import numpy as np
    import torch

    dtype = values.dtype if values.is_floating_point() or values.is_complex() else torch.get_default_dtype()
    is_narrow = dtype in (torch.float16, torch.bfloat16)
    wide = values.to(torch.float32 if is_narrow else dtype)
    with np.errstate(invalid="ignore"):
        roots = np.sqrt(wide.detach().resolve_conj().resolve_neg().numpy())
    return torch.from_numpy(np.asarray(roots)).to(dtype)
