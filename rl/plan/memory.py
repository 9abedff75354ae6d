"""Memory of each role's GPU by part. Weights, gradients and optimizer state are exact, what is computed is estimated.

The policy as `actors/policy` has it: FSDP2 with float32 master weights, gradients and Adam moments, cut along the first
dimension of each tensor over the ranks of a copy; the forward pass in `policy.dtype`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.config import PolicyConfig, SamplerConfig
from actors.generator.config import GeneratorConfig
from rl.plan.adapters import adapters_of
from rl.plan.cards import GIB, Card
from rl.plan.models import ModelSize, PipelineSize
from rl.plan.tensor_shapes import EMBEDDING, HEAD, LAYERS, VISION, Tensors

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOAT32, _MOMENTS = 4, 8
_CONTEXT = int(2.0 * GIB)
"""CUDA's context, libraries' workspaces and what the allocator loses (estimated)."""
_HEAD_BLOCK = 1024
"""Tokens whose logits are there at a time (`actors/policy/response_logprobs.py`)."""
_GRAPHS = int(1.0 * GIB)
"""vLLM's CUDA graphs (estimated)."""
_PER_MEGAPIXEL = int(4.6 * GIB)
"""Of one image in a batch: 69 GiB in use at batches of 8, less the weights (FLUX.2-klein-9B, benchmarks/RESULTS.md)."""
MEGAPIXEL = 1024 * 1024


@dataclass(frozen=True)
class Part:
    """Bytes that something takes."""

    name: str
    num_bytes: int
    is_exact: bool = False


@dataclass(frozen=True)
class RoleMemory:
    """What one GPU of a role holds, or one process of it on CPUs."""

    role: str
    parts: tuple[Part, ...]
    limit: int | None = None
    """Bytes of the card; None: there is none."""
    note: str = ""

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        return self.limit is None or self.num_bytes <= self.limit

    @property
    def is_hopeless(self) -> bool:
        """Whether even what is known exactly is too much."""
        return self.limit is not None and sum(part.num_bytes for part in self.parts if part.is_exact) > self.limit


def policy_memory(
    config: PolicyConfig, model: ModelSize, card: Card | None, *, image_tokens: int, has_reference: bool
) -> RoleMemory:
    """Return what a rank holds at most, during an update; `image_tokens` are those of one prompt's images."""
    shards = config.shard_ranks or config.num_ranks
    adapters = list(adapters_of(config, model))
    all_bytes = _shard(model.tensors, shards)
    trained = [one for one in model.tensors if not (config.freeze_vision and one.part == VISION)]
    learned = _shard(adapters if config.lora.rank else trained, shards)
    parts = [
        Part("weights", (all_bytes + _shard(adapters, shards)) * _FLOAT32, is_exact=True),
        Part("gradients", learned * _FLOAT32, is_exact=True),
        Part("optimizer", learned * _MOMENTS, is_exact=True),
    ]
    if has_reference and not config.lora.rank:
        parts.append(Part("reference", all_bytes * _FLOAT32, is_exact=True))
    parts += [
        Part("gathered layers", _gathered(config, model)),
        Part("activations", _activations(config, model, image_tokens)),
        Part("logits", _logits(config, model)),
    ]
    note = "weights and optimizer in host memory between updates" if config.offload else ""
    return _on(card if config.gpus_per_rank else None, "policy", parts, note)


def sampler_memory(
    config: SamplerConfig, model: ModelSize, card: Card | None, *, num_adapter_values: int = 0
) -> RoleMemory:
    """Return what one GPU of an engine holds: the key-value cache takes what its share of the card leaves.

    `num_adapter_values` are those of adapters that it holds beside the model.
    """
    size, shards = _BYTES[config.dtype], config.num_shards
    weights = model.num_parameters * size // shards
    text = model.text
    inner = 8 * model.hidden_size + 3 * int(text["intermediate_size"])
    working = config.max_num_batched_tokens * inner * size // shards + config.max_num_seqs * model.vocabulary * 4
    parts = [Part("weights", weights, is_exact=shards == 1), Part("activations", working)]
    if num_adapter_values:
        parts.append(Part("adapters", num_adapter_values * size))
    per_token = model.cache_values_per_token * size // min(shards, model.num_key_heads)
    if config.gpus_per_sampler and card is None:
        return RoleMemory("samplers", tuple(parts), None, "and a key-value cache of what is left of the card")
    if not config.gpus_per_sampler or card is None:
        cache = int(config.kv_cache_gib * GIB)
        parts.append(Part("key-value cache", cache, is_exact=True))
    else:
        if not config.is_eager:
            parts.append(Part("CUDA graphs", _GRAPHS))
        taken = sum(part.num_bytes for part in parts)
        cache = int(config.gpu_memory_utilization * card.memory_gib * GIB) - taken
        if cache <= per_token * config.max_model_len:
            short = "no room to cache one sequence: raise samplers.gpu_memory_utilization or gpus_per_sampler"
            parts.append(Part("key-value cache", per_token * config.max_model_len))
            return RoleMemory(
                "samplers", tuple(parts), int(config.gpu_memory_utilization * card.memory_gib * GIB), short
            )
        parts.append(Part("key-value cache", cache))
    tokens = cache // per_token
    note = f"cache of {tokens:,} tokens: {tokens // config.max_model_len} of the longest sequences"
    limit = int(card.memory_gib * GIB) if card and config.gpus_per_sampler else None
    return RoleMemory("samplers", tuple(parts), limit, note)


