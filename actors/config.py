"""Settings of everything that lives in an actor. A recipe composes them (`rl/config.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PolicyConfig:
    """The critic being trained: an FSDP2 model on `num_ranks` ranks, through verl's engine."""

    model: str = "???"
    """Folder or hub id of a Qwen-VL checkpoint in Hugging Face format."""
    num_ranks: int = 2
    gpus_per_rank: int = 0
    """1 on a GPU cluster; 0 trains on CPU over gloo."""
    num_threads: int = 1
    """OMP threads of one rank (CPU only)."""
    dtype: str = "float32"
    """float32 or bfloat16: parameters' dtype in the forward pass."""
    attn_implementation: str = "sdpa"
    """sdpa, or flash_attention_2 where flash-attn is installed."""
    is_packed: bool = True
    """Remove padding: rows are packed into one sequence."""
    max_tokens_per_micro_batch: int = 16384
    """Prompt and response tokens of one forward pass on one rank."""
    gradient_checkpointing: bool = False
    freeze_vision: bool = False
    """Leave the vision tower and the projector as they are."""
    offload: bool = False
    """Keep parameters and optimizer state in host memory between updates."""
    lr: float = 2e-6
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """What one update minimises. Names are verl's registered ones."""

    policy_loss: str = "vanilla"
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: str = "token-mean"
    """verl's loss_agg_mode: token-mean, seq-mean-token-sum, seq-mean-token-mean or seq-mean-token-sum-norm."""
    kl_coef: float = 0.0
    """Above 0: a frozen reference copy is kept and its KL is added to the loss."""
    kl_type: str = "low_var_kl"
    entropy_coef: float = 0.0
    num_mini_batches: int = 1
    """Optimizer steps an update is cut into."""
    num_epochs: int = 1


@dataclass(frozen=True)
class SamplerConfig:
    """vLLM engines that draw responses."""

    num_samplers: int = 1
    gpus_per_sampler: float = 0
    num_threads: int = 1
    dtype: str = "float32"
    max_model_len: int = 2048
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 4096
    block_size: int = 32
    enforce_eager: bool = True
    gpu_memory_utilization: float = 0.8
    kv_cache_gib: float = 1.0
    """Key-value cache of one engine on CPU, in GiB."""
    publish_tolerance: float = 1e-3
    """Largest |log-prob| gap between policy and sampler that a verified publish may show (bf16: 0.2)."""


@dataclass(frozen=True)
class GeneratorConfig:
    """A frozen diffusers pipeline behind Ray Serve."""

    pipeline: str = "Flux2KleinPipeline"
    """Name of a pipeline class in diffusers."""
    model: str = "???"
    num_replicas: int = 1
    gpus_per_replica: float = 0
    num_threads: int = 1
    dtype: str = "float32"
    height: int = 1024
    width: int = 1024
    max_batch_size: int = 8
    batch_wait_s: float = 0.005
    timeout_s: float = 120.0
    """Deadline of one edit, its retries included."""
    num_attempts: int = 3
    call: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the pipeline's call: num_inference_steps, guidance_scale, ..."""


@dataclass(frozen=True)
class JudgeConfig:
    """Who scores images: an embedded scorer or an OpenAI-compatible endpoint."""

    kind: str = "embedded"
    """embedded or openai."""
    scorer: str = ""
    """embedded: import path of `score(before, after, instruction) -> Scores`."""
    model: str = ""
    """openai: model name at the endpoint."""
    base_url: str | None = None
    """openai: None is the official endpoint."""
    api_key_env: str = "OPENAI_API_KEY"
    """openai: environment variable that holds the key."""
    semantics_rubric: str = "recipes/prompts/judge_semantics.txt"
    quality_rubric: str = "recipes/prompts/judge_quality.txt"
    num_replicas: int = 1
    max_concurrency: int = 32
    """Calls in flight in one replica."""
    timeout_s: float = 60.0
    """Deadline of one score, its retries included."""
    num_attempts: int = 4


@dataclass(frozen=True)
class RolloutWorkersConfig:
    """CPU actors that carry groups from task to reward."""

    num_workers: int = 2
    groups_per_worker: int = 16
    """Groups in flight in one worker."""
