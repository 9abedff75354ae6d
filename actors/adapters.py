"""Whether the policy's adapters can be published as such (`samplers.as_adapters`), and the room that they need."""

from dataclasses import replace

from actors.config import ALL_LINEAR, PolicyConfig, SamplerConfig
from actors.sampler_config import MAX_ADAPTER_RANK


def check_adapters(policy: PolicyConfig, samplers: SamplerConfig) -> None:
    """Raise ValueError unless the policy's weights can be published as `samplers.as_adapters` says."""
    lora = policy.lora
    if not samplers.as_adapters:
        return
    if not 0 < lora.rank <= MAX_ADAPTER_RANK:
        raise ValueError(
            f"samplers.as_adapters=true, but policy.lora.rank is {lora.rank}; expected 1 to {MAX_ADAPTER_RANK}, which "
            "vLLM has room for, or samplers.as_adapters=false"
        )
    if list(lora.targets) == [ALL_LINEAR] and not policy.freeze_vision:
        raise ValueError(
            "samplers.as_adapters=true: vLLM holds no adapters of a vision tower, which policy.lora.targets="
            f"[{ALL_LINEAR}] trains; set policy.freeze_vision=true, name layers of the language model in "
            "policy.lora.targets, or set samplers.as_adapters=false"
        )
    if samplers.adapter_rank not in (0, lora.rank):
        raise ValueError(
            f"samplers.adapter_rank={samplers.adapter_rank}, but policy.lora.rank is {lora.rank}: leave the first out"
        )


def with_room(policy: PolicyConfig, samplers: SamplerConfig) -> SamplerConfig:
    """Return the settings of samplers that have room for the policy's adapters, if these are published."""
    return replace(samplers, adapter_rank=policy.lora.rank) if samplers.as_adapters else samplers
