"""Settings of everything that runs in an actor. A recipe composes them (`rl/recipe/config.py`)."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from actors.evidence.config import EvidenceConfig as EvidenceConfig
from actors.generator.config import GeneratorConfig as GeneratorConfig
from actors.generator.config import ImageServerConfig as ImageServerConfig
from actors.judge.config import JudgeConfig as JudgeConfig
from actors.judge.config import ServerConfig as ServerConfig
from actors.metered.config import EndpointConfig as EndpointConfig
from actors.sampler_config import SamplerConfig as SamplerConfig
from rollout.text.limits import (
    Cpus,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    RequiredPath,
    Seed,
    Tilde,
    check_fields,
    one_of,
    one_of_or_own,
)

ALL_LINEAR = "all-linear"
_UNTRAINABLE = ("lm_head", "embed_tokens")
ATTENTION = ("sdpa", "flash_attention_2", "flash_attention_3", "eager")
_Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685): only they are trained, at about ten times the learning rate."""

    rank: NonNegativeInt = 0
    """Rank of each adapter; 0: no adapters, the model itself is trained."""
    alpha: PositiveInt = 16
    """An adapter's output is multiplied by alpha / rank."""
    targets: list[Name] = field(default_factory=lambda: [ALL_LINEAR])
    """Names of the linear layers that get an adapter (q_proj, v_proj, ...), or all-linear: all but the head.

    A vision tower and projector frozen by policy.freeze_vision get none.
    """
    seed: Seed = 0
    """Seed of the adapters' initial values."""

    def __post_init__(self) -> None:
        check_fields(self, "policy.lora")
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

    model: RequiredPath = "???"
    """Folder or hub id of a Qwen-VL checkpoint in Hugging Face format."""
    num_ranks: PositiveInt = 2
    ranks_per_node: PositiveInt = 8
    """More ranks than this are spread over nodes, this many on each."""
    gpus_per_rank: Annotated[float, Ge(0), Le(1)] = 0
    """1 on a GPU cluster, or a share of a single rank's GPU; 0 trains on CPU over gloo."""
    num_threads: PositiveInt = 1
    """OMP threads of one rank (CPU only)."""
    dtype: Annotated[str, one_of("float32", "bfloat16")] = "float32"
    """float32 or bfloat16: dtype of the parameters in the forward pass."""
    attn_implementation: Annotated[str, one_of(*ATTENTION)] = "sdpa"
    """sdpa, or flash_attention_2: flash-attn's kernels where it is installed, else torch's own, which need
    policy.shared_prefix (flash_attention_3, eager: as transformers has them)."""
    shared_prefix: bool = True
    """Compute the prompt of a group, and its images, once for all of its responses."""
    is_packed: bool = True
    """Without policy.shared_prefix: remove padding, so that rows are packed into one sequence.

    The right choice with flash-attn. sdpa attends to every pair of packed tokens: on CPU padding is three times as
    fast.
    """
    max_tokens_per_micro_batch: PositiveInt = 16384
    """Prompt and response tokens of one forward pass on one rank."""
    sequence_parallel: PositiveInt = 1
    """Ranks that share a sequence (Ulysses): for prompts that are too long for one. Needs policy.shared_prefix."""
    shard_ranks: NonNegativeInt = 0
    """Ranks that a copy of the weights is cut over, as on one node of several (HSDP); 0: all of them."""
    gradient_checkpointing: bool = False
    """Compute the activations of a layer again in the backward pass rather than keep them."""
    kept_activations: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the text layers that keep them nevertheless, where memory is left."""
    compile_layers: bool = False
    """Compile the text layers (torch.compile): the first update takes a minute or two longer."""
    freeze_vision: bool = False
    """Leave the vision tower and the projector as they are."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Train adapters instead of the whole model."""
    offload: bool = False
    """Keep parameters and optimizer state in host memory between updates."""
    lr: Annotated[float, Ge(0), Le(1)] = 2e-6
    lr_schedule: Annotated[str, one_of("constant", "cosine")] = "constant"
    """constant, or cosine: down to 0 at the recipe's last step."""
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegativeInt = 0
    max_grad_norm: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "policy")
        if self.attn_implementation.startswith("flash") and not self.gpus_per_rank:
            raise ValueError(
                f"policy.attn_implementation is {self.attn_implementation}, which needs a GPU, but "
                "policy.gpus_per_rank is 0: set policy.gpus_per_rank=1, or policy.attn_implementation=sdpa"
            )
        if self.num_ranks > 1 and self.gpus_per_rank not in (0, 1):
            raise ValueError(
                f"policy.gpus_per_rank={self.gpus_per_rank:g} with policy.num_ranks={self.num_ranks}: two ranks cannot "
                "share a GPU; set policy.num_ranks=1 or policy.gpus_per_rank=1"
            )
        if self.num_ranks % self.sequence_parallel or (self.sequence_parallel > 1 and not self.shared_prefix):
            raise ValueError(
                f"policy.sequence_parallel={self.sequence_parallel} needs policy.shared_prefix, and as "
                f"policy.num_ranks a multiple of it (it is {self.num_ranks})"
            )
        if self.shard_ranks and self.num_ranks % self.shard_ranks:
            raise ValueError(
                f"policy.num_ranks={self.num_ranks} is no multiple of policy.shard_ranks={self.shard_ranks}"
            )
        if self.num_ranks > self.ranks_per_node and self.num_ranks % self.ranks_per_node:
            raise ValueError(
                f"policy.num_ranks={self.num_ranks} does not fill nodes of {self.ranks_per_node} ranks; "
                "make it a multiple of policy.ranks_per_node"
            )


