"""Settings of everything that lives in an actor. A recipe composes them (`rl/recipe/config.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.generator.config import GeneratorConfig as GeneratorConfig
from actors.judge.config import EndpointConfig as EndpointConfig
from actors.judge.config import JudgeConfig as JudgeConfig
from actors.judge.config import ServerConfig as ServerConfig

ALL_LINEAR = "all-linear"
_UNTRAINABLE = ("lm_head", "embed_tokens")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685): they alone are trained, at about ten times the learning rate."""

    rank: int = 0
    """Of each adapter; 0: none, the model itself is trained."""
    alpha: int = 16
    """What an adapter computes is multiplied by alpha / rank."""
    targets: list[str] = field(default_factory=lambda: [ALL_LINEAR])
    """Names of the linear layers that get one (q_proj, v_proj, ...), or all-linear: all but the head.

    A vision tower and projector that policy.freeze_vision freezes get none.
    """
    seed: int = 0
    """Of the adapters' first values."""

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha < 1:
            raise ValueError(f"policy.lora: rank={self.rank} (0: no adapters, or more), alpha={self.alpha} (1 or more)")
        if not self.targets or (ALL_LINEAR in self.targets and len(self.targets) > 1):
            raise ValueError(
                f"policy.lora.targets is {list(self.targets)}; expected [{ALL_LINEAR}] or names like [q_proj, v_proj]"
            )
        if refused := [name for name in self.targets if name.rpartition(".")[2] in _UNTRAINABLE]:
            raise ValueError(
                f"policy.lora.targets names {', '.join(refused)}: head and embedding may be one tensor, and an adapter "
                "of one would change the other when it is merged; leave them out"
            )

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class PolicyConfig:
    """The critic being trained: an FSDP2 model on `num_ranks` ranks, through verl's engine."""

    model: str = "???"
    """Folder or hub id of a Qwen-VL checkpoint in Hugging Face format."""
    num_ranks: int = 2
    ranks_per_node: int = 8
    """More ranks than this spread over nodes, this many on each."""
    gpus_per_rank: int = 0
    """1 on a GPU cluster; 0 trains on CPU over gloo."""
    num_threads: int = 1
    """OMP threads of one rank (CPU only)."""
    dtype: str = "float32"
    """float32 or bfloat16: parameters' dtype in the forward pass."""
    attn_implementation: str = "sdpa"
    """sdpa, or flash_attention_2 where flash-attn is installed."""
    is_packed: bool = True
    """Remove padding: rows are packed into one sequence.

    Right with flash-attn. sdpa looks at every pair of packed tokens: on CPU padding is three times as fast.
    """
    max_tokens_per_micro_batch: int = 16384
    """Prompt and response tokens of one forward pass on one rank."""
    gradient_checkpointing: bool = False
    freeze_vision: bool = False
    """Leave the vision tower and the projector as they are."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Train adapters instead of the model."""
    offload: bool = False
    """Keep parameters and optimizer state in host memory between updates."""
    lr: float = 2e-6
    lr_schedule: str = "constant"
    """constant, or cosine: down to 0 at the recipe's last step."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.lr_schedule not in ("constant", "cosine"):
            raise ValueError(f"policy.lr_schedule is {self.lr_schedule!r}; expected constant or cosine")
        if self.gpus_per_rank not in (0, 1):
            raise ValueError(f"policy.gpus_per_rank={self.gpus_per_rank}: a rank has one GPU (1) or none (0)")
        if self.num_ranks > self.ranks_per_node and self.num_ranks % self.ranks_per_node:
            raise ValueError(
                f"policy.num_ranks={self.num_ranks} does not fill nodes of {self.ranks_per_node} ranks; "
                "make it a multiple of policy.ranks_per_node"
            )


KL_TYPES = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
"""verl's estimators of the KL (http://joschu.net/blog/kl-approx.html); a + behind one takes k2's gradient."""


@dataclass(frozen=True)
class LossConfig:
    """What one update minimises. Names are verl's registered ones."""

    policy_loss: str = "vanilla"
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: str = "token-mean"
    """verl's loss_agg_mode: token-mean, seq-mean-token-sum, seq-mean-token-mean or seq-mean-token-sum-norm."""
    scale_factor: int | None = None
    """Tokens; what seq-mean-token-sum-norm divides by (Dr. GRPO: the longest response allowed)."""
    kl_coef: float = 0.0
    """Above 0: the KL to a frozen copy, or with policy.lora to the model without adapters, is added to the loss."""
    kl_type: str = "low_var_kl"
    entropy_coef: float = 0.0
    has_entropy_metric: bool = True
    """Report the policy's entropy even when it is not in the loss (costs a softmax over the vocabulary)."""
    num_mini_batches: int = 1
    """Optimizer steps an update is cut into."""
    num_epochs: int = 1
    rollout_correction: str | None = None
    """token or sequence: weigh the loss by the truncated trainer/sampler probability ratio, for stale responses."""
    rollout_correction_limit: float = 2.0
    """The weight is cut off here."""

    def __post_init__(self) -> None:
        if self.aggregation == "seq-mean-token-sum-norm" and self.scale_factor is None:
            raise ValueError(
                "algorithm.loss.aggregation=seq-mean-token-sum-norm needs algorithm.loss.scale_factor (tokens)"
            )
        if min(self.num_mini_batches, self.num_epochs) < 1:
            numbers = f"num_mini_batches={self.num_mini_batches}, num_epochs={self.num_epochs}"
            raise ValueError(f"algorithm.loss: {numbers}: each has to be 1 or more")
        if self.kl_type.removesuffix("+") not in KL_TYPES:
            raise ValueError(f"algorithm.loss.kl_type={self.kl_type!r}: use {', '.join(KL_TYPES)}")
        if self.rollout_correction not in (None, "token", "sequence"):
            raise ValueError(
                f"algorithm.loss.rollout_correction={self.rollout_correction!r}: use token, sequence or null"
            )


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
    max_images: int = 2
    """Images a prompt may have."""
    block_size: int = 32
    enforce_eager: bool = True
    gpu_memory_utilization: float = 0.8
    kv_cache_gib: float = 1.0
    """Key-value cache of one engine on CPU, in GiB."""
    publish_tolerance: float = 1e-3
    """Largest |log-prob| gap between policy and sampler that a verified publish may show (bf16: 0.2)."""
    bucket_mib: int = 256
    """Weights travel in pieces of this size; two are in flight."""

    def __post_init__(self) -> None:
        if not 0 <= self.gpus_per_sampler <= 1:
            raise ValueError(f"samplers.gpus_per_sampler={self.gpus_per_sampler}: one engine runs on at most one GPU")
        if self.gpus_per_sampler == 0 and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"samplers.max_num_batched_tokens={self.max_num_batched_tokens}: on CPU a prompt is read at once, so "
                f"it has to be at least samplers.max_model_len={self.max_model_len}"
            )


