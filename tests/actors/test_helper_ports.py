"""Helpers of a Ray that is started here have ports that it is given, each Ray others."""

from ray._private import parameter, ray_constants, services

from actors.helper_ports import HELPERS, given_ports


def test_parameters_and_the_server_of_a_node_are_given_the_same_ports(monkeypatch):
    started = []
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "1")
    monkeypatch.setattr(services, "start_ray_process", lambda command, kind, **_: started.append((kind, command)))
    ports = []
    for _ in range(2):
        with given_ports("127.0.0.1"):
            given = parameter.RayParams(metrics_export_port=None, num_cpus=2)
            services.start_ray_process(["server"], ray_constants.PROCESS_TYPE_RAYLET, fate_share=True)
            services.start_ray_process(["other"], ray_constants.PROCESS_TYPE_GCS_SERVER, fate_share=True)
        assert given.num_cpus == 2
        (_, [_, flag]), (_, other) = started[-2:]
        assert flag == f"--dashboard_agent_listen_port={given.dashboard_agent_listen_port}"
        assert other == ["other"]
        ports.append({getattr(given, name) for name in HELPERS})
    first, second = ports
    assert len(first) == len(second) == len(HELPERS)
    assert first != second
    assert all(20_000 <= port < 30_000 for port in first | second)
    assert parameter.RayParams().metrics_agent_port is None
    services.start_ray_process(["server"], ray_constants.PROCESS_TYPE_RAYLET)
    assert started[-1][1] == ["server"]
