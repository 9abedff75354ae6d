"""Settings of the samplers."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from rollout.text.limits import Dtype, Gpus, NonNegativeInt, Noun, PositiveFloat, PositiveInt, check_fields, one_of

MAX_ADAPTER_RANK = 512
"""vLLM's."""
IN_FLIGHT = ("keep", "wait", "abort")
_NEED_GPUS = ("async_scheduling", True, "null"), ("enforce_eager", False, "null"), ("transport", "cuda_ipc", "auto")


@dataclass(frozen=True)
class SamplerConfig:
    """vLLM engines that draw responses."""

    num_samplers: PositiveInt = 1
    gpus_per_sampler: Gpus = 0
    """A share of one, or several: then an engine is split over them by tensor parallelism."""
    tensor_parallel_size: PositiveInt | None = None
    """Workers that an engine is split over; null: one a GPU."""
    num_threads: PositiveInt = 1
    dtype: Dtype = "float32"
    max_model_len: PositiveInt = 2048
    max_num_seqs: PositiveInt = 64
    max_num_batched_tokens: PositiveInt = 4096
    max_images: NonNegativeInt = 2
    """Images a prompt may have."""
    block_size: PositiveInt = 32
    async_scheduling: bool | None = None
    """Prepare a step while the last one runs, which only GPUs do; null: on GPUs."""
    enforce_eager: bool | None = None
    """false: CUDA graphs, which only GPUs have; null: false on GPUs."""
    gpu_memory_utilization: Annotated[float, Gt(0), Le(1), Noun("a share")] = 0.8
    kv_cache_gib: Annotated[float, Gt(0), Le(1e6)] = 1.0
    """Key-value cache of one engine on CPU, in GiB."""
    publish_tolerance: PositiveFloat = 1e-3
    """Largest log-probability gap between policy and sampler that a verified publish may show (bf16: 0.2)."""
    bucket_mib: Annotated[int, Ge(1), Le(2**20)] = 256
    """Most that a block of weights in transfer may take (shared memory: 4 MiB)."""
    transport: Annotated[str, one_of("auto", "cuda_ipc", "broadcast", "shared_memory", "object_store")] = "auto"
    """How weights get here; auto: the fastest way between where both sides are."""
    is_delta: bool = False
    """Publish changed values alone, where they are fewer than half; takes a copy of the weights in host memory."""
    as_adapters: bool = False
    """With policy.lora: publish adapters alone, which engines hold beside the model; else both merged."""
    in_flight: Annotated[str, one_of(*IN_FLIGHT)] = "keep"
    """What a publish does to requests that have begun (vLLM's pause modes): keep, they go on with the new weights from
    the tokens that they have; wait, they are finished first, and new ones queue; abort, they are drawn again."""

    enable_sleep_mode: bool = False
    """Allocate so that an engine's memory can be freed, which GPUs need (`placement: colocate` turns it on)."""
    adapter_rank: Annotated[int, Ge(0), Le(MAX_ADAPTER_RANK)] = 0
    """Rank of the adapters that an engine makes room for (`samplers.as_adapters` makes it policy.lora.rank)."""

    def __post_init__(self) -> None:
        check_fields(self, "samplers")
        if self.adapter_rank and not self.as_adapters:
            raise ValueError(
                f"samplers.adapter_rank={self.adapter_rank}, but nothing is published as an adapter: leave it out, or "
                "set samplers.as_adapters=true"
            )
        if self.as_adapters and self.gpus_per_sampler and self.dtype == "float32":
            raise ValueError(
                "samplers.as_adapters=true: on GPUs vLLM computes adapters in bfloat16 or float16, but samplers.dtype "
                "is float32; set samplers.dtype=bfloat16 or samplers.as_adapters=false"
            )
        if not self.gpus_per_sampler:
            for key, wanted, other in _NEED_GPUS:
                if getattr(self, key) == wanted:
                    raise ValueError(
                        f"samplers.{key}={str(wanted).lower()} needs a GPU, but samplers.gpus_per_sampler is 0: set "
                        f"samplers.gpus_per_sampler=1 or samplers.{key}={other}"
                    )
        if self.gpus_per_sampler and self.num_shards != max(1, self.gpus_per_sampler):
            raise ValueError(
                f"samplers.tensor_parallel_size={self.tensor_parallel_size}, but samplers.gpus_per_sampler is "
                f"{self.gpus_per_sampler:g}: a worker takes one GPU; leave samplers.tensor_parallel_size out"
            )
        if self.gpus_per_sampler == 0 and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"samplers.max_num_batched_tokens={self.max_num_batched_tokens}: on CPU a prompt is read at once, so "
                f"it has to be at least samplers.max_model_len={self.max_model_len}"
            )
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"samplers.max_num_batched_tokens={self.max_num_batched_tokens}: each running sequence takes a token "
                f"per step, so it has to be at least samplers.max_num_seqs={self.max_num_seqs}"
            )

    @property
    def num_shards(self) -> int:
        """Workers that an engine is split over."""
        return self.tensor_parallel_size or max(1, int(self.gpus_per_sampler))

    @property
    def has_async_scheduling(self) -> bool:
        return bool(self.gpus_per_sampler) if self.async_scheduling is None else self.async_scheduling

    @property
    def is_eager(self) -> bool:
        """Whether there are no CUDA graphs."""
        return not self.gpus_per_sampler if self.enforce_eager is None else self.enforce_eager

    def check_answers(self, max_tokens: int, key: str, section: str = "samplers") -> None:
        """Raise ValueError unless an answer of `max_tokens` and some prompt fit in the context.

        `key` sets the first, `section` of the recipe the second.
        """
        if max_tokens >= self.max_model_len:
            raise ValueError(
                f"{key} is {max_tokens}; expected less than {section}.max_model_len={self.max_model_len}, which holds "
                "the prompt, its images and the answer"
            )