def generator_memory(
    config: GeneratorConfig, pipeline: PipelineSize, card: Card | None, *, image_pixels: float
) -> RoleMemory:
    """Return what a replica holds with a full batch of images of so many pixels."""
    batch = max(1, config.max_batch_size)
    if config.max_batch_pixels:
        batch = max(1, min(batch, int(config.max_batch_pixels // image_pixels)))
    parts = [
        Part("weights", pipeline.num_parameters * _BYTES[config.dtype], is_exact=True),
        Part("activations", int(batch * image_pixels / MEGAPIXEL * _PER_MEGAPIXEL)),
        Part("kept embeddings and latents", int(config.cache_gib * GIB)),
    ]
    note = f"batches of {batch}"
    return _on(card if config.gpus_per_replica else None, "generator", parts, note)


def _on(card: Card | None, role: str, parts: list[Part], note: str) -> RoleMemory:
    if card is None:
        return RoleMemory(role, tuple(parts), None, note)
    return RoleMemory(role, (*parts, Part("context", _CONTEXT)), int(card.memory_gib * GIB), note)


def _shard(tensors: Sequence[Tensors], shards: int) -> int:
    """Return the values of all tensors that the fullest rank holds: FSDP2 cuts the first dimension, rounding up."""
    return sum(one.num_parameters // one.shape[0] * -(-one.shape[0] // shards) for one in tensors)


def _gathered(config: PolicyConfig, model: ModelSize) -> int:
    """Return what is whole for a while: two text layers, embedding and head, and the gradients of one layer."""
    size, parts = _BYTES[config.dtype], model.parts
    layer = parts[LAYERS] // model.num_layers
    whole = (2 * layer + parts[EMBEDDING] + parts[HEAD]) * size
    return whole + (0 if config.lora.rank else layer * (size + _FLOAT32))


def _activations(config: PolicyConfig, model: ModelSize, image_tokens: int) -> int:
    """Return what a micro-batch keeps for its backward pass: inputs of layers, and whole layers where they are kept."""
    size, text = _BYTES[config.dtype], model.text
    queries = int(text["num_attention_heads"]) * model.head_dim
    keys = model.num_key_heads * model.head_dim
    of_layer = size * (6 * model.hidden_size + 3 * queries + 3 * keys + 4 * int(text["intermediate_size"]))
    of_input = size * model.hidden_size
    kept = config.kept_activations if config.gradient_checkpointing else 1.0
    num_kept = round(kept * model.num_layers)
    per_token = num_kept * of_layer + (model.num_layers - num_kept) * of_input + 2 * of_layer
    tokens = config.max_tokens_per_micro_batch
    return tokens * per_token + _tower_activations(config, model, min(tokens, image_tokens))


def _tower_activations(config: PolicyConfig, model: ModelSize, image_tokens: int) -> int:
    """Return the same of the vision tower, for the images of one prompt."""
    size, vision = _BYTES[config.dtype], model.vision
    patches = image_tokens * int(vision["spatial_merge_size"]) ** 2
    hidden, inner, depth = (int(vision[key]) for key in ("hidden_size", "intermediate_size", "depth"))
    of_block = size * (12 * hidden + 2 * inner)
    if config.freeze_vision:
        return patches * of_block
    kept = of_block if not config.gradient_checkpointing else size * hidden
    return patches * (depth * kept + 2 * of_block)


def _logits(config: PolicyConfig, model: ModelSize) -> int:
    """Return the logits that are there at a time, with their copies in float32 and gradients."""
    rows = _HEAD_BLOCK if config.shared_prefix else config.max_tokens_per_micro_batch
    return rows * model.vocabulary * (_BYTES[config.dtype] + 3 * _FLOAT32)