UNFIT_LOSSES = {
    "geo_mean": "it averages within a micro-batch, so that the gradient would depend on how rows are packed",
    "dro": "it asks for a dro_beta that recipes do not have",
    "bypass_mode": "it takes the sampler's log-probabilities for the old ones; use algorithm.loss.rollout_correction",
}
"""verl's losses that would break a run or train it wrongly, and why."""
POLICY_LOSSES = (
    *("vanilla", "gspo", "cispo", "sapo", "gpg", "clip_cov", "kl_cov", "dppo_tv", "dppo_kl"),
    *UNFIT_LOSSES,
)
"""verl's registered policy losses."""
AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
KL_TYPES = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
"""verl's KL estimators (http://joschu.net/blog/kl-approx.html); with a trailing +, the gradient is k2's."""


@dataclass(frozen=True)
class LossConfig:
    """What one update minimises. Names are verl's registered ones."""

    policy_loss: Annotated[str, Tilde(), one_of_or_own(*POLICY_LOSSES)] = "vanilla"
    """One of verl's, or a function of your own (`actors/user_loss.py`)."""
    clip_low: NonNegativeFloat = 0.2
    clip_high: NonNegativeFloat = 0.2
    clip_dual: Annotated[float, Gt(1)] = 3.0
    """Of vanilla, dual clip (arXiv 1912.09729): where the advantage A is negative, a token's loss is at most this times
    -A, however likely the token has become. verl always has one, 3 by default."""
    aggregation: Annotated[str, one_of(*AGGREGATIONS)] = "token-mean"
    """verl's loss_agg_mode: token-mean, seq-mean-token-sum, seq-mean-token-mean or seq-mean-token-sum-norm."""
    scale_factor: PositiveInt | None = None
    """Tokens that seq-mean-token-sum-norm divides by (Dr. GRPO: the longest response allowed)."""
    kl_coef: NonNegativeFloat = 0.0
    """Above 0: add to the loss the KL to a frozen copy or, with policy.lora, to the model without adapters."""
    kl_type: Annotated[str, one_of(*KL_TYPES, *(f"{name}+" for name in KL_TYPES))] = "low_var_kl"
    entropy_coef: float = 0.0
    has_entropy_metric: bool = True
    """Report the policy's entropy even when it is not in the loss (costs a softmax over the vocabulary)."""
    num_mini_batches: PositiveInt = 1
    """Optimizer steps that an update is split into."""
    num_epochs: PositiveInt = 1
    rollout_correction: Annotated[str, one_of("token", "sequence")] | None = None
    """token or sequence: weigh the loss by the truncated trainer/sampler probability ratio, for stale responses."""
    rollout_correction_limit: PositiveFloat = 2.0
    """Upper limit of that weight."""

    def __post_init__(self) -> None:
        check_fields(self, "algorithm.loss")
        if self.aggregation == "seq-mean-token-sum-norm" and self.scale_factor is None:
            raise ValueError(
                "algorithm.loss.aggregation=seq-mean-token-sum-norm needs algorithm.loss.scale_factor (tokens)"
            )


@dataclass(frozen=True)
class RolloutWorkersConfig:
    """CPU actors that carry groups from task to reward."""

    num_workers: PositiveInt = 2
    groups_per_worker: PositiveInt = 16
    """Groups in flight in one worker."""
    cpus_per_worker: Cpus = 0.1
    """Ray's logical CPUs."""

    def __post_init__(self) -> None:
        check_fields(self, "workers")
