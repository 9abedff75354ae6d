"""A server of the run's own as a child process: started, watched, started again when it dies, stopped."""

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_RESTARTS = 3
STOP_S = 5.0
"""How long a server may take to end by itself."""
POLL_S = 0.2
NUM_LOG_LINES = 15

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(RuntimeError):
    """The server does not run; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class ServerSpec:
    """How a server is started, and what messages call it. Picklable, if its command is."""

    title: str
    """What it is: "the judge's vLLM server"."""
    section: str
    """Of the recipe, with the keys `gpus` and `start_timeout_s`."""
    command: Callable[[str, int], Sequence[str]]
    """Its command line, for a host and a port; it ends when standard input closes (`actors.servers.guard`)."""
    environment: Callable[[], Mapping[str, str]]
    """Variables on top of those of the process that starts it, where it is started."""
    start_timeout_s: float
    port: int = 0
    """0: a free one."""
    gpus: float = 0
    cpus: float = 1


class ChildServer:
    """Holds one server; methods may be called from any thread. Usually an actor, placed with the GPUs.

    It answers `GET /health` once it is ready. It ends with the process that holds this object, however that one ends.
    """

    def __init__(self, spec: ServerSpec, *, log: Path | str, host: str = "127.0.0.1"):
        self._spec = spec
        port = spec.port or _free_port(host)
        self._address = f"http://{host}:{port}"
        self._log = Path(log)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._command = list(spec.command(host, port))
        self._environment = os.environ | dict(spec.environment())
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_up = self._is_stopping = False
        self._num_deaths = 0
        self._settled = threading.Event()
        self._watch = threading.Thread(target=self._keep_alive, daemon=True)
        self._watch.start()

    def wait_until_ready(self) -> str:
        """Return the base URL once the server has answered. Raises `ServerError`."""
        self._settled.wait()
        if not self._is_up:
            raise ServerError(f"{self._spec.title} did not come up. {self._last_words()}")
        return f"{self._address}/v1"

    def trouble(self) -> str:
        """Return why the server does not answer just now, with its last words; '' when it does."""
        if self._is_up:
            return ""
        return f"{self._spec.title} died ({self._num_deaths} times so far). {self._last_words()}"

    def pid(self) -> int:
        """Return the child's process id, which is also its group's."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End the server and its children; return when they are gone."""
        with self._lock:
            self._is_stopping = True
            process = self._process
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            _kill_group(process)
        self._watch.join()

    def _keep_alive(self) -> None:
        """Run the server, again when it dies: calls fail meanwhile, and are tried again. Once up is enough to try."""
        has_been_up = False
        try:
            while self._num_deaths <= MAX_RESTARTS and (process := self._start()) is not None:
                self._is_up = self._becomes_ready(process)
                if self._is_up:
                    has_been_up = True
                    self._settled.set()
                    process.wait()
                self._is_up = False
                _kill_group(process)  # its engine may have outlived it
                self._num_deaths += 1
                if not has_been_up:
                    break
        finally:  # whatever happened: who waits for the server has to hear that it is not up
            self._settled.set()

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start the child, unless it is to stop."""
        with self._lock, self._log.open("ab") as log:
            if self._is_stopping:
                return None
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            return self._process

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        give_up_at = time.monotonic() + self._spec.start_timeout_s
        while process.poll() is None and time.monotonic() < give_up_at:
            # Not through a proxy, whatever the environment says.
            with suppress(OSError), _NO_PROXY.open(f"{self._address}/health", timeout=5):
                return True
            time.sleep(POLL_S)
        if process.poll() is None:
            note = f"not ready after {self._spec.start_timeout_s:g} s ({self._spec.section}.start_timeout_s)\n"
            with self._log.open("a") as log:
                log.write(note)
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
        return f"The end of {self._log}:\n" + "\n".join(line[:300] for line in lines)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
