"""Send the policy's weights to the samplers and verify that they arrived.

Rank 0 sends full tensors under their Hugging Face names, or what changed in them, by the fastest transport that leads
to each sampler (`actors/weights/transport/`); all ranks iterate, since gathering a tensor is a collective. With LoRA a
tensor without an adapter does not change in training: it is not sent once every engine is shown to have it. Where
engines hold the adapter beside the model (`samplers.as_adapters`), that is all but the adapter's matrices.
Three checks, each of which catches what the others cannot:

- checksums of what every worker holds of each tensor in its live model, against those of the policy's own tensors
  (lost or damaged blocks, changes on the wrong base, a weight loader that skipped something);
- the version, set inside the engine after the load;
- a greedy probe: log-probabilities of the sampler's own tokens under the policy (stale caches, a stale
  tied head: right weights, wrong results).

A sampler that is lost, with its process or its node, keeps nobody waiting while another one lives: it refuses requests
once it is back, until the next publish brings it the weights.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.config import SamplerConfig
from actors.weights.blocks import TransferError, bytes_of_all
from actors.weights.live import is_adapter, layer_of
from actors.weights.receive import WrongBase
from actors.weights.wire import BaseTensor, Manifest, Order, Shapes, Verdict, WorkerState
from rollout.roles import PublishError, SamplerUnavailable
from rollout.types import Response, SampleRequest, TrainingRow

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SHOWN = 3


class WeightSource(Protocol):
    """Where weights come from: the policy."""

    version: int

    async def tensor_shapes(self, *, as_adapters: bool = False) -> Shapes:
        """Return the shapes of all tensors; `as_adapters`: the model's before training, and the adapters'."""
        ...

    async def base_tensors(self, order: Order) -> Mapping[str, BaseTensor]:
        """Describe the tensors before training, and whether they are trained; empty: any may have changed."""
        ...

    async def push_weights(self, receivers: Sequence[object], order: Order) -> Manifest:
        """Send to sampler actors what is ordered, and return what was sent."""
        ...

    async def logprobs(self, rows: Sequence[TrainingRow], temperature: float | None = None) -> list[list[float]]:
        """Return, for each row, one log-probability per response token."""
        ...


@runtime_checkable
class WeightReceivers(Protocol):
    """Where weights go: the samplers' engines (`actors.sampler.engine.Engine`)."""

    config: SamplerConfig

    @property
    def engines(self) -> Sequence[object]: ...

    async def living(self) -> Mapping[int, object]:
        """Return the engines that are up, by their numbers, as soon as there is one.

        The others must not answer before they got weights. Raises `SamplerUnavailable`, `TimeoutError`.
        """
        ...


@dataclass(frozen=True)
class _Receivers:
    """The engines that a publish reaches."""

    config: SamplerConfig
    engines: Mapping[int, object]
    """By their numbers among all."""

    async def each(self, method: str, *arguments: object) -> list[Any]:
        """Call a method of all engines at once and return the answers in the engines' order."""
        return list(await asyncio.gather(*[getattr(one, method).remote(*arguments) for one in self.engines.values()]))


async def publish(policy: WeightSource, samplers: WeightReceivers) -> dict[str, float]:
    """Update every sampler to the policy's weights and verify it; return metrics keyed `publish/...`.

    Raises `PublishError` that names the sampler and the tensors or the gap. Samplers at fault then stay paused
    until a publish succeeds: nothing is sampled from unknown weights. If a sampler is lost meanwhile, those that live
    are updated once more, without it; if it was the last one, its restart is awaited. `publish/lost_samplers` counts
    those that were left out.
    """
    losses_left = len(samplers.engines)
    while True:
        try:
            return await _publish(policy, samplers)
        except (RayError, SamplerUnavailable, TimeoutError) as error:
            if not _is_loss(error):
                raise
            if losses_left and isinstance(error, RayError | SamplerUnavailable):
                losses_left -= 1
                continue
            reason = " ".join(str(error).split())[-500:]
            lost = f"version {policy.version} could not be published: an actor was lost; {reason}"
            raise PublishError(lost) from error


