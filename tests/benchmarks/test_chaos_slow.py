"""Writers and owners killed under heavy writing lose nothing that was committed (`benchmarks/chaos`)."""

import pytest

from benchmarks.chaos.__main__ import run

NUM_KILLS = 3


@pytest.mark.slow
def test_nothing_committed_is_lost_whoever_is_killed(tmp_path):
    """Slow: starts Ray and kills its actors again and again."""
    scenes = run(tmp_path, NUM_KILLS, seed=0)
    assert [loss for found in scenes for loss in found.losses] == []
    assert [found.scene for found in scenes] == ["images", "answers", "ledger", "owner", "nodes", "training"]
    assert [found.counts["kills"] for found in scenes] == [NUM_KILLS] * 6
    assert [scenes[-1].counts[name] for name in ("worker", "ledger", "owner", "worker deaths")] == [1, 1, 1, 1]
