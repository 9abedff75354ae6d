"""Freed matrices leave the process, whatever was allocated after them."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from rl.large_blocks import return_freed_blocks, return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

if sys.argv[1] == "returned":
    return_large_blocks()
np.ones(16 << 20, np.uint8)  # freed at once: glibc takes such blocks from its heap from now on
before = resident()
blocks = [np.ones(8 << 20, np.uint8) for _ in range(8)]
last = np.ones(1 << 16, np.uint8)
blocks.clear()
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize(("how", "is_kept"), [("returned", False), ("as it is", True)])
def test_freed_matrices_leave_the_process(how, is_kept):
    """Slow: it starts processes of Python."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
    assert (float(done.stdout) > 32) == is_kept


FRAGMENTED = (
    PROGRAM.partition("if sys.argv")[0]
    + """
blocks = [np.ones(1 << 14, np.uint8) for _ in range(4096)]
del blocks[:-1]  # the last one stands at the end of the heap
before = resident()
if sys.argv[1] == "returned":
    return_freed_blocks()
print(before - resident())
"""
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize(("how", "is_returned"), [("returned", True), ("as it is", False)])
def test_freed_blocks_below_one_that_is_kept_leave_the_process(how, is_returned):
    """Slow: it starts processes of Python."""
    done = subprocess.run([sys.executable, "-c", FRAGMENTED, how], check=True, capture_output=True, text=True)
    assert (float(done.stdout) > 32) == is_returned
