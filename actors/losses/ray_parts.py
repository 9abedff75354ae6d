"""What a run needs of Ray, where that is asked whether it lives, and how long Ray itself takes to miss it."""

import os
import signal
import subprocess
from functools import cache, partial

from ray._private import worker
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

from actors.losses.head_watch import OWN_PATIENCE_S, Part

_HEAD = "RAY_gcs_rpc_server_reconnect_timeout_s"
_HEAD_S = 60.0
_NODE = {
    "RAY_health_check_period_ms": 3_000,
    "RAY_health_check_timeout_ms": 10_000,
    "RAY_health_check_failure_threshold": 5,
}
"""Ray's own settings (ray_config_def.h of 2.60). A head reads its own environment, which is not seen from here."""
_MARGIN_S = 30
"""So much later than it would does Ray end this process without a line."""
SAID_WITHIN_S = 10.0
"""How long after Ray's own time a run has ended."""


@cache
def head_seconds() -> float:
    """Return for how long Ray waits for a head that does not answer; what `patient_with_head` adds is left out."""
    return float(os.environ.get(_HEAD, _HEAD_S))


def node_seconds() -> tuple[float, float]:
    """Return how long a head takes to miss a node that is gone, and one that is there and silent."""
    period, timeout, times = (float(os.environ.get(name, default)) for name, default in _NODE.items())
    return times * period / 1000, times * (period + timeout) / 1000


def detection(address: str) -> str:
    """Return in one sentence how soon a job that joined a cluster hears of losses."""
    gone, silent = node_seconds()
    return (
        f"joined Ray at {address}, which misses a lost node after {gone:.0f} s ({silent:.0f} s if it is silent), "
        f"and its head after {head_seconds():.0f} s; what cannot go on then ends within {SAID_WITHIN_S:.0f} s"
    )


def ray_parts(*, is_own: bool) -> list[Part]:
    """Return what to watch of the Ray that this process is connected to; `is_own`: this process started it."""
    node = worker._global_node
    if node is None:  # a client of Ray's, whose server is another process's concern
        return []
    raylet = f"{node.node_ip_address}:{node.node_manager_port}"
    if not is_own:
        return [
            Part(f"the head of Ray at {node.gcs_address}", node.gcs_address, head_seconds()),
            Part("the raylet of this node", raylet, OWN_PATIENCE_S),
        ]
    servers = {PROCESS_TYPE_GCS_SERVER: node.gcs_address, PROCESS_TYPE_RAYLET: raylet}
    found = []
    for kind, address in servers.items():
        [started] = node.all_processes[kind]
        who = f"Ray's {'head' if kind == PROCESS_TYPE_GCS_SERVER else 'raylet'} ({kind}, process {started.process.pid})"
        found.append(Part(who, address, died=partial(_how_it_died, started.process)))
    return found


def patient_with_head() -> None:
    """Have Ray in this process wait longer for a head than it says: the line comes first. Before Ray is initialized."""
    os.environ[_HEAD] = str(round(head_seconds() + _MARGIN_S))


def _how_it_died(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    if code is None:
        return ""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
