"""Writers and owners killed under heavy writing lose nothing that was committed (`benchmarks/chaos`)."""

import pytest

from actors.store.files import temporary_name
from actors.store.store import Store
from benchmarks.chaos.__main__ import run
from benchmarks.chaos.scene import Found, check_store, noise

NUM_KILLS = 3


@pytest.mark.slow
def test_nothing_committed_is_lost_whoever_is_killed(tmp_path):
    """Slow: starts Ray and kills its actors again and again."""
    scenes = run(tmp_path, NUM_KILLS, seed=0)
    assert [loss for found in scenes for loss in found.losses] == []
    assert [found.scene for found in scenes] == ["images", "answers", "ledger", "owner", "nodes", "training"]
    assert [found.counts["kills"] for found in scenes] == [NUM_KILLS] * 6
    assert [scenes[-1].counts[name] for name in ("worker", "ledger", "owner", "worker deaths")] == [1, 1, 1, 1]


def test_a_torn_image_would_be_seen(tmp_path):
    store, found = Store(tmp_path), Found("images")
    whole, torn = (store.image_path(store.put_image(noise(number))) for number in (1, 2))
    torn.write_bytes(torn.read_bytes()[:1000])
    (whole.parent / temporary_name()).write_bytes(b"half")
    check_store(tmp_path, found)
    assert [loss.split()[1] for loss in found.losses[:1]] == [str(torn)]
    assert "was not cleaned" in found.losses[1]  # its writer is alive: this process