@dataclass(frozen=True)
class EvidenceConfig:
    """What a reward looks at beside the judge's scores: a function's answer, or a second judge's scores."""

    fn: str = ""
    """`fn(before, after, instruction)` of PIL images and a text, to anything that JSON can hold; by import path
    or in a file (`./my_scores.py:aesthetic`)."""
    judge: JudgeConfig | None = None
    """Instead of `fn`: a whole judge, whose `Scores` are the evidence."""
    num_replicas: int = 1
    """fn: processes; 0: threads of the caller's process, without Ray."""
    gpus_per_replica: float = 0
    cpus_per_replica: float = 0.1
    """Ray's logical CPUs."""
    max_concurrency: int = 8
    """fn of ours: calls in flight in one replica, each in a thread. Another has a process, and one call at a time."""
    timeout_s: float = 120.0
    """fn: deadline of one call; a function that is not ours is killed then."""

    def __post_init__(self) -> None:
        if self.max_concurrency < 1 or self.num_replicas < 0 or self.timeout_s <= 0:
            raise ValueError(
                f"evidence: max_concurrency={self.max_concurrency} (1 or more), "
                f"num_replicas={self.num_replicas} (0 or more), timeout_s={self.timeout_s} (above 0)"
            )


@dataclass(frozen=True)
class RolloutWorkersConfig:
    """CPU actors that carry groups from task to reward."""

    num_workers: int = 2
    groups_per_worker: int = 16
    """Groups in flight in one worker."""
    cpus_per_worker: float = 0.1
    """Ray's logical CPUs."""

    def __post_init__(self) -> None:
        if min(self.num_workers, self.groups_per_worker) < 1:
            raise ValueError(
                f"workers: num_workers={self.num_workers} and groups_per_worker={self.groups_per_worker}: 1 or more"
            )
