"""vLLM asks `lscpu` for the cores of a machine without a GPU, and dies where there is none, as in slim images."""

from __future__ import annotations

import shutil


def replace_missing_lscpu() -> None:
    """Have vLLM count the cores by itself where `lscpu` is not on PATH, as it does where `lscpu` says nothing."""
    if shutil.which("lscpu") is not None:
        return
    from vllm.utils import cpu_resource_utils

    cpu_resource_utils._get_cpu_list = cpu_resource_utils._synthesize_cpu_list
