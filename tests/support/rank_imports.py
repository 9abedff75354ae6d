"""What a rank imports, verl above all: once, by the process that ranks are forked from (`policy_ranks`)."""

import os

os.environ |= {"VERL_PLATFORM": "cpu", "VERL_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false"}
# Threads that a process has computed with are missing in what is forked from it, which would wait for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# To look for a GPU must not start CUDA here: what is forked could not use it.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

from actors.policy import verl_cpu

verl_cpu.install()

import actors.policy.worker  # noqa: E402, F401  after that line, as verl wants it
