"""What a pool tells Serve about its size."""

from actors.pool import _scale


def test_a_pool_has_one_size_unless_it_has_bounds():
    assert _scale(3, None, 32) == {"num_replicas": 3}
    scaling = _scale(2, (1, 8), 32)["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["initial_replicas"], scaling["max_replicas"]) == (1, 2, 8)
    assert scaling["target_ongoing_requests"] == 8
    assert _scale(1, (1, 2), 2)["autoscaling_config"]["target_ongoing_requests"] == 1
