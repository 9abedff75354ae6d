"""Without a GPU vLLM asks `lscpu` for the machine's cores, and dies if there is no lscpu, as in slim images."""

import shutil


def replace_missing_lscpu() -> None:
    """If `lscpu` is not on PATH, have vLLM count the cores itself, as it does when `lscpu` prints nothing."""
    if shutil.which("lscpu") is not None:
        return
    from vllm.utils import cpu_resource_utils

    cpu_resource_utils._get_cpu_list = cpu_resource_utils._synthesize_cpu_list
