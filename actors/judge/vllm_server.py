"""vLLM's server as a run starts it for a judge: its command line and environment."""

import json
import os
import sys
from collections.abc import Mapping
from functools import partial

from actors import REPOSITORY
from actors.cpu_kernels import portable_kernels
from actors.judge.config import ServerConfig
from actors.servers.child_server import ServerSpec

MODEL_NAME = "judge"
"""What the server calls its model, whatever folder it lies in."""
CHILD = "actors.judge.vllm_child"


def server_spec(model: str, config: ServerConfig, *, api_key: str, module: str = CHILD) -> ServerSpec:
    """Return how to start a server of `model`, a folder or a hub id; `module` is what runs as the child."""
    return ServerSpec(
        title="the judge's vLLM server",
        section="judge.server",
        command=partial(_command, module, model, config),
        environment=partial(_environment, config, api_key),
        start_timeout_s=config.start_timeout_s,
        port=config.port,
        gpus=config.gpus,
        cpus=config.cpus,
    )


def _command(module: str, model: str, config: ServerConfig, host: str, port: int) -> list[str]:
    return [sys.executable, "-P", "-m", module, *command_line(model, config, host=host, port=port)]


def command_line(model: str, config: ServerConfig, *, host: str, port: int) -> list[str]:
    """Return the command line of vLLM's server; `config.args` are put over ours."""
    settings: dict[str, object] = {
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


def flags(settings: Mapping[str, object]) -> list[str]:
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


def _environment(config: ServerConfig, api_key: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    environment["VLLM_API_KEY"] = api_key
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
        **portable_kernels(),
    }
