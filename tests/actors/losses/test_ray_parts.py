"""What is said at the start of how soon a cluster notices a loss."""

import os

import pytest

from actors.losses.ray_parts import detection, head_seconds, patient_with_head

HEAD_S = "RAY_gcs_rpc_server_reconnect_timeout_s"


@pytest.fixture(autouse=True)
def _read_again():
    head_seconds.cache_clear()
    yield
    head_seconds.cache_clear()


def test_rays_own_times_are_said_and_those_of_the_environment_come_first(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("RAY_health", "RAY_gcs"))]:
        monkeypatch.delenv(name)
    told = detection("10.0.0.1:6379")
    assert "10.0.0.1:6379" in told
    assert "after 15 s (65 s if it is silent), and its head after 60 s" in told
    assert told.endswith("ends within 10 s")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv(HEAD_S, "20")
    head_seconds.cache_clear()
    assert "after 2 s (52 s if it is silent), and its head after 20 s" in detection("a:1")


def test_ray_in_this_process_waits_longer_than_we_do_however_often_it_is_joined(monkeypatch):
    monkeypatch.setenv(HEAD_S, "20")
    for _ in range(2):
        patient_with_head()
        assert os.environ[HEAD_S] == "50"
    assert head_seconds() == 20.0
    assert "and its head after 20 s" in detection("a:1")
