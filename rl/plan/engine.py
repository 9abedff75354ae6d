"""How long samplers take for a step's responses: prompts, then a token of each response a step of the engine.

A step of the engine reads all weights once and, for each response in flight, its keys and values; on CPUs, which are
slow enough to be bound by what is computed, a token costs what it costs.
"""

from dataclasses import dataclass

from actors.config import SamplerConfig
from rl.plan.cards import Card
from rl.plan.models import ModelSize
from rl.plan.workload import NUM_IMAGES, Workload

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BANDWIDTH_SHARE = 0.7
"""Of the card's, that reading weights and cache reaches (estimated)."""
_PREFILL_SHARE = 0.5
"""Of the card's TFLOP/s, that reading prompts reaches (estimated)."""
_ROW_S = 30e-6
"""What a response adds to a step of the engine beside its keys and values: each has a seed (estimated)."""
CPU_TOKENS_PER_S = 3700.0
"""Of responses, by one sampler with one thread, of two million parameters ..."""
CPU_PARAMETERS = 2.3e6
"""... and those parameters."""
CPU_PROMPT_TOKEN = 2.5
"""What a token of a prompt, with its images, costs on CPUs, where one of a response costs 1: both by the demo's
sampler, which takes 3.15 s for 16 groups of 8 and 0.9 s for 8 groups of 2 (docs/plan.md)."""


@dataclass(frozen=True)
class EngineTimes:
    """Of the samplers of a recipe at a workload."""

    prefill_s: float
    """Until the prompts of a step are read."""
    token_s: float
    """For one token of every response in flight."""

    def response_s(self, tokens: float) -> float:
        """Return the seconds of a response of so many tokens: a step's prompts, which come together, are read first."""
        return self.prefill_s + tokens * self.token_s


def engine_times(config: SamplerConfig, model: ModelSize, card: Card | None, workload: Workload) -> EngineTimes:
    """Return the times of engines that share a step's responses."""
    in_flight = min(workload.samples / config.num_samplers, config.max_num_seqs)
    groups = workload.groups / config.num_samplers
    if card is None or not config.gpus_per_sampler:
        slower = max(1.0, model.num_parameters / CPU_PARAMETERS) / config.num_threads
        token_s = slower / CPU_TOKENS_PER_S
        prompts = groups * workload.prompt_tokens * CPU_PROMPT_TOKEN
        return EngineTimes(prompts * token_s, in_flight * token_s)
    size, shards = _BYTES[config.dtype], config.num_shards
    speed = card.gb_per_s * 1e9 * _BANDWIDTH_SHARE * shards
    length = workload.prompt_tokens + workload.response_tokens / 2
    cached = length * model.cache_values_per_token * size
    token_s = (model.num_parameters * size + in_flight * cached) / speed + in_flight * _ROW_S
    flops = groups * (2 * model.num_parameters * workload.prompt_tokens + NUM_IMAGES * tower_flops(model, workload))
    return EngineTimes(flops / (card.tflops * 1e12 * _PREFILL_SHARE * shards), token_s)


def tower_flops(model: ModelSize, workload: Workload) -> float:
    """Return the operations of one image's forward pass through the vision tower, attention included."""
    vision = model.vision
    hidden, inner, depth = (int(vision[key]) for key in ("hidden_size", "intermediate_size", "depth"))
    patches = workload.image_pixels / int(vision["patch_size"]) ** 2
    return 2 * patches * depth * (4 * hidden**2 + 2 * hidden * inner) + 4 * patches**2 * hidden * depth
