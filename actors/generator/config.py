"""Settings of an image generator: a registered name, any diffusers pipeline, a model at an endpoint, or a service."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.generator.registry import KINDS, REGISTRY, unknown_name
from actors.metered.config import EndpointConfig
from rollout.text.limits import (
    Cpus,
    Dtype,
    Gpus,
    KeyVariable,
    NonNegativeFloat,
    NonNegativeInt,
    PathText,
    Port,
    PositiveInt,
    Seconds,
    Tilde,
    Url,
    check_fields,
    one_of_or_own,
)

DEFAULT_PIPELINE = "Flux2KleinPipeline"
DEFAULT_BATCH_SIZE = 8
_Pixels = Annotated[int, Ge(0), Le(65536)]


@dataclass(frozen=True)
class ImageServerConfig:
    """OpenAI-compatible images servers that the run starts for `generator.kind: images` and stops at its end."""

    command: str = ""
    """Of one server, with {model}, {host} and {port}, and {api_key} unless it reads VLLM_API_KEY; empty: none.

    `vllm serve {model} --omni --host {host} --port {port}`; it answers `/health` and `/v1/images/...`.
    """
    gpus: Gpus = 1
    """GPUs of one server."""
    cpus: Cpus = 1
    """Ray's logical CPUs of one server."""
    port: Port = 0
    """Port of the first server, the others' follow; 0: free ones."""
    start_timeout_s: Seconds = 1800.0
    """Until a server is ready: its weights may have to be downloaded."""

    def __post_init__(self) -> None:
        check_fields(self, "generator.server")


@dataclass(frozen=True)
class GeneratorConfig:
    """A frozen image generator. What is left empty is as the named spec has it (`actors/generator/registry.py`)."""

    name: str = ""
    """A registered name: flux2-klein, qwen-image-edit, gpt-image, service, ...; empty: by `pipeline` and `model`."""
    kind: Annotated[str, Tilde(), one_of_or_own(*KINDS)] | None = None
    """Null: the named spec's, else diffusers; or a class of your own: my_module:MyGenerator, ./my.py:MyGenerator."""
    options: dict[str, Any] = field(default_factory=dict)
    """A class of your own: its keyword arguments."""
    pipeline: str = ""
    """Name of a pipeline class in diffusers, or the import path of one elsewhere."""
    model: PathText = ""
    """Folder or hub id; or the model's name at an endpoint."""
    custom_pipeline: PathText = ""
    """File or folder with the code of a pipeline that diffusers does not have; empty: the model's own."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    lora: PathText = ""
    """Folder or hub id of LoRA weights; none for no LoRA where the named spec has one."""
    lora_weights: str = ""
    """Their file there."""
    num_replicas: NonNegativeInt = 1
    """0: one pipeline in the caller's process, without Ray (tools and tests)."""
    min_replicas: NonNegativeInt = 0
    """With max_replicas: fewest that a quiet pool keeps; 0: num_replicas."""
    max_replicas: NonNegativeInt = 0
    """Most that a busy pool grows to, by the requests that wait; 0: always num_replicas."""
    gpus_per_replica: Gpus = 0
    cpus_per_replica: Cpus = 1
    """Ray's logical CPUs."""
    num_threads: PositiveInt = 1
    """OMP threads of one replica (CPU only)."""
    dtype: Dtype = "float32"
    height: _Pixels = 0
    """Pixels of every image, with `width`; 0: as the before-image is, its aspect ratio kept."""
    width: _Pixels = 0
    max_batch_size: NonNegativeInt = 0
    """Compatible edits that share a forward pass; 0: as the spec has it, else 8. 1 where prompts do not batch."""
    max_batch_pixels: NonNegativeInt = 0
    """Most pixels of the images that one forward pass makes (a larger image is made alone); 0: no limit."""
    compile: bool = False
    """Compile the transformer's repeated blocks (diffusers' `compile_repeated_blocks`): minutes at the start."""
    attention_backend: str = ""
    """Attention back-end by diffusers' name: native, _native_cudnn, flash, _flash_3_hub, sage, ...; empty: its own."""
    cache_gib: Annotated[float, Ge(0), Le(1024)] = 0.5
    """GiB of prompt embeddings and VAE latents that a replica keeps by content, on its device; 0: none."""
    batch_invariant: bool = False
    """Make each image by itself: no bit of it depends on what else was asked for at the time.

    Slower on a GPU. What was made in batches is not taken from the store for it.
    """
    batch_wait_s: Annotated[float, Ge(0), Le(1e9)] = 0.005
    """How long a batch that is not full waits for more."""
    timeout_s: Seconds = 300.0
    """Deadline of one edit, its retries included; waiting for a free place does not count."""
    num_attempts: PositiveInt = 3
    call: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the pipeline's or endpoint's call, over the spec's; null drops one."""
    base_url: Url | None = None
    """Endpoint or service; None: the named spec's."""
    api_key_env: KeyVariable = ""
    """Environment variable that holds the endpoint's key; empty: the named spec's."""
    endpoints: list[EndpointConfig] = field(default_factory=list)
    """Several servers or keys of the model, shared by load; empty: the one beside base_url."""
    server: ImageServerConfig = field(default_factory=ImageServerConfig)
    """images: servers of the run's own, num_replicas of them, in place of base_url and endpoints."""
    max_concurrency: PositiveInt = 16
    """Endpoint, service: requests in flight at one endpoint."""
    usd_per_image: NonNegativeFloat = 0.0
    budget_calls: NonNegativeInt = 0
    """Endpoint: requests that the run may send; 0: no limit. Needs num_replicas above 0."""
    budget_usd: NonNegativeFloat = 0.0
    """Endpoint: US dollars by the prices; calls in flight may end beyond it; 0: no limit."""

    probe: bool = True
    """Ask before anything starts: a class of your own for one image, in a process of its own; endpoints what they
    have, which costs nothing, so that a wrong key or address is said in seconds."""

    def __post_init__(self) -> None:
        check_fields(self, "generator")
        spec = REGISTRY.get(self.name)
        if self.name and spec is None:
            raise ValueError(unknown_name(self.name))
        if spec and self.kind and self.kind != spec.kind:
            raise ValueError(
                f"generator.kind is {self.kind!r}, but generator.name {self.name!r} is of kind {spec.kind}: leave "
                'one of them out (generator.name: "" takes away the name that the recipe you extend gives)'
            )
        if self.batch_invariant and self.max_batch_size > 1:
            raise ValueError(
                f"generator.batch_invariant makes each image by itself, and generator.max_batch_size is "
                f"{self.max_batch_size}: leave one of them out"
            )
        if (self.height > 0) != (self.width > 0):
            raise ValueError(
                f"generator.height is {self.height} and generator.width {self.width}; give both in pixels, or neither "
                "(0) to keep the before-image's aspect ratio"
            )
        fewest = self.min_replicas or self.num_replicas
        if self.max_replicas and not 1 <= fewest <= self.num_replicas <= self.max_replicas:
            raise ValueError(
                f"generator: min_replicas={self.min_replicas}, num_replicas={self.num_replicas}, max_replicas="
                f"{self.max_replicas}: a pool that grows starts with num_replicas, at least 1, within the other two"
            )

    @property
    def gpus_of_each(self) -> float:
        """GPUs of one replica, or of one server."""
        return self.server.gpus if self.server.command else self.gpus_per_replica

    @property
    def most_replicas(self) -> int:
        """Replicas that the pool may have, at least 1."""
        return max(1, self.num_replicas, self.max_replicas)
