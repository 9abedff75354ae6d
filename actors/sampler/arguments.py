"""What vLLM is told of a sampler's settings. Does not import vLLM."""

from collections.abc import Mapping

from actors.config import SamplerConfig

ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM makes room for; an adapter of a smaller rank leaves some of it empty."""


def engine_arguments(config: SamplerConfig, model: str, size: Mapping[str, int] | None = None) -> dict[str, object]:
    """Return vLLM's `EngineArgs` for a sampler."""
    if config.gpus_per_sampler:
        device: dict[str, object] = {
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "async_scheduling": config.has_async_scheduling,
            "enable_sleep_mode": config.enable_sleep_mode,
        }
    else:
        device = {
            "kv_cache_memory_bytes": int(config.kv_cache_gib * (1 << 30)),
            # Chunked prefill draws a token for each chunk, and vLLM rewinds the request's random generator by these
            # draws with a method that only CUDA's generator has: on CPU the engine dies.
            "enable_chunked_prefill": False,
        }
    return {
        "model": model,
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "block_size": config.block_size,
        "enforce_eager": config.is_eager,
        "mm_processor_kwargs": {"size": dict(size)} if size else None,
        "limit_mm_per_prompt": {"image": config.max_images, "video": 0},
        # After temperature and banned tokens: from the distribution that the token was drawn from.
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "seed": 0,
        "tensor_parallel_size": config.num_shards,
        **({"enable_lora": True, "max_loras": 1, "max_lora_rank": _room(config)} if config.adapter_rank else {}),
        **({"distributed_executor_backend": "mp"} if config.num_shards > 1 else {}),
        **device,
    }


def _room(config: SamplerConfig) -> int:
    return next(rank for rank in ADAPTER_RANKS if rank >= config.adapter_rank)
