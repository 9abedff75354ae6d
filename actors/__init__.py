"""The only home of Ray, verl, vLLM, diffusers and HTTP."""

from actors import cpu_torch

cpu_torch.install()
