"""The only package that uses Ray, verl, vLLM, diffusers and HTTP."""

import os
from pathlib import Path

from actors import cpu_torch

REPOSITORY = Path(__file__).resolve().parent.parent

# A call that comes too late, after Ray was shut down, fails; Ray would start another cluster for it.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

cpu_torch.install()
