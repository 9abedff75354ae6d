"""A run on two nodes goes on when one of them is lost; `python -m benchmarks.node_loss` shows it at full size."""

import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks.node_loss.__main__ import LOST_IN, Setting, measure

pytestmark = pytest.mark.slow


def test_a_run_survives_the_loss_of_a_node():
    """Slow: two raylets, and every real component on both."""
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))  # pytest's paths are too long for Ray's sockets
    try:
        found = measure(Setting(steps=3, groups=6, n=4, check_s=0.5), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missed = {
        name: (value, bar)
        for name, (value, sign, bar) in found.bars().items()
        if not (value <= bar if sign == "<=" else value == bar)
    }
    assert missed == {}, found.on_second
    assert found.samples["failed"] == 0
    assert len(found.steps) == 3
    assert 0 < found.done_before < 6 * 4
    assert found.seconds[f"step {LOST_IN} ended"] > 0
