"""`python -m actors.cpu_environment`: let plain scripts of this environment import torchvision and transformers.

Set-up runs it once. If torch is a CPU build and its companions are built for CUDA, it adds a `.pth` file to the
environment that makes each process install the finder of `actors/cpu_torch.py`; otherwise it leaves nothing behind.
"""

import shutil
import sysconfig
from pathlib import Path

from actors import cpu_torch

NAME = "_interleave_cpu_torch"


def adapt_environment(site_packages: Path) -> bool:
    """Make each process that uses `site_packages` install the finder, or undo that; return whether it is needed."""
    module, start = site_packages / f"{NAME}.py", site_packages / f"{NAME}.pth"
    is_needed = any(map(cpu_torch.needs_cuda, cpu_torch.COMPANIONS))
    if is_needed:
        # A copy: `actors` must not be loaded before the script says which one, e.g. that of another checkout.
        shutil.copyfile(cpu_torch.__file__, module)
        start.write_text(f"import {NAME}; {NAME}.install()\n")
    else:
        start.unlink(missing_ok=True)
        module.unlink(missing_ok=True)
    return is_needed


if __name__ == "__main__":
    adapt_environment(Path(sysconfig.get_path("purelib")))
