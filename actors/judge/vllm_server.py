"""One vLLM server as a child process: started, watched, started again when it dies, stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors import REPOSITORY
from actors.judge.config import ServerConfig

MODEL_NAME = "judge"
"""What the server calls its model, whatever folder it lies in."""
MAX_RESTARTS = 3
STOP_S = 5.0
"""How long a server may take to end by itself."""
POLL_S = 0.2
NUM_LOG_LINES = 15

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(RuntimeError):
    """The server does not run; the text ends with the last lines of its log."""


class VllmServer:
    """Holds one server; methods may be called from any thread. Usually an actor, placed with the GPUs.

    The child ends with the process that holds this object, however that one ends (`actors.judge.vllm_child`).
    """

    module = "actors.judge.vllm_child"

    def __init__(self, model: str, config: ServerConfig, *, log: Path | str, api_key: str, host: str = "127.0.0.1"):
        self._config = config
        port = config.port or _free_port(host)
        self._address = f"http://{host}:{port}"
        self._log = Path(log)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._command = [sys.executable, "-P", "-m", self.module, *command_line(model, config, host=host, port=port)]
        self._environment = os.environ | _environment(config) | {"VLLM_API_KEY": api_key}
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
            raise ServerError(f"the judge's vLLM server did not come up. {self._last_words()}")
        return f"{self._address}/v1"

    def trouble(self) -> str:
        """Return why the server does not answer just now, with its last words; '' when it does."""
        if self._is_up:
            return ""
        return f"the judge's vLLM server died ({self._num_deaths} times so far). {self._last_words()}"

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
        give_up_at = time.monotonic() + self._config.start_timeout_s
        while process.poll() is None and time.monotonic() < give_up_at:
            # Not through a proxy, whatever the environment says.
            with suppress(OSError), _NO_PROXY.open(f"{self._address}/health", timeout=5):
                return True
            time.sleep(POLL_S)
        if process.poll() is None:
            note = f"not ready after {self._config.start_timeout_s:g} s (judge.server.start_timeout_s)\n"
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


def command_line(model: str, config: ServerConfig, *, host: str, port: int) -> list[str]:
    """Return the command line of vLLM's server; `config.args` are put over ours."""
    settings: dict[str, Any] = {
        "model": model,
        "served_model_name": MODEL_NAME,
        "host": host,
        "port": port,
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        # Two attempts side by side, and the image before them.
        "limit_mm_per_prompt": {"image": 3, "video": 0},
        # Where a form allows white space, a small model may write nothing else.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "seed": 0,
        "disable_uvicorn_access_log": True,
    }
    if config.gpus > 1:
        settings["tensor_parallel_size"] = int(config.gpus)
    if config.gpus == 0:
        settings |= {"block_size": 32, "enforce_eager": True}
    return flags({name.replace("-", "_"): value for name, value in (settings | config.args).items()})


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as a command line; null leaves one out.

    >>> flags({"max_model_len": 8, "enforce_eager": True, "log_requests": False, "seed": None, "x": {"image": 3}})
    ['--max-model-len', '8', '--enforce-eager', '--no-log-requests', '--x', '{"image": 3}']
    """
    words = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if value is True:
            words.append(f"--{flag}")
        elif value is False:
            words.append(f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return words


def _environment(config: ServerConfig) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if config.gpus:
        return environment
    return environment | {
        # On CPU this spares one of three processes: the engine's own worker.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "OMP_NUM_THREADS": str(max(1, int(config.cpus))),
        "TORCH_COMPILE_DISABLE": "1",
    }


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
