"""Ray for one job: join a cluster, or start one on this machine and stop it afterwards."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._private import auto_init_hook, node, services
from ray.job_config import JobConfig

from actors import REPOSITORY, ending, pool
from actors.helper_ports import given_ports
from actors.losses.loss_ending import ended_by_loss
from actors.losses.lost import ComponentLost
from actors.losses.ray_parts import patient_with_head, ray_parts
from actors.metered import shared_calls
from actors.servers import servers
from rollout.roles import BudgetSpent, RunStopped

_QUIET = {"GRPC_VERBOSITY": "ERROR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PREFIX, _INNER = "interleave-ray-", "ray"
_MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""
_SOCKETS = f"/{_PREFIX}12345678/{_INNER}/session_2026-11-28_10-23-49_233488_4194304/sockets/plasma_store"
"""The longest path that Ray appends to the folder for temporary files."""
_CONNECT_S = 5.0
_IDENTITY = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What every client of a Ray head asks first; its request is an empty message (gcs_service.proto)."""


class StartFailed(RunStopped):
    """Something that a job needs did not start: the message is one line, the details are in a file."""


class RayNotUp(StartFailed):
    """Ray could not be started or joined."""


def check_cluster(address: str) -> None:
    """Raise ValueError if Ray cannot be started here, or if no Ray answers at `address`."""
    if address:
        _check_address(address)
        return
    _check_bash()
    if (room := _MAX_SOCKET_PATH - len(_SOCKETS.encode())) < len(os.fsencode(tempfile.gettempdir())):
        raise ValueError(
            f"TMPDIR is {tempfile.gettempdir()}, too long for the paths of Ray's sockets: set TMPDIR to a folder of at "
            f"most {room} characters, like /tmp"
        )


@asynccontextmanager
async def ray_cluster(
    address: str, num_cpus: int, *, logs: Path | None = None, saved: Callable[[], str] = str
) -> AsyncIterator[None]:
    """Connect to `address`, or start Ray with `num_cpus` logical CPUs if it is empty; shut down on exit.

    If an error ends the work, the logs of a Ray started here are copied to the folder `logs`; `saved` ends the line of
    a loss. Raises `RayNotUp`, `RayLost`, and ValueError if Ray could start but none of its workers could.
    """
    if not address:
        _check_bash()
    auto_init_hook.enable_auto_connect = False  # a call that comes after the end would start another Ray by itself
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    folder = None if address else tempfile.mkdtemp(prefix=_PREFIX)
    if folder:
        ending.folders.add(folder)
    # Actors and their children import user functions from the driver's working directory, as the driver does.
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(REPOSITORY), os.getcwd(), *_inherited_paths()]))
    try:
        await asyncio.to_thread(_start, address, num_cpus, folder)
        _take_back_sigterm()
        async with ended_by_loss(ray_parts(is_own=not address), logs=logs, saved=saved):
            yield
    except Exception as error:
        is_in_order = isinstance(error, RunStopped | BudgetSpent) and not isinstance(error, StartFailed | ComponentLost)
        if folder and logs and not is_in_order:
            await asyncio.to_thread(_keep_logs, Path(folder), logs)
        raise
    finally:
        await asyncio.to_thread(_stop, folder)


@asynccontextmanager
async def without_ray() -> AsyncIterator[None]:
    """Stop on exit what a job without actors may have started: servers of models."""
    try:
        yield
    finally:
        await asyncio.to_thread(servers.shutdown)


def cluster_room() -> dict[str, Any]:
    """Return what the cluster has, as arguments of `actors.resources.check_room`; Ray has to be up."""
    has = ray.cluster_resources()
    return {
        "cpus": has.get("CPU", 0.0),
        "gpus": has.get("GPU", 0.0),
        "where": "the cluster at ray_address",
        "cpus_key": "what its nodes were started with (`ray start --num-cpus`)",
    }


class _PutFirst(list[str]):
    """Import paths for actors. A worker prepends them one by one, so the last wins: keep ours last."""

    def extend(self, paths: Iterable[str]) -> None:
        self[:0] = paths


def _inherited_paths() -> list[str]:
    return list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


def _start(address: str, num_cpus: int, folder: str | None) -> None:
    settings: dict[str, object] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "job_config": JobConfig(_py_driver_sys_path=_PutFirst([str(REPOSITORY)])),
    }
    try:
        if folder is None:
            environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
            patient_with_head()
            ray.init(address=address, runtime_env=environment, **settings)
            return
        # Ray asks every client for this token, which keeps out clients from other machines.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with _here_alone(folder), given_ports(pool.LOOPBACK):
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                # Ray makes this folder world-writable; its parent is private.
                _temp_dir=f"{folder}/{_INNER}",
                _node_ip_address=pool.LOOPBACK,
                **settings,
            )
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        told = f"cannot join Ray at ray_address={address}: {words}" if address else f"cannot start Ray: {words}"
        raise RayNotUp(told) from error


