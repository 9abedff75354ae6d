"""Ray for one run: join a cluster, or start one on this machine and stop it afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import ray

from actors import pool
from actors.judge import local_vlm
from actors.metered import shared_calls

_QUIET = {"GRPC_VERBOSITY": "ERROR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@asynccontextmanager
async def ray_cluster(address: str, num_cpus: int) -> AsyncIterator[None]:
    """Connect to `address`, or start Ray with `num_cpus` logical CPUs if it is empty; shut down on exit.

    Raises ValueError where Ray could start, but none of its workers.
    """
    if not address and shutil.which("bash") is None:  # Ray would wait for its workers for ever
        raise ValueError(f"Ray starts its workers by bash, which is not on PATH={os.environ.get('PATH', '')!r}")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    folder = None if address else tempfile.mkdtemp(prefix="interleave-ray-")
    # Actors import the user's own functions from where the command was given, as the driver does.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    try:
        await asyncio.to_thread(_start, address, num_cpus, folder)
        yield
    finally:
        await asyncio.to_thread(_stop, folder)


@asynccontextmanager
async def without_ray() -> AsyncIterator[None]:
    """Stop on exit what a job without actors may have started: the servers of a model of its own."""
    try:
        yield
    finally:
        await asyncio.to_thread(local_vlm.shutdown)


def _start(address: str, num_cpus: int, folder: str | None) -> None:
    if address:
        environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
        return
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=folder,
    )


def _stop(folder: str | None) -> None:
    shared_calls.shutdown()  # while there still is who answers
    pool.shutdown()
    local_vlm.shutdown()
    ray.shutdown()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
