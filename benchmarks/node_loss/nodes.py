"""Raylets on this machine, each a node with an address of its own on loopback, which can be lost like a machine."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

REPO = Path(__file__).resolve().parent.parent.parent
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
"""Not 127.0.0.1, which Ray replaces by an address that other machines can reach."""
_UP = "Ray runtime started"
_START_S = 120.0


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is, and what its clients need."""

    folder: Path
    """Of Ray's temporary files: its path is short."""
    gcs: str
    """The head's host:port."""
    environment: Mapping[str, str]

    @classmethod
    def make(cls, folder: Path, check_s: float = 3.0) -> "Cluster":
        """Choose a port, and a token that Ray asks every client for: it keeps out whoever else reaches the port.

        Ray looks every `check_s` seconds whether a node is there.
        """
        with socket.socket() as probe:
            probe.bind((HEAD, 0))
            port = probe.getsockname()[1]
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        checks = {"RAY_health_check_period_ms": str(round(1000 * check_s))}
        return cls(folder, f"{HEAD}:{port}", {**os.environ, **secret, **checks})

    def ask_for_actors(self, address: str) -> subprocess.Popen[bytes]:
        """Begin to count the actors of a node by class; what is printed is JSON."""
        command = [sys.executable, "-m", "benchmarks.node_loss.living_actors", self.gcs, address]
        return subprocess.Popen(command, stdout=subprocess.PIPE, env=self.environment, cwd=REPO)


class Node:
    """A raylet with all that it starts."""

    def __init__(self, cluster: "Cluster", address: str, num_cpus: int, *, is_head: bool = False):
        self._log = cluster.folder / f"{address}.txt"
        port = cluster.gcs.rpartition(":")[2]
        where = ["--head", f"--port={port}", "--include-dashboard=false"] if is_head else [f"--address={cluster.gcs}"]
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"),
            *where,
            *(f"--node-ip-address={address}", f"--num-cpus={num_cpus}", "--num-gpus=0"),
            "--object-store-memory=200000000",
            f"--temp-dir={cluster.folder / address[-1]}",
        ]
        with self._log.open("w") as log:
            # A session of its own: nothing that ends this process ends it unasked.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=cluster.environment
            )
        self._known: set[psutil.Process] = set()

    @property
    def pid(self) -> int:
        """The process that started all others here."""
        return self._process.pid

    def wait(self) -> None:
        """Return once the node is up. Raises RuntimeError."""
        give_up = time.monotonic() + _START_S
        while _UP not in (told := self._log.read_text()):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"no raylet came up: {told[-1000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill everything here with SIGKILL, at once: what a machine takes along when it is lost."""
        for process in sorted(self.processes(), key=lambda process: process.pid):  # the raylet before its workers
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def processes(self) -> set[psutil.Process]:
        """Return all processes that this one started here and that live, the orphaned ones, too."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            self._known |= {root, *root.children(recursive=True)}
        return {process for process in self._known if process.is_running()}


@contextlib.contextmanager
def two_nodes(cluster: Cluster, head_cpus: int, second_cpus: int) -> Iterator[Node]:
    """Start a head and a second node, and yield the second one; kill both on exit."""
    nodes: list[Node] = []
    try:
        nodes.append(Node(cluster, HEAD, head_cpus, is_head=True))
        nodes[0].wait()
        nodes.append(Node(cluster, SECOND, second_cpus))
        nodes[1].wait()
        yield nodes[1]
    finally:
        for node in reversed(nodes):
            node.kill()
