"""Settings of an image generator: one of ours by name, any diffusers pipeline, a model at an endpoint, or a service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.generator.registry import spec_named
from actors.judge.config import EndpointConfig

DEFAULT_PIPELINE = "Flux2KleinPipeline"
DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True)
class GeneratorConfig:
    """A frozen image generator. What is left empty is as the named spec has it (`actors/generator/registry.py`)."""

    name: str = ""
    """One of ours: flux2-klein, qwen-image-edit, gpt-image, service, ...; empty: as `pipeline` and `model` say."""
    pipeline: str = ""
    """Name of a pipeline class in diffusers, or the import path of one elsewhere."""
    model: str = ""
    """Folder or hub id; or the model's name at an endpoint."""
    custom_pipeline: str = ""
    """File or folder with the code of a pipeline that diffusers does not have; empty: the model's own."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    lora: str = ""
    """Folder or hub id of LoRA weights; none for no LoRA where the named spec has one."""
    lora_weights: str = ""
    """Their file there."""
    num_replicas: int = 1
    """0: one pipeline in the caller's process, without Ray (tools and tests)."""
    min_replicas: int = 0
    """With max_replicas: fewest that a quiet pool keeps; 0: num_replicas."""
    max_replicas: int = 0
    """Most that a busy pool grows to, by the requests that wait; 0: always num_replicas."""
    gpus_per_replica: float = 0
    cpus_per_replica: float = 1
    """Ray's logical CPUs."""
    num_threads: int = 1
    """OMP threads of one replica (CPU only)."""
    dtype: str = "float32"
    height: int = 0
    """Pixels of every image, with `width`; 0: as the before-image is, its aspect ratio kept."""
    width: int = 0
    max_batch_size: int = 0
    """Compatible edits that share a forward pass; 0: as the spec has it, else 8. 1 where prompts do not batch."""
    batch_wait_s: float = 0.005
    """How long a batch that is not full waits for more."""
    timeout_s: float = 300.0
    """Deadline of one edit, its retries included; waiting for a free place does not count."""
    num_attempts: int = 3
    call: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the pipeline's or endpoint's call, over the spec's; null drops one."""
    base_url: str | None = None
    """Endpoint or service; None: the named spec's."""
    api_key_env: str = ""
    """Environment variable that holds the endpoint's key; empty: the named spec's."""
    endpoints: list[EndpointConfig] = field(default_factory=list)
    """Several servers or keys of the model, shared by load; empty: the one beside base_url."""
    max_concurrency: int = 16
    """Endpoint, service: requests in flight at one endpoint."""
    usd_per_image: float = 0.0
    budget_calls: int = 0
    """Endpoint: requests that the run may send; 0: no limit. Needs num_replicas above 0."""
    budget_usd: float = 0.0
    """Endpoint: US dollars by the prices; calls in flight may end beyond it; 0: no limit."""

    def __post_init__(self) -> None:
        if self.name:
            spec_named(self.name)
        if self.max_batch_size < 0 or self.num_attempts < 1 or self.num_replicas < 0 or self.timeout_s <= 0:
            raise ValueError(
                f"generator: max_batch_size={self.max_batch_size} (0 or more), num_attempts={self.num_attempts} "
                f"(1 or more), num_replicas={self.num_replicas} (0 or more), timeout_s={self.timeout_s} (above 0)"
            )
        if min(self.height, self.width) < 0 or (self.height > 0) != (self.width > 0):
            raise ValueError(
                f"generator: height={self.height} and width={self.width}: give both in pixels, or neither (0) to keep "
                "the before-image's aspect ratio"
            )
        fewest = self.min_replicas or self.num_replicas
        if self.max_replicas and not 1 <= fewest <= self.num_replicas <= self.max_replicas:
            raise ValueError(
                f"generator: min_replicas={self.min_replicas}, num_replicas={self.num_replicas}, max_replicas="
                f"{self.max_replicas}: a pool that grows starts with num_replicas, at least 1, within the other two"
            )
        if min(self.usd_per_image, self.budget_calls, self.budget_usd) < 0 or self.max_concurrency < 1:
            raise ValueError("generator: usd_per_image and budgets are 0 or more, max_concurrency is 1 or more")

    @property
    def most_replicas(self) -> int:
        """Replicas that the pool may have, at least 1."""
        return max(1, self.num_replicas, self.max_replicas)
