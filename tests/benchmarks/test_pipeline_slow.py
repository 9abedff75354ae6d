"""Schedules of `benchmarks/pipeline` on the real driver, in almost no time: their books, not their speed.

All schedules, eight generators and speeds are `python -m benchmarks.pipeline`.
"""

import pytest
from rich.console import Console

from benchmarks.pipeline.__main__ import run
from benchmarks.pipeline.scenario import NUM_TASKS, N, Scenario

NUM_STEPS = 1


@pytest.mark.slow
def test_schedules_differ_in_time_alone(tmp_path):
    """Slow: starts Ray twice, each time with two replicas on Ray Serve."""
    scenario = Scenario(factor=200.0, num_steps=NUM_STEPS, num_generators=2)
    verdict = run(scenario, ["serial", "k=1"], tmp_path, Console(quiet=True))
    serial, ahead = (verdict.compared[name].measured for name in ("serial", "k=1"))
    assert (serial.wrong, ahead.wrong) == ([], [])
    assert not [text for text in verdict.missed() if "differ" in text or "in common" in text]
    assert [len(one.rewards) for one in (serial, ahead)] == [2 * NUM_TASKS * N, 3 * NUM_TASKS * N]
    assert dict(serial.staleness) == {0: 2 * NUM_TASKS * N}
    # The first step's weights are new; a response that begins after the next publish is drawn by newer ones, too.
    assert (max(ahead.staleness), ahead.staleness.total()) == (1, 3 * NUM_TASKS * N)
    assert ahead.staleness[0] >= NUM_TASKS * N
    assert len(set(serial.rewards.values())) == len(serial.rewards)
