"""verl's extension of vLLM's workers, on CPU: importing it adapts vLLM, so that weights can be loaded into it again."""

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from actors.sampler.vllm_engine import adapt_to_cpu

adapt_to_cpu()


class CpuExtension(vLLMColocateWorkerExtension):
    """Named in verl's configuration: actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls."""