def _take_back_sigterm() -> None:
    """Put the handler back that Ray has put its own in front of, which prints a stack of C++."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _here_alone(folder: str) -> Iterator[None]:
    """Have a Ray started in this context listen on 127.0.0.1, and keep its processes' files inside the folder.

    Its processes are a group of their own: a signal to this one's, as `timeout` and shells send it, is for this one.
    """
    resolve, start, temporary = services.resolve_ip_for_localhost, services.ConsolePopen, os.environ.get("TMPDIR")
    services.ConsolePopen = partial(start, process_group=0)
    # Ray would replace the loopback address by one that other machines can reach.
    services.resolve_ip_for_localhost = lambda host: host
    wait_for_port = node.wait_for_persisted_port

    def wait_interruptibly(folder: str, node_id: str, name: str, timeout_ms: int) -> int:
        # Ray's own wait holds the GIL: for 30 s no signal would be handled if its server died.
        file, give_up = Path(folder, node.get_port_filename(node_id, name)), time.monotonic() + timeout_ms / 1000
        while not file.exists() and time.monotonic() < give_up:
            time.sleep(0.02)
        return int(wait_for_port(folder, node_id, name, timeout_ms=0))

    node.wait_for_persisted_port = wait_interruptibly
    # Keep compiled code for the next run.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")
    os.environ["TMPDIR"] = f"{folder}/tmp"
    os.mkdir(os.environ["TMPDIR"])
    try:
        yield
    finally:
        services.resolve_ip_for_localhost, services.ConsolePopen = resolve, start
        node.wait_for_persisted_port = wait_for_port
        del os.environ["TMPDIR"]
        if temporary is not None:
            os.environ["TMPDIR"] = temporary


def _stop(folder: str | None) -> None:
    if ray.is_initialized():  # otherwise each of these calls would start a Ray by itself
        # While the actors are still there to answer.
        shared_calls.shutdown(timeout_s=ending.GRACE_S / 2 if ending.is_begun() else shared_calls.CLOSING_S)
        pool.shutdown(is_waste=folder is not None)
    if folder and ending.is_begun():
        return  # the process ends and takes Ray along: Ray may still be starting and could not be stopped
    servers.shutdown()
    ray.shutdown()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        ending.folders.discard(folder)


def _keep_logs(folder: Path, logs: Path) -> None:
    """Copy the logs of Ray and its actors, except empty files."""
    written = folder / _INNER / "session_latest" / "logs"
    for file in written.resolve().rglob("*"):
        if file.is_file() and file.stat().st_size:
            target = logs / file.relative_to(written.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _check_bash() -> None:
    if shutil.which("bash") is None:  # Ray would wait forever for its workers
        raise ValueError(f"Ray starts its workers with bash, which is not on PATH={os.environ.get('PATH', '')!r}")


def _check_address(address: str) -> None:
    hint = "give a Ray head's host:port (its port is 6379 unless told otherwise), or leave it empty to start Ray here"
    try:
        found = services.canonicalize_bootstrap_address(address.rpartition("://")[2]) or ""
    except ConnectionError:  # what `auto` looks for
        raise ValueError(f"ray_address is {address}, but no Ray runs on this machine; {hint}") from None
    except Exception:
        found = ""
    host, _, port = found.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"ray_address is {address!r}; {hint}")
    named = address if ":" in address else f"{address}, which is {found} here"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S):
            pass
    except OSError as error:
        reason = error.strerror or f"no answer in {_CONNECT_S:.0f} s"
        raise ValueError(f"ray_address is {named}: it cannot be reached ({reason}); {hint}") from None
    try:
        _ask_head(found)
    except (OSError, grpc.FutureTimeoutError, grpc.RpcError) as error:
        # A proxy on the way takes connections to hosts that are not there.
        unsure = "it cannot be reached, or " if isinstance(error, grpc.FutureTimeoutError) else ""
        raise ValueError(f"ray_address is {named}: {unsure}no server there speaks Ray's protocol; {hint}") from None


def _ask_head(address: str) -> None:
    """Raise `grpc.FutureTimeoutError` or `grpc.RpcError` unless a Ray head is there: others may speak gRPC, too.

    Raises ValueError where it refuses the token of this environment: Ray itself would try for 20 s, a line for each.
    """
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(_CONNECT_S)
        ask = channel.unary_unary(_IDENTITY)
        try:
            ask(b"", timeout=_CONNECT_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:  # a busy head
                return
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            token = _token()
            if not token or not _is_taken(ask, token):
                raise ValueError(
                    f"cannot join Ray at ray_address={address}: it refuses "
                    f"{'the token of this environment' if token else 'whoever has no token'}; put the cluster's "
                    "RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token, into the environment"
                ) from None


def _is_taken(ask: Callable[..., object], token: str) -> bool:
    try:
        ask(b"", timeout=_CONNECT_S, metadata=[("authorization", f"Bearer {token}")])
    except grpc.RpcError as error:
        return bool(error.code() is not grpc.StatusCode.UNAUTHENTICATED)
    return True


def _token() -> str:
    """Return the token that Ray's own clients would send from here; empty: none (ray/_private/authentication)."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
