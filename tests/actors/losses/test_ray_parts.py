"""What is said at the start of how soon a cluster notices a loss."""

import os

from actors.losses.ray_parts import detection, head_seconds, patient_with_head


def test_rays_own_times_are_said_and_those_of_the_environment_come_first(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("RAY_health", "RAY_gcs"))]:
        monkeypatch.delenv(name)
    told = detection("10.0.0.1:6379")
    assert "10.0.0.1:6379" in told
    assert "after 15 s (65 s if it is silent), and its head after 60 s" in told
    assert told.endswith("ends within 10 s")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
    assert "after 2 s (52 s if it is silent), and its head after 20 s" in detection("a:1")


def test_ray_in_this_process_waits_longer_than_we_do(monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
    patient_with_head()
    assert head_seconds() == 50.0
