"""OpenAI-compatible images servers that a run starts for its generator: vLLM-Omni's, SGLang's, any other."""

import os
import secrets
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path

from actors.generator.config import GeneratorConfig
from actors.metered.config import EndpointConfig
from actors.model_digest import model_digest
from actors.servers import guard
from actors.servers.child_server import ServerSpec
from actors.servers.servers import Server, start_servers

KEY_ENV = "INTERLEAVE_GENERATOR_KEY"
"""Environment variable with the servers' key: they listen on the network, and answer the run alone."""


def check_command(config: GeneratorConfig) -> None:
    """Raise ValueError for a command that cannot be one of a server, or settings that contradict it."""
    if config.base_url or config.endpoints:
        other = "base_url" if config.base_url else "endpoints"
        raise ValueError(f"generator.server.command starts a server, and generator.{other} names one: leave one out")
    try:
        words = shlex.split(config.server.command)
    except ValueError as error:
        raise ValueError(f"generator.server.command is {config.server.command!r}: {error}") from None
    for placeholder in ("{host}", "{port}"):
        if not any(placeholder in word for word in words):
            raise ValueError(
                f"generator.server.command is {config.server.command!r}, without {placeholder}: the run says where "
                "each server listens, as in --host {host} --port {port}"
            )


def check_program(config: GeneratorConfig) -> None:
    """Raise ValueError for a command whose program is not here."""
    program = shlex.split(config.server.command)[0]
    if shutil.which(program, path=_path()) is None:
        raise ValueError(
            f"generator.server.command starts {program}, which is neither beside {sys.executable} nor on PATH"
        )


def identity_of(config: GeneratorConfig) -> str:
    """Return what a server's images are named after: the model, by content where it is a folder, and the command."""
    folder = Path(config.model)
    name = f"{folder.name}@{model_digest(folder)[:16]}" if folder.is_dir() else config.model
    return f"{name} {config.server.command}"


async def start_image_servers(config: GeneratorConfig, log: Path) -> tuple[tuple[Server, ...], list[EndpointConfig]]:
    """Start a generator's servers; return them and how they are asked.

    Raises `ServerError` with the end of the log (`<log>-<number>.log`) when one does not come up.
    """
    key = os.environ.setdefault(KEY_ENV, secrets.token_hex(16))
    model = str(Path(config.model).absolute()) if Path(config.model).is_dir() else config.model
    server = config.server
    spec = ServerSpec(
        title="the generator's images server",
        section="generator.server",
        command=partial(_command_line, server.command, model, key),
        environment=partial(_environment, key),
        start_timeout_s=server.start_timeout_s,
        port=server.port,
        gpus=server.gpus,
        cpus=server.cpus,
    )
    servers, urls = await start_servers(spec, config.num_replicas, log)
    return servers, [EndpointConfig(url, KEY_ENV, model=model, has_proxy=False) for url in urls]


def _command_line(command: str, model: str, key: str, host: str, port: int) -> list[str]:
    values = {"{model}": model, "{host}": host, "{port}": str(port), "{api_key}": key}
    words = []
    for word in shlex.split(command):
        for placeholder, value in values.items():
            word = word.replace(placeholder, value)
        words.append(word)
    return [sys.executable, "-I", guard.__file__, *words]


def _environment(key: str) -> dict[str, str]:
    return {"PATH": _path(), "VLLM_API_KEY": key, KEY_ENV: key}


def _path() -> str:
    """Return where programs are looked for: first beside this Python, whether its environment is active or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
