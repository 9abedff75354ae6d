"""Pools of replicas as Ray Serve deployments, which bring routing, back-pressure, health checks and replacement."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import ray
from ray.exceptions import RayError

from actors.cpu_kernels import portable_kernels
from actors.losses.stacks import answer_with_stacks
from actors.metered.retry import CallError, Fault

LOOPBACK = "127.0.0.1"
UPSCALE_S, DOWNSCALE_S = 10.0, 300.0
"""How long a pool is busy before it grows, and quiet before it shrinks: loading a model is expensive."""

_starting = threading.Lock()
_deployed: set[str] = set()
HEALTH_S = 7.0
"""How long a replica's loop may leave a health check open; Serve replaces one that did so three times in a row."""
# A log line for each request costs time and disk, and adds nothing to the counts we keep.
_QUIET = {"log_level": "WARNING", "enable_access_log": False}


def start_serve() -> None:
    """Start Serve without its HTTP proxy; a no-op when it runs. Ray must be initialized."""
    from ray import serve  # takes seconds to import, here and below: only if there are pools

    with _starting:
        if not ray.is_initialized():
            raise ValueError("Ray is not running: call ray.init() first, or set num_replicas=0 to do without it")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config=_QUIET)


def shutdown(*, is_waste: bool = False) -> None:
    """Stop the pools that this process deployed; others on the same cluster stay as they are.

    `is_waste`: skip it, because Ray itself is stopped next.
    """
    if is_waste:
        _deployed.clear()
    if not _deployed:
        return
    from ray import serve
    from ray.serve.exceptions import RayServeException

    while _deployed:
        with suppress(RayServeException, RayError):  # Serve may be gone already
            serve.delete(_deployed.pop(), _blocking=False)


class Pool:
    """Replicas made by `make`, behind one async `call`. Picklable.

    Without a Serve handle, a single replica is made lazily in the caller's process.
    """

    def __init__(self, make: Callable[[], object], handle: Any = None, name: str = ""):
        self._make = make
        self._handle = handle
        self._name = name
        self._local: Any = None

    async def call(self, *arguments: object) -> object:
        """Ask a replica; raise the `Fault` that it returns as a `CallError`."""
        reply = await (self._ask_local(arguments) if self._handle is None else self._ask_replica(arguments))
        if isinstance(reply, Fault):
            raise CallError(reply)
        return reply

    async def describe(self) -> object:
        """Return what a replica says about itself."""
        if self._handle is None:
            return await (await self._replica()).describe()
        return await self._handle.describe.remote()

    async def num_running(self) -> int:
        """Return how many replicas are up and healthy."""
        if self._handle is None:
            (await self._replica()).check_health()
            return 1
        return await asyncio.to_thread(_num_running, self._name)

    async def _ask_replica(self, arguments: tuple[object, ...]) -> object:
        response = self._handle.remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            if not _is_cancelled():
                # Serve raises the same error when the request was lost with its replica.
                raise CallError(Fault("replica_lost", "the request was cancelled", is_counted=False)) from None
            response.cancel()
            raise

    async def _ask_local(self, arguments: tuple[object, ...]) -> object:
        return await (await self._replica())(*arguments)

    async def _replica(self) -> Any:
        if self._local is None:
            # A future, so that concurrent first calls share one load.
            self._local = asyncio.ensure_future(asyncio.to_thread(self._make))
        loading = self._local
        try:
            return await asyncio.shield(loading)
        except Exception:
            if self._local is loading:
                self._local = None  # the next call tries again
            raise

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_local": None}


def _num_running(name: str) -> int:
    from ray import serve

    application = serve.status().applications.get(name)
    deployments = application.deployments.values() if application else ()
    return sum(one.replica_states.get("RUNNING", 0) for one in deployments)


def _why_failed(name: str) -> str:
    """Return what Serve knows about a pool's failed start: the traceback of its last replica."""
    from ray import serve

    application = serve.status().applications.get(name)
    return "\n".join(one.message for one in application.deployments.values()) if application else ""


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def deploy(
    name: str,
    make: Callable[[], object],
    *,
    num_replicas: int,
    max_ongoing: int,
    actor_options: dict[str, object],
    bounds: tuple[int, int] | None = None,
    router: Mapping[str, object] | None = None,
) -> Pool:
    """Start a pool and return it once every replica is healthy. `num_replicas=0`: no Ray at all.

    `max_ongoing` bounds the requests inside one replica; further ones wait in their router. With `bounds` (fewest
    and most replicas) the pool grows when each replica has more than a quarter of `max_ongoing` requests, and
    shrinks when it has fewer. `router` are settings of Serve's `RequestRouterConfig`, if another router chooses
    replicas. An existing pool of that name (left by a killed run) is replaced.
    """
    if num_replicas == 0:
        return Pool(make)
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    start_serve()
    deployment = serve.deployment(
        name=name,
        **_scale(num_replicas, bounds, max_ongoing),
        max_ongoing_requests=max_ongoing,
        ray_actor_options=actor_options,
        health_check_period_s=2.0,
        health_check_timeout_s=HEALTH_S,
        graceful_shutdown_timeout_s=2.0,
        max_constructor_retry_count=2,
        logging_config=_QUIET,
        **({"request_router_config": RequestRouterConfig(**router)} if router else {}),
    )(Replica)
    try:
        handle = await asyncio.to_thread(serve.run, deployment.bind(make), name=name, route_prefix=None)
    except RuntimeError as error:  # it says which deployment failed, but not why
        raise RuntimeError(await asyncio.to_thread(_why_failed, name) or str(error)) from error
    _deployed.add(name)
    return Pool(make, handle, name)


def _scale(num_replicas: int, bounds: tuple[int, int] | None, max_ongoing: int) -> dict[str, Any]:
    if bounds is None:
        return {"num_replicas": num_replicas}
    fewest, most = bounds
    scaling = {
        "min_replicas": fewest,
        "initial_replicas": num_replicas,
        "max_replicas": most,
        "target_ongoing_requests": max(1.0, max_ongoing / 4),
        "upscale_delay_s": UPSCALE_S,
        "downscale_delay_s": DOWNSCALE_S,
    }
    return {"autoscaling_config": scaling}


def pool_name(service: str, store_root: str) -> str:
    """Return the name of a run's pool: runs on one cluster must not replace each other's."""
    return f"{service}-{hashlib.sha256(store_root.encode()).hexdigest()[:8]}"


class Replica:
    """What Serve runs: the object made by `make`, with its health check."""

    def __init__(self, make: Callable[[], Any]):
        answer_with_stacks()
        _listen_where_ray_does()
        self._inner = make()

    async def __call__(self, *arguments: object) -> object:
        return await self._inner(*arguments)

    async def describe(self) -> object:
        return await self._inner.describe()

    async def check_health(self) -> None:
        self._inner.check_health()


def _listen_where_ray_does() -> None:
    """Bind a replica's gRPC server to loopback where Ray itself listens there alone: Serve binds all interfaces."""
    from ray.serve._private import replica

    bind, here = replica.add_port_to_grpc_server, ray.util.get_node_ip_address()
    if ip_address(here).is_loopback:
        replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", here))


def replica_options(num_cpus: float, num_gpus: float, num_threads: int) -> dict[str, object]:
    """Return the Ray options of a replica; what torch goes by must be in the environment before it loads."""
    environment = {name: str(num_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if not num_gpus:
        environment |= portable_kernels()
    return {"num_cpus": num_cpus, "num_gpus": num_gpus, "runtime_env": {"env_vars": environment}}
