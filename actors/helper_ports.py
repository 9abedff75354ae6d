"""The ports of the helpers beside a Ray that is started here: given to it, so that it does not wait for them.

Ray's server on a node waits 15 s for the port of each helper that it has started, and dies where a busy machine takes
longer to import them (ray-project/ray#65983). It does not wait for ports that it is given.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ray._private import parameter, ray_constants, services

_LISTEN = "dashboard_agent_listen_port"
HELPERS = ("metrics_agent_port", "metrics_export_port", _LISTEN, "runtime_env_agent_port")
_LOWEST, _NUM = 20_000, 10_000
"""Below the ports that the kernel takes for connections, which could be any of those that are free now."""
_PATIENCE = {"RAY_agent_register_timeout_ms": "120000"}


@contextmanager
def given_ports(host: str) -> Iterator[None]:
    """Give free ports of `host` to the helpers of a Ray that is started in this context."""
    whole_parameters, start_process = parameter.RayParams, services.start_ray_process
    ports = dict(zip(HELPERS, _free_ports(host, len(HELPERS)), strict=True))

    def start(command: list[str], process_type: str, *arguments: object, **settings: object) -> object:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:  # Ray tells the helper alone
            command = [*command, f"--{_LISTEN}={ports[_LISTEN]}"]
        return start_process(command, process_type, *arguments, **settings)

    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    parameter.RayParams = lambda **given: whole_parameters(**given | ports)
    services.start_ray_process = start
    try:
        yield
    finally:
        parameter.RayParams, services.start_ray_process = whole_parameters, start_process


def _free_ports(host: str, num: int) -> set[int]:
    found: set[int] = set()
    while len(found) < num:
        port = _LOWEST + secrets.randbelow(_NUM)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            found.add(port)
    return found
