"""`python -m actors.cpu_environment`: plain scripts of this environment can import torchvision, and transformers.

Set-up runs it once. Beside a CPU build of torch that has companions for CUDA it gives the environment a `.pth` file, by
which each of its processes installs the finder of `actors/cpu_torch.py`; anywhere else it leaves nothing behind.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

from actors import cpu_torch

NAME = "_interleave_cpu_torch"


def adapt_environment(site_packages: Path) -> bool:
    """Write or remove what makes each process that starts with `site_packages` install the finder; return which."""
    module, start = site_packages / f"{NAME}.py", site_packages / f"{NAME}.pth"
    is_needed = any(map(cpu_torch.needs_cuda, cpu_torch.COMPANIONS))
    if is_needed:
        # A copy, because a process must not have `actors` loaded before its script says whose: another checkout's, say.
        shutil.copyfile(cpu_torch.__file__, module)
        start.write_text(f"import {NAME}; {NAME}.install()\n")
    else:
        start.unlink(missing_ok=True)
        module.unlink(missing_ok=True)
    return is_needed


if __name__ == "__main__":
    adapt_environment(Path(sysconfig.get_path("purelib")))
