"""The only package that uses Ray, verl, vLLM, diffusers and HTTP."""

import logging
from pathlib import Path

from actors import cpu_torch, usage_statistics

REPOSITORY = Path(__file__).resolve().parent.parent

cpu_torch.install()
usage_statistics.switch_off()
# In each process that loads vLLM it would tell of our plug-in, `actors.cpu_kernels.vllm_platform`.
# A filter, because vLLM sets all levels when it is loaded.
logging.getLogger("vllm.plugins").addFilter(lambda record: record.levelno >= logging.WARNING)
