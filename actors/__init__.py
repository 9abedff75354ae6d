"""The only package that uses Ray, verl, vLLM, diffusers and HTTP."""

from pathlib import Path

from actors import cpu_torch, usage_statistics

REPOSITORY = Path(__file__).resolve().parent.parent

cpu_torch.install()
usage_statistics.switch_off()
