"""What Prometheus reads of a run: the newest value of each metric, while the driver lives."""

import socket
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from rl.recipe.jobs import TrackingConfig
from rl.tracking.prometheus_tracker import Prometheus
from rl.tracking.trackers import check_trackers
from tests.support.training import make_recipe


def read(port: int) -> list[str]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_newest_values_are_read_until_the_run_ends(tmp_path):
    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=["prometheus"], prometheus_port=0))
    tracker = Prometheus(recipe, 3, [{"step": 1, "reward/mean": 0.1}, {"step": 2, "reward/mean": 0.2}])
    assert f'interleave_reward_mean{{run="{recipe.name}"}} 0.2' in read(tracker.port)
    tracker.log(
        {"reward/mean": 0.3, "reward_mean": 0.4, "failures/judge": 2}, 3
    )  # two metrics of one name: the last one
    assert set(read(tracker.port)) == {
        f'interleave_reward_mean{{run="{recipe.name}"}} 0.4',
        f'interleave_step{{run="{recipe.name}"}} 3.0',
        f'interleave_failures_judge{{run="{recipe.name}"}} 2.0',
    }
    tracker.close()
    with pytest.raises(URLError):
        read(tracker.port)


def test_a_port_that_is_taken_is_one_line_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*prometheus_port to a free one"):
            check_trackers(TrackingConfig(backends=["prometheus"], prometheus_port=port))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_told_from_a_port_that_is_taken(host):
    told = rf"cannot listen on {host}:9: [^(]*; set tracking\.prometheus_host to an address of this machine$"
    with pytest.raises(ValueError, match=told):
        check_trackers(TrackingConfig(backends=["prometheus"], prometheus_host=host, prometheus_port=9))


def test_nobody_else_can_read_by_default():
    assert TrackingConfig().prometheus_host == "127.0.0.1"
