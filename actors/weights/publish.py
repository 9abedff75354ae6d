"""Send the policy's weights to the samplers and verify that they arrived.

Rank 0 packs full tensors under their Hugging Face names into buckets, which go through Ray's object
store to every sampler; all ranks iterate, since gathering a tensor is a collective. With LoRA a tensor
without an adapter does not change in training: it is not sent once every engine is shown to have it.
Three checks, each of which catches what the others cannot:

- per-tensor checksums: what the engine was told to load, and what its live parameters are afterwards,
  against what the policy has (a lost or damaged bucket, a weight loader that skipped something);
- the version, set inside the engine after the load;
- a greedy probe: log-probabilities of the sampler's own tokens under the policy (stale caches, a stale
  tied head: right weights, wrong results).
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.config import SamplerConfig
from actors.weights.wire import BaseTensor, Manifest
from rollout.roles import PublishError, SamplerUnavailable
from rollout.types import Response, SampleRequest, TrainingRow


class WeightSource(Protocol):
    """Where weights come from: the policy."""

    version: int

    async def base_tensors(self, dtype: str) -> Mapping[str, BaseTensor]:
        """Describe the tensors before training, and whether they are trained; empty: any may have changed."""
        ...

    async def push_weights(
        self, receivers: Sequence[object], dtype: str, bucket_bytes: int, skipped: Collection[str]
    ) -> Manifest:
        """Send all tensors except `skipped` to engine actors and return what was sent."""
        ...

    async def logprobs(self, rows: Sequence[TrainingRow], temperature: float | None = None) -> list[list[float]]:
        """Return, for each row, one log-probability per response token."""
        ...


@runtime_checkable
class WeightReceivers(Protocol):
    """Where weights go: the samplers' engines (`actors.sampler.engine.Engine`)."""

    config: SamplerConfig

    @property
    def engines(self) -> Sequence[Any]: ...

    async def ready(self) -> None:
        """Return once all engines are up. Raises `SamplerUnavailable`, `TimeoutError`."""
        ...

    async def each(self, method: str, *args: Any) -> list[Any]:
        """Call a method of all engines at once and return the answers in the engines' order."""
        ...


async def publish(policy: WeightSource, samplers: WeightReceivers) -> dict[str, float]:
    """Update every sampler to the policy's weights and verify it; return metrics keyed `publish/...`.

    Raises `PublishError` that names the sampler and the tensors or the gap. Samplers at fault then stay paused
    until a publish succeeds: nothing is sampled from unknown weights. If a sampler is lost meanwhile, its restart
    is awaited and all samplers are updated once more.
    """
    try:
        return await _publish(policy, samplers)
    except (RayError, SamplerUnavailable) as error:
        if not _is_loss(error):
            raise
    try:
        return await _publish(policy, samplers)
    except (RayError, SamplerUnavailable, TimeoutError) as error:
        if not _is_loss(error):
            raise
        reason = " ".join(str(error).split())[-500:]
        raise PublishError(f"version {policy.version} could not be published: an actor was lost; {reason}") from error


def _is_loss(error: Exception) -> bool:
    """Whether an error says that an engine's process or node is gone, directly or through another actor."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, RayActorError | SamplerUnavailable | TimeoutError)


async def _publish(policy: WeightSource, samplers: WeightReceivers) -> dict[str, float]:
    started = time.monotonic()
    await samplers.ready()
    await samplers.each("begin_publish")
    manifest = await _send(policy, samplers)
    reports = await samplers.each("finish_publish", policy.version, manifest)
    for index, (problems, _) in enumerate(reports):
        if problems:
            raise PublishError(f"sampler {index} did not load version {policy.version}: " + "; ".join(problems))
    versions = await samplers.each("current_version")
    if set(versions) != {policy.version}:
        raise PublishError(f"samplers are at versions {versions}, published was {policy.version}")
    try:
        gap = await _probe_gap(policy, samplers)
    except PublishError:
        await samplers.each("begin_publish")
        raise
    return {
        "publish/seconds": time.monotonic() - started,
        "publish/bytes": float(manifest.num_bytes),
        "publish/max_logprob_gap": gap,
        "publish/live_coverage": min(coverage for _, coverage in reports),
    }


async def _send(policy: WeightSource, samplers: WeightReceivers) -> Manifest:
    """Send what any sampler lacks."""
    config = samplers.config
    origins = await policy.base_tensors(config.dtype)
    missing_tensors = set().union(*await samplers.each("missing_tensors", origins)) if origins else set()
    held = {name: origin for name, origin in origins.items() if not origin.is_trained and name not in missing_tensors}
    manifest = await policy.push_weights(samplers.engines, config.dtype, config.bucket_mib << 20, held.keys())
    return replace(manifest, already_loaded=held)


async def _probe_gap(policy: WeightSource, samplers: WeightReceivers) -> float:
    """Return the largest |log-prob| gap on the samplers' greedy answers; raise if it exceeds the tolerance."""
    answers = await samplers.each("probe")
    probes = [(index, *pair) for index, pairs in enumerate(answers) for pair in pairs]
    rows = [_row(request, response) for _, request, response in probes]
    largest = 0.0
    for (index, request, response), expected in zip(probes, await policy.logprobs(rows, 1.0), strict=True):
        gap = max(abs(mine - theirs) for mine, theirs in zip(response.logprobs, expected, strict=True))
        # Written so that a NaN fails too.
        if not gap <= samplers.config.publish_tolerance:
            raise PublishError(
                f"sampler {index} holds the weights of version {policy.version} but answers a probe with images "
                f"{request.images} {gap:.2g} off in log-prob (tolerance {samplers.config.publish_tolerance:g}): "
                "a cache or a derived weight is stale"
            )
        largest = max(largest, gap)
    return largest


def _row(request: SampleRequest, response: Response) -> TrainingRow:
    zeros = (0.0,) * len(response.token_ids)
    return TrainingRow(request.images, response.prompt_token_ids, response.token_ids, zeros, response.logprobs)
