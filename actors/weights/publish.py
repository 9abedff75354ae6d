"""Hand the policy's weights to the samplers and make sure that they arrived.

Rank 0 packs full tensors under their Hugging Face names into buckets, which travel through Ray's object
store to every sampler; all ranks iterate, since gathering a tensor is a collective. With LoRA a tensor
without an adapter is as it was before training: where every engine shows that it has it, it is not sent.
Three checks, each of which catches what the others cannot:

- per-tensor checksums: what the engine was told to load, and what its live parameters are afterwards,
  against what the policy has (a lost or damaged bucket, a weight loader that skipped something);
- the version, stamped inside the engine after the load;
- a greedy probe: log-probabilities of the sampler's own tokens under the policy (stale caches, a stale
  tied head: right weights, wrong results).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.sampler.engine_loop import SamplerUnavailable
from rollout.roles import PublishError
from rollout.types import Response, SampleRequest, TrainingRow

if TYPE_CHECKING:
    from actors.policy.policy import Policy
    from actors.sampler.sampler import Samplers

_CHUNK = 1 << 22
_PERIOD = 65521
_IN_FLIGHT = 2


@dataclass(frozen=True)
class TensorInfo:
    """A tensor on its way: where its bytes are in the bucket, and what they sum to."""

    name: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int
    checksum: int


@dataclass(frozen=True)
class Bucket:
    """Several tensors of one dtype as one block of bytes, which Ray hands over without a copy."""

    dtype: str
    infos: tuple[TensorInfo, ...]
    data: np.ndarray
    """uint8."""

    def tensors(self) -> Iterator[tuple[TensorInfo, torch.Tensor]]:
        """Yield each tensor as a view of `data`, which may be read-only: copy what is to be kept or changed."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            block = torch.from_numpy(self.data)
        for info in self.infos:
            part = block[info.offset : info.offset + info.num_bytes]
            yield info, part.view(getattr(torch, self.dtype)).reshape(info.shape)


@dataclass(frozen=True)
class BaseTensor:
    """A tensor as it was before training."""

    shape: tuple[int, ...]
    checksum: int
    is_trained: bool
    """It is another by now."""


@dataclass(frozen=True)
class Manifest:
    """What was sent: name -> checksum."""

    checksums: Mapping[str, int] = field(default_factory=dict)
    num_bytes: int = 0
    already_loaded: Mapping[str, BaseTensor] = field(default_factory=dict)
    """What the engines have anyway."""


def checksum(tensor: torch.Tensor) -> int:
    """Return a position-sensitive 64-bit sum of a tensor's bits, computed on its own device.

    Each word is weighted by its place modulo a prime, so that swapped or shifted values differ.

    >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    >>> checksum(a) == checksum(a.clone()), checksum(a) == checksum(b)
    (True, False)
    """
    words = tensor.detach().contiguous().flatten().view(torch.uint8)
    if words.numel() % 4 == 0:
        words = words.view(torch.int32)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK].to(torch.int64)
        places = torch.arange(start, start + chunk.numel(), device=words.device) % _PERIOD + 1
        total += (chunk * places).sum()
    return int(total)


def buckets(weights: Iterable[tuple[str, torch.Tensor]], dtype: str, bucket_bytes: int) -> Iterator[Bucket]:
    """Pack (name, tensor) pairs, cast to `dtype`, into buckets of about `bucket_bytes`."""
    infos: list[TensorInfo] = []
    casts: list[torch.Tensor] = []
    size = 0
    for name, tensor in weights:
        cast = tensor.detach().to(getattr(torch, dtype)).contiguous()
        infos.append(TensorInfo(name, tuple(cast.shape), size, cast.nbytes, checksum(cast)))
        casts.append(cast)
        size += cast.nbytes
        if size >= bucket_bytes:
            yield _packed(dtype, infos, casts)
            infos, casts, size = [], [], 0
    if infos:
        yield _packed(dtype, infos, casts)


def _packed(dtype: str, infos: Sequence[TensorInfo], casts: Sequence[torch.Tensor]) -> Bucket:
    """Copy tensors from their device into one block, each once."""
    data = np.empty(infos[-1].offset + infos[-1].num_bytes, np.uint8)
    block = torch.from_numpy(data)
    for info, cast in zip(infos, casts, strict=True):
        block[info.offset : info.offset + info.num_bytes].copy_(cast.flatten().view(torch.uint8))
    return Bucket(dtype, tuple(infos), data)


def describe_base_tensors(
    weights: Iterable[tuple[str, torch.Tensor]], trained: Collection[str], dtype: str, *, is_sender: bool
) -> dict[str, BaseTensor]:
    """Describe (name, tensor) pairs, cast to `dtype`; who is no sender only iterates, for the sake of collectives."""
    origins = {}
    for name, tensor in weights:
        if is_sender:
            cast = tensor.to(getattr(torch, dtype))
            origins[name] = BaseTensor(tuple(cast.shape), checksum(cast), name in trained)
    return origins


def push(
    weights: Iterable[tuple[str, torch.Tensor]], receivers: Sequence[Any] | None, dtype: str, bucket_bytes: int
) -> Manifest:
    """Send weights to the engine actors `receivers`; None: only iterate, for the sake of the collectives."""
    if receivers is None:
        for _ in weights:
            pass
        return Manifest()
    checksums: dict[str, int] = {}
    num_bytes = 0
    pending: list[list[Any]] = []
    weights = iter(weights)
    try:
        for bucket in buckets(weights, dtype, bucket_bytes):
            checksums |= {info.name: info.checksum for info in bucket.infos}
            num_bytes += bucket.data.nbytes
            reference = ray.put(bucket)
            pending.append([receiver.load_bucket.remote(reference) for receiver in receivers])
            if len(pending) >= _IN_FLIGHT:
                ray.get(pending.pop(0))
    except RayError:
        for _ in weights:  # the other ranks are gathering with this one
            pass
        raise
    for replies in pending:
        ray.get(replies)
    return Manifest(checksums, num_bytes)


async def publish(policy: Policy, samplers: Samplers) -> dict[str, float]:
    """Bring every sampler to the policy's weights and verify it; return metrics keyed `publish/...`.

    Raises `PublishError` that names the sampler and the tensors or the gap. Samplers at fault then stay paused
    until a publish succeeds: nothing is sampled from weights that nobody knows. A sampler that is lost meanwhile is
    waited for, and all are brought to the weights once more.
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
    """Whether an error says that an engine's process or node has gone, here or at whoever asked it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, RayActorError | SamplerUnavailable | TimeoutError)


async def _publish(policy: Policy, samplers: Samplers) -> dict[str, float]:
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


async def _send(policy: Policy, samplers: Samplers) -> Manifest:
    """Send what some sampler lacks."""
    config = samplers.config
    origins = await policy.base_tensors(config.dtype)
    missing_tensors = set().union(*await samplers.each("missing_tensors", origins)) if origins else set()
    held = {name: origin for name, origin in origins.items() if not origin.is_trained and name not in missing_tensors}
    manifest = await policy.push_weights(samplers.engines, config.dtype, config.bucket_mib << 20, held.keys())
    return replace(manifest, already_loaded=held)


async def _probe_gap(policy: Policy, samplers: Samplers) -> float:
    """Return the largest |log-prob| gap on the samplers' greedy answers; raise where it is above the tolerance."""
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