def _is_loss(error: Exception) -> bool:
    """Whether an error says that an engine's process or node is gone, directly or through another actor.

    Then all samplers are sent all weights once more; so they are if changes met weights that they do not belong to.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, RayActorError | SamplerUnavailable | TimeoutError | TransferError | WrongBase)


async def _publish(policy: WeightSource, samplers: WeightReceivers) -> dict[str, float]:
    started = time.monotonic()
    receivers = _Receivers(samplers.config, await samplers.living())
    manifest = await _send(policy, receivers)
    verdicts: list[list[Verdict]] = await receivers.each("finish_publish", manifest)
    for index, of_workers in zip(receivers.engines, verdicts, strict=True):
        if problems := [problem for verdict in of_workers for problem in verdict.problems]:
            raise PublishError(f"sampler {index} did not load version {policy.version}: " + "; ".join(problems))
    versions = await receivers.each("current_version")
    if set(versions) != {policy.version}:
        raise PublishError(f"samplers are at versions {versions}, published was {policy.version}")
    try:
        gap = await _probe_gap(policy, receivers)
    except PublishError:
        await receivers.each("distrust")
        raise
    every = [verdict for of_workers in verdicts for verdict in of_workers]
    return {
        "publish/seconds": time.monotonic() - started,
        "publish/bytes": float(manifest.num_bytes),
        "publish/max_logprob_gap": gap,
        "publish/live_coverage": min(verdict.coverage for verdict in every),
        "publish/comparison_seconds": max(verdict.seconds for verdict in every),
        "publish/lost_samplers": float(len(samplers.engines) - len(receivers.engines)),
        **manifest.metrics,
    }


async def _send(policy: WeightSource, receivers: _Receivers) -> Manifest:
    """Send what any sampler lacks."""
    config = receivers.config
    shapes = await policy.tensor_shapes(as_adapters=config.as_adapters)
    states: list[list[WorkerState]] = await receivers.each("begin_publish", shapes)
    _check_places(states)
    order = Order(
        policy.version,
        config.dtype,
        min(config.bucket_mib << 20, bytes_of_all(shapes, _BYTES[config.dtype])),
        config.transport,
        tuple(map(tuple, states)),
        shapes,
        keeps_copy=config.is_delta,
        as_adapters=config.as_adapters,
    )
    origins = await policy.base_tensors(order)
    missing_tensors = set().union(*await receivers.each("missing_tensors", origins)) if origins else set()
    held = {name: origin for name, origin in origins.items() if not origin.is_trained and name not in missing_tensors}
    manifest = await policy.push_weights([*receivers.engines.values()], replace(order, skipped=frozenset(held)))
    return replace(manifest, already_loaded=held)


def _check_places(states: Sequence[Sequence[WorkerState]]) -> None:
    """Raise `PublishError` if a worker has no place for a matrix of an adapter: vLLM would leave it out silently."""
    every = [state.parts for of_workers in states for state in of_workers]
    homeless = sorted({name for parts in every for name, part in parts.items() if is_adapter(name) and part is None})
    if homeless:
        layers = ", ".join(sorted({layer_of(name) for name in homeless})[:_SHOWN])
        raise PublishError(
            f"vLLM holds no adapter of {len(homeless) // 2} layers that have one: {layers}, ...; name others in "
            "policy.lora.targets, set policy.freeze_vision=true if they are of the vision tower, or "
            "samplers.as_adapters=false"
        )


async def _probe_gap(policy: WeightSource, receivers: _Receivers) -> float:
    """Return the largest |log-prob| gap on the samplers' greedy answers; raise if it exceeds the tolerance."""
    answers = await receivers.each("probe")
    probes = [(index, *pair) for index, pairs in zip(receivers.engines, answers, strict=True) for pair in pairs]
    rows = [_row(request, response) for _, request, response in probes]
    largest = 0.0
    for (index, request, response), expected in zip(probes, await policy.logprobs(rows, 1.0), strict=True):
        gap = max(abs(mine - theirs) for mine, theirs in zip(response.logprobs.tolist(), expected, strict=True))
        # Written so that a NaN fails too.
        if not gap <= receivers.config.publish_tolerance:
            raise PublishError(
                f"sampler {index} holds the weights of version {policy.version} but answers a probe with images "
                f"{request.images} {gap:.2g} off in log-prob (tolerance {receivers.config.publish_tolerance:g}): "
                "a cache or a derived weight is stale"
            )
        largest = max(largest, gap)
    return largest


def _row(request: SampleRequest, response: Response) -> TrainingRow:
    zeros = np.zeros(len(response.token_ids), np.float32)
    return TrainingRow(request.images, response.prompt_token_ids, response.token_ids, zeros, response.logprobs)
